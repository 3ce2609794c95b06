"""What the `exec` of a pod does, for the mocked cluster: the command is run on this machine, by a shell of its choice.

The words and the streams are those of the API: a message opens with the number of its stream, the last is a `Status`.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import Sequence

import aiohttp.web
import orjson
import pytest

_PROTOCOLS = ("v5.channel.k8s.io", "v4.channel.k8s.io")
_OUTPUT, _STATUS = b"\x01", b"\x03"


async def serve(
    request: aiohttp.web.BaseRequest, words: Sequence[str], shell: Sequence[str] | None
) -> aiohttp.web.WebSocketResponse:
    """Run `words` with `shell` in the place of `sh`; None: the container has none."""
    messages = aiohttp.web.WebSocketResponse(protocols=_PROTOCOLS)
    await messages.prepare(request)
    assert messages.ws_protocol in _PROTOCOLS, "the API speaks nothing else"
    assert words[0] == "sh"
    if shell is None:
        await _end(messages, 'exec: "sh": executable file not found in $PATH')
        return messages
    # The API opens each stream with an empty message.
    await messages.send_bytes(_OUTPUT)
    running = await asyncio.create_subprocess_exec(
        *shell, *words[1:], stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL, start_new_session=True
    )
    watching = asyncio.create_task(_kill_when_left(messages, running.pid))
    try:
        await _printed(messages, running)
    except ConnectionError:
        # Whoever asked has left.
        _kill(running.pid)
    finally:
        watching.cancel()
        await running.wait()
    return messages


async def _printed(messages: aiohttp.web.WebSocketResponse, running: asyncio.subprocess.Process) -> None:
    assert running.stdout is not None
    while piece := await running.stdout.read(32 * 1024):
        await messages.send_bytes(_OUTPUT + piece)
    code = await running.wait()
    await _end(messages, None if code == 0 else f"command terminated with non-zero exit code: exit code {code}")


async def _kill_when_left(messages: aiohttp.web.WebSocketResponse, pid: int) -> None:
    async for _ in messages:
        pytest.fail("the command has no input")
    _kill(pid)


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.killpg(pid, signal.SIGKILL)


async def _end(messages: aiohttp.web.WebSocketResponse, problem: str | None) -> None:
    status = {"status": "Success"} if problem is None else {"status": "Failure", "message": problem}
    await messages.send_bytes(_STATUS + orjson.dumps(status))
    await messages.close()
