"""What the console knows: a bounded fold of the topics incidents, decisions, actions, learning and controls.

Fed by `console.feed`, read by `console.present`. The topics and their partitions arrive in any order and records
arrive more than once; as long as nothing had to be dropped, the view is the same whatever the order.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from heapq import nsmallest
from typing import TypeVar

from actions.controls import Controls
from schemas.action import ActionCommand
from schemas.control import Control
from schemas.decision import Decision
from schemas.incident import Incident
from schemas.outcome import Outcome

Viewed = Incident | Decision | ActionCommand | Outcome | Control

# An open incident is revised every 5 s at most and decided on each time: 60 decisions are the last five minutes of
# one that keeps changing. Rails let far fewer actions happen. A decision takes about 18 kB here (measured).
MAX_PER_INCIDENT = 60
# People press stop and resume: 4000 is ten times a day for the year that their topic is kept, and only those of a
# scope's last word count. Answers and feedback are as rare, words on tiers rarer.
MAX_CONTROLS = 4000
# What holds for a whole scope, not for one decision or incident.
_STANDING = frozenset({"stop", "resume", "pin", "unpin", "lift", "ratify"})


@dataclass(slots=True)
class Case:
    """Everything known about one incident. Its own record may come after the ones that speak of it."""

    id: str
    incident: Incident | None = None
    decisions: dict[str, Decision] = field(default_factory=dict)
    # By action and decision: a later decision may want the same action again.
    actions: dict[tuple[str, str], ActionCommand] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    updated_unix_nano: int = 0

    @property
    def is_open(self) -> bool:
        return self.incident is not None and self.incident.status == "open"

    def latest_decision(self) -> Decision | None:
        return max(self.decisions.values(), key=lambda d: (d.incident_revision, d.time_unix_nano, d.id), default=None)

    def latest_outcome(self) -> Outcome | None:
        return max(self.outcomes.values(), key=lambda o: (o.timing.finished_unix_nano, o.id), default=None)


@dataclass(slots=True)
class Changes:
    """What a fold changed, for those who watch."""

    incidents: set[str] = field(default_factory=set)
    removed: set[str] = field(default_factory=set)
    controls: bool = False


class View:
    """The fold. Not thread safe: it lives on the event loop."""

    def __init__(self, *, max_incidents: int) -> None:
        self._max_incidents = max_incidents
        self._cases: dict[str, Case] = {}
        self._incident_of: dict[str, str] = {}  # by decision
        # Answers by decision, feedback by incident: both ids are content ids of their own kind and never collide.
        self._said: dict[str, dict[str, Control]] = {}
        self._overrides: dict[str, Control] = {}
        self._controls = Controls()

    def add(self, records: Iterable[Viewed]) -> Changes:
        """Fold some records in."""
        changes = Changes()
        for record in records:
            if isinstance(record, Control):
                self._hear(record, changes)
            else:
                self._file(record, changes)
        changes.incidents -= changes.removed
        return changes

    def cases(self) -> Iterator[Case]:
        """Incidents that have been seen themselves, in no particular order."""
        return (case for case in self._cases.values() if case.incident is not None)

    def case(self, incident_id: str) -> Case | None:
        case = self._cases.get(incident_id)
        return None if case is None or case.incident is None else case

    def decision(self, decision_id: str) -> Decision | None:
        case = self._cases.get(self._incident_of.get(decision_id, ""))
        return None if case is None else case.decisions.get(decision_id)

    def said_of(self, decision_or_incident: str) -> list[Control]:
        """Answers to a decision, or feedback on an incident; the latest last."""
        return sorted(self._said.get(decision_or_incident, {}).values(), key=_moment)

    def overrides(self) -> list[Control]:
        """List what people said about running at all and about tiers, the latest last."""
        return sorted(self._overrides.values(), key=_moment)

    def stops_in_force(self) -> tuple[Control, ...]:
        """List the stops that no later resume of the same or a wider scope has lifted, the latest last."""
        return self._controls.in_force()

    def _file(self, record: Incident | Decision | ActionCommand | Outcome, changes: Changes) -> None:
        incident_id = record.id if isinstance(record, Incident) else record.incident_id
        case = self._cases.setdefault(incident_id, Case(incident_id))
        match record:
            case Incident():
                _revise(case, record)
            case Decision():
                self._decided(case, record)
            case ActionCommand():
                case.actions[record.id, record.decision_id] = record
                _touch(case, record.issued_unix_nano)
                _trim(case.actions, lambda command: command.issued_unix_nano)
            case Outcome():
                case.outcomes[record.id] = record
                _touch(case, record.timing.finished_unix_nano)
                _trim(case.outcomes, lambda outcome: outcome.timing.finished_unix_nano)
        changes.incidents.add(incident_id)
        if len(self._cases) > self._max_incidents:
            self._drop_one(changes)

    def _decided(self, case: Case, decision: Decision) -> None:
        case.decisions[decision.id] = decision
        self._incident_of[decision.id] = case.id
        _touch(case, decision.time_unix_nano)
        for dropped in _trim(case.decisions, lambda held: held.time_unix_nano):
            self._forget_decision(dropped)

    def _hear(self, control: Control, changes: Changes) -> None:
        if control.kind in _STANDING:
            self._controls.add(control)
            self._overrides[control.id] = control
            _trim(self._overrides, lambda held: held.time_unix_nano, MAX_CONTROLS)
            changes.controls = True
            return
        about = control.decision_id or control.incident_id
        if about is None:
            return  # answers nothing: the console itself refuses to publish such a one
        self._said.setdefault(about, {})[control.id] = control
        if len(self._said) > MAX_CONTROLS:
            del self._said[min(self._said, key=lambda key: max(map(_moment, self._said[key].values())))]
        incident_id = self._incident_of.get(about, control.incident_id)
        if incident_id in self._cases:
            changes.incidents.add(incident_id)

    def _drop_one(self, changes: Changes) -> None:
        """Drop what has been quiet for longest among the resolved (and what only hearsay knows), then the open."""
        case = min(self._cases.values(), key=lambda held: (held.is_open, held.updated_unix_nano, held.id))
        del self._cases[case.id]
        for decision_id in case.decisions:
            self._forget_decision(decision_id)
        self._said.pop(case.id, None)
        changes.removed.add(case.id)

    def _forget_decision(self, decision_id: str) -> None:
        self._incident_of.pop(decision_id, None)
        self._said.pop(decision_id, None)


def _revise(case: Case, incident: Incident) -> None:
    if case.incident is None or incident.revision > case.incident.revision:
        case.incident = incident
    _touch(case, incident.updated_unix_nano)


def _touch(case: Case, time_unix_nano: int) -> None:
    case.updated_unix_nano = max(case.updated_unix_nano, time_unix_nano)


K = TypeVar("K", bound=str | tuple[str, str])
V = TypeVar("V")


def _trim(held: dict[K, V], time_of: Callable[[V], int], most: int = MAX_PER_INCIDENT) -> list[K]:
    """Drop the oldest beyond what may be held; returns what was dropped."""
    excess = len(held) - most
    if excess <= 0:
        return []
    dropped = nsmallest(excess, held, key=lambda key: (time_of(held[key]), key))
    for key in dropped:
        del held[key]
    return dropped


def _moment(control: Control) -> tuple[int, str]:
    return control.time_unix_nano, control.id
