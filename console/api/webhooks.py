"""Alerts of other systems, onto the raw alerts topic.

The parsers are injected: what each source sends is known elsewhere. A body is anyone's: whatever it does to a parser,
the answer says that it cannot be used. Senders try again on 5xx only, so that is kept for when it may help.
"""

from __future__ import annotations

import asyncio
import logging

from aiohttp import web

from console.api.bodies import answer, read_body
from console.config import WebhookParser
from console.desk import DESK
from console.models import Accepted
from schemas.codec import check_envelope, encode
from schemas.errors import RecordError, Rejection
from schemas.raw import Alert
from schemas.topics import RAW_ALERTS

log = logging.getLogger(__name__)

WEBHOOK = "webhook"  # the route


async def post_webhook(request: web.Request) -> web.Response:
    desk, source = request.app[DESK], request.match_info["source"]
    parser = desk.config.webhooks.get(source)
    if parser is None:
        known = ", ".join(sorted(desk.config.webhooks)) or "none"
        raise web.HTTPNotFound(text=f"no such webhook; there are: {known}")
    result = "failed"
    try:
        records = await _records(request, source, parser)
        await asyncio.gather(*(desk.deliver(RAW_ALERTS, key, value) for key, value in records))
        result = "accepted"
    except (RecordError, web.HTTPException):
        result = "refused"
        raise
    finally:
        desk.webhooks[source, result] += 1
    return answer(Accepted(accepted=len(records)), status=202)


async def _records(request: web.Request, source: str, parser: WebhookParser) -> list[tuple[str, bytes]]:
    body = await read_body(request)
    _check_signature(request, source, body)
    # In a thread: 2 MB of JSON would hold the event loop for tens of milliseconds.
    return await asyncio.to_thread(_parse, parser, body, dict(request.headers))


def _check_signature(request: web.Request, source: str, body: bytes) -> None:
    desk = request.app[DESK]
    verify = desk.config.signatures.get(source)
    if verify is not None and not verify(body, dict(request.headers), desk.now_unix_nano()):
        # Not which of the two: a forger learns nothing from the answer.
        raise web.HTTPForbidden(text="the signature is missing or wrong, or it was sent too long ago")


def _parse(parser: WebhookParser, body: bytes, headers: dict[str, str]) -> list[tuple[str, bytes]]:
    try:
        return [_record(key, alert) for key, alert in parser(body, headers)]
    except RecordError:
        raise
    except Exception as error:
        log.exception("webhook parser")
        raise RecordError(Rejection.INVALID_SCHEMA, f"cannot be read ({type(error).__name__})") from None


def _record(key: str, alert: Alert) -> tuple[str, bytes]:
    value = encode(alert)
    check_envelope(RAW_ALERTS, key.encode(), value)
    return key, value


ROUTES = (web.post("/webhooks/{source}", post_webhook, name=WEBHOOK),)
