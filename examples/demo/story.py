"""What the topics tell of one run: when each thing happened, by the records alone. Pure; fed with everything seen."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple

from schemas.action import ActionCommand
from schemas.decision import Decision
from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.outcome import Outcome, Result
from schemas.raw import MetricBlock
from schemas.signal import Progress, Signal
from schemas.topics import RAW_METRICS
from streams.tail import Seen

SCOPE = "demo/checkout"
PROXY = "checkout-proxy"


class Milestone(NamedTuple):
    """One line of the summary."""

    name: str
    time_unix_nano: int
    what: str


@dataclass
class Story:
    """The run so far. Times are event time for the fault, publication for what the arc said, and the executor's own
    for what it did.
    """

    fault: Milestone | None = None
    signal: Milestone | None = None
    detected: Milestone | None = None
    acted: Milestone | None = None
    recovered: Milestone | None = None
    incident_id: str = ""
    outcome: Outcome | None = None
    commands: dict[str, ActionCommand] = field(default_factory=dict)
    """By id: a stage that was killed says some things twice, and they are the same things."""
    incidents: dict[str, str] = field(default_factory=dict)
    """Scope by id."""
    telemetry: dict[str, float] = field(default_factory=dict)
    """Newest metrics of the service's proxy, by name."""
    _decided: dict[str, Milestone] = field(default_factory=dict)  # topics keep no common order: by incident
    _began: dict[str, int] = field(default_factory=dict)
    _reached: dict[str, int] = field(default_factory=dict)

    @property
    def warm_seconds(self) -> float:
        """Event time of which the detectors have seen every source of metrics."""
        spans = [self._reached[source] - began for source, began in self._began.items()]
        return min(spans, default=0) / NANOS

    @property
    def decided(self) -> Milestone | None:
        return self._decided.get(self.incident_id)

    @property
    def milestones(self) -> list[Milestone]:
        reached = (self.fault, self.signal, self.detected, self.decided, self.acted, self.recovered)
        return [milestone for milestone in reached if milestone is not None]

    @property
    def verified(self) -> bool:
        return self.outcome is not None and self.outcome.result is Result.VERIFIED

    def add(self, seen: Seen) -> bool:
        """Take one record in; returns whether it is worth showing."""
        match seen.record:
            case Progress():
                self._note_progress(seen.record)
                return False
            case MetricBlock():
                self._note_metrics(seen.record)
                return False
            case Signal():
                self._note_signal(seen)
            case Incident():
                self._note_incident(seen)
            case Decision():
                self._note_decision(seen)
            case ActionCommand():
                self.commands.setdefault(seen.record.id, seen.record)
            case Outcome():
                self._note_outcome(seen.record)
        return True

    def seconds_since_fault(self, time_unix_nano: int) -> float | None:
        return None if self.fault is None else (time_unix_nano - self.fault.time_unix_nano) / NANOS

    def _note_progress(self, record: Progress) -> None:
        if record.source.startswith(RAW_METRICS.name):
            self._began.setdefault(record.source, record.time_unix_nano)
            self._reached[record.source] = record.time_unix_nano

    def _note_metrics(self, block: MetricBlock) -> None:
        if block.resource.get("service.instance.id") == PROXY:
            for series, row in zip(block.series, block.value, strict=True):
                if row[-1] is not None:
                    self.telemetry[series.name] = row[-1]

    def _note_signal(self, seen: Seen) -> None:
        signal: Signal = seen.record
        if signal.entity.scope != SCOPE:
            return
        rollout = signal.attributes.get("deployment.kind") == "rollout"
        if self.fault is None and signal.name == "deployment.started" and rollout:
            version = signal.attributes.get("service.version")
            self.fault = Milestone("fault", signal.onset_unix_nano, f"deployment of {version} began")
        elif self.fault is not None and self.signal is None and signal.state == "firing":
            self.signal = Milestone("first signal", seen.published_unix_nano, signal.name)

    def _note_incident(self, seen: Seen) -> None:
        incident: Incident = seen.record
        self.incidents[incident.id] = incident.scope
        if self.fault is not None and self.detected is None and incident.scope == SCOPE:
            self.incident_id = incident.id
            self.detected = Milestone("detect", seen.published_unix_nano, incident.title)

    def _note_decision(self, seen: Seen) -> None:
        decision: Decision = seen.record
        if decision.verdict == "act":
            told = Milestone("decide", seen.published_unix_nano, f"{decision.playbook}: {decision.reason}")
            self._decided.setdefault(decision.incident_id, told)

    def _note_outcome(self, outcome: Outcome) -> None:
        if outcome.incident_id != self.incident_id or self.outcome is not None:
            return
        self.outcome = outcome
        if outcome.timing.applied_unix_nano is not None:
            what = f"{outcome.step}: {outcome.before.get('version')} back to {outcome.after.get('version')}"
            self.acted = Milestone("act", outcome.timing.applied_unix_nano, what)
        if self.verified and outcome.timing.judged_unix_nano is not None:
            self.recovered = Milestone("recover", outcome.timing.judged_unix_nano, outcome.reason)
