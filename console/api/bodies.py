"""Reading requests and writing answers."""

from __future__ import annotations

import asyncio

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError
from pydantic import BaseModel

# PagerDuty's webhooks are the largest of those we know, at 2 MB; everything else is far smaller.
MAX_BODY_BYTES = 2 * 1024 * 1024
# A sender on a slow line needs seconds for that; one that needs longer holds the connection on purpose.
READ_SECONDS = 15.0


async def read_body(request: web.Request) -> bytes:
    """Read a bounded body within a bounded time.

    Raises:
        HTTPException: it is too large, too slow, cut off, or not encoded as its header says.

    """
    try:
        async with asyncio.timeout(READ_SECONDS):
            return await request.read()
    except TimeoutError:
        raise web.HTTPRequestTimeout(text=f"the body did not arrive within {READ_SECONDS:g} s") from None
    except (HttpProcessingError, web.RequestPayloadError, ConnectionError) as error:
        raise web.HTTPBadRequest(text=f"the body cannot be read: {type(error).__name__}") from None


def answer(model: BaseModel, status: int = 200) -> web.Response:
    return web.Response(status=status, text=model.model_dump_json(), content_type="application/json")
