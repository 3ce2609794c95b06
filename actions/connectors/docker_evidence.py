"""Evidence of a container as the Engine and the kernel give it, made readable. Used by the docker connector."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from actions.connectors.sockets import TABLES, readable
from schemas.errors import PermanentError

# The Engine puts this before each piece of a log: the stream it is of, three zeros, and its length.
_HEADER_BYTES = 8


async def demultiplexed(log: AsyncIterable[bytes]) -> AsyncIterator[bytes]:
    """Give the text of a log that tells output from errors."""
    held = bytearray()
    async for chunk in log:
        held += chunk
        while len(held) >= _HEADER_BYTES:
            end = _HEADER_BYTES + int.from_bytes(held[4:_HEADER_BYTES], "big")
            if len(held) < end:
                break
            yield bytes(held[_HEADER_BYTES:end])
            del held[:end]
    if held:
        # Broken off within a piece; better half of it than none.
        yield bytes(held[_HEADER_BYTES:])


def without_secrets(inspected: Mapping[str, Any]) -> dict[str, Any]:
    """Leave out the values of the environment, which is where passwords are given to containers."""
    config = dict(inspected["Config"])
    config["Env"] = [f"{item.partition('=')[0]}=" for item in config.get("Env") or ()]
    return {**inspected, "Config": config}


async def connections(process_id: int, container_id: str, proc: Path = Path("/proc")) -> AsyncIterator[bytes]:
    """Give the open connections of a container's network, a line each: the Engine does not know them, the kernel does.

    Raises:
        PermanentError: the Engine runs where its process ids are not ours.

    """
    process = proc / str(process_id)
    try:
        ours = container_id in (process / "cgroup").read_text()
        tables = {name: (process / "net" / name).read_text() for name in TABLES}
    except OSError as error:
        raise PermanentError(f"{error.filename}: {error.strerror}") from None
    if not ours:
        raise PermanentError(f"process {process_id} is not that of the container here: the Engine runs elsewhere")
    for name, table in tables.items():
        yield "".join(readable(name, line) for line in table.splitlines()[1:]).encode()
