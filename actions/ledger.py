"""The ledger: what became of every action, so that its effect is wanted once however often it is asked for.

Kept in Redis or Valkey; read and written by executors, read by the console. An action goes pending -> running -> done |
failed | reverted | unknown | skipped in atomic scripts. Running is a lease with a fencing token: an executor that lets
its lease lapse loses the action to the next one that asks, and everything it still tries to write is refused. The
record keeps how far the action came (state before, when apply began, when it was applied), so that the next executor
observes the world and goes on from there.

A lost Redis is a `TemporaryError`: nothing may be done without the ledger. Leases are timed by the server's clock, so
the executors' clocks need not agree. All keys share one hash tag: they live in one slot of a Redis Cluster.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Literal

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from actions.scripts import SCRIPTS
from schemas.action import ActionCommand
from schemas.envelope import Entity
from schemas.errors import LeaseLostError, TemporaryError
from schemas.outcome import Outcome, Result

FinalState = Literal["done", "failed", "reverted", "unknown", "skipped"]
STATES: Mapping[Result, FinalState] = {
    Result.VERIFIED: "done",
    Result.REVERTED: "reverted",
    Result.UNDONE_FAILED: "unknown",
    Result.FAILED: "failed",
    Result.UNKNOWN: "unknown",
    Result.EXPIRED: "skipped",
    Result.REFUSED: "skipped",
    Result.NOT_SERVED: "skipped",
}

# As long as the incidents topic is kept: until then anyone may ask, or redeliver.
RETENTION_SECONDS = 90 * 24 * 3600
# A server on the same network answers within milliseconds; 2 s spans a failover's first retry, not an outage.
TIMEOUT_SECONDS = 2.0


@dataclass(frozen=True)
class Progress:
    """How far an action came. `applying` is written before the first change, `applied` after it."""

    before: dict[str, Any] | None = None
    applying_unix_nano: int | None = None
    applied_unix_nano: int | None = None
    reverting: str | None = None
    """Why it is being taken back."""

    @property
    def touched(self) -> bool:
        """Whether the target may have been changed."""
        return self.applying_unix_nano is not None


@dataclass(frozen=True)
class Final:
    """The action has ended. `published`: its outcome is known to be on the learning topic."""

    outcome: Outcome
    published: bool


@dataclass(frozen=True)
class Held:
    """Another executor is at work on the action, or was a moment ago."""

    holder: str
    seconds: float


@dataclass(frozen=True)
class Blocked:
    """Another action holds the target."""

    action_id: str
    playbook: str
    holder: str
    seconds: float

    def __str__(self) -> str:
        return f"{self.playbook} (action {self.action_id}, {self.holder}) holds the target for {self.seconds:.0f} s"


@dataclass(frozen=True)
class Lock:
    """A target that an action holds; a service as a whole has no instance."""

    scope: str
    instance: str | None
    by: Blocked


@dataclass
class Lease:
    """The right to carry out one action, until it lapses."""

    action_id: str
    fence: int
    progress: Progress
    _ledger: Ledger = field(repr=False)
    _scope: str = field(repr=False)
    _instance: str = field(repr=False)
    _until: float = field(repr=False)
    others: int = 0
    """Actions on other instances of the same service, when the target was taken."""

    @property
    def remaining_seconds(self) -> float:
        """How much of the lease is certainly left, by this process's monotonic clock."""
        return self._until - self._ledger.monotonic()

    async def lock(self, command: ActionCommand, seconds: float) -> Blocked | None:
        """Take the target for as long as the lease is kept and so many seconds beyond, or say who has it.

        Other instances of the same service may be taken by others.
        """
        told = {"action": self.action_id, "playbook": command.playbook}
        answer = await self._run("lock", self._instance, int(seconds * 1000), self.action_id, orjson.dumps(told))
        if answer[0] == b"ok":
            self.others = int(answer[1])
            return None
        return _blocked(answer)

    async def record(self, **facts: int | str | dict[str, Any]) -> None:
        """Write down how far the action came; renews the lease."""
        pairs = [part for name, value in facts.items() for part in (name, _stored(value))]
        await self._run("record", *pairs)
        self.progress = Progress(**{**self.progress.__dict__, **facts})

    async def renew(self) -> None:
        """Keep the action."""
        await self._run("record")

    async def finish(self, outcome: Outcome) -> None:
        """End the action and free the target."""
        retention = RETENTION_SECONDS * 1000
        await self._run("finish", STATES[outcome.result], outcome.model_dump_json(), retention, self.action_id)

    async def release(self) -> None:
        """Let the next executor have the action at once; the target stays taken if it may have been changed."""
        await self._run("release", self.action_id)

    async def _run(self, script: str, *arguments: Any) -> list[bytes]:
        asked = self._ledger.monotonic()
        keys = (self._ledger.action_key(self.action_id), self._ledger.lock_key(self._scope))
        answer = await self._ledger.run(script, keys, self.fence, self._ledger.lease_milliseconds, *arguments)
        if answer[0] == b"lost":
            raise LeaseLostError(f"action {self.action_id}: fence {self.fence} is no longer the holder's")
        self._until = asked + self._ledger.lease_seconds
        return answer


def connect(url: str) -> Redis:
    """Make a client that fails within seconds; nothing is sent yet."""
    return Redis.from_url(url, socket_timeout=TIMEOUT_SECONDS, socket_connect_timeout=TIMEOUT_SECONDS)


class Ledger:
    """The ledger of one deployment."""

    def __init__(
        self,
        redis: Redis,
        *,
        prefix: str,
        lease_seconds: float,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._redis = redis
        self._prefix = f"{{{prefix}}}"
        self._scripts = {name: redis.register_script(text) for name, text in SCRIPTS.items()}
        self.lease_seconds = lease_seconds
        self.lease_milliseconds = int(lease_seconds * 1000)
        self.monotonic = monotonic

    async def claim(self, command: ActionCommand, holder: str) -> Lease | Held | Final:
        """Ask for an action.

        A command that was skipped (expired, refused) changed nothing: a later decision may claim it anew.
        """
        asked = self.monotonic()
        about = {"playbook": command.playbook, "step": command.step, "target": str(command.target)}
        keys = (self.action_key(command.id), f"{self._prefix}:fence")
        arguments = (self.lease_milliseconds, holder, command.decision_id, orjson.dumps(about))
        answer = await self.run("claim", keys, *arguments)
        if answer[0] == b"final":
            return Final(Outcome.model_validate_json(answer[1]), published=answer[2] == b"1")
        if answer[0] == b"held":
            return Held(answer[1].decode(), int(answer[2]) / 1000)
        return Lease(
            action_id=command.id,
            fence=int(answer[1]),
            progress=_progress(answer[2:]),
            _ledger=self,
            _scope=command.target.scope,
            _instance=command.target.instance or "*",
            _until=asked + self.lease_seconds,
        )

    async def published(self, action_id: str, outcome_id: str) -> None:
        """Note that this outcome is on the learning topic."""
        await self.run("published", (self.action_key(action_id),), outcome_id)

    async def state(self, action_id: str) -> str | None:
        """State of an action; None when nobody ever asked for it."""
        found = await self._ask(lambda: self._redis.hget(self.action_key(action_id), "state"))
        return found.decode() if found is not None else None

    async def locked_by(self, target: Entity, action_id: str = "") -> Blocked | None:
        """Say who but this action holds a target, without taking it."""
        answer = await self._locks(target, action_id)
        return None if answer[0] == b"ok" else _blocked(answer)

    async def locks(self) -> list[Lock]:
        """List every target that is held now."""
        seconds, micros = await self._ask(self._redis.time)
        now = seconds * 1000 + micros // 1000
        found = []
        for key in await self._ask(self._lock_keys):
            held: dict[bytes, bytes] = await self._ask(partial(self._redis.hgetall, key))
            scope = key.decode().removeprefix(self.lock_key(""))
            for name, value in held.items():
                left = orjson.loads(value)["until"] - now
                if left > 0:
                    by = _blocked([b"", value, str(left).encode()])
                    found.append(Lock(scope, None if name == b"*" else name.decode(), by))
        return sorted(found, key=lambda lock: (lock.scope, lock.instance or ""))

    async def _lock_keys(self) -> list[bytes]:
        # A prefix may hold what a pattern takes for something else.
        pattern = re.sub(r"([*?\[\]\\])", r"\\\1", self.lock_key("")) + "*"
        return [key async for key in self._redis.scan_iter(match=pattern, count=1000)]

    async def others(self, target: Entity, action_id: str) -> int:
        """Count the actions but this one that hold other instances of the target's service."""
        answer = await self._locks(target, action_id)
        return int(answer[1]) if answer[0] == b"ok" else 0

    async def _locks(self, target: Entity, action_id: str) -> list[bytes]:
        return await self.run("locked_by", (self.lock_key(target.scope),), target.instance or "*", action_id)

    def action_key(self, action_id: str) -> str:
        return f"{self._prefix}:action:{action_id}"

    def lock_key(self, scope: str) -> str:
        return f"{self._prefix}:lock:{scope}"

    async def run(self, script: str, keys: tuple[str, ...], *arguments: Any) -> list[bytes]:
        """Run one atomic script."""
        answer: list[bytes] = await self._ask(lambda: self._scripts[script](keys=list(keys), args=list(arguments)))
        return answer

    async def _ask(self, call: Callable[[], Any]) -> Any:
        try:
            return await call()
        except (RedisError, OSError) as error:
            raise TemporaryError(f"the ledger cannot be reached: {type(error).__name__}: {error}") from error


def _blocked(answer: list[bytes]) -> Blocked:
    lock = orjson.loads(answer[1])
    return Blocked(lock["action"], lock["playbook"], lock["holder"], int(answer[2]) / 1000)


def _stored(value: int | str | dict[str, Any]) -> bytes | str:
    return orjson.dumps(value) if isinstance(value, dict) else str(value)


def _progress(fields: list[bytes]) -> Progress:
    before, applying, applied, reverting = fields
    return Progress(
        before=orjson.loads(before) if before else None,
        applying_unix_nano=int(applying) if applying else None,
        applied_unix_nano=int(applied) if applied else None,
        reverting=reverting.decode() if reverting else None,
    )
