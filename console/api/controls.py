"""What people say, onto the controls topic.

The stages that act are the ones to obey: they read the topic and decide for themselves. What they would refuse is
refused here already, in the same words, so that a person learns of it at once.
"""

from __future__ import annotations

import logging

from aiohttp import web

from actions.policy import approve
from console.api.bodies import answer, read_body
from console.desk import DESK, Desk
from console.models import ControlRequest
from schemas.codec import encode
from schemas.control import Control
from schemas.envelope import content_id
from schemas.errors import RefusedError
from schemas.topics import CONTROLS

log = logging.getLogger(__name__)


async def post_control(request: web.Request) -> web.Response:
    # A form of another site cannot claim to be JSON without the browser asking us first.
    if request.content_type != "application/json":
        raise web.HTTPUnsupportedMediaType(text="send application/json")
    asked = ControlRequest.model_validate_json(await read_body(request))
    desk = request.app[DESK]
    control = to_control(asked, desk)
    await desk.deliver(CONTROLS, control.key, encode(control))
    log.info("%s by %r, control %s", control.kind, control.by, control.id)
    return answer(control, status=201)


def to_control(asked: ControlRequest, desk: Desk) -> Control:
    """Make the control, with its scope taken from what it is about.

    Raises:
        HTTPNotFound: the decision or incident is not known here.
        RefusedError: it cannot be approved or rejected any more, or a tier cannot be ratified from here.

    """
    if asked.kind == "ratify" and asked.tier == "autonomous":
        # It would stand, and take effect by itself once the record has grown. The command looks at the record first.
        raise RefusedError("`reflexarc ratify autonomous` looks at the playbook's record first; nothing here does")
    now = desk.now_unix_nano()
    fields = asked.model_dump() | _scope_of_subject(asked, desk)
    control = Control(id=content_id("control", fields, now), time_unix_nano=now, **fields)
    if control.decision_id is not None:
        _check_answer(control, desk)
    return control


def _scope_of_subject(asked: ControlRequest, desk: Desk) -> dict[str, str]:
    if asked.decision_id is not None:
        decision = desk.view.decision(asked.decision_id)
        if decision is None:
            raise web.HTTPNotFound(text="no such decision here; it may be older than what the console holds")
        about = {"incident_id": decision.incident_id}
        return about | {"environment": decision.environment, "service": decision.service}
    if asked.kind in {"feedback", "acknowledge"} and asked.incident_id is not None:
        case = desk.view.case(asked.incident_id)
        if case is None or case.incident is None:
            raise web.HTTPNotFound(text="no such incident here; it may be older than what the console holds")
        return {"environment": case.incident.environment, "service": case.incident.service}
    # A stop or resume holds exactly as wide as it was said: a resume lifts only what lies within it.
    return {}


def _check_answer(control: Control, desk: Desk) -> None:
    decision = desk.view.decision(control.decision_id or "")
    assert decision is not None  # noqa: S101 - its scope was just taken from it
    for earlier in desk.view.said_of(decision.id):
        # The act stage takes the first answer as the last word on a decision; the next revision asks anew.
        raise RefusedError(f"{earlier.by} has answered decision {decision.id} already: {earlier.kind}")
    if control.kind == "approve":
        approve(decision, control, desk.config.policy)
    elif decision.verdict != "ask":
        raise RefusedError(f"decision {decision.id} does not ask for approval: {decision.verdict}")


ROUTES = (web.post("/api/controls", post_control),)
