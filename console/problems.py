"""Everything that goes wrong, as an answer a caller can act on (RFC 9457 problem details).

The outermost middleware. What a caller got wrong is 4xx with the reason, what may pass is 503 with a time to come
back; 500 is left for our own bugs, logged with their trace.
"""

from __future__ import annotations

import logging
from http import HTTPStatus
from math import ceil

from aiohttp import web
from aiohttp.typedefs import Handler
from pydantic import ValidationError

from console.models import Problem
from schemas.codec import describe
from schemas.errors import RecordError, RefusedError, Rejection, TemporaryError

log = logging.getLogger(__name__)


@web.middleware
async def explain(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn what a handler raises into an answer."""
    try:
        return await handler(request)
    except Exception as error:
        answer = _answer(error)
        if answer.status == HTTPStatus.INTERNAL_SERVER_ERROR:
            log.exception("%s %s", request.method, request.rel_url.path)
        return answer


def _answer(error: Exception) -> web.Response:
    headers: dict[str, str] = {}
    status, detail = 500, "a fault of the console; its log says more"
    match error:
        case web.HTTPException():
            status, detail, headers = error.status, error.text or error.reason, _kept(error)
        case RecordError():
            status, detail = 413 if error.reason is Rejection.TOO_LARGE else 400, str(error)
        case ValidationError():
            status, detail = 400, describe(error)
        case RefusedError():
            status, detail = 409, str(error)
        case TemporaryError():
            status, detail, headers = 503, str(error), {"Retry-After": str(ceil(error.delay))}
    return problem(status, detail, headers)


def problem(status: int, detail: str, headers: dict[str, str] | None = None) -> web.Response:
    body = Problem(title=HTTPStatus(status).phrase, status=status, detail=detail)
    return web.Response(
        status=status, text=body.model_dump_json(), content_type="application/problem+json", headers=headers
    )


def _kept(error: web.HTTPException) -> dict[str, str]:
    return {name: error.headers[name] for name in ("Allow", "WWW-Authenticate", "Retry-After") if name in error.headers}
