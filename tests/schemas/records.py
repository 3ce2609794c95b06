"""One good record of every topic, with every optional field filled where that shows something."""

from __future__ import annotations

from schemas.action import ActionCommand, Operation, Verification, action_id
from schemas.control import Control
from schemas.dead_letter import dead_letter
from schemas.decision import Check, Decision
from schemas.envelope import Entity, Record
from schemas.errors import Rejection
from schemas.incident import Classification, Incident, Neighbour, RootCause, RuleHit, incident_id
from schemas.model import DataRange, ModelVersion
from schemas.outcome import Outcome, Result, Timing, outcome_id
from schemas.raw import Alert, LogRecord, MetricBlock, MetricSample, Series, Span
from schemas.signal import Origin, Progress, Signal, signal_id

NOW = 1_700_000_000_000_000_000
ENTITY = Entity(environment="prod", service="checkout", instance="checkout-1")
RESOURCE = {"service.name": "checkout", "service.instance.id": "checkout-1", "deployment.environment.name": "prod"}

SIGNAL = Signal(
    id=signal_id("s1", "firing", NOW),
    kind="metric",
    state="firing",
    entity=ENTITY,
    subject="s1",
    name="http.server.request.duration",
    attributes={"http.route": "/pay", "http.response.status_code": 500, "sampled": True, "ratio": 0.5},
    time_unix_nano=NOW + 5,
    onset_unix_nano=NOW,
    p_value=1e-9,
    observed=2.5,
    expected=0.1,
    unit="s",
    detector="level",
    model_version="1",
    reasons=("2.5 s where 0.1 s is normal",),
    origin=Origin(topic="raw.metrics", partition=3, offset=42),
)
CLASSIFICATION = Classification(
    label="deployment_regression",
    confidence=0.9,
    credibility=0.8,
    basis="rules",
    prediction_set=("deployment_regression",),
    rules=(RuleHit(rule="change-before", label="deployment_regression", because=("deployed 3 s before",)),),
    neighbours=(Neighbour(incident_id="i0", label="deployment_regression", distance=0.1),),
)
INCIDENT = Incident(
    id=incident_id(ENTITY.scope, NOW),
    revision=1,
    status="open",
    environment="prod",
    service="checkout",
    onset_unix_nano=NOW,
    opened_unix_nano=NOW + 5,
    updated_unix_nano=NOW + 5,
    severity="high",
    title="checkout is slow",
    classification=CLASSIFICATION,
    root_causes=(RootCause(entity=ENTITY, what="deployment", signal_id="x", score=0.9, because="just before"),),
    signals=(SIGNAL,),
    signal_count=1,
    active_subjects=("s1",),
)
COMMAND = ActionCommand(
    id=action_id(INCIDENT.id, "rollback", 1, "roll-back", ENTITY),
    incident_id=INCIDENT.id,
    decision_id="d1",
    playbook="rollback",
    playbook_version=1,
    step="roll-back",
    target=ENTITY,
    apply=Operation(connector="http", operation="rollback", params={"to": "v1"}),
    revert=None,
    verification=Verification(subjects=("s1",), stabilisation_seconds=1, within_seconds=30),
    tier="autonomous",
    issued_unix_nano=NOW,
    expires_unix_nano=NOW + 60,
)
DECISION = Decision(
    id="d1",
    incident_id=INCIDENT.id,
    incident_revision=1,
    environment="prod",
    service="checkout",
    time_unix_nano=NOW,
    verdict="act",
    reason="the playbook is trusted here",
    tier="autonomous",
    playbook="rollback",
    playbook_version=1,
    classification=CLASSIFICATION,
    checks=(Check(name="rate", passed=True, detail="0 of 3 an hour"),),
    actions=(COMMAND,),
    policy_version="1",
    previous_hash="",
    hash="0" * 32,
)
OUTCOME = Outcome(
    id=outcome_id(COMMAND.id),
    action_id=COMMAND.id,
    incident_id=INCIDENT.id,
    decision_id="d1",
    playbook="rollback",
    playbook_version=1,
    step="roll-back",
    target=ENTITY,
    tier="autonomous",
    result=Result.VERIFIED,
    verification="better",
    reason="all subjects cleared",
    before={"version": "v2"},
    after={"version": "v1"},
    timing=Timing(received_unix_nano=NOW, finished_unix_nano=NOW + 1),
    executor="e1",
)
DEAD_LETTER = dead_letter(
    Rejection.INVALID_JSON,
    "cut short",
    topic="reflexarc.raw.metrics",
    partition=3,
    offset=42,
    time_unix_nano=NOW,
    key=b"k",
    value=b"\xff\x00",
    stage="detect",
)

RECORDS: dict[str, list[Record]] = {
    "raw.metrics": [
        MetricSample(name="cpu", time_unix_nano=NOW, value=1, resource=RESOURCE),
        MetricBlock(
            resource=RESOURCE,
            series=(Series(name="cpu", kind="counter", unit="s", attributes={"core": 1}),),
            time_unix_nano=(NOW, NOW + 1),
            value=((1.5, None),),
        ),
    ],
    "raw.logs": [LogRecord(time_unix_nano=NOW, body="boom", severity_number=17, resource=RESOURCE)],
    "raw.spans": [
        Span(
            trace_id="0af7651916cd43dd8448eb211c80319c",
            span_id="b7ad6b7169203331",
            name="GET /orders/{id}",
            kind="server",
            time_unix_nano=NOW,
            duration_nano=12_000_000,
            resource=RESOURCE,
        )
    ],
    "raw.alerts": [
        Alert(
            source="alertmanager",
            fingerprint="f1",
            status="firing",
            name="HighLatency",
            time_unix_nano=NOW,
            resource=RESOURCE,
            labels={"alertname": "HighLatency"},
        )
    ],
    "signals": [SIGNAL, Progress(source="raw.metrics/3", time_unix_nano=NOW)],
    "incidents": [INCIDENT],
    "decisions": [DECISION],
    "actions": [COMMAND],
    "learning": [OUTCOME],
    "controls": [
        Control(id="c1", kind="feedback", by="ann", time_unix_nano=NOW, incident_id="i1", verdict="true_positive")
    ],
    "deadletters": [DEAD_LETTER],
    "models": [
        ModelVersion(
            id="m1",
            kind="policy-thresholds",
            status="live",
            reason="better: harmful_proposals 0.1 -> 0; none worse",
            parameters={"policy.min_confidence": 0.85},
            figures={"harmful_proposals": 0.0},
            live_figures={"harmful_proposals": 0.1},
            data=DataRange(first_unix_nano=NOW, last_unix_nano=NOW + 5, records=40, hash="h"),
            code_version="0.1.0",
            built_unix_nano=NOW + 9,
            changed_unix_nano=NOW + 9,
        )
    ],
}
