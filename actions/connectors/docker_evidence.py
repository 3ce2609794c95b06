"""Evidence of a container as the Engine gives it, made readable. Pure; used by the docker connector."""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Mapping
from typing import Any

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
