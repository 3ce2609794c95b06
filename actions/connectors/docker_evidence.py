"""Evidence of a container as the Engine and the kernel give it, made readable. Used by the docker connector."""

from __future__ import annotations

import socket
from collections.abc import AsyncIterable, AsyncIterator, Iterator, Mapping
from pathlib import Path
from typing import Any

from schemas.errors import PermanentError

# The Engine puts this before each piece of a log: the stream it is of, three zeros, and its length.
_HEADER_BYTES = 8
# As the kernel numbers them, in include/net/tcp_states.h.
_STATES = (
    *("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"),
    *("CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"),
)


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
        tables = {name: (process / "net" / name).read_text() for name in ("tcp", "tcp6", "udp", "udp6")}
    except OSError as error:
        raise PermanentError(f"{error.filename}: {error.strerror}") from None
    if not ours:
        raise PermanentError(f"process {process_id} is not that of the container here: the Engine runs elsewhere")
    for name, table in tables.items():
        yield "".join(_sockets(name, table)).encode()


def _sockets(name: str, table: str) -> Iterator[str]:
    for line in table.splitlines()[1:]:
        _, local, remote, state, *_ = line.split()
        yield f"{name} {_address(local)} {_address(remote)} {_STATES[int(state, 16)]}\n"


def _address(text: str) -> str:
    """Read an address as the kernel prints it: 32-bit words in the order of bytes of this machine."""
    words, _, port = text.partition(":")
    packed = b"".join(bytes.fromhex(words[at : at + 8])[::-1] for at in range(0, len(words), 8))
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    host = socket.inet_ntop(family, packed)
    return f"{host}:{int(port, 16)}" if family is socket.AF_INET else f"[{host}]:{int(port, 16)}"
