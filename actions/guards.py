"""The executor's own guards: everything that can forbid an action at the last moment, checked against live facts.

Called by `actions.steps` before the first change, and in part before every further one; the decision checked most of
this too, but between a decision and its execution the world moves on. `actions.planning` asks the same guards what
they would say. Each finds, none forbids: only `refuse` does.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from actions.autonomy import TIERS
from actions.connectors.base import Connector, State, select, unmet
from actions.controls import Controls, Scope
from actions.ledger import Blocked
from actions.rails import OnFailure, Rail, Upstream, evaluate, redundancy_kept
from actions.tools import BlockedError, ExpiredError, RailError, Tools
from actions.verify import Evidence, recovered_already
from schemas.action import ActionCommand, witness_id
from schemas.decision import Check
from schemas.envelope import NANOS, Entity
from schemas.errors import RefusedError, TemporaryError

# What forbids, by what its failure means, the gravest first.
_REFUSALS: dict[OnFailure, type[RefusedError]] = {
    "escalate": RailError,
    "expire": ExpiredError,
    "busy": BlockedError,
    "hold": RefusedError,
}
# Of the rails these are known better here: by the controls as they are now, by the ledger's lock, and by what refuses.
_KNOWN_BETTER = frozenset({"not_stopped", "target_free", "not_refused"})


@dataclass(frozen=True)
class Guards:
    """The guards of one action."""

    command: ActionCommand
    tools: Tools
    halted: Callable[[], bool]

    def standing(self) -> list[Rail]:
        """Check that somebody was allowed to give the command, and that this executor can carry it out."""
        command, name = self.command, self.command.apply.connector
        approved = command.approved_by is not None
        allowed = command.tier == "autonomous" or (command.tier == "approve" and approved)
        basis = f" approved by {command.approved_by}" if approved else " without an approval"
        connector = self.tools.connectors.get(name)
        can = "is configured" if connector is not None else "is not configured"
        return [
            _found("permitted", allowed, f"tier {command.tier}{basis} {'acts' if allowed else 'does not act'}"),
            _found(
                "reversible",
                command.revert is not None or approved,
                "it states its revert" if command.revert else "it cannot be taken back, so a person must approve it",
            ),
            _found("connector_configured", connector is not None, f"connector {name} {can}"),
            *([] if connector is None else [_enabled(name, connector)]),
        ]

    async def gate(self) -> list[Rail]:
        """Check that it has neither expired nor been overruled."""
        left = (self.command.expires_unix_nano - self.tools.clock()) / NANOS
        told = f"valid for {left:.1f} s more" if left >= 0 else f"its validity ended {-left:.1f} s ago"
        return [_found("in_time", left >= 0, told, "expire"), *await self.overrides()]

    async def overrides(self) -> list[Rail]:
        """Check what people have said until now. None of it holds an undo: who stops everything next wants it back."""
        controls, command = await self.tools.controls(), self.command
        stops = self._holding(controls)
        pin = None if command.undoes else controls.pin(Scope.of_command(command))
        needed = "approve" if command.approved_by else "autonomous"
        free = pin is None or TIERS.index(pin) >= TIERS.index(needed)
        return [
            _found("not_stopped", not stops, "; ".join(stops) or "no stop in force"),
            _found("tier", free, "no pin in force" if pin is None else f"pinned to {pin} since it was decided"),
        ]

    async def stops(self) -> tuple[str, ...]:
        """Say which stops hold."""
        return self._holding(await self.tools.controls())

    def _holding(self, controls: Controls) -> tuple[str, ...]:
        return () if self.command.undoes else controls.stops(Scope.of_command(self.command))

    def not_halted(self) -> None:
        """Leave the action to its next owner."""
        if self.halted():
            raise TemporaryError("this executor is stopping or lost the partition", delay=0)

    async def rails(self) -> list[Rail]:
        """Check every rail anew. Nothing paces an undo, but what is protected stays so."""
        command, now = self.command, self.tools.clock()
        snapshot = await self.tools.rails.snapshot(
            command.target, command.playbook, command.incident_id, now, command.depends_on
        )
        upstream = tuple([await self._at_work(one) for one in snapshot.upstream])
        snapshot = snapshot.model_copy(update={"upstream": upstream})
        rails = evaluate(command.target, snapshot, self.tools.limits, now)
        return [
            rail
            for rail in rails
            if rail.check.name not in _KNOWN_BETTER and (command.undoes is None or rail.check.name == "not_protected")
        ]

    async def _at_work(self, upstream: Upstream) -> Upstream:
        """Look whether an action holds a service that the target depends on."""
        service = Entity(environment=self.command.target.environment, service=upstream.service)
        held = await self.tools.ledger.locked_by(service, self.command.id)
        return upstream.model_copy(update={"at_work": held is not None})

    async def reserve(self) -> list[Rail]:
        """Take a place in the rates."""
        if self.command.undoes is not None:
            return []
        exhausted = await self.tools.rails.reserve(self.command, self.tools.clock())
        return (
            []
            if exhausted is None
            else [_found(exhausted, holds=False, detail="the rate is used up", on_failure="escalate")]
        )

    async def still_firing(self) -> list[Rail]:
        """Check that it has not recovered by itself since the decision."""
        if self.command.undoes is not None:
            return []
        evidence = Evidence(self.command.verification.subjects)
        reader = self.tools.evidence(evidence)
        try:
            await reader.start(self.command.decided_unix_nano or self.command.issued_unix_nano)
            await reader.catch_up()
        finally:
            reader.close()
        well = recovered_already(self.command.verification, evidence)
        told = "every subject has cleared since the decision" if well else "not every subject has cleared"
        return [_found("still_firing", not well, told)]

    def live_state(self, connector: Connector, before: State) -> list[Rail]:
        """Check the target's state as it is now."""
        command = self.command
        problems = [problem for item in command.preconditions if (problem := unmet(item, before))]
        told = "; ".join(problems) or f"{len(command.preconditions)} hold of the live state"
        satisfied = connector.plan(command.apply, before, before).satisfied
        missing = not satisfied or command.undoes is not None
        return [
            _found("precondition", not problems, told),
            _found("change_needed", missing, "something is missing" if missing else "the target is as desired already"),
            *witnesses_known(command, before),
            *self._as_left(connector, before, satisfied=satisfied),
        ]

    def _as_left(self, connector: Connector, before: State, *, satisfied: bool) -> list[Rail]:
        """Check that what an undo takes back is still there: what someone else made of it since is theirs."""
        left = self.command.revert
        if self.command.undoes is None or left is None or satisfied:
            return []
        ours = connector.plan(left, before, before).satisfied
        why = "it is as we left it" if ours else "the target was changed by someone else since; not reverting over it"
        return [_found("as_left", ours, why)]

    def redundancy(self, before: State, others: int) -> list[Rail]:
        """Check that the service can spare one more instance, beside those that other actions hold."""
        wanted = self.command.redundancy
        if wanted is None:
            return []
        instances = select(before, wanted.pointer)
        healthy = sum(instance == wanted.healthy for instance in instances)
        return [redundancy_kept(healthy, len(instances), others, self.tools.limits)]


def _enabled(name: str, connector: Connector) -> Rail:
    can = "may write" if connector.enabled else "is read-only; enable it in the settings to act"
    return _found("connector_enabled", connector.enabled, f"connector {name} {can}")


def witnesses_known(command: ActionCommand, before: State) -> list[Rail]:
    """Check that the evidence is not of instances that somebody made up. A person who approved has seen whose it is."""
    wanted = command.witnesses
    if wanted is None or command.approved_by is not None:
        return []
    known = {witness_id(part) for pointer in wanted.pointers for part in select(before, pointer)}
    if not known:
        return [_found("witnesses_known", holds=True, detail="the live state names no instances")]
    there = sum(one in known for one in wanted.ids)
    told = f"{there} of {len(wanted.ids)} instances that the evidence names are known to the live state"
    return [_found("witnesses_known", bool(there) and 2 * there >= len(wanted.ids), told, "escalate")]


def target_free(blocked: Blocked | None) -> Rail:
    """Check that no other action holds the target: this one is then skipped, not queued."""
    return _found("target_free", blocked is None, str(blocked or "no other action holds the target"), "busy")


def refuse(found: Sequence[Rail]) -> None:
    """Forbid the action if any guard says no.

    Raises:
        RefusedError: or the one of its kinds that says what it means.

    """
    reason, meanings = failures(found), {rail.on_failure for rail in found if not rail.check.passed}
    for meaning, refusal in _REFUSALS.items():
        if meaning in meanings:
            raise refusal(reason)


def failures(found: Sequence[Rail]) -> str:
    """Name the guards that say no, each with what it found; empty when none does."""
    return "; ".join(f"{rail.check.name}: {rail.check.detail}" for rail in found if not rail.check.passed)


def _found(name: str, holds: bool, detail: str, on_failure: OnFailure = "hold") -> Rail:
    return Rail(Check(name=name, passed=holds, detail=detail), on_failure)
