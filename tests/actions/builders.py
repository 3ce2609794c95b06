"""Small honest records for tests: one incident of a bad deployment, its signals, and the command it leads to."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any, Literal

from actions.catalog import load
from actions.policy import Grant, PolicySettings, decide
from schemas.action import ActionCommand
from schemas.decision import Decision
from schemas.envelope import NANOS, Entity
from schemas.incident import Classification, Incident
from schemas.signal import Origin, Progress, Signal, SignalKind, signal_id

# 2027-01-15, a moment like any other.
T0 = 1_800_000_000 * NANOS
SERVICE = Entity(environment="demo", service="checkout")
# One of those that `tests.actions.target` runs.
INSTANCE = SERVICE.model_copy(update={"instance": "i0"})
LATENCY = "latency-of-checkout"
ERRORS = "errors-of-checkout"

shipped = cache(load)

AUTONOMOUS = PolicySettings(grants=(Grant(environment="demo", playbook="rollback-*", tier="autonomous"),))


def seconds(count: float) -> int:
    return int(count * NANOS)


def signal(
    subject: str = LATENCY,
    state: Literal["firing", "cleared", "adapted", "noted"] = "firing",
    at: int = T0,
    *,
    kind: SignalKind = "metric",
    entity: Entity = SERVICE,
    onset: int | None = None,
    partition: int = 0,
) -> Signal:
    begun = at if onset is None else onset
    return Signal(
        id=signal_id(subject, state, begun),
        kind=kind,
        state=state,
        entity=entity,
        subject=subject,
        name="deployment.finished" if kind == "change" else subject,
        time_unix_nano=at,
        onset_unix_nano=begun,
        detector="test",
        model_version="1",
        reasons=("because",),
        origin=Origin(topic="raw.metrics", partition=partition, offset=1),
    )


def progress(at: int, *, partition: int = 0, idle: bool = False) -> Progress:
    return Progress(source=f"raw.metrics/{partition}", time_unix_nano=at, idle=idle)


REGRESSION = Classification(
    label="deployment_regression",
    confidence=0.95,
    credibility=0.5,
    prediction_set=("deployment_regression",),
)


def incident(**changes: Any) -> Incident:
    plain: dict[str, Any] = {
        "id": "incident-1",
        "revision": 1,
        "status": "open",
        "environment": SERVICE.environment,
        "service": SERVICE.service,
        "onset_unix_nano": T0,
        "opened_unix_nano": T0,
        "updated_unix_nano": T0,
        "severity": "high",
        "title": "checkout is slow after a deployment",
        "classification": REGRESSION,
        "signals": (
            signal("deployment-1", "noted", kind="change"),
            signal(LATENCY, entity=INSTANCE),
            signal(ERRORS, entity=INSTANCE),
        ),
        "signal_count": 3,
        "active_subjects": (LATENCY, ERRORS),
    }
    return Incident(**(plain | changes))


def decision(about: Incident | None = None, settings: PolicySettings = AUTONOMOUS, **given: Any) -> Decision:
    about = about or incident()
    plain: dict[str, Any] = {"now_unix_nano": about.updated_unix_nano, "previous_hash": ""}
    return decide(about, shipped(), settings, **(plain | given))


def command(about: Incident | None = None, changes: Mapping[str, Any] | None = None) -> ActionCommand:
    return decision(about).actions[0].model_copy(update=changes)
