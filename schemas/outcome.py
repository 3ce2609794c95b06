"""Outcomes: what became of an action command. The learning topic.

Written by executors, durable before the command's offset is committed; read by the learning stage. Exactly one
final outcome exists per action that was tried; a repeat carries the same id.
"""

from __future__ import annotations

from enum import StrEnum
from typing import Any, Literal

from pydantic import Field

from schemas.action import Tier
from schemas.envelope import Entity, Model, Name, Record, TimeUnixNano, content_id

# Who asks to take an action back when nobody does: the end of its effect's term.
EXPIRY = "expiry"


class Result(StrEnum):
    """How an action ended."""

    VERIFIED = "verified"  # applied, and telemetry says it is better
    REVERTED = "reverted"  # applied, not better, taken back
    UNDONE_FAILED = "revert_failed"  # applied, not better, could not be taken back: a person is needed now
    FAILED = "failed"  # could not be applied; the target is as it was
    UNKNOWN = "unknown"  # it cannot be told whether it was applied: a person is needed now
    EXPIRED = "expired"  # older than its validity, not tried
    REFUSED = "refused"  # a guard said no at the last moment, not tried
    NOT_SERVED = "not_served"  # the playbook's system does not know the target, not tried: another playbook may


# Of these nothing was ever begun.
NOT_TRIED = frozenset({Result.EXPIRED, Result.REFUSED, Result.NOT_SERVED})


class Timing(Model):
    """Wall-clock instants of the execution; None where that point was not reached."""

    received_unix_nano: TimeUnixNano
    applied_unix_nano: TimeUnixNano | None = None
    judged_unix_nano: TimeUnixNano | None = None
    finished_unix_nano: TimeUnixNano


class Outcome(Record):
    """The end of one action."""

    id: str
    action_id: str
    incident_id: str
    decision_id: str
    playbook: Name
    playbook_version: int
    step: Name
    target: Entity
    tier: Tier = Field(description="tier it was carried out at")
    approved_by: str | None = Field(default=None, description="the person who approved it, or asked for it")
    undoes: str | None = Field(default=None, description="id of the action that this one took back")
    result: Result
    verification: Literal["better", "worse", "inconclusive", "not_run"]
    reason: str
    escalate: bool = Field(default=False, description="a person is needed")
    before: dict[str, Any] = Field(default_factory=dict, description="state of the target before apply")
    after: dict[str, Any] = Field(default_factory=dict, description="state of the target at the end")
    evidence: tuple[str, ...] = Field(default=(), description="ids of the signals that verification rested on")
    timing: Timing
    executor: str


def outcome_id(action: str, decision: str | None = None) -> str:
    """One final outcome per action that was tried; one per command (name its decision) for those that were not.

    A command that was not tried changed nothing, so a later decision may want the same action again; its
    outcome is then a new one.
    """
    return content_id("outcome", action) if decision is None else content_id("outcome", action, decision)
