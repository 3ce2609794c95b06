"""What is known of each incident at its end: its last revision, decisions, outcomes, and what people said of it.

A fold of records in any order, with repeats. Made by the commands from topics or archives and by the console from its
view; read by `learning.measures`.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, Literal

from actions.autonomy import TIERS
from schemas.action import Tier
from schemas.control import Control
from schemas.decision import Decision
from schemas.envelope import NANOS
from schemas.incident import Classification, Incident
from schemas.outcome import EXPIRY, NOT_TRIED, Outcome, Result
from schemas.signal import Signal

Judged = Literal["agreed", "disagreed"]

_ANSWERS: dict[str, Judged] = {"approve": "agreed", "reject": "disagreed"}


@dataclass(slots=True)
class Case:
    """One incident and all that was said and done about it."""

    incident: Incident
    decisions: tuple[Decision, ...] = ()
    outcomes: tuple[Outcome, ...] = ()
    said: tuple[Control, ...] = ()

    @property
    def classification(self) -> Classification:
        """What it was taken for in the end: the decision's view, which knows the incidents of the past."""
        return self.decisions[-1].classification if self.decisions else self.incident.classification

    @property
    def label(self) -> str:
        return self.classification.label

    @property
    def tier(self) -> Tier:
        """Highest tier at which something was tried; else that of the last decision."""
        tried = [outcome.tier for outcome in self.tried]
        if tried:
            return max(tried, key=TIERS.index)
        return self.decisions[-1].tier if self.decisions else "observe"

    @property
    def tried(self) -> tuple[Outcome, ...]:
        """Actions that were carried out, or begun, other than to take one back."""
        return tuple(o for o in self.outcomes if o.undoes is None and o.result not in NOT_TRIED)

    @property
    def undone_by_people(self) -> frozenset[str]:
        """Ids of the actions that a person took back."""
        return frozenset(o.undoes for o in self.outcomes if o.undoes is not None and o.approved_by != EXPIRY)

    @property
    def feedback(self) -> tuple[Control, ...]:
        return tuple(one for one in self.said if one.kind == "feedback")

    @property
    def verdict(self) -> Literal["true_positive", "false_positive"] | None:
        """What people said last on whether it was an incident; a right class says that it was one."""
        for one in reversed(self.feedback):
            if one.verdict is not None:
                return one.verdict
            if one.label is not None:
                return "true_positive"
        return None

    @property
    def true_label(self) -> str | None:
        """Its class as people confirmed or corrected it; None where nobody did, or where it was none."""
        if self.verdict != "true_positive":
            return None
        told = next((one.label for one in reversed(self.feedback) if one.label is not None), None)
        return told or self.label

    @property
    def detection_seconds(self) -> float:
        return (self.incident.opened_unix_nano - self.incident.onset_unix_nano) / NANOS

    @property
    def acknowledgement_seconds(self) -> float | None:
        """From opening to whoever took it up first: the arc by acting, or a person by saying something.

        What is said when it is over is no acknowledgement, but hindsight.
        """
        acted = [one.time_unix_nano for one in self.decisions if one.verdict == "act"]
        ended = self.incident.resolved_unix_nano
        said = [at for one in self.said if (at := one.time_unix_nano) <= (ended or at)]
        times = [*acted, *said]
        return max(0.0, (min(times) - self.incident.opened_unix_nano) / NANOS) if times else None

    @property
    def repair_seconds(self) -> float | None:
        """From onset to resolution."""
        ended = self.incident.resolved_unix_nano
        return None if ended is None else max(0.0, (ended - self.incident.onset_unix_nano) / NANOS)

    @property
    def repaired_alone(self) -> bool:
        """Whether an action that no person approved was verified, and stood."""
        return self.incident.status == "resolved" and any(
            one.result is Result.VERIFIED and one.approved_by is None and one.action_id not in self.undone_by_people
            for one in self.tried
        )

    def judged(self, decision: Decision) -> Judged | None:
        """Say what people made of what a decision proposed; None where they said nothing."""
        for one in reversed(self.said):
            if one.kind in _ANSWERS and one.decision_id == decision.id:
                return _ANSWERS[one.kind]
            if one.kind == "feedback" and one.playbook is not None:
                return "agreed" if one.playbook == decision.playbook else "disagreed"
        if self.verdict is None:
            return None
        return "agreed" if self.true_label == decision.classification.label else "disagreed"


@dataclass(slots=True)
class History:
    """All cases, and how many signals and alerts they were made from."""

    cases: tuple[Case, ...]
    fired: tuple[int, ...] = ()
    """When each signal fired, where signals were read; else incidents count their own."""


@dataclass(slots=True)
class _Parts:
    incident: Incident | None = None
    decisions: dict[str, Decision] = field(default_factory=dict)
    outcomes: dict[str, Outcome] = field(default_factory=dict)
    said: dict[str, Control] = field(default_factory=dict)


def gather(records: Iterable[Any]) -> History:
    """Fold records of the topics incidents, decisions, learning, controls and, if need be, signals."""
    parts: dict[str, _Parts] = {}
    fired: dict[str, int] = {}
    for record in records:
        if isinstance(record, Signal):
            if record.state == "firing":
                fired[record.id] = record.time_unix_nano
        elif isinstance(record, (Incident, Decision, Outcome, Control)):
            _file(parts, record)
    cases = (_case(one.incident, one) for one in parts.values() if one.incident is not None)
    ordered = sorted(cases, key=lambda case: (case.incident.opened_unix_nano, case.incident.id))
    return History(tuple(ordered), tuple(sorted(fired.values())))


def _file(parts: dict[str, _Parts], record: Incident | Decision | Outcome | Control) -> None:
    identity = record.id if isinstance(record, Incident) else record.incident_id
    if identity is None:
        return
    mine = parts.setdefault(identity, _Parts())
    match record:
        case Incident():
            if mine.incident is None or record.revision > mine.incident.revision:
                mine.incident = record
        case Decision():
            mine.decisions[record.id] = record
        case Outcome():
            mine.outcomes[record.id] = record
        case Control():
            mine.said[record.id] = record


def _case(incident: Incident, mine: _Parts) -> Case:
    return Case(
        incident,
        tuple(sorted(mine.decisions.values(), key=lambda one: (one.incident_revision, one.time_unix_nano, one.id))),
        tuple(sorted(mine.outcomes.values(), key=lambda one: (one.timing.finished_unix_nano, one.id))),
        tuple(sorted(mine.said.values(), key=lambda one: (one.time_unix_nano, one.id))),
    )
