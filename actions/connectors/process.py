"""One program, run to its end with nothing of ours: no shell, no environment, no input, bounded time and output.

Used by the `exec` connector. The program leads a process group of its own, and whatever is left of the group is killed
when it ends, takes too long, says too much, or nobody waits for it any more.
"""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import NamedTuple

from schemas.errors import PermanentError, TemporaryError

# Programs of the system, and text as every one of them writes it.
ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LANG": "C.UTF-8"}
_CHUNK_BYTES = 64 * 1024


class Ended(NamedTuple):
    """How a program ended."""

    code: int
    output: bytes
    problem: bytes


async def run(words: Sequence[str], *, seconds: float, most_bytes: int, more: Mapping[str, str]) -> Ended:
    """Run a program.

    Raises:
        PermanentError: it cannot be started, or says more than `most_bytes`.
        TemporaryError: it did not end in time; what it did is unknown.

    """
    async with _pipe() as (output, to_output), _pipe() as (problem, to_problem):
        try:
            process = await asyncio.create_subprocess_exec(
                *words,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=to_output,
                stderr=to_problem,
                env={**ENVIRONMENT, **more},
                cwd="/",
                start_new_session=True,
            )
        except (OSError, ValueError) as error:
            raise PermanentError(f"{words[0]} cannot be run: {error}") from None
        finally:
            # The program has them now; while we had them, too, they would never end.
            os.close(to_output)
            os.close(to_problem)
        readers = [asyncio.create_task(_read(stream, most_bytes)) for stream in (output, problem)]
        try:
            async with asyncio.timeout(seconds):
                said, complaint = await asyncio.gather(*readers)
                return Ended(await process.wait(), said, complaint)
        except TimeoutError:
            raise TemporaryError(f"{words[0]} did not end in {seconds:g} s and was killed") from None
        finally:
            # Also what it left behind: the group lives on as long as any member does.
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            for reader in readers:
                reader.cancel()
            # The kernel lets go of it at once; unwaited it would stay a zombie.
            await asyncio.gather(process.wait(), *readers, return_exceptions=True)


@asynccontextmanager
async def _pipe() -> AsyncIterator[tuple[asyncio.StreamReader, int]]:
    """Open a pipe of our own: asyncio's for a process would keep `wait` from ending while somebody else holds it."""
    reading, writing = os.pipe()
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    transport, _ = await loop.connect_read_pipe(
        lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(reading, "rb", 0)
    )
    try:
        yield reader, writing
    finally:
        transport.close()


async def _read(stream: asyncio.StreamReader, most_bytes: int) -> bytes:
    held = bytearray()
    while chunk := await stream.read(_CHUNK_BYTES):
        held += chunk
        if len(held) > most_bytes:
            raise PermanentError(f"a program says more than {most_bytes} bytes and was killed")
    return bytes(held)
