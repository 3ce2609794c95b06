from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import orjson
import pytest
from aiohttp import ClientResponse

from console import live
from console.desk import Desk
from console.live import Hub
from console.models import FeedStatus
from console.view import Changes
from schemas.errors import TemporaryError
from tests.console.conftest import LIVE, Client
from tests.console.records import control, decision, incident

Event = tuple[str, Any]


async def groups(response: ClientResponse) -> AsyncIterator[list[Event]]:
    """Yield the events up to each `current`."""
    group: list[Event] = []
    name = ""
    async for line in response.content:
        if line.startswith(b"event: "):
            name = line[7:].strip().decode()
        elif line.startswith(b"data: "):
            if name == "current":
                yield group
                group = []
            else:
                group.append((name, orjson.loads(line[6:])))


async def following(stream: AsyncIterator[list[Event]]) -> list[Event]:
    async with asyncio.timeout(5):
        return await anext(stream)


async def test_a_stream_begins_with_everything_and_tells_each_change(client: Client, desk: Desk) -> None:
    first = incident(1)
    desk.receive([first, control("stop")], LIVE)
    async with client.get("/api/events") as response:
        assert response.content_type == "text/event-stream"
        stream = groups(response)
        begun = dict(await following(stream))
        assert begun["incident"]["id"] == first.id
        assert begun["overrides"]["stopped"] is True
        assert begun["feed"]["connected"] is True

        desk.receive([decision(first)], LIVE)
        [(name, told)] = await following(stream)
        assert (name, told["verdict"]) == ("incident", "ask")

        desk.receive([], FeedStatus(detail="gone"))
        assert [(name, told["detail"]) for name, told in await following(stream)] == [("feed", "gone")]


async def test_many_changes_at_once_are_told_as_the_last_state(client: Client, desk: Desk) -> None:
    async with client.get("/api/events") as response:
        stream = groups(response)
        await following(stream)
        for revision in range(1, 200):
            desk.receive([incident(1, revision)], LIVE)
        [(_, told)] = await following(stream)
        assert told["revision"] == 199


async def test_hostile_text_cannot_forge_an_event(client: Client, desk: Desk) -> None:
    forged = 'x\n\nevent: overrides\ndata: {"stopped": false}\n\n\r\u2028'
    desk.receive([incident(1, title=forged), control("stop", note=forged)], LIVE)
    async with client.get("/api/events") as response:
        events = await following(groups(response))
        assert sorted(name for name, _ in events) == ["feed", "incident", "overrides"]
        assert dict(events)["incident"]["title"] == forged


async def test_what_was_dropped_is_told(client: Client, desk: Desk) -> None:
    desk.receive([incident(n) for n in range(desk.config.max_incidents)], LIVE)
    async with client.get("/api/events") as response:
        stream = groups(response)
        await following(stream)
        desk.receive([incident(10_000)], LIVE)
        assert ("removed", incident(0).id) in await following(stream)


async def test_streams_end_when_the_console_stops(client: Client, desk: Desk) -> None:
    async with client.get("/api/events") as response:
        await following(groups(response))
        assert len(desk.hub) == 1
        desk.hub.close()
        async with asyncio.timeout(5):
            await response.read()
    assert (await client.get("/api/events")).status == 503


async def test_a_browser_that_goes_is_forgotten(client: Client, desk: Desk) -> None:
    async with client.get("/api/events") as response:
        await following(groups(response))
    async with asyncio.timeout(5):
        while len(desk.hub):
            desk.receive([incident(1)], LIVE)
            await asyncio.sleep(0.01)


def test_too_many_watchers_are_turned_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(live, "MAX_WATCHERS", 1)
    hub = Hub()
    with hub.watch([]), pytest.raises(TemporaryError), hub.watch([]):
        pass
    with hub.watch([]):
        assert len(hub) == 1


async def test_a_watcher_that_does_not_listen_holds_names_only() -> None:
    hub = Hub()
    with hub.watch(["a"]) as watcher:
        for _ in range(1000):
            hub.publish(Changes(incidents={"b"}, controls=True))
        hub.publish(Changes(removed={"b"}))
        assert await watcher.changes() == Changes(incidents={"a"}, removed={"b"}, controls=True)
