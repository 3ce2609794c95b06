"""The policy: what may be done about an incident, by whom, and every reason for and against.

Called by the decide stage for each revision of an incident. Pure: the same incident, playbooks, settings, record and
rails give the same decision, byte for byte, so a replay or a backtest reproduces it. What is decided goes to the
decisions topic; of `act` decisions the action stage publishes the commands, of `ask` ones once a person approves.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Unpack

from actions.autonomy import Reliability
from actions.catalog import Catalog
from actions.checks import (
    certainty,
    for_a_person,
    next_step,
    reversible,
    served,
    standing,
    tier_in_force,
    uncontested,
    weigh,
)
from actions.playbook import Issue, Playbook, Step
from actions.rails import RailsSnapshot, evaluate
from actions.settings import Grant, PolicySettings
from schemas.action import ActionCommand, Tier
from schemas.control import Control
from schemas.decision import Check, Decision
from schemas.envelope import NANOS, Entity, content_id
from schemas.errors import PermanentError, RefusedError
from schemas.incident import Classification, Incident

__all__ = ["Grant", "PolicySettings", "approve", "decide", "explained"]


def decide(
    incident: Incident,
    catalog: Catalog,
    settings: PolicySettings,
    *,
    now_unix_nano: int,
    previous_hash: str,
    records: Mapping[str, Reliability] | None = None,
    rails: RailsSnapshot | None = None,
    replay: bool = False,
    models: tuple[str, ...] = (),
) -> Decision:
    """Decide about one revision of an incident.

    Args:
        incident: the revision.
        catalog: the playbooks there are.
        settings: what is granted and what limits hold.
        now_unix_nano: event time, normally the revision's `updated_unix_nano`; commands expire from here.
        previous_hash: hash of the decision before this one in the scope; empty for the first.
        records: reliability of playbooks on this service and environment, by playbook name.
        rails: what has happened so far at this scope and overall.
        replay: mark the commands, so that no executor carries them out.
        models: the learnt models that set some of the settings.

    """
    snapshot = rails or RailsSnapshot()
    decision_id = content_id("decision", incident.id, incident.revision, now_unix_nano)
    playbook = catalog.serving(incident, snapshot.not_served)
    checks = [*standing(incident), uncontested(incident), *certainty(incident, settings), served(incident, playbook)]
    tier: Tier = "observe"
    command: ActionCommand | None = None
    target = Entity(environment=incident.environment, service=incident.service)
    if playbook is not None:
        record = (records or {}).get(playbook.name)
        tier, tier_check = tier_in_force(playbook, incident, settings, record, snapshot.pin)
        last_word = f". {playbook.escalate.told(incident)}" if playbook.escalate else ""
        step, step_checks = next_step(playbook, snapshot.attempts, now_unix_nano, last_word)
        checks += [*for_a_person(incident, playbook), tier_check, *(step_checks if playbook.steps else [])]
        if step is not None:
            command, known = _command(
                playbook,
                step,
                incident,
                decision_id=decision_id,
                tier=tier,
                issued_unix_nano=now_unix_nano,
                validity_seconds=settings.command_validity_seconds,
                replay=replay,
            )
            checks += [known, reversible(step)]
    limits = evaluate(command.target if command else target, snapshot, settings.rails, now_unix_nano)
    checks += [limit.check for limit in limits]
    verdict, reason = weigh(checks, limits, tier)
    return _seal(
        Decision(
            id=decision_id,
            incident_id=incident.id,
            incident_revision=incident.revision,
            environment=incident.environment,
            service=incident.service,
            time_unix_nano=now_unix_nano,
            verdict=verdict,
            reason=reason,
            tier=tier,
            playbook=playbook.name if playbook else None,
            playbook_version=playbook.version if playbook else None,
            classification=incident.classification,
            checks=tuple(checks),
            actions=() if command is None else (command,),
            policy_version=content_id(settings.version, catalog.version),
            models=models,
            previous_hash=previous_hash,
            hash="",
        )
    )


def explained(decision: Decision, classification: Classification) -> Decision:
    """Say more of the class in a decision; `classification` differs in nothing that it rests on."""
    return _seal(decision.model_copy(update={"classification": classification}))


def approve(decision: Decision, control: Control, settings: PolicySettings) -> tuple[ActionCommand, ...]:
    """Turn a person's approval of an `ask` decision into commands, valid from the approval on.

    Raises:
        RefusedError: the approval does not fit the decision, or came too late.

    """
    if control.kind != "approve" or control.decision_id != decision.id:
        raise RefusedError(f"control {control.id} does not approve decision {decision.id}")
    if decision.verdict != "ask":
        raise RefusedError(f"decision {decision.id} does not ask for approval: {decision.verdict}")
    age = (control.time_unix_nano - decision.time_unix_nano) / NANOS
    if age > settings.approval_validity_seconds:
        raise RefusedError(f"approved {age:.0f} s after it was asked; {settings.approval_validity_seconds:g} s allowed")
    approved = {
        "issued_unix_nano": control.time_unix_nano,
        # What has recovered since it was asked for must not be mended: evidence counts from the question.
        "decided_unix_nano": decision.time_unix_nano,
        "expires_unix_nano": control.time_unix_nano + int(settings.command_validity_seconds * NANOS),
        "approved_by": control.by,
        "tier": "approve",
    }
    return tuple(command.model_copy(update=approved) for command in decision.actions)


def _command(
    playbook: Playbook, step: Step, incident: Incident, **issue: Unpack[Issue]
) -> tuple[ActionCommand | None, Check]:
    try:
        command = playbook.command(step, incident, **issue)
    except PermanentError as error:
        return None, Check(name="target_known", passed=False, detail=str(error))
    return command, Check(name="target_known", passed=True, detail=str(command.target))


def _seal(decision: Decision) -> Decision:
    return decision.model_copy(update={"hash": decision.recomputed_hash()})
