"""What would be done, and what every guard says to it, against live state and without doing it.

Called by `reflexarc actions plan` with the same tools an executor has. It reads what an executor reads and asks the
same guards; it claims nothing, locks nothing, takes no place in the rates and changes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from pydantic import Field

from actions.connectors.base import Connector, Plan, State
from actions.guards import Guards, target_free
from actions.policy import approve
from actions.rails import Rail
from actions.settings import PolicySettings
from actions.tools import Tools
from schemas.action import ActionCommand, Operation
from schemas.control import Control
from schemas.decision import Check, Decision
from schemas.envelope import NANOS, Model
from schemas.errors import PermanentError, RefusedError, TemporaryError

# In these an action may still be asked for: never was, was given back untouched, or changed nothing.
_OPEN = frozenset({None, "pending", "skipped"})


class PlannedChange(Model):
    """What a connector would send, and what it would come to."""

    connector: str
    operation: str
    params: dict[str, Any]
    summary: str
    change: dict[str, Any]


class PlannedAction(Model):
    """One action as it would be carried out now."""

    command: ActionCommand
    checks: tuple[Check, ...]
    change: PlannedChange | None = None
    undo: PlannedChange | None = None
    before: dict[str, Any] = Field(default_factory=dict)

    @property
    def failed(self) -> tuple[Check, ...]:
        """What stands in the way."""
        return tuple(check for check in self.checks if not check.passed)


def as_of_now(decision: Decision, settings: PolicySettings, by: str, now_unix_nano: int) -> tuple[ActionCommand, ...]:
    """Give the commands of a decision as they are, or as they would be if they were issued now.

    What asks is taken as approved by `by`; what only observes keeps its tier, which then stands in the way.
    """
    if decision.verdict == "act":
        return decision.actions
    answer = {"id": "plan", "kind": "approve", "by": by, "time_unix_nano": now_unix_nano, "decision_id": decision.id}
    if decision.verdict == "ask":
        try:
            return approve(decision, Control.model_validate(answer), settings)
        except RefusedError:  # too late to be approved: it is shown as it was, and has expired
            return decision.actions
    expires = now_unix_nano + int(settings.command_validity_seconds * NANOS)
    return tuple(command.model_copy(update={"expires_unix_nano": expires}) for command in decision.actions)


async def plan(command: ActionCommand, tools: Tools) -> PlannedAction:
    """Say what would be done for a command, and what each guard finds.

    Raises:
        TemporaryError: the ledger or what people have said cannot be read, so nothing would be done.

    """
    guards = Guards(command, tools, halted=lambda: False)
    found = [
        await _open(command, tools),
        *guards.standing(),
        *await guards.gate(),
        target_free(await tools.ledger.locked_by(command.target, command.id)),
        *await guards.rails(),
        *await guards.still_firing(),
    ]
    connector = tools.connectors.get(command.apply.connector)
    before = None if connector is None else await _observed(connector, command, found)
    if connector is None or before is None:
        return PlannedAction(command=command, checks=_checks(found))
    try:
        others = await tools.ledger.others(command.target, command.id)
        found += [*guards.live_state(connector, before), *guards.redundancy(before, others)]
        change = _change(connector, command.apply, before, connector.plan(command.apply, before, before))
        # Nothing is missing of what is there now, so of the undo only what it would set says something.
        undo = None if command.revert is None else _change(connector, command.revert, before, None)
    except PermanentError as error:
        found.append(_no("plan", str(error)))
        return PlannedAction(command=command, checks=_checks(found), before=before)
    return PlannedAction(command=command, checks=_checks(found), change=change, undo=undo, before=before)


async def _open(command: ActionCommand, tools: Tools) -> Rail:
    state = await tools.ledger.state(command.id)
    told = "nobody has asked for it yet" if state is None else f"the ledger says: {state}"
    return Rail(Check(name="not_done", passed=state in _OPEN, detail=told), "hold")


async def _observed(connector: Connector, command: ActionCommand, found: list[Rail]) -> State | None:
    try:
        return await connector.observe(command.apply)
    except (PermanentError, TemporaryError) as error:
        found.append(_no("observed", str(error)))
        return None


def _change(connector: Connector, operation: Operation, before: State, worked_out: Plan | None) -> PlannedChange:
    return PlannedChange(
        connector=operation.connector,
        operation=operation.operation,
        params=connector.filled(operation, before).model_dump(mode="json"),
        summary="" if worked_out is None else worked_out.summary,
        change={} if worked_out is None else dict(worked_out.change),
    )


def _no(name: str, detail: str) -> Rail:
    return Rail(Check(name=name, passed=False, detail=detail), "hold")


def _checks(found: Sequence[Rail]) -> tuple[Check, ...]:
    return tuple(rail.check for rail in found)
