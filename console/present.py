"""From the view to answers: summaries, timelines and what still waits for a person.

Pure. Called by the API handlers and the event stream.
"""

from __future__ import annotations

from actions.controls import Scope
from console.models import DecisionDetail, IncidentDetail, IncidentSummary, Overrides, Proposal, TimelineEntry
from console.view import Case, View
from schemas.control import Control
from schemas.decision import Decision
from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.outcome import Outcome


class Presenter:
    """Answers from a view. How long an approval is valid is the policy's to say."""

    def __init__(self, view: View, *, approval_validity_seconds: float) -> None:
        self._view = view
        self._validity_nanos = int(approval_validity_seconds * NANOS)

    def summaries(self, status: str | None = None) -> tuple[IncidentSummary, ...]:
        """Summarise the incidents of a status, the latest first."""
        cases = [case for case in self._view.cases() if status in {None, "open" if case.is_open else "resolved"}]
        found = (self.summary(case.id) for case in cases)
        return tuple(sorted((s for s in found if s), key=lambda s: (s.opened_unix_nano, s.id), reverse=True))

    def summary(self, incident_id: str) -> IncidentSummary | None:
        case = self._view.case(incident_id)
        if case is None or case.incident is None:
            return None
        incident, decision, outcome = case.incident, case.latest_decision(), case.latest_outcome()
        proposal = self._proposal(case, decision)
        waits = proposal is not None and proposal.answer is None
        taken_up = [said for said in self._view.said_of(case.id) if said.kind == "acknowledge"]
        # What happens after somebody took it up is news to them, too.
        looked_after = any(said.time_unix_nano >= _called_at(decision, outcome) for said in taken_up)
        return IncidentSummary(
            **_headline(incident),
            verdict=decision.verdict if decision else None,
            result=outcome.result if outcome else None,
            needs_person=case.is_open and (waits or (_escalated(decision, outcome) and not looked_after)),
            acknowledged_by=tuple(sorted({*incident.acknowledged_by, *(said.by for said in taken_up)})),
            proposal=proposal,
        )

    def detail(self, incident_id: str) -> IncidentDetail | None:
        case, summary = self._view.case(incident_id), self.summary(incident_id)
        if case is None or case.incident is None or summary is None:
            return None
        return IncidentDetail(summary=summary, incident=case.incident, timeline=self._timeline(case, case.incident))

    def decision(self, decision_id: str) -> DecisionDetail | None:
        decision = self._view.decision(decision_id)
        if decision is None:
            return None
        return DecisionDetail(
            decision=decision,
            intact=decision.recomputed_hash() == decision.hash,
            answers=tuple(self._view.said_of(decision_id)),
        )

    def overrides(self) -> Overrides:
        stops = self._view.stops_in_force()
        return Overrides(stopped=any(Scope.of(stop) == Scope() for stop in stops), stops=stops)

    def _timeline(self, case: Case, incident: Incident) -> tuple[TimelineEntry, ...]:
        entries = [
            *(
                TimelineEntry(time_unix_nano=d.time_unix_nano, kind="decision", record=d)
                for d in case.decisions.values()
            ),
            *(TimelineEntry(time_unix_nano=a.issued_unix_nano, kind="action", record=a) for a in case.actions.values()),
            *(
                TimelineEntry(time_unix_nano=o.timing.finished_unix_nano, kind="outcome", record=o)
                for o in case.outcomes.values()
            ),
            *(
                TimelineEntry(time_unix_nano=c.time_unix_nano, kind="control", record=c)
                for c in self._controls(case, incident)
            ),
        ]
        return tuple(sorted(entries, key=lambda entry: (entry.time_unix_nano, _ORDER[entry.kind], entry.record.id)))

    def _controls(self, case: Case, incident: Incident) -> list[Control]:
        said = [*self._view.said_of(case.id)]
        for decision_id in case.decisions:
            said += self._view.said_of(decision_id)
        return said + [control for control in self._view.overrides() if _concerns(control, incident)]

    def _proposal(self, case: Case, decision: Decision | None) -> Proposal | None:
        if decision is None or decision.verdict != "ask" or not case.is_open:
            return None
        return Proposal(
            decision_id=decision.id,
            valid_until_unix_nano=decision.time_unix_nano + self._validity_nanos,
            answer=self._answer(case, decision),
        )

    def _answer(self, case: Case, decision: Decision) -> Control | None:
        """Find what was said to this very proposal, whichever revision's decision it was said to.

        Every revision of an incident is decided on anew, so the same actions are asked for again and again: who has
        answered once is not asked again. An approval is used up once its actions have ended, whatever their result.
        """
        wanted = _intent(decision)
        same = (held.id for held in case.decisions.values() if _intent(held) == wanted)
        said = [control for decision_id in same for control in self._view.said_of(decision_id)]
        answers = [control for control in said if control.kind in {"approve", "reject"}]
        if not answers:
            return None
        answer = max(answers, key=lambda control: (control.time_unix_nano, control.id))
        ended = any(
            outcome.action_id in wanted and outcome.timing.finished_unix_nano >= answer.time_unix_nano
            for outcome in case.outcomes.values()
        )
        return None if answer.kind == "approve" and ended else answer


# Of what happens at the same instant: decided, said, done, ended.
_ORDER = {"decision": 0, "control": 1, "action": 2, "outcome": 3}


def _headline(incident: Incident) -> dict[str, object]:
    own = incident.model_dump(
        include={
            "id",
            "revision",
            "status",
            "environment",
            "service",
            "severity",
            "title",
            "onset_unix_nano",
            "opened_unix_nano",
            "updated_unix_nano",
            "resolved_unix_nano",
        }
    )
    return own | {"label": incident.classification.label, "confidence": incident.classification.confidence}


def _escalated(decision: Decision | None, outcome: Outcome | None) -> bool:
    return (decision is not None and decision.verdict == "escalate") or (outcome is not None and outcome.escalate)


def _called_at(decision: Decision | None, outcome: Outcome | None) -> int:
    """Tell when a person was called last."""
    decided = decision.time_unix_nano if decision is not None and decision.verdict == "escalate" else 0
    return max(decided, outcome.timing.finished_unix_nano if outcome is not None and outcome.escalate else 0)


def _intent(decision: Decision) -> frozenset[str]:
    return frozenset(action.id for action in decision.actions)


def _concerns(control: Control, incident: Incident) -> bool:
    """Whether it was said, while the incident was open, of a scope that it lies in, or some of what might be done."""
    scope = Scope.of(control)._replace(playbook=None)
    ended = incident.resolved_unix_nano or control.time_unix_nano
    during = incident.onset_unix_nano <= control.time_unix_nano <= ended
    return during and scope.covers(Scope(incident.environment, incident.service, None, incident.id))
