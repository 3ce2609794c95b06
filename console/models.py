"""What the API answers with and accepts.

Built by `console.present` (answers) and read by `console.api.controls` (requests). Answers nest the records of
`schemas` as they are; only what the console itself works out is named here.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from schemas.action import ActionCommand, Tier
from schemas.control import Control, ControlKind
from schemas.decision import Decision, Verdict
from schemas.envelope import Model, Name, TimeUnixNano
from schemas.incident import Incident
from schemas.outcome import Outcome, Result
from schemas.raw import Severity


class Proposal(Model):
    """What the latest decision of an open incident asks a person to approve."""

    decision_id: str
    valid_until_unix_nano: TimeUnixNano
    answer: Control | None = Field(default=None, description="what a person said to it last; null: it still waits")


class IncidentSummary(Model):
    """One line of the list of incidents."""

    id: str
    revision: int
    status: Literal["open", "resolved", "merged"]
    environment: str
    service: str
    severity: Severity
    title: str
    label: str
    confidence: float
    onset_unix_nano: int
    opened_unix_nano: int
    updated_unix_nano: int
    resolved_unix_nano: int | None
    verdict: Verdict | None = Field(description="of the latest decision")
    result: Result | None = Field(description="of the latest outcome")
    needs_person: bool = Field(
        description="the latest decision or outcome escalates and nobody has acknowledged it since, or a proposal waits"
    )
    acknowledged_by: tuple[str, ...] = Field(description="who looks after it, by what was said here or elsewhere")
    proposal: Proposal | None


class TimelineEntry(Model):
    """One thing that happened in the course of an incident."""

    time_unix_nano: int
    kind: Literal["decision", "action", "outcome", "control"]
    record: Decision | ActionCommand | Outcome | Control


class IncidentDetail(Model):
    """One incident with all that was decided, done and said about it, in order of time."""

    summary: IncidentSummary
    incident: Incident
    timeline: tuple[TimelineEntry, ...]


class IncidentList(Model):
    """Incidents, the latest first."""

    incidents: tuple[IncidentSummary, ...]


class DecisionDetail(Model):
    """One decision trace, whether it is as it was written, and what people said to it."""

    decision: Decision
    intact: bool = Field(description="the trace's hash is that of its content")
    answers: tuple[Control, ...]


class Overrides(Model):
    """The stops in force."""

    stopped: bool = Field(description="everything is stopped")
    stops: tuple[Control, ...]


class FeedStatus(Model):
    """Whether what the console shows is what the topics hold."""

    connected: bool = False
    caught_up: bool = Field(default=False, description="all that was on the topics at the start has been read")
    detail: str = "not connected yet"
    lag: dict[str, int] = Field(default_factory=dict, description="records not yet read, by topic")
    invalid_records: dict[str, int] = Field(default_factory=dict, description="records that could not be read")


class Accepted(Model):
    """How many alerts of a webhook are on the topic now."""

    accepted: int


class Problem(Model):
    """Why a request was not carried out (RFC 9457)."""

    title: str
    status: int
    detail: str


def _plain(text: str) -> str:
    # Names are printed on terminals, and end up in the audit trail: no escape sequences, no invisible look-alikes.
    stripped = text.strip()
    if not stripped or not stripped.isprintable():
        raise ValueError("must be printable and not blank")
    return stripped


Plain = Annotated[Name, AfterValidator(_plain)]
Id = Annotated[str, Field(pattern="^[0-9a-f]{32}$")]

_SCOPE = frozenset({"environment", "service", "playbook", "incident_id"})
# What may come with each kind, and what must. Approvals take their scope from the decision they name.
_ABOUT: dict[ControlKind, tuple[frozenset[str], frozenset[str]]] = {
    "approve": (frozenset({"decision_id"}), frozenset({"decision_id"})),
    "reject": (frozenset({"decision_id"}), frozenset({"decision_id"})),
    "acknowledge": (frozenset({"incident_id"}), frozenset({"incident_id"})),
    "feedback": (frozenset({"incident_id", "verdict", "label", "playbook"}), frozenset({"incident_id"})),
    "stop": (_SCOPE, frozenset()),
    "resume": (_SCOPE, frozenset()),
    "pin": (_SCOPE | {"tier"}, frozenset({"tier"})),
    "unpin": (_SCOPE, frozenset()),
    "ratify": (_SCOPE - {"incident_id"} | {"tier"}, frozenset({"environment", "service", "playbook", "tier"})),
    "lift": (_SCOPE - {"incident_id"}, frozenset()),
    "revert": (_SCOPE | {"action_id"}, frozenset()),
    "renew": (frozenset({"action_id"}), frozenset({"action_id"})),
}


class ControlRequest(BaseModel):
    """What a person says. A member that does not belong to the kind is refused rather than ignored."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    kind: ControlKind
    by: Plain
    environment: Plain | None = None
    service: Plain | None = None
    playbook: Plain | None = None
    incident_id: Id | None = None
    decision_id: Id | None = None
    action_id: Id | None = None
    tier: Tier | None = None
    verdict: Literal["true_positive", "false_positive"] | None = None
    label: Plain | None = None
    note: str = Field(default="", max_length=4096)

    @model_validator(mode="after")
    def _fits_its_kind(self) -> Self:
        if self.kind not in _ABOUT:
            raise ValueError(f"{self.kind} is nothing that people say")
        allowed, required = _ABOUT[self.kind]
        given = {name for name in self.model_fields_set - {"kind", "by", "note"} if getattr(self, name) is not None}
        if not required <= given:
            raise ValueError(f"{self.kind} needs {', '.join(sorted(required - given))}")
        if not given <= allowed:
            raise ValueError(f"{self.kind} takes no {', '.join(sorted(given - allowed))}")
        if self.kind == "feedback" and not (self.verdict or self.label or self.note.strip()):
            raise ValueError("feedback needs a verdict, a label or a note")
        return self
