"""Controls: what people say. Approvals, overrides, stops and feedback.

Written by the console and the command line, read by every stage that acts. Kept long: it is part of the audit.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from schemas.action import Tier
from schemas.envelope import Model, Name, Record, TimeUnixNano

ControlKind = Literal[
    "approve",
    "reject",
    "acknowledge",
    "stop",
    "resume",
    "feedback",
    "pin",
    "unpin",
    "lift",
    "ratify",
    "revert",
    "renew",
    "example",
]


# Key of what is wider than one environment: every reader must hear it, so it is published to every partition.
EVERY_SCOPE = "*"


class Example(Model):
    """A labelled incident of the past, as far as it is remembered."""

    incident_id: Annotated[str, StringConstraints(min_length=1, max_length=1024)]
    label: Name
    features: Annotated[dict[Name, float], Field(max_length=512)]
    profile: Annotated[dict[Name, float], Field(max_length=64)] = Field(
        default_factory=dict, description="its profile, of length 1; empty: none was taken"
    )
    by: str = Field(default="", description="who said so")


class Control(Record):
    """One thing a person said.

    Scope fields narrow each other; all None is global. `approve` and `reject` name a decision; `feedback` names an
    incident, as does `acknowledge`: somebody looks after it, so nobody else is called about it as it looks now. `pin`
    holds a tier in its scope until `unpin`; `lift` forgives the demotions in its scope; `ratify` confirms that a
    playbook may rise to a tier there, as far as its record goes; `revert` takes back the actions in its scope, or the
    one named; `renew` lets the effect of the one named last for another term.

    `example` is what the decide stage makes of feedback: the incident itself, told to all partitions, so that all learn
    what one was taught. No person says it.
    """

    id: str
    kind: ControlKind
    by: Name = Field(description="the person")
    time_unix_nano: TimeUnixNano
    environment: Name | None = None
    service: Name | None = None
    playbook: Name | None = None
    incident_id: str | None = None
    decision_id: str | None = None
    action_id: str | None = None
    tier: Tier | None = Field(default=None, description="the tier that `pin` holds, or `ratify` confirms")
    verdict: Literal["true_positive", "false_positive"] | None = None
    label: Name | None = Field(default=None, description="the right class, where feedback corrects it")
    note: str = Field(default="", max_length=4096)
    example: Example | None = Field(
        default=None, description="of `example`: what to remember, or with the verdict `false_positive` to forget"
    )

    @property
    def key(self) -> str:
        """Kafka key: the environment, so that an answer lies where its decision does; `*` for what is wider."""
        return EVERY_SCOPE if self.environment is None else self.environment
