"""A command run in a container of a pod, through the `exec` of the Kubernetes API.

Called by the evidence of pods. The API speaks websocket here: each message opens with the number of its stream, and
the last of them is a `Status` that says how the command ended. Nothing is ever sent to the command.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import aiohttp
import orjson

from actions.connectors.kubernetes.access import Access
from schemas.errors import PermanentError, TemporaryError

# 1.30 and newer prefer the fifth, which tells the end of an input that we never send; all have the fourth.
_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_OUTPUT, _STATUS = 1, 3
# The API cuts streams into 32 KiB; a status is a few hundred bytes.
_MESSAGE_BYTES = 1024 * 1024
_OUTPUT_BYTES = 4 * 1024 * 1024
# Of a command that still prints when enough was heard; what it prints then is read and dropped.
_CLOSE_SECONDS = 0.5


@dataclass(frozen=True)
class Printed:
    """What a command printed, and why that is not all, if it is not."""

    output: bytes
    problem: str | None


async def run(access: Access, at: str, container: str, words: list[str], seconds: float) -> Printed:
    """Run a command.

    Raises:
        PermanentError: the API does not let us.
        TemporaryError: it gave no answer.

    """
    query = [("container", container), ("stdout", "true"), ("stderr", "true"), *(("command", word) for word in words)]
    token = access.token()
    headers = {} if token is None else {"Authorization": f"Bearer {token}"}
    output = bytearray()
    try:
        async with asyncio.timeout(seconds), aiohttp.ClientSession(headers=headers) as session:
            url = f"{access.server.rstrip('/')}{at}/exec"
            connecting = session.ws_connect(
                url,
                params=query,
                protocols=_PROTOCOLS,
                ssl=access.tls,
                max_msg_size=_MESSAGE_BYTES,
                timeout=aiohttp.ClientWSTimeout(ws_close=_CLOSE_SECONDS),
            )
            async with connecting as messages:
                problem = await _heard(messages, output)
                return Printed(bytes(output), problem)
    except TimeoutError:
        return Printed(bytes(output), f"not all was printed in {seconds:g} s")
    except aiohttp.WSServerHandshakeError as error:
        # The API's own words are in an answer that the library does not keep.
        raise PermanentError(f"GET {at}/exec: {error.status} {_phrase(error.status)}") from None
    except aiohttp.ClientError as error:
        raise TemporaryError(f"GET {at}/exec: {type(error).__name__} {error}"[:300]) from None


def _phrase(status: int) -> str:
    try:
        return HTTPStatus(status).phrase
    except ValueError:
        return ""


async def _heard(messages: aiohttp.ClientWebSocketResponse, output: bytearray) -> str | None:
    """Gather what is printed until the status comes; give what it complains of."""
    async for message in messages:
        if message.type is not aiohttp.WSMsgType.BINARY or not message.data:
            continue
        stream, content = message.data[0], message.data[1:]
        if stream == _STATUS:
            return _complaint(content)
        if stream == _OUTPUT:
            output += content[: _OUTPUT_BYTES - len(output)]
            if len(output) >= _OUTPUT_BYTES:
                return f"it printed more than {_OUTPUT_BYTES} bytes"
    return "the connection ended before the command did"


def _complaint(content: bytes) -> str | None:
    try:
        status: Any = orjson.loads(content)
    except orjson.JSONDecodeError:
        status = None
    if not isinstance(status, dict):
        return "how it ended is not told in words of Kubernetes"
    if status.get("status") == "Success":
        return None
    return f"it failed: {status.get('message')}"[:300]
