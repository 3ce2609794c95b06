"""Records as the topics carry them: an incident of a bad deployment, what was decided about it, and what came of it."""

from __future__ import annotations

from typing import Any

from schemas.action import ActionCommand, Operation, Verification, action_id
from schemas.control import Control, ControlKind
from schemas.decision import Check, Decision, Verdict
from schemas.envelope import NANOS, Entity, content_id
from schemas.incident import Classification, Incident, RootCause, RuleHit
from schemas.outcome import Outcome, Result, Timing, outcome_id
from schemas.signal import Signal, signal_id

T0 = 1_800_000_000 * NANOS
SERVICE = Entity(environment="shop", service="checkout")
ENVIRONMENT = "shop"


def seconds(count: float) -> int:
    return int(count * NANOS)


def signal(at: int = T0, name: str = "http.server.request.duration", **changed: Any) -> Signal:
    subject = content_id("series", name)
    told: dict[str, Any] = {
        "id": signal_id(subject, "firing", at),
        "kind": "metric",
        "state": "firing",
        "entity": SERVICE,
        "subject": subject,
        "name": name,
        "time_unix_nano": at + seconds(1.2),
        "onset_unix_nano": at,
        "p_value": 3e-7,
        "observed": 1.42,
        "expected": 0.18,
        "unit": "s",
        "detector": "evidence",
        "model_version": "1",
        "reasons": ("8 times its normal for 2 s",),
    }
    return Signal(**told | changed)


def incident(number: int = 1, revision: int = 1, **changed: Any) -> Incident:
    onset = T0 + seconds(number * 60)
    told: dict[str, Any] = {
        "id": content_id("incident", number),
        "revision": revision,
        "status": "open",
        "environment": SERVICE.environment,
        "service": SERVICE.service,
        "onset_unix_nano": onset,
        "opened_unix_nano": onset + seconds(1.2),
        "updated_unix_nano": onset + seconds(revision * 5),
        "severity": "high",
        "title": "checkout: request duration and error rate left their normal range",
        "classification": Classification(
            label="deployment_regression",
            confidence=0.93,
            credibility=0.6,
            basis="rules, calibrated",
            prediction_set=("deployment_regression",),
            rules=(
                RuleHit(rule="change-before-onset", label="deployment_regression", because=("2.4.0 went out before",)),
            ),
        ),
        "root_causes": (
            RootCause(
                entity=SERVICE, what="deployment.finished", signal_id="s", score=0.8, because="12 s before onset"
            ),
        ),
        "signals": (signal(onset),),
        "signal_count": 1,
        "active_subjects": (content_id("series", "http.server.request.duration"),),
    }
    told |= changed
    if told["status"] == "resolved":
        told.setdefault("resolved_unix_nano", told["updated_unix_nano"])
    return Incident(**told)


def command(of: Incident, decision_id: str, at: int) -> ActionCommand:
    put = Operation(connector="http.deployments", operation="set", params={"body": {"version": "2.3.9"}})
    return ActionCommand(
        id=action_id(of.id, "rollback-deployment", 1, "rollback", SERVICE),
        incident_id=of.id,
        decision_id=decision_id,
        playbook="rollback-deployment",
        playbook_version=1,
        step="rollback",
        target=SERVICE,
        apply=put,
        revert=put,
        verification=Verification(subjects=of.active_subjects, stabilisation_seconds=5, within_seconds=60),
        tier="approve",
        issued_unix_nano=at,
        expires_unix_nano=at + seconds(120),
    )


def decision(of: Incident, verdict: Verdict = "ask", **changed: Any) -> Decision:
    identity = content_id("decision", of.id, of.revision)
    at = of.updated_unix_nano
    told: dict[str, Any] = {
        "id": identity,
        "incident_id": of.id,
        "incident_revision": of.revision,
        "environment": of.environment,
        "service": of.service,
        "time_unix_nano": at,
        "verdict": verdict,
        "reason": "tier approve: a person decides",
        "tier": "approve",
        "playbook": "rollback-deployment",
        "playbook_version": 1,
        "classification": of.classification,
        "checks": (
            Check(name="confidence", passed=True, detail="0.93, at least 0.8 wanted"),
            Check(name="tier", passed=False, detail="approve, autonomous wanted"),
        ),
        "actions": (command(of, identity, at),),
        "policy_version": "p1",
        "previous_hash": "",
        "hash": "",
    }
    made = Decision(**told | changed)
    return made.model_copy(update={"hash": made.recomputed_hash()})


def outcome(of: ActionCommand, result: Result = Result.VERIFIED, **changed: Any) -> Outcome:
    begun = of.issued_unix_nano
    told: dict[str, Any] = {
        "id": outcome_id(of.id),
        "action_id": of.id,
        "incident_id": of.incident_id,
        "decision_id": of.decision_id,
        "playbook": of.playbook,
        "playbook_version": of.playbook_version,
        "step": of.step,
        "target": of.target,
        "tier": of.tier,
        "result": result,
        "verification": "better" if result is Result.VERIFIED else "inconclusive",
        "reason": "both subjects cleared 7.2 s after apply",
        "before": {"version": "2.4.0", "generation": 7},
        "after": {"version": "2.3.9", "generation": 8},
        "timing": Timing(
            received_unix_nano=begun + seconds(0.02),
            applied_unix_nano=begun + seconds(0.3),
            judged_unix_nano=begun + seconds(7.5),
            finished_unix_nano=begun + seconds(7.6),
        ),
        "executor": "executor-1",
    }
    return Outcome(**told | changed)


def control(kind: ControlKind, at: int = T0, **changed: Any) -> Control:
    fields = {"kind": kind, "by": "alice", "time_unix_nano": at} | changed
    return Control(id=content_id("control", fields), **fields)
