"""Incidents and decisions, to read."""

from __future__ import annotations

from aiohttp import web

from console.api.bodies import answer
from console.desk import DESK
from console.models import IncidentList


async def list_incidents(request: web.Request) -> web.Response:
    status = request.query.get("status")
    if status not in {None, "open", "resolved"}:
        raise web.HTTPBadRequest(text="status is open or resolved")
    return answer(IncidentList(incidents=request.app[DESK].present.summaries(status)))


async def get_incident(request: web.Request) -> web.Response:
    detail = request.app[DESK].present.detail(request.match_info["id"])
    if detail is None:
        raise web.HTTPNotFound(text="no such incident here; it may be older than what the console holds")
    return answer(detail)


async def get_decision(request: web.Request) -> web.Response:
    detail = request.app[DESK].present.decision(request.match_info["id"])
    if detail is None:
        raise web.HTTPNotFound(text="no such decision here; it may be older than what the console holds")
    return answer(detail)


ROUTES = (
    web.get("/api/incidents", list_incidents),
    web.get("/api/incidents/{id}", get_incident),
    web.get("/api/decisions/{id}", get_decision),
)
