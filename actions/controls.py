"""What people have said that is in force: stops and resumes, by scope.

A pure fold of the controls topic; the order in which its partitions are read does not matter. A stop holds for
everything within its scope until a later resume of the same or a wider scope.
"""

from __future__ import annotations

from typing import NamedTuple, Self

from schemas.action import ActionCommand
from schemas.control import Control


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

    def __str__(self) -> str:
        given = [f"{name} {value}" for name, value in zip(self._fields, self, strict=True) if value is not None]
        return ", ".join(given) or "everything"


class Controls:
    """The controls in force."""

    def __init__(self) -> None:
        self._stops: dict[Scope, Control] = {}
        self._resumes: dict[Scope, Control] = {}

    def add(self, control: Control) -> None:
        """Fold one control in; the same one again changes nothing."""
        held = {"stop": self._stops, "resume": self._resumes}.get(control.kind)
        if held is None:
            return
        scope = Scope.of(control)
        if scope not in held or _moment(control) > _moment(held[scope]):
            held[scope] = control

    def in_force(self) -> tuple[Control, ...]:
        """List the stops that no later resume has lifted, the latest last."""
        holding = (stop for at, stop in self._stops.items() if not self._lifted(at, stop))
        return tuple(sorted(holding, key=_moment))

    def stops(self, scope: Scope) -> tuple[str, ...]:
        """Say, in words, which stops hold for something at this scope."""
        holding = ((Scope.of(stop), stop) for stop in self.in_force())
        return tuple(
            f"stopped by {stop.by} for {at}{f': {stop.note}' if stop.note else ''}"
            for at, stop in holding
            if at.covers(scope)
        )

    def _lifted(self, at: Scope, stop: Control) -> bool:
        return any(where.covers(at) and _moment(resume) > _moment(stop) for where, resume in self._resumes.items())


def _moment(control: Control) -> tuple[int, str]:
    return control.time_unix_nano, control.id
