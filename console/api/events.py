"""Server-sent events: everything there is, then every change, until the browser goes.

Events: `feed` (a FeedStatus), `overrides` (an Overrides), `incident` (an IncidentSummary), `removed` (an id), and
`current` after each group: what came before is now the whole truth. A stream begins with everything, so a page that
lost its connection opens a new one and needs nothing else. Events tell the present state, never history.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import orjson
from aiohttp import web
from pydantic import BaseModel

from console.desk import DESK, Desk
from console.live import Watcher
from console.models import FeedStatus
from console.view import Changes

# Many changes within this time are one event: a person sees no difference, a storm costs ten events a second.
GATHER_SECONDS = 0.1
# Proxies cut connections that say nothing for 60 s, as commonly set.
HEARTBEAT_SECONDS = 15.0
# A browser that takes nothing for this long is gone.
WRITE_SECONDS = 30.0


async def get_events(request: web.Request) -> web.StreamResponse:
    desk = request.app[DESK]
    with desk.hub.watch(case.id for case in desk.view.cases()) as watcher:
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        await response.prepare(request)
        try:
            async for chunk in _chunks(desk, watcher):
                async with asyncio.timeout(WRITE_SECONDS):
                    await response.write(chunk)
        except (ConnectionError, TimeoutError):
            pass  # the browser has gone
        return response


async def _chunks(desk: Desk, watcher: Watcher) -> AsyncIterator[bytes]:
    told: FeedStatus | None = None
    while not watcher.closed:
        try:
            async with asyncio.timeout(HEARTBEAT_SECONDS):
                changes = await watcher.changes()
        except TimeoutError:
            yield b": still here\n\n"
            continue
        events = b"".join(_events(desk, changes))
        if desk.feed_status != told:
            told = desk.feed_status
            events += _event("feed", told)
        if events:
            yield events + _event("current", None)
        await asyncio.sleep(GATHER_SECONDS)


def _events(desk: Desk, changes: Changes) -> list[bytes]:
    summaries = (desk.present.summary(incident_id) for incident_id in changes.incidents)
    events = [_event("incident", summary) for summary in summaries if summary is not None]
    events += [_event("removed", incident_id) for incident_id in changes.removed]
    if changes.controls:
        events.append(_event("overrides", desk.present.overrides()))
    return events


def _event(name: str, data: BaseModel | str | None) -> bytes:
    # JSON holds no line break, so nothing in the data can end the event or begin another.
    text = data.model_dump_json().encode() if isinstance(data, BaseModel) else orjson.dumps(data)
    return b"event: %s\ndata: %s\n\n" % (name.encode(), text)


ROUTES = (web.get("/api/events", get_events),)
