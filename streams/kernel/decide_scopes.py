"""What the decide stage remembers of each environment/service, and how it is found again without a search.

A `ScopeMemory` is replaced, never mutated. `Scopes` keeps them with what is looked up often: the scope of an incident,
the scopes with an open one, and when to look at which again. All of that follows from the memories.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import Field

from actions.autonomy import Reliability, fold
from actions.rails import Attempt, Upstream
from actions.rails_store import LOST_AFTER_SECONDS
from schemas.action import ActionCommand
from schemas.control import Control
from schemas.envelope import NANOS, Model
from schemas.incident import Incident
from schemas.outcome import NOT_TRIED, Outcome, Result
from streams.kernel.agenda import Agenda

# More than the rails allow at one target within the longest window they look back on (3 an hour over 4 hours).
MAX_ENDINGS = 64


class Ending(Model):
    """What the rails need of an outcome."""

    id: str
    action_id: str
    decision_id: str
    playbook: str
    result: Result
    time_unix_nano: int

    @property
    def tried(self) -> bool:
        return self.result not in NOT_TRIED


class ScopeMemory(Model):
    """What is remembered of one environment/service. Replaced, never mutated."""

    environment: str = ""
    previous_hash: str = ""
    incident_id: str = ""
    decided: tuple[str, ...] = ()
    """What the incident looked like when it was last decided about."""
    incident: Incident | None = None
    """Its latest revision, while it is open."""
    verdict: str = ""
    """What was decided last."""
    asked: int = 0
    """How often a person was asked about it as it looks now."""
    refused: str = ""
    """Why an executor would not act on it as it looks now, where that calls a person."""
    again_unix_nano: int | None = None
    """When to look again: something holds what would be done, or nobody has answered."""
    issued: tuple[Attempt, ...] = ()
    endings: tuple[Ending, ...] = ()
    records: dict[str, Reliability] = Field(default_factory=dict)

    def but(self, **changes: Any) -> ScopeMemory:
        """Copy with changes."""
        return self.model_copy(update=changes)

    @property
    def looks(self) -> tuple[str, ...]:
        """What of the open incident makes for another decision: its class, what else it may be, whether it fires."""
        if self.incident is None:
            return ()
        found = self.incident.classification
        return (found.label, "fires" if self.incident.active_subjects else "calm", *found.prediction_set)

    @property
    def not_served(self) -> frozenset[str]:
        """Playbooks whose system did not know the target when it was last asked, be it for an earlier incident."""
        latest = {ending.playbook: ending.result for ending in self.endings}
        return frozenset(name for name, result in latest.items() if result is Result.NOT_SERVED)

    def cleared(self, incident_id: str = "") -> ScopeMemory:
        """Forget the incident; another may be there."""
        return self.but(**_NO_INCIDENT, incident_id=incident_id)

    def with_issued(self, commands: Iterable[ActionCommand]) -> ScopeMemory:
        """Remember what was asked for on behalf of the incident."""
        issued = {attempt.action_id: attempt for attempt in self.issued}
        mine = {command.id: _attempt(command) for command in commands if command.incident_id == self.incident_id}
        return self.but(issued=tuple((issued | mine).values()), again_unix_nano=None) if mine else self

    def with_ending(self, outcome: Outcome, told: Outcome) -> ScopeMemory:
        """Remember how an action ended: as it counts, and (for the record of its playbook) as it was told."""
        known = self.records.get(outcome.playbook) or Reliability(
            environment=outcome.target.environment, service=outcome.target.service, playbook=outcome.playbook
        )
        return self.but(
            endings=(*self.endings, _ending(outcome))[-MAX_ENDINGS:],
            records={**self.records, outcome.playbook: fold(known, told)},
        )

    def attempts(self) -> Iterator[Attempt]:
        """Give what was asked for on behalf of the incident, each with its result of the same decision, if any."""
        ended = {(ending.action_id, ending.decision_id): ending.result for ending in self.endings}
        # Taken back by a person, which is a decision of its own.
        reverted = {ending.action_id for ending in self.endings if ending.result is Result.REVERTED}
        for attempt in self.issued:
            result = ended.get((attempt.action_id, attempt.decision_id))
            undone = attempt.action_id in reverted
            yield attempt.model_copy(update={"result": Result.REVERTED if undone else result})


_NO_INCIDENT: dict[str, Any] = {
    "decided": (),
    "issued": (),
    "incident": None,
    "verdict": "",
    "asked": 0,
    "refused": "",
    "again_unix_nano": None,
}


class Scopes:
    """All that is remembered, by scope."""

    def __init__(self, saved: Iterable[tuple[str, ScopeMemory]] = ()) -> None:
        self._memories: dict[str, ScopeMemory] = {}
        self._of_incident: dict[str, str] = {}
        self._open: dict[str, Incident] = {}
        self._known: Counter[str] = Counter()  # environment -> services
        self._broken: Counter[str] = Counter()  # environment -> services with an open incident
        self.agenda = Agenda()
        for scope, memory in saved:
            self.put(scope, memory)

    def __len__(self) -> int:
        return len(self._memories)

    def __getitem__(self, scope: str) -> ScopeMemory:
        """Give what is remembered; of a new scope that is nothing."""
        return self._memories.get(scope) or ScopeMemory()

    def __iter__(self) -> Iterator[tuple[str, ScopeMemory]]:
        return iter(self._memories.items())

    def put(self, scope: str, memory: ScopeMemory) -> None:
        self._take_out(scope)
        self._memories[scope] = memory
        self._known[memory.environment] += 1
        if memory.incident_id:
            self._of_incident[memory.incident_id] = scope
        if memory.incident is not None:
            self._open[scope] = memory.incident
            self._broken[memory.environment] += 1
        self.agenda.put(scope, memory.again_unix_nano)

    def _take_out(self, scope: str) -> None:
        memory = self._memories.get(scope)
        if memory is None:
            return
        self._known[memory.environment] -= 1
        self._of_incident.pop(memory.incident_id, None)
        if self._open.pop(scope, None) is not None:
            self._broken[memory.environment] -= 1

    def with_incident(self, incident_id: str) -> str | None:
        """Find the scope whose incident this is."""
        return self._of_incident.get(incident_id)

    def concerned(self, control: Control) -> list[str]:
        """Find the scopes with an open incident that a control is about; of playbooks only the policy knows."""
        if control.incident_id is not None:
            named = self._of_incident.get(control.incident_id)
            found = [] if named is None else [named]
        elif control.environment is not None and control.service is not None:
            found = [f"{control.environment}/{control.service}"]
        else:
            found = sorted(self._open)  # what was touched last must not show
        return [scope for scope in found if scope in self._open and _about(control, self._open[scope])]

    def upstream(self, incident: Incident, now: int) -> tuple[Upstream, ...]:
        """Find what of that which a service depends on has an open incident."""
        found = ((one, self._memories.get(f"{incident.environment}/{one}")) for one in incident.depends_on)
        return tuple(
            Upstream(
                service=service,
                onset_unix_nano=memory.incident.onset_unix_nano if memory.incident.active_subjects else None,
                at_work=any(one.result is None and now <= one.until_unix_nano for one in memory.attempts()),
            )
            for service, memory in found
            if memory is not None and memory.incident is not None
        )

    def broken(self, environment: str) -> tuple[int, int]:
        """Count the services with an open incident, and those known."""
        return self._broken[environment], self._known[environment]


def _about(control: Control, incident: Incident) -> bool:
    environment = control.environment in {None, incident.environment}
    return environment and control.service in {None, incident.service}


def _attempt(command: ActionCommand) -> Attempt:
    within = command.verification.within_seconds
    return Attempt(
        playbook=command.playbook,
        playbook_version=command.playbook_version,
        step=command.step,
        action_id=command.id,
        decision_id=command.decision_id,
        until_unix_nano=command.expires_unix_nano + int((within + LOST_AFTER_SECONDS) * NANOS),
    )


def _ending(outcome: Outcome) -> Ending:
    return Ending(
        id=outcome.id,
        action_id=outcome.action_id,
        decision_id=outcome.decision_id,
        playbook=outcome.playbook,
        result=outcome.result,
        time_unix_nano=outcome.timing.finished_unix_nano,
    )
