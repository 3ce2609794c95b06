"""Child processes of the supervisor: forked in milliseconds, gone when the supervisor is.

A fork server imports everything once and forks each process from there, so that replacing an instance takes tens of
milliseconds instead of the second that a fresh interpreter needs for its imports. Every child is a real process with
its own memory, port and pid.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Any, Protocol

import uvloop

# Imports are done by then; what is left is binding a port. Generous for a machine that is busy with other work.
READY_SECONDS = 10.0
# Requests take well under a second, so a process that still runs this long after SIGTERM is stuck.
STOP_SECONDS = 3.0

_context = multiprocessing.get_context("forkserver")


class ChildError(Exception):
    """A process ended or said nothing before it was ready."""


class Child(Protocol):
    """A running process of the fleet."""

    url: str

    @property
    def pid(self) -> int: ...

    @property
    def alive(self) -> bool: ...

    def send(self, value: float) -> None:
        """Set the one knob that the process has: an instance's extra latency, the load generator's factor."""

    def kill(self) -> None:
        """End it at once, as the kernel's OOM killer would."""

    async def stop(self) -> None:
        """Let it finish its requests and end."""


Main = Callable[[Any, Connection], Awaitable[None]]


def prepare() -> None:
    """Start the fork server; it imports while the caller goes on."""
    from multiprocessing import forkserver  # noqa: PLC0415 - absent on Windows, where only this call needs it

    _context.set_forkserver_preload(["examples.fleet.instance", "examples.fleet.load"])
    forkserver.ensure_running()


class ChildProcess:
    """A process forked by the fork server."""

    def __init__(self, process: BaseProcess, connection: Connection) -> None:
        self._process = process
        self._connection = connection
        self._exited = asyncio.Event()
        self.url = ""
        asyncio.get_running_loop().add_reader(process.sentinel, self._on_exit)

    @property
    def pid(self) -> int:
        return self._process.pid or 0

    @property
    def alive(self) -> bool:
        return not self._exited.is_set()

    def send(self, value: float) -> None:
        with suppress(BrokenPipeError):  # it has just ended, which `alive` will show
            self._connection.send(value)

    def kill(self) -> None:
        self._process.kill()

    async def stop(self) -> None:
        self._process.terminate()
        try:
            await asyncio.wait_for(self._exited.wait(), STOP_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._exited.wait()

    async def ready(self) -> None:
        """Wait for the first message: the URL it serves at."""
        readable = asyncio.Event()
        loop = asyncio.get_running_loop()
        loop.add_reader(self._connection.fileno(), readable.set)
        try:
            await asyncio.wait_for(readable.wait(), READY_SECONDS)
            self.url = self._connection.recv()
        except (TimeoutError, EOFError) as error:
            self.kill()
            raise ChildError(f"{self._process.name} did not become ready") from error
        finally:
            loop.remove_reader(self._connection.fileno())

    def _on_exit(self) -> None:
        asyncio.get_running_loop().remove_reader(self._process.sentinel)
        self._process.join()
        self._exited.set()


async def start(name: str, main: Main, argument: Any) -> ChildProcess:
    """Fork a process that runs `main(argument, connection)` and wait until it is ready.

    Raises:
        ChildError: it is not, and has been killed.

    """
    ours, theirs = _context.Pipe()
    process = _context.Process(target=_run, args=(main, argument, theirs), name=name, daemon=True)
    process.start()
    # Only the child may hold its end, or its death would not be seen as the end of the stream.
    theirs.close()
    child = ChildProcess(process, ours)
    await child.ready()
    return child


def _run(main: Main, argument: Any, connection: Connection) -> None:
    threading.Thread(target=_die_with_parent, daemon=True).start()
    uvloop.run(main(argument, connection))  # type: ignore[arg-type] # every main is a coroutine function


def _die_with_parent() -> None:
    """End this process when the supervisor is gone, even by SIGKILL and even if our event loop is stuck."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def stop_signal() -> asyncio.Event:
    """Event that SIGTERM sets, in a child."""
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    return stop


def on_value(connection: Connection, receive: Callable[[float], None]) -> None:
    """Call `receive` with every value the supervisor sends, in a child."""
    loop = asyncio.get_running_loop()

    def readable() -> None:
        try:
            receive(connection.recv())
        except EOFError:
            loop.remove_reader(connection.fileno())

    loop.add_reader(connection.fileno(), readable)
