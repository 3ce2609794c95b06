"""Real hosts as network namespaces: a router between three of them, each on a segment of its own.

Used by the `network` fixture of the connector tests. Everything is within namespaces of our own, so the machine's
network is left as it is.
"""

from __future__ import annotations

import subprocess
from types import TracebackType
from typing import Self
from uuid import uuid4

from schemas.errors import EmbeddedPartError
from tests.parts.programs import root_obstacle

HOSTS = {"bad": "10.77.1.2", "good": "10.77.2.2", "server": "10.77.3.2"}
_PROGRAMS = ("ip", "nft", "nsenter", "ping")


class Network:
    """Three hosts and their router; context manager."""

    def __enter__(self) -> Self:
        self._prefix = f"rx{uuid4().hex[:6]}"
        self._made: list[str] = []
        self.router = self._namespace("router")
        try:
            self.run("router", "sh", "-c", "echo 1 >/proc/sys/net/ipv4/ip_forward")
            for number, (host, address) in enumerate(HOSTS.items(), start=1):
                self._connect(host, address, number)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, host: str, *command: str) -> str:
        """Run a command on a host; return what it said."""
        return _run("ip", "netns", "exec", f"{self._prefix}-{host}", *command)

    def reaches(self, host: str, other: str) -> bool:
        """Whether a packet there comes back."""
        try:
            self.run(host, "ping", "-c1", "-W0.3", "-q", HOSTS.get(other, other))
        except EmbeddedPartError:
            return False
        return True

    def _namespace(self, host: str) -> str:
        name = f"{self._prefix}-{host}"
        _run("ip", "netns", "add", name)
        self._made.append(name)
        self.run(host, "ip", "link", "set", "lo", "up")
        return name

    def _connect(self, host: str, address: str, number: int) -> None:
        gateway = f"{address.rpartition('.')[0]}.1"
        name = self._namespace(host)
        pair = ("ip", "link", "add", f"to{number}", "type", "veth", "peer", "name", "eth0", "netns", name)
        self.run("router", *pair)
        self.run("router", "ip", "addr", "add", f"{gateway}/24", "dev", f"to{number}")
        self.run("router", "ip", "link", "set", f"to{number}", "up")
        self.run(host, "ip", "addr", "add", f"{address}/24", "dev", "eth0")
        self.run(host, "ip", "link", "set", "eth0", "up")
        self.run(host, "ip", "route", "add", "default", "via", gateway)

    def _end(self) -> None:
        for name in self._made:
            _run("ip", "netns", "del", name)


def obstacle() -> str | None:
    """Say why network namespaces cannot be had on this machine, or None."""
    return root_obstacle(_PROGRAMS, packages="iproute2 nftables iputils-ping", what="network namespaces")


def _run(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=10)
    if done.returncode != 0:
        raise EmbeddedPartError(f"{' '.join(command)}: {done.stderr.strip()}")
    return done.stdout
