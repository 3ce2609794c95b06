"""A real PostgreSQL: a throwaway cluster on loopback, from Debian's packages.

Used by the `postgres` fixture of the connector tests. The server refuses to run as root, so root runs it as the
user `postgres` that the package makes. Its data is gone when it stops.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, ClassVar

import psycopg

from schemas.errors import EmbeddedPartError
from streams.server_process import LOOPBACK, ServerProcess

_DEBIAN = Path("/usr/lib/postgresql")
_USER = "postgres"
# Nothing of it is kept, so nothing need reach the disk.
_CONFIGURATION = ("fsync=off", "max_connections=50", "shared_buffers=16MB", "compute_query_id=on", "autovacuum=off")


class Postgres(ServerProcess):
    """A cluster of its own; context manager."""

    name: ClassVar[str] = "PostgreSQL"
    # "Immediate": nobody needs its data.
    stop_signal: ClassVar[signal.Signals] = signal.SIGQUIT

    def __init__(self) -> None:
        super().__init__()
        self._directory: Path | None = None

    def conninfo(self, **values: str) -> str:
        """Return how to connect, as the superuser by default. Any password is taken."""
        plain = {"host": LOOPBACK, "port": str(self.port), "user": _USER, "dbname": "postgres"}
        return " ".join(f"{name}={value}" for name, value in (plain | values).items())

    def command(self, port: int) -> Sequence[str]:
        self._directory = Path(tempfile.mkdtemp(prefix="reflexarc-postgres-"))
        if os.geteuid() == 0:
            shutil.chown(self._directory, _USER, _USER)
        data, programs = self._directory / "data", _programs()
        made = [*_as_user(), str(programs / "initdb"), "--no-sync", "--auth=trust", f"--username={_USER}", str(data)]
        done = subprocess.run(made, capture_output=True, text=True, check=False, cwd="/")
        if done.returncode != 0:
            raise EmbeddedPartError(f"initdb failed:\n{done.stdout}{done.stderr}")
        settings = (*_CONFIGURATION, f"port={port}", f"listen_addresses={LOOPBACK}", "unix_socket_directories=")
        options = [part for setting in settings for part in ("-c", setting)]
        return [*_as_user(), str(programs / "postgres"), "-D", str(data), *options]

    def answers(self, port: int, pid: int) -> bool:
        try:
            with psycopg.connect(self.conninfo(), connect_timeout=2) as connection:
                row: Any = connection.execute("SELECT current_setting('data_directory')").fetchone()
        except psycopg.OperationalError:
            return False
        return self._directory is not None and Path(row[0]).parent == self._directory

    def clean_up(self) -> None:
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)
            self._directory = None


def obstacle() -> str | None:
    """Say why PostgreSQL cannot run on this machine, or None."""
    if not (_programs() / "initdb").exists():
        return "PostgreSQL's server is not installed (Debian: postgresql)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "PostgreSQL does not run as root, and there is no `setpriv` to become another user"
    return None


def _programs() -> Path:
    """Find the newest server that Debian has installed, or the one in the path."""
    installed = sorted(_DEBIAN.glob("*/bin/initdb"), key=lambda path: int(path.parts[-3]))
    found = installed[-1] if installed else shutil.which("initdb")
    return Path(found or "/nonexistent/initdb").parent


def _as_user() -> list[str]:
    if os.geteuid() != 0:
        return []
    return [shutil.which("setpriv") or "setpriv", f"--reuid={_USER}", f"--regid={_USER}", "--init-groups"]
