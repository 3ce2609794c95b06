"""A server run as a child process: on a free port, ready when it answers, gone when we are gone.

Called by `streams.embedded` for the broker and Valkey (and by the tests for Apache Kafka). A subclass says what to run
and how to tell that it answers; everything that goes wrong is an `EmbeddedPartError` with the server's last words.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import ClassVar, Self

from schemas.errors import EmbeddedPartError

LOOPBACK = "127.0.0.1"
# Enough to hold a Rust or Java stack trace; a server that logs without end costs 200 x 4 KiB at most.
_LOG_LINES = 200
_LOG_LINE_BYTES = 4096
# Between asking for a free port and the server's binding it somebody else may take it. That is rare, so twice in a
# row is something else.
_PORT_ATTEMPTS = 3
_POLL_SECONDS = 0.01
_LAUNCHER = Path(__file__).with_name("die_with_parent.py")


class ServerProcess(ABC):
    """Context manager around one server process. Start it from the main thread.

    Args:
        port: the port to listen on, to be found at a known address; a free one by default.

    """

    name: ClassVar[str]
    stop_signal: ClassVar[signal.Signals] = signal.SIGTERM
    start_seconds: ClassVar[float] = 15.0
    """How long it may take to answer; these servers take well under a second on an idle machine."""
    stop_seconds: ClassVar[float] = 3.0

    def __init__(self, *, port: int | None = None) -> None:
        self._wanted_port = port
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._reader: threading.Thread | None = None
        self._log: deque[str] = deque(maxlen=_LOG_LINES)

    @abstractmethod
    def command(self, port: int) -> Sequence[str]:
        """Return the program, by absolute path, and its arguments."""

    @abstractmethod
    def answers(self, port: int, pid: int) -> bool:
        """Ask the server something only this very process can answer; called once the port accepts connections."""

    def environment(self) -> Mapping[str, str]:
        """Return the server's whole environment: our own may hold settings that it would take for its own."""
        # Colours would end up in error messages.
        return {"NO_COLOR": "1"}

    def clean_up(self) -> None:  # noqa: B027 - most servers leave nothing
        """Remove what the server needed on disk; called each time one has ended."""

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def address(self) -> str:
        """Where it listens, as host:port."""
        return f"{LOOPBACK}:{self._port}"

    @property
    def port(self) -> int:
        return self._port

    @property
    def pid(self) -> int:
        if self._process is None:
            raise EmbeddedPartError(f"the {self.name} is not running")
        return self._process.pid

    def start(self) -> None:
        """Start it and wait until it answers.

        Raises:
            EmbeddedPartError: it is missing, died or did not answer in time; with the end of its output.

        """
        if threading.current_thread() is not threading.main_thread():
            # The kernel's "parent" is the thread: a helper thread's end would kill the server.
            raise EmbeddedPartError(f"start the {self.name} from the main thread")
        if self._process is not None:
            raise EmbeddedPartError(f"the {self.name} is running already")
        for attempt in range(1, _PORT_ATTEMPTS + 1):
            self._port = self._wanted_port or free_port()
            self._spawn()
            if self._became_ready():
                return
            status, last_words = self._end()
            if "in use" not in last_words or self._wanted_port is not None or attempt == _PORT_ATTEMPTS:
                raise EmbeddedPartError(f"the {self.name} did not start on {self.address} ({status})\n{last_words}")

    def stop(self) -> None:
        """Stop it; harmless when it is not running."""
        if self._process is not None:
            self._end()

    def check(self) -> None:
        """Raise EmbeddedPartError if it has died since it was started."""
        if self._process is None or self._process.poll() is not None:
            status = "was stopped" if self._process is None else f"ended with {self._process.returncode}"
            raise EmbeddedPartError(f"the {self.name} {status}\n{self.log()}")

    def log(self) -> str:
        """Return the end of what it wrote to its standard output and error."""
        return "".join(list(self._log))

    def _spawn(self) -> None:
        self._log.clear()
        launcher = [sys.executable, "-I", "-S", str(_LAUNCHER), str(os.getpid())]
        self._process = subprocess.Popen(  # noqa: S603 - a fixed program with arguments of our own making
            [*launcher, *self.command(self._port)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=dict(self.environment()),
            # Ctrl-C reaches us alone; we stop our workers first and their servers last.
            start_new_session=True,
        )
        self._reader = threading.Thread(target=self._read, args=(self._process,), name=f"{self.name} log", daemon=True)
        self._reader.start()

    def _read(self, process: subprocess.Popen[bytes]) -> None:
        if process.stdout is not None:
            with process.stdout as output:
                while line := output.readline(_LOG_LINE_BYTES):
                    self._log.append(line.decode(errors="replace"))

    def _became_ready(self) -> bool:
        deadline = time.monotonic() + self.start_seconds
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            if _accepts(self._port) and self.answers(self._port, self._process.pid):
                return True
            time.sleep(_POLL_SECONDS)
        return False

    def _end(self) -> tuple[str, str]:
        """End the process; return how it ended and its last words."""
        process, self._process = self._process, None
        if process is None:
            return "not started", ""
        died = process.poll() is not None
        if not died:
            process.send_signal(self.stop_signal)
            try:
                process.wait(self.stop_seconds)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        if self._reader is not None:
            self._reader.join()
        self.clean_up()
        return f"it ended with {process.returncode}" if died else f"no answer in {self.start_seconds:g} s", self.log()


def free_port() -> int:
    """Return a port of the loopback interface that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _accepts(port: int) -> bool:
    try:
        with socket.create_connection((LOOPBACK, port), timeout=1):
            return True
    except OSError:
        return False
