"""Executors whose every step is chosen by the test: crashes, lapsed leases and repeats fall anywhere.

The ledger and the rails' memory are real; target, telemetry and controls are simulated, so that each of their calls is
a point at which the schedule may go on with another executor, kill one, or take its lease away behind its back.
"""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Coroutine, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from redis.asyncio import Redis

from actions.connectors.base import Connector, Convergence, Params, Plan, State
from actions.controls import Controls
from actions.ledger import Ledger
from actions.rails import RailsSettings, RailsSnapshot
from actions.rails_store import RailsStore
from actions.reversals import Reversals
from actions.run import carry_out
from actions.tools import Tools
from actions.verify import Evidence
from schemas.action import ActionCommand, Operation
from schemas.control import Control
from schemas.envelope import NANOS, Entity
from schemas.errors import PermanentError, TemporaryError
from schemas.outcome import Outcome
from tests.actions.builders import LATENCY, T0, signal

T = TypeVar("T")
Fate = Literal["better", "worse", "silence", "unreadable"]
Luck = Literal["ok", "answer lost", "request lost", "refused"]
# Time passes only with steps. An action takes some thirty; its verification allows 60 s.
STEP_NANOS = NANOS
# Turns of the event loop after which nothing happens any more without a step or an answer of Redis.
QUIET_TURNS = 6


class Schedule:
    """Who goes on next. Everybody waits here before and after each thing they do to the outside."""

    def __init__(self) -> None:
        self.now = T0
        self._asking = 0
        self._answered = asyncio.Event()
        self._waiting: list[asyncio.Future[None]] = []

    async def pause(self, _seconds: float = 0) -> None:
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        await turn

    async def settle(self) -> None:
        """Let everything run until it waits for its turn."""
        quiet = 0
        while quiet < QUIET_TURNS:
            if self._asking:
                # Not turn after turn: Redis needs the processor to answer.
                await self._answered.wait()
                quiet = 0
            await asyncio.sleep(0)
            quiet = 0 if self._asking else quiet + 1

    async def count(self, asking: Coroutine[Any, Any, T]) -> T:
        """Note that Redis is being asked, so that nothing else goes on before it has answered."""
        self._asking += 1
        self._answered.clear()
        try:
            return await asking
        finally:
            self._asking -= 1
            if not self._asking:
                self._answered.set()

    async def step(self, choice: int) -> None:
        self._waiting = [turn for turn in self._waiting if not turn.done()]
        self.now += STEP_NANOS
        if self._waiting:
            self._waiting.pop(choice % len(self._waiting)).set_result(None)
        await self.settle()


@dataclass
class SimulatedTarget:
    """A deployment API that honours idempotency keys; it logs what really changed."""

    version: str = "2"
    log: list[tuple[str, str]] = field(default_factory=list)
    keys: set[str] = field(default_factory=set)
    luck: list[Luck] = field(default_factory=list)

    def change(self, key: str, version: str) -> None:
        if key not in self.keys:
            self.keys.add(key)
            self.version = version
            self.log.append(("change", key))


class SimulatedConnector(Connector):
    """The connector of that target: each call may be interrupted before and after it has its effect."""

    permissions = ()
    operations: Mapping[str, type[Params]] = {}  # type: ignore[misc]  # a ClassVar by its declaration in Connector

    def __init__(self, target: SimulatedTarget, schedule: Schedule) -> None:
        super().__init__(enabled=True)
        self._target = target
        self._pause = schedule.pause

    async def observe(self, operation: Operation) -> State:
        await self._pause()
        return {"version": self._target.version, "known_good_version": "1"}

    def plan(self, operation: Operation, before: State, now: State) -> Plan:
        satisfied = now["version"] == self._wanted(operation, before)
        return Plan(satisfied, not satisfied and now["version"] != before["version"], "", {})

    async def apply(self, operation: Operation, before: State, key: str) -> None:
        await self._pause()
        luck = self._target.luck.pop(0) if self._target.luck else "ok"
        if luck == "refused":
            raise PermanentError("refused")
        if luck != "request lost":
            self._target.change(key, self._wanted(operation, before))
        await self._pause()
        if luck != "ok":
            raise TemporaryError(luck, delay=0)

    async def verify(self, operation: Operation, before: State) -> Convergence:
        now = await self.observe(operation)
        return Convergence(self.plan(operation, before, now).satisfied, "", now)

    def _wanted(self, operation: Operation, before: State) -> str:
        undo = operation.params["body"]["version"] == {"$state": "/version"}
        return str(before["version"] if undo else before["known_good_version"])


class SimulatedTelemetry:
    """Says what the test chose, once the target has been mended."""

    def __init__(self, evidence: Evidence, target: SimulatedTarget, schedule: Schedule, fate: Fate) -> None:
        self._evidence, self._target, self._schedule, self._fate = evidence, target, schedule, fate

    async def start(self, _since_unix_nano: int) -> None:
        await self._schedule.pause()

    async def catch_up(self) -> None:
        await self._schedule.pause()
        if self._fate == "unreadable":
            raise TemporaryError("the signals cannot be read", delay=0)

    def poll(self) -> None:
        if self._fate != "silence" and self._target.version == "1":
            state: Literal["cleared", "firing"] = "cleared" if self._fate == "better" else "firing"
            self._evidence.add(signal(LATENCY, state, self._schedule.now))

    def close(self) -> None:
        return


class CountedLedger(Ledger):
    """Tells the schedule when Redis is being asked, and may be interrupted before and after each answer."""

    schedule: Schedule
    target: SimulatedTarget

    async def run(self, script: str, keys: tuple[str, ...], *arguments: Any) -> list[bytes]:
        await self.schedule.pause()
        answer = await self.schedule.count(super().run(script, keys, *arguments))
        if script == "finish" and answer[0] == b"ok":
            self.target.log.append(("end", str(arguments[-1])))
        await self.schedule.pause()
        return answer


class CountedRails(RailsStore):
    """Tells the schedule when Redis is being asked."""

    schedule: Schedule

    async def snapshot(
        self, target: Entity, playbook: str, incident_id: str, now_unix_nano: int, depends_on: Sequence[str] = ()
    ) -> RailsSnapshot:
        return await self.schedule.count(super().snapshot(target, playbook, incident_id, now_unix_nano, depends_on))

    async def reserve(self, command: ActionCommand, now_unix_nano: int) -> str | None:
        return await self.schedule.count(super().reserve(command, now_unix_nano))

    async def note_outcome(self, outcome: Outcome) -> None:
        await self.schedule.count(super().note_outcome(outcome))


class CountedReversals(Reversals):
    """Tells the schedule when Redis is being asked."""

    def __init__(self, redis: Redis, *, prefix: str, schedule: Schedule) -> None:
        super().__init__(redis, prefix=prefix)
        self._schedule = schedule

    async def note(self, command: ActionCommand, before: dict[str, Any], now_unix_nano: int) -> None:
        await self._schedule.count(super().note(command, before, now_unix_nano))

    async def forget(self, action_id: str) -> None:
        await self._schedule.count(super().forget(action_id))


class Interleaving:
    """Some actions on one target, and the executors that are told to carry them out."""

    def __init__(
        self, redis: Redis, prefix: str, commands: list[ActionCommand], fates: list[Fate], luck: list[Luck]
    ) -> None:
        self.schedule, self.commands = Schedule(), commands
        # What each reader of telemetry gets to see in turn: two executors need not see the same.
        self._fates: Iterator[Fate] = itertools.chain(fates, itertools.cycle(["better"]))
        self.target = SimulatedTarget(luck=luck)
        self.controls = Controls()
        self.ended: dict[str, list[Outcome]] = {command.id: [] for command in commands}
        self._redis = redis
        limits = RailsSettings(cooldown_seconds=0, backoff_seconds=1e-9, failure_budget=100)
        # Leases never lapse by themselves here: the test takes them away.
        self.ledger = CountedLedger(redis, prefix=prefix, lease_seconds=3600, monotonic=lambda: 0.0)
        self.ledger.schedule, self.ledger.target = self.schedule, self.target
        rails = CountedRails(redis, limits, prefix=prefix)
        rails.schedule = self.schedule
        self._tools = Tools(
            name="executor",
            ledger=self.ledger,
            rails=rails,
            limits=limits,
            reversals=CountedReversals(redis, prefix=prefix, schedule=self.schedule),
            connectors={"http.deployments": SimulatedConnector(self.target, self.schedule)},
            controls=self._controls,
            evidence=lambda evidence: SimulatedTelemetry(evidence, self.target, self.schedule, next(self._fates)),
            clock=lambda: self.schedule.now,
            sleep=self.schedule.pause,
        )
        self._running: list[asyncio.Task[None]] = []

    async def _controls(self) -> Controls:
        await self.schedule.pause()
        return self.controls

    def deliver(self, number: int) -> None:
        """Hand a command to one more executor: a redelivery, if another has it already."""
        command = self.commands[number % len(self.commands)]
        self._running.append(asyncio.create_task(self._execute(command)))

    async def _execute(self, command: ActionCommand) -> None:
        try:
            ended = await carry_out(command, self._tools, lambda: False)
        except TemporaryError:
            return  # its offset stays uncommitted: it will be delivered again
        self.ended[command.id].append(ended.outcome)

    async def kill(self, choice: int) -> None:
        """End one executor where it stands."""
        alive = self.alive()
        if alive:
            task = alive[choice % len(alive)]
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    def alive(self) -> list[asyncio.Task[None]]:
        self._running = [task for task in self._running if not task.done()]
        return self._running

    async def lapse(self, number: int) -> None:
        """Take the lease away from whoever has it, unnoticed."""
        key = self.ledger.action_key(self.commands[number % len(self.commands)].id)
        if await self._redis.hexists(key, "lease_until"):
            await self._redis.hset(key, "lease_until", "0")

    def say(self, kind: str) -> None:
        now = self.schedule.now
        said = {"id": f"{kind}-{now}", "kind": kind, "by": "ada", "time_unix_nano": now}
        self.controls.add(Control.model_validate(said))

    async def play(self, event: str, choice: int) -> None:
        """Let one thing happen."""
        if event == "deliver":
            self.deliver(choice)
        elif event == "kill":
            await self.kill(choice)
        elif event == "lapse":
            await self.lapse(choice)
        elif event in {"stop", "resume"}:
            self.say(event)
        await self.schedule.step(choice)

    async def finish(self, most_steps: int = 3000) -> None:
        """Without further accidents: deliver what has not ended, until everything has."""
        self.say("resume")
        for step in range(most_steps):
            open_actions = [number for number, command in enumerate(self.commands) if not self.ended[command.id]]
            if not open_actions and not self.alive():
                return
            if not self.alive():
                for number in open_actions:
                    await self.lapse(number)
                self.deliver(open_actions[0])
            await self.schedule.step(step)
        raise AssertionError("something never ended")

    async def close(self) -> None:
        for task in self.alive():
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
