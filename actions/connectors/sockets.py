"""Sockets as the kernel lists them in /proc/net, made readable. Used for evidence of containers and of pods."""

from __future__ import annotations

import socket

# Of each family; IPv6 has tables of its own.
TABLES = ("tcp", "tcp6", "udp", "udp6")
# As the kernel numbers them, in include/net/tcp_states.h.
_STATES = (
    *("", "ESTABLISHED", "SYN_SENT", "SYN_RECV", "FIN_WAIT1", "FIN_WAIT2", "TIME_WAIT"),
    *("CLOSE", "CLOSE_WAIT", "LAST_ACK", "LISTEN", "CLOSING", "NEW_SYN_RECV"),
)


def readable(table: str, line: str) -> str:
    """Give the addresses and the state of one line of a table.

    Raises:
        ValueError: the kernel never wrote it.

    """
    _, local, remote, state, *_ = line.split()
    number = int(state, 16)
    if number >= len(_STATES):
        raise ValueError(f"no state {state}")
    return f"{table} {_address(local)} {_address(remote)} {_STATES[number]}\n"


def _address(text: str) -> str:
    """Read an address: 32-bit words in the order of bytes of the machine, which is nearly everywhere the little one."""
    words, _, port = text.partition(":")
    packed = b"".join(bytes.fromhex(words[at : at + 8])[::-1] for at in range(0, len(words), 8))
    family = socket.AF_INET if len(packed) == 4 else socket.AF_INET6
    host = socket.inet_ntop(family, packed)
    return f"{host}:{int(port, 16)}" if family is socket.AF_INET else f"[{host}]:{int(port, 16)}"
