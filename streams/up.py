"""A whole installation in one go: embedded parts where none are configured, the topics, and every role kept running.

Called by `reflexarc up` and by the demo. Roles are child processes: one that dies is started again with back-off, and
all end with this process, because each watches its standard input (see `end_with_parent`).
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from time import monotonic
from typing import IO

from schemas.errors import ConfigurationError
from streams.embedded import GROUP_TIMING, EmbeddedBroker, EmbeddedValkey
from streams.kafka_client import create_topics
from streams.settings import Settings

log = logging.getLogger(__name__)

ROLES: Mapping[str, Sequence[str]] = {
    "worker": ("worker",),
    "executor": ("executor",),
    "console": ("console",),
    "learner": ("learner",),
}
# A third of the catalogue's: 4 raw partitions and 2 of the rest keep a laptop's two to eight cores busy.
EMBEDDED_PARTITION_DIVISOR = 3
# A role that ran this long was well: its next failure is a new one.
WELL_SECONDS = 60.0
MAX_BACK_OFF_SECONDS = 30.0
CHECK_SECONDS = 1.0
# Longer than a worker gives its stages to stop (`streams.worker.STOP_SECONDS`).
STOP_SECONDS = 25.0
# What a supervised role exits with when its settings are wrong (EX_CONFIG): starting it again would not help.
CONFIGURATION_EXIT = 78
_SUPERVISED = "REFLEXARC_SUPERVISED"


@dataclass(frozen=True, slots=True)
class Installation:
    """Where everything is: settings for this process, and the variables that give other processes the same."""

    settings: Settings
    variables: Mapping[str, str]
    embedded: tuple[EmbeddedBroker | EmbeddedValkey, ...] = ()

    def check(self) -> None:
        """Raise EmbeddedPartError if an embedded part has died."""
        for part in self.embedded:
            part.check()


@contextmanager
def installation(settings: Settings) -> Iterator[Installation]:
    """Start what is not configured, create the topics, and stop it all at the end.

    Raises:
        ReflexArcError: something did not start, or the topics do not fit.

    """
    with ExitStack() as stack:
        embedded: list[EmbeddedBroker | EmbeddedValkey] = []
        kafka: dict[str, str | float] = {}
        ledger: dict[str, str] = {}
        if settings.kafka.bootstrap_servers is None:
            broker = stack.enter_context(EmbeddedBroker())
            embedded.append(broker)
            chosen = settings.kafka.model_fields_set
            kafka = {name: value for name, value in GROUP_TIMING.items() if name not in chosen}
            kafka["bootstrap_servers"] = broker.bootstrap_servers
        if settings.ledger.url is None:
            valkey = stack.enter_context(EmbeddedValkey())
            embedded.append(valkey)
            ledger["url"] = valkey.url
        ready = settings.model_copy(
            update={
                "kafka": settings.kafka.model_copy(update=kafka),
                "ledger": settings.ledger.model_copy(update=ledger),
            }
        )
        create_topics(ready.kafka, divide_partitions_by=EMBEDDED_PARTITION_DIVISOR if kafka else 1)
        variables = {
            **{f"REFLEXARC_KAFKA__{name.upper()}": str(value) for name, value in kafka.items()},
            **{f"REFLEXARC_LEDGER__{name.upper()}": value for name, value in ledger.items()},
        }
        yield Installation(ready, variables, tuple(embedded))


class Supervisor:
    """Keeps roles running until told to stop."""

    def __init__(
        self,
        variables: Mapping[str, str],
        *,
        roles: Mapping[str, Sequence[str]] = ROLES,
        output: IO[str] | None = None,
        say: Callable[[str], None] = log.warning,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.pids: dict[str, int] = {}
        self._roles = roles
        self._environment = {**os.environ, **variables, _SUPERVISED: "1"}
        self._output = output
        self._say = say
        self._clock = clock
        self._misconfigured = False

    async def run(self, stop: asyncio.Event, check: Callable[[], None] = lambda: None) -> None:
        """Run all roles until `stop` is set, a role finds its settings wrong, or `check` raises.

        Raises:
            ConfigurationError: a role could not use its settings.
            EmbeddedPartError: an embedded part has died; what it held is gone, so everything must start anew.

        """
        keepers = [asyncio.create_task(self._keep(name, stop)) for name in self._roles]
        try:
            while not stop.is_set():
                check()
                await _pause(stop, CHECK_SECONDS)
        finally:
            stop.set()
            await asyncio.gather(*keepers)
        if self._misconfigured:
            raise ConfigurationError("a role could not use its settings; it says above what is wrong")

    async def _keep(self, name: str, stop: asyncio.Event) -> None:
        failures = 0
        while not stop.is_set():
            began = self._clock()
            code = await self._run_once(name, stop)
            if stop.is_set():
                return
            if code == CONFIGURATION_EXIT:
                self._misconfigured = True
                stop.set()
                return
            failures = 1 if self._clock() - began >= WELL_SECONDS else failures + 1
            wait = min(MAX_BACK_OFF_SECONDS, 2.0 ** (failures - 1))
            self._say(f"{name} ended with {_describe(code)}; starting it again in {wait:g} s")
            await _pause(stop, wait)

    async def _run_once(self, name: str, stop: asyncio.Event) -> int:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "streams.cli",
            *self._roles[name],
            stdin=asyncio.subprocess.PIPE,
            stdout=self._output,
            stderr=self._output,
            env=self._environment,
            # Ctrl-C is ours to handle: roles stop first, embedded parts last.
            start_new_session=True,
        )
        self.pids[name] = process.pid
        ended, told = asyncio.create_task(process.wait()), asyncio.create_task(stop.wait())
        try:
            await asyncio.wait([ended, told], return_when=asyncio.FIRST_COMPLETED)
            if not ended.done():
                await _end(process)
            return await ended
        finally:
            told.cancel()


def is_supervised() -> bool:
    """Whether this process is a role that a `Supervisor` keeps running."""
    return bool(os.environ.get(_SUPERVISED))


def end_with_parent() -> None:
    """In a supervised role: ask oneself to stop when standard input ends, that is, when the supervisor has gone."""
    if is_supervised():
        threading.Thread(target=_await_end_of_input, name="parent-watch", daemon=True).start()


def _await_end_of_input() -> None:
    while os.read(sys.stdin.fileno(), 4096):
        pass
    os.kill(os.getpid(), signal.SIGTERM)


async def _pause(stop: asyncio.Event, seconds: float) -> None:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)


async def _end(process: asyncio.subprocess.Process) -> None:
    """Ask a role to stop, and insist after a while."""
    process.terminate()
    try:
        await asyncio.wait_for(process.wait(), STOP_SECONDS)
    except TimeoutError:
        process.kill()


def _describe(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"code {code}"
