"""What the topics say of each incident, put together: revisions, decisions, commands, outcomes and what people said.

Used by the commands that show incidents, and by the demo's summary.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from schemas.action import ActionCommand
from schemas.control import Control
from schemas.decision import Decision
from schemas.errors import PermanentError
from schemas.incident import Incident
from schemas.outcome import Outcome
from schemas.topics import ACTIONS, CONTROLS, DECISIONS, INCIDENTS, LEARNING
from streams.tail import Seen

TOPICS = (INCIDENTS, DECISIONS, ACTIONS, LEARNING, CONTROLS)


@dataclass(slots=True)
class Case:
    """One incident. Lists are in the order of publication; repeats after a crash are in them once."""

    revisions: dict[int, Seen] = field(default_factory=dict)
    decisions: dict[str, Seen] = field(default_factory=dict)
    commands: dict[str, Seen] = field(default_factory=dict)
    outcomes: dict[str, Seen] = field(default_factory=dict)
    controls: dict[str, Seen] = field(default_factory=dict)

    @property
    def incident(self) -> Incident:
        """The last revision."""
        newest: Incident = self.revisions[max(self.revisions)].record
        return newest


class Cases:
    """A fold of everything seen."""

    def __init__(self) -> None:
        self._cases: dict[str, Case] = {}

    def add(self, seen: Seen) -> Case | None:
        """Fold one record in; returns the case it belongs to."""
        record = seen.record
        identity = record.id if isinstance(record, Incident) else getattr(record, "incident_id", None)
        if identity is None:
            return None
        case = self._cases.setdefault(identity, Case())
        match record:
            case Incident():
                case.revisions.setdefault(record.revision, seen)
            case Decision():
                case.decisions.setdefault(record.id, seen)
            case ActionCommand():
                case.commands.setdefault(record.id, seen)
            case Outcome():
                case.outcomes.setdefault(record.id, seen)
            case Control():
                case.controls.setdefault(record.id, seen)
        return case

    def newest_first(self) -> list[Case]:
        known = [case for case in self._cases.values() if case.revisions]
        return sorted(known, key=lambda case: (-case.incident.opened_unix_nano, case.incident.id))

    def find(self, beginning: str) -> Case:
        """Find the incident whose id begins so.

        Raises:
            PermanentError: there is none, or more than one.

        """
        found = [case for identity, case in self._cases.items() if identity.startswith(beginning) and case.revisions]
        if len(found) != 1:
            raise PermanentError(f"{len(found) or 'no'} incidents begin with {beginning!r}; see `reflexarc incidents`")
        return found[0]


def fold(seen: Iterable[Seen]) -> Cases:
    """Put together everything seen."""
    cases = Cases()
    for one in seen:
        cases.add(one)
    return cases
