"""A real Podman with a Docker-compatible socket: storage, networks and containers of its own, from Debian's packages.

Used by the `podman` fixture of the connector tests. There is no image: containers see the machine's `/usr`, read only,
so nothing is downloaded. Everything it made is gone when it stops.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from types import TracebackType
from typing import Self
from uuid import uuid4

import httpx

from schemas.errors import EmbeddedPartError
from tests.parts.programs import root_obstacle

_PROGRAMS = ("podman", "runc", "conmon", "iptables", "ip")
_START_SECONDS = 15.0
# runc cannot raise the limits of a container above ours, and Podman asks for more by default.
_LIMITS = ("--ulimit=nofile=1024:1024", "--ulimit=nproc=1024:1024")
_SERVER = ("/usr/bin/python3", "-m", "http.server", "8000", "--directory", "/tmp")


class Podman:
    """An Engine of its own; context manager."""

    def __enter__(self) -> Self:
        self._home = Path(tempfile.mkdtemp(prefix="reflexarc-podman-"))
        self.socket = self._home / "podman.sock"
        (self._home / "networks").mkdir()
        configuration = self._home / "containers.conf"
        configuration.write_text(
            f'[network]\nnetwork_config_dir = "{self._home}/networks"\n'
            '[engine]\nevents_logger = "file"\ncgroup_manager = "cgroupfs"\nruntime = "runc"\n'
        )
        self._environment = {**os.environ, "CONTAINERS_CONF": str(configuration)}
        # Bridges and their addresses are the machine's, so the name is ours alone.
        self.network = f"reflexarc-{uuid4().hex[:8]}"
        self._service = subprocess.Popen(
            [*self._podman(), "system", "service", "--time", "0", f"unix://{self.socket}"],
            env=self._environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        try:
            self._wait()
            self.run("network", "create", "--disable-dns", self.network)
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._end()

    def run(self, *arguments: str) -> str:
        """Run `podman` with these arguments; return what it said."""
        command = [*self._podman(), *arguments]
        done = subprocess.run(command, env=self._environment, capture_output=True, text=True, check=False, timeout=60)
        if done.returncode != 0:
            raise EmbeddedPartError(f"podman {' '.join(arguments)}:\n{done.stderr}")
        return done.stdout.strip()

    def start(self, name: str, service: str, *options: str, network: str | None = None) -> None:
        """Start an instance of a service: an HTTP server on port 8000."""
        root = self._home / "roots" / name
        for folder in ("usr", "dev", "proc", "sys", "tmp", "etc", "run"):
            (root / folder).mkdir(parents=True)
        for link in ("bin", "sbin", "lib", "lib64"):
            if Path("/usr", link).exists():
                (root / link).symlink_to(f"usr/{link}")
        label = f"--label=com.docker.compose.service={service}"
        where = f"--network={network or self.network}"
        self.run(
            "run",
            "-d",
            f"--name={name}",
            label,
            where,
            *_LIMITS,
            "-v=/usr:/usr:ro",
            *options,
            "--rootfs",
            str(root),
            *_SERVER,
        )

    def inspect(self, name: str, template: str) -> str:
        return self.run("inspect", "--format", template, name)

    def serves(self, address: str) -> bool:
        """Whether an instance answers at its address."""
        try:
            return httpx.get(f"http://{address}:8000/", timeout=0.5, trust_env=False).status_code == 200
        except httpx.TransportError:
            return False

    def _podman(self) -> list[str]:
        own = [f"--root={self._home}/root", f"--runroot={self._home}/run", f"--tmpdir={self._home}/tmp"]
        return ["podman", *own, "--storage-driver=vfs", "--runtime=runc", "--cgroup-manager=cgroupfs"]

    def _wait(self) -> None:
        deadline = time.monotonic() + _START_SECONDS
        while not self.socket.exists():
            if self._service.poll() is not None or time.monotonic() > deadline:
                raise EmbeddedPartError("podman's service did not start")
            time.sleep(0.02)

    def _end(self) -> None:
        for cleaning in (("rm", "--all", "--force", "--time=0"), ("network", "rm", "--force", self.network)):
            subprocess.run(
                [*self._podman(), *cleaning], env=self._environment, capture_output=True, check=False, timeout=60
            )
        self._service.terminate()
        self._service.wait(10)
        shutil.rmtree(self._home, ignore_errors=True)


def obstacle() -> str | None:
    """Say why Podman cannot run on this machine, or None."""
    return root_obstacle(
        _PROGRAMS, packages="podman runc iptables iproute2", what="containers with networks of their own"
    )
