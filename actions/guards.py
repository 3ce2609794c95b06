"""The executor's own guards: everything that can forbid an action at the last moment, checked against live facts.

Called by `actions.steps` before the first change, and in part before every further one. The decision checked most of
this too; between a decision and its execution the world moves on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from actions.connectors.base import Connector, State, select, unmet
from actions.controls import Controls, Scope
from actions.ledger import Lease
from actions.rails import Rail, evaluate, redundancy_kept
from actions.tools import ExpiredError, RailError, Tools
from actions.verify import Evidence, recovered_already
from schemas.action import ActionCommand
from schemas.envelope import NANOS
from schemas.errors import RefusedError, TemporaryError


@dataclass(frozen=True)
class Guards:
    """The guards of one action."""

    command: ActionCommand
    tools: Tools
    halted: Callable[[], bool]

    def standing(self) -> None:
        """Refuse a command that nobody was allowed to give, or that this executor cannot carry out."""
        command = self.command
        if command.tier not in {"approve", "autonomous"} or (command.tier == "approve" and not command.approved_by):
            raise RefusedError(f"tier {command.tier} without an approval does not act")
        if command.revert is None and not command.approved_by:
            raise RefusedError("reversible: it cannot be taken back, so a person must approve it")
        connector = self.tools.connectors.get(command.apply.connector)
        if connector is None:
            raise RefusedError(f"connector {command.apply.connector} is not configured")
        if not connector.enabled:
            raise RefusedError(f"connector {command.apply.connector} is read-only; enable it in the settings to act")

    async def gate(self) -> None:
        """Refuse what has expired or been stopped."""
        self.not_halted()
        late = (self.tools.clock() - self.command.expires_unix_nano) / NANOS
        if late > 0:
            raise ExpiredError(f"its validity ended {late:.1f} s ago")
        controls = await self.tools.controls()
        stops = self._holding(controls)
        if stops:
            raise RefusedError(f"not_stopped: {'; '.join(stops)}")
        pin = controls.pin(Scope.of_command(self.command))
        if pin is not None and not self.command.approved_by and pin != "autonomous":
            raise RefusedError(f"tier: pinned to {pin} since it was decided")

    async def stops(self) -> tuple[str, ...]:
        """Say which stops hold."""
        return self._holding(await self.tools.controls())

    def _holding(self, controls: Controls) -> tuple[str, ...]:
        # None holds an undo: who stops everything next wants it back as it was.
        return () if self.command.undoes else controls.stops(Scope.of_command(self.command))

    def not_halted(self) -> None:
        """Leave the action to its next owner."""
        if self.halted():
            raise TemporaryError("this executor is stopping or lost the partition", delay=0)

    async def rails(self) -> None:
        """Check every rail anew, under the target's lock. Nothing paces an undo, but what is protected stays so."""
        command, now = self.command, self.tools.clock()
        snapshot = await self.tools.rails.snapshot(command.target, command.playbook, command.incident_id, now)
        rails = evaluate(command.target, snapshot, self.tools.limits, now)
        _refuse([rail for rail in rails if command.undoes is None or rail.check.name == "not_protected"])

    async def reserve(self) -> None:
        """Take a place in the rates."""
        if self.command.undoes is None:
            exhausted = await self.tools.rails.reserve(self.command, self.tools.clock())
            if exhausted is not None:
                raise RailError(f"{exhausted}: the rate is used up")

    async def still_firing(self) -> None:
        """Refuse to mend what has recovered by itself since the decision."""
        if self.command.undoes is not None:
            return
        evidence = Evidence(self.command.verification.subjects)
        reader = self.tools.evidence(evidence)
        try:
            await reader.start(self.command.issued_unix_nano)
            await reader.catch_up()
        finally:
            reader.close()
        if recovered_already(self.command.verification, evidence):
            raise RefusedError("still_firing: every subject has cleared since the decision")

    def live_state(self, connector: Connector, before: State, lease: Lease) -> None:
        """Check the target's state as it is now."""
        command = self.command
        problems = [problem for item in command.preconditions if (problem := unmet(item, before))]
        if problems:
            raise RefusedError(f"precondition: {'; '.join(problems)}")
        satisfied = connector.plan(command.apply, before, before).satisfied
        if satisfied and command.undoes is None:
            raise RefusedError("the target is as desired already")
        undone = command.revert if command.undoes and not satisfied else None
        if undone is not None and not connector.plan(undone, before, before).satisfied:
            raise RefusedError("the target was changed by someone else since; not reverting over it")
        if command.redundancy is not None:
            instances = select(before, command.redundancy.pointer)
            healthy = sum(instance == command.redundancy.healthy for instance in instances)
            _refuse([redundancy_kept(healthy, len(instances), lease.others, self.tools.limits)])


def _refuse(rails: list[Rail]) -> None:
    broken = [rail for rail in rails if not rail.check.passed]
    reason = "; ".join(f"{rail.check.name}: {rail.check.detail}" for rail in broken)
    if any(rail.on_failure == "escalate" for rail in broken):
        raise RailError(reason)
    if broken:
        raise RefusedError(reason)
