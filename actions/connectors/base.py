"""What a connector is: the hands of the executor on one kind of system.

The executor calls `observe` (what is there now), `plan` (what is missing), `apply` (do it), `verify` (did it take
hold) and `revert` (put back what was there). A connector declares the permissions it needs and writes nothing until
its settings enable it. Parameters are data: the only indirections in them are `{"$state": "/pointer"}`, a part of the
target's state as it was before the first change (a number also with `times`, `plus` and `at_most`), and
`{"$count": "/pointer", "plus": n, "at_most": m}`, how many parts it names.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterable, Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

from pydantic import BaseModel, ConfigDict, ValidationError, ValidatorFunctionWrapHandler, WrapValidator

from schemas.action import Operation, Precondition
from schemas.codec import describe
from schemas.errors import PermanentError, RefusedError, TemporaryError

State = dict[str, Any]
Sleep = Callable[[float], Awaitable[None]]
Monotonic = Callable[[], float]

# An outcome carries the state before and after, and a record may have 1 MiB: a quarter of that for both together.
MAX_STATE_BYTES = 128 * 1024
# Between two looks at a system that converges: short beside the seconds that takes, long beside one request.
POLL_SECONDS = 0.25


class Params(BaseModel):
    """Base of an operation's parameters: a misspelt one is an error in the playbook, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


@dataclass(frozen=True)
class Permission:
    """One right that a connector needs on the system it acts on."""

    access: str
    resource: str
    why: str


@dataclass(frozen=True)
class Finding:
    """Whether one right is held on a configured system."""

    right: str
    why: str
    held: bool
    # Nothing but what it is for is lost without it.
    optional: bool = False


@dataclass(frozen=True)
class Plan:
    """What `apply` would do.

    `satisfied`: nothing, the desired state is there. `drifted`: what it would set is neither that nor what was there
    before, so someone else is changing it.
    """

    satisfied: bool
    drifted: bool
    summary: str
    change: Mapping[str, Any]


@dataclass(frozen=True)
class Convergence:
    """Whether the system reached the desired state in time."""

    reached: bool
    detail: str
    state: State


class Files(Protocol):
    """Where evidence is written to, as `actions.forensics.Package` does."""

    async def add(self, name: str, content: AsyncIterable[bytes]) -> None: ...
    async def add_document(self, name: str, document: Any) -> None: ...


class Connector(ABC):
    """One configured system."""

    permissions: ClassVar[tuple[Permission, ...]]
    operations: ClassVar[Mapping[str, type[Params]]]
    # What can be written down of a target before it is changed; see `collect`.
    collections: ClassVar[Mapping[str, type[Params]]] = {}

    def __init__(self, *, enabled: bool, sleep: Sleep = asyncio.sleep, monotonic: Monotonic = time.monotonic) -> None:
        # Read-only until enabled.
        self.enabled = enabled
        self._sleep = sleep
        self._monotonic = monotonic

    @abstractmethod
    async def observe(self, operation: Operation) -> State:
        """Read the live state that `operation` is about."""

    @abstractmethod
    def plan(self, operation: Operation, before: State, now: State) -> Plan:
        """Work out what is missing. Touches nothing."""

    @abstractmethod
    async def apply(self, operation: Operation, before: State, key: str) -> None:
        """Bring the desired state about. The same `key` asks for the same change, however often it is sent.

        Raises:
            TemporaryError: it may or may not have been applied; observe before another try.
            PermanentError: the system refused it.

        """

    @abstractmethod
    async def verify(self, operation: Operation, before: State) -> Convergence:
        """Wait, bounded, until the system has reached the desired state."""

    async def wait(self, operation: Operation, missing: Callable[[State], list[str]], seconds: float) -> Convergence:
        """Observe until nothing is missing, or the time is up."""
        deadline = self._monotonic() + seconds
        now: State = {}
        problems = ["it could not be read"]
        while True:
            # A system that restarts while it converges is not a failure yet.
            with contextlib.suppress(TemporaryError):
                now = await self.observe(operation)
                problems = missing(now)
                if not problems:
                    return Convergence(reached=True, detail="as desired", state=now)
            if self._monotonic() >= deadline:
                return Convergence(reached=False, detail=f"after {seconds:g} s: {'; '.join(problems)}", state=now)
            await self._sleep(POLL_SECONDS)

    async def converge(self, operation: Operation, before: State, seconds: float) -> Convergence:
        """Wait until `plan` finds nothing left to do: the `verify` of a connector whose plan says it all."""

        def missing(now: State) -> list[str]:
            plan = self.plan(operation, before, now)
            return [] if plan.satisfied else [plan.summary]

        return await self.wait(operation, missing, seconds)

    def require_enabled(self, operation: Operation) -> None:
        """Refuse to write while read-only; the first thing every `apply` does."""
        if not self.enabled:
            raise PermanentError(f"{operation.connector} is read-only; enable it in the settings to act")

    async def revert(self, applied: Operation, undo: Operation, before: State, key: str) -> None:
        """Put back what was there before `applied`, unless someone has changed it since: that is then theirs.

        Raises:
            RefusedError: the state is neither what we left nor what was there before.

        """
        now = await self.observe(undo)
        if self.plan(undo, before, now).satisfied:
            return
        if not self.plan(applied, before, now).satisfied:
            raise RefusedError("the target was changed by someone else since; not reverting over it")
        await self.apply(undo, before, key)

    async def renew(self, operation: Operation, before: State) -> None:
        """Let the effect of `operation` last for another term, where the system itself would end it.

        Asked for again it does the same again. Nothing to do for what lasts until it is taken back.
        """
        del operation, before

    async def check(self) -> list[Finding]:
        """Ask the system which of the rights needed are held, without using them; empty where it cannot tell.

        Raises:
            TemporaryError: it cannot be reached.
            PermanentError: it does not let us in.

        """
        return []

    async def collect(self, operation: Operation, package: Files) -> None:
        """Write evidence of a target down. Changes nothing, so it needs no enabling."""
        del package
        validate_params(self.collections, operation)

    async def close(self) -> None:
        """Release connections."""
        return

    def params(self, operation: Operation) -> Params:
        """Validate the parameters of `operation`."""
        return validate_params(self.operations, operation)

    def filled(self, operation: Operation, before: State) -> Params:
        """Validate the parameters of `operation` with every reference to the state replaced by what it says."""
        return self.params(operation.model_copy(update={"params": resolve(operation.params, before)}))


def validate_params(operations: Mapping[str, type[Params]], operation: Operation) -> Params:
    """Validate an operation against those a connector knows.

    Raises:
        PermanentError: unknown operation or wrong parameters.

    """
    model = operations.get(operation.operation)
    if model is None:
        known = ", ".join(sorted(operations))
        raise PermanentError(f"{operation.connector} has no operation {operation.operation}; it has: {known}")
    try:
        return model.model_validate(operation.params)
    except ValidationError as error:
        raise PermanentError(f"{operation.connector} {operation.operation}: {describe(error)}") from None


def _or_reference(value: Any, validate: ValidatorFunctionWrapHandler) -> Any:
    return value if isinstance(value, Mapping) and _is_reference(value) else validate(value)


def _is_reference(value: Mapping[str, Any]) -> bool:
    return "$state" in value and set(value) <= {"$state", "times", "plus", "at_most"}


# Marks a parameter that a playbook may take from the observed state. A playbook is checked with the reference in it;
# `Connector.filled` checks the value that takes its place.
OrReference = WrapValidator(_or_reference)


def resolve(value: Any, state: State) -> Any:
    """Replace every `{"$state": ...}` and `{"$count": ...}` in `value` by what it says about `state`.

    Raises:
        PermanentError: the state has no such part.

    """
    if isinstance(value, Mapping):
        if _is_reference(value):
            return _scaled(_one(state, str(value["$state"])), value)
        if "$count" in value and set(value) <= {"$count", "plus", "at_most"}:
            return _count(state, value)
        return {key: resolve(item, state) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [resolve(item, state) for item in value]
    return value


def select(document: Any, pointer: str, where: Mapping[str, Any] | None = None) -> list[Any]:
    """Find what a JSON pointer (RFC 6901, and `*` for elements of an array) names; nothing if it is absent.

    Of the elements under `*` those are meant that have all members of `where`; all when it is empty.
    """
    found = [document]
    for step in pointer.split("/")[1:]:
        found = [child for parent in found for child in _children(parent, step, where or {})]
    return found


def _children(parent: Any, step: str, where: Mapping[str, Any]) -> list[Any]:
    if isinstance(parent, list):
        if step == "*":
            return [element for element in parent if _has(element, where)]
        return [parent[int(step)]] if step.isdecimal() and int(step) < len(parent) else []
    name = step.replace("~1", "/").replace("~0", "~")
    return [parent[name]] if isinstance(parent, Mapping) and name in parent else []


def _has(element: Any, members: Mapping[str, Any]) -> bool:
    return not members or (isinstance(element, Mapping) and all(element.get(k) == v for k, v in members.items()))


def _count(state: State, wanted: Mapping[str, Any]) -> int:
    count = len(select(state, str(wanted["$count"]))) + int(wanted.get("plus", 0))
    return min(count, int(wanted.get("at_most", count)))


def _scaled(found: Any, wanted: Mapping[str, Any]) -> Any:
    if set(wanted) == {"$state"}:
        return found
    if not isinstance(found, int | float) or isinstance(found, bool):
        raise PermanentError(f"{wanted['$state']} is {found!r:.100}, not a number to be scaled")
    grown = int(found * wanted.get("times", 1)) + int(wanted.get("plus", 0))
    # Never below what is there: `at_most` bounds the growth, it does not take away.
    return max(found, min(grown, int(wanted.get("at_most", grown))))


def _one(state: State, pointer: str) -> Any:
    found = select(state, pointer)
    if len(found) != 1:
        raise PermanentError(f"{pointer} names {len(found)} parts of the observed state, expected one")
    return found[0]


def unmet(precondition: Precondition, state: State) -> str | None:
    """Say why a precondition does not hold of `state`; None when it does."""
    found = [part for part in select(state, precondition.pointer, precondition.where) if part is not None]
    if not found:
        return f"{precondition.pointer} is absent"
    if precondition.relation == "present":
        return None
    operand = resolve(precondition.operand, state)
    wrong = [part for part in found if (part == operand) is (precondition.relation == "differs")]
    return f"{precondition.pointer} is {wrong[0]!r:.100}, which must not be" if wrong else None
