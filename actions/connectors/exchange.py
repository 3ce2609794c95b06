"""One HTTP request and its whole answer, of a bounded size. Used by the connectors that speak HTTP."""

from __future__ import annotations

import httpx

from schemas.errors import PermanentError


async def exchange(client: httpx.AsyncClient, request: httpx.Request, most_bytes: int) -> tuple[httpx.Response, bytes]:
    """Send a request; returns the answer's head and its body.

    Raises:
        PermanentError: the body is longer than that.
        httpx.TransportError: there is no answer, or not all of it.

    """
    response = await client.send(request, stream=True)
    try:
        answer = bytearray()
        async for chunk in response.aiter_bytes():
            answer += chunk
            if len(answer) > most_bytes:
                raise PermanentError(f"answer of {response.url.path} exceeds {most_bytes} bytes")
        return response, bytes(answer)
    finally:
        await response.aclose()
