"""Probes and figures for the machinery around us."""

from __future__ import annotations

import asyncio

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from console.desk import DESK
from console.measured import history_of
from console.metrics import render
from learning.measures import measure
from learning.returns import Assumptions


async def healthz(_request: web.Request) -> web.Response:
    """Answer that the process serves requests."""
    return web.json_response({"status": "ok"})


async def readyz(request: web.Request) -> web.Response:
    """Answer whether what is shown is what the topics hold."""
    feed = request.app[DESK].feed_status
    # Not the whole status: probes need no token, and a broker's address is nobody else's business.
    facts = {"connected": feed.connected, "caught_up": feed.caught_up}
    return web.json_response(facts, status=200 if all(facts.values()) else 503)


async def metrics(request: web.Request) -> web.Response:
    """Give all figures; those with intervals are computed beside the event loop, for they take a while."""
    desk = request.app[DESK]
    report = await asyncio.to_thread(measure, history_of(desk), Assumptions())
    return web.Response(body=render(desk, report), headers={"Content-Type": CONTENT_TYPE_LATEST})


ROUTES = (
    web.get("/healthz", healthz, name="health"),
    web.get("/readyz", readyz, name="ready"),
    web.get("/metrics", metrics),
)
