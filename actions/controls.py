"""What people have said that is in force: stops, pinned tiers, reverts and renewals, by scope.

A pure fold of the controls topic; the order in which its partitions are read does not matter. A stop (or a pin) holds
for everything within its scope until a later resume (or unpin) of the same or a wider scope.
"""

from __future__ import annotations

from typing import NamedTuple, Self

from actions.autonomy import Reliability, lift
from schemas.action import ActionCommand, Tier
from schemas.control import Control, ControlKind


class Scope(NamedTuple):
    """Environment, service, playbook and incident; None leaves one open. All None is global."""

    environment: str | None = None
    service: str | None = None
    playbook: str | None = None
    incident_id: str | None = None

    @classmethod
    def of(cls, control: Control) -> Self:
        return cls(control.environment, control.service, control.playbook, control.incident_id)

    @classmethod
    def of_command(cls, command: ActionCommand) -> Self:
        return cls(command.target.environment, command.target.service, command.playbook, command.incident_id)

    def covers(self, other: Scope) -> bool:
        """Whether all of `other` lies within this scope."""
        return all(mine is None or mine == theirs for mine, theirs in zip(self, other, strict=True))

    @property
    def narrowness(self) -> int:
        """How many fields are given."""
        return sum(value is not None for value in self)

    def __str__(self) -> str:
        given = [f"{name} {value}" for name, value in zip(self._fields, self, strict=True) if value is not None]
        return ", ".join(given) or "everything"


class Controls:
    """The controls in force."""

    def __init__(self) -> None:
        # By kind and scope (and the action named, if one is), the latest.
        self._latest: dict[ControlKind, dict[tuple[Scope, str | None], Control]] = {}

    def add(self, control: Control) -> None:
        """Fold one control in; the same one again changes nothing."""
        held = self._latest.setdefault(control.kind, {})
        place = Scope.of(control), control.action_id
        if place not in held or _moment(control) > _moment(held[place]):
            held[place] = control

    def latest(self) -> tuple[Control, ...]:
        """List everything needed to fold the same again: of each kind and place the latest."""
        return tuple(control for held in self._latest.values() for control in held.values())

    def in_force(self) -> tuple[Control, ...]:
        """List the stops that no later resume has lifted, the latest last."""
        return self._not_lifted("stop", "resume")

    def stops(self, scope: Scope) -> tuple[str, ...]:
        """Say, in words, which stops hold for something at this scope."""
        holding = ((Scope.of(stop), stop) for stop in self.in_force())
        return tuple(
            f"stopped by {stop.by} for {at}{f': {stop.note}' if stop.note else ''}"
            for at, stop in holding
            if at.covers(scope)
        )

    def pin(self, scope: Scope) -> Tier | None:
        """Find the tier pinned for something at this scope: by the narrowest pin, then the latest."""
        holding = [pin for pin in self._not_lifted("pin", "unpin") if Scope.of(pin).covers(scope)]
        return max(holding, key=lambda pin: (Scope.of(pin).narrowness, _moment(pin))).tier if holding else None

    def lifted(self, scope: Scope) -> int:
        """Find when demotions at this scope were last forgiven; 0 when never."""
        return max((control.time_unix_nano for control in self._about("lift", scope, None)), default=0)

    def ratified(self, scope: Scope, since_unix_nano: int) -> Tier | None:
        """Find the tier whose promotion a person confirmed last at this scope, since that time."""
        said = [one for one in self._about("ratify", scope, None) if one.time_unix_nano > since_unix_nano]
        return max(said, key=_moment).tier if said else None

    def revert(self, scope: Scope, action_id: str, since_unix_nano: int) -> Control | None:
        """Find the latest wish, since that time, to take back an action at this scope."""
        wishes = [wish for wish in self._about("revert", scope, action_id) if wish.time_unix_nano > since_unix_nano]
        return max(wishes, key=_moment, default=None)

    def wishes_since(self, since_unix_nano: int, kind: ControlKind = "revert") -> bool:
        """Whether anyone has wished to take something back, or to let it last (`renew`), since that time."""
        return any(wish.time_unix_nano > since_unix_nano for wish in self._latest.get(kind, {}).values())

    def renewed(self, scope: Scope, action_id: str) -> int:
        """Find when the effect of an action was last renewed; 0 when never."""
        return max((control.time_unix_nano for control in self._about("renew", scope, action_id)), default=0)

    def _about(self, kind: ControlKind, scope: Scope, action_id: str | None) -> list[Control]:
        return [
            control
            for (at, named), control in self._latest.get(kind, {}).items()
            if at.covers(scope) and named in {None, action_id}
        ]

    def _not_lifted(self, holds: ControlKind, lifts: ControlKind) -> tuple[Control, ...]:
        lifting = self._latest.get(lifts, {}).values()
        holding = (
            held
            for held in self._latest.get(holds, {}).values()
            if not any(Scope.of(lift).covers(Scope.of(held)) and _moment(lift) > _moment(held) for lift in lifting)
        )
        return tuple(sorted(holding, key=_moment))


def as_people_said(record: Reliability, said: Controls) -> Reliability:
    """Give a record with its demotion forgiven and its promotion confirmed, where people did so."""
    at = Scope(record.environment, record.service, record.playbook)
    forgiven = lift(record, said.lifted(at))
    return forgiven.model_copy(update={"ratified": said.ratified(at, forgiven.demoted_unix_nano)})


def _moment(control: Control) -> tuple[int, str]:
    return control.time_unix_nano, control.id
