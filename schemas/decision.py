"""Decision traces: what was decided about an incident, and every reason for and against.

Written by the decide stage, hash-chained per scope so that a removed or altered trace shows. Read by the console,
by the action stage, and by anyone who asks why.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from schemas.action import ActionCommand, Tier
from schemas.envelope import Model, Models, Name, Record, TimeUnixNano, content_id
from schemas.incident import Classification

Verdict = Literal["act", "ask", "recommend", "observe", "escalate"]


class Check(Model):
    """One policy check: passed or not, in numbers."""

    name: Name
    passed: bool
    detail: str


class Decision(Record):
    """What was decided about one revision of an incident.

    `act`: the commands are issued now. `ask`: they are issued once a person approves. `recommend`: a person is told
    what would be done. `observe`: recorded in shadow only. `escalate`: a person is needed, nothing is proposed.
    """

    id: str
    incident_id: str
    incident_revision: int
    environment: Name
    service: Name
    time_unix_nano: TimeUnixNano
    verdict: Verdict
    reason: str
    tier: Tier
    playbook: str | None = None
    playbook_version: int | None = None
    classification: Classification
    checks: tuple[Check, ...]
    actions: tuple[ActionCommand, ...] = Field(default=(), description="what is, or would be, done")
    policy_version: str
    models: Models = ()
    previous_hash: str = Field(description="hash of the trace before it in this scope; empty for the first")
    hash: str

    def recomputed_hash(self) -> str:
        """Compute the hash over everything but itself: equal to `hash` unless something was altered."""
        # Traces from before models were named must still fit theirs.
        left_out = {"hash"} if self.models else {"hash", "models"}
        return content_id("decision", self.model_dump(mode="json", exclude=left_out))
