"""Action commands: one step of a playbook, to be done once on one target.

Written by the decide stage, read by executors. A command expires: an executor drops what is older than its validity
with an outcome that says so, and refuses what a replay wrote.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import Field

from schemas.envelope import Entity, Model, Name, Record, TimeUnixNano, content_id

Tier = Literal["observe", "recommend", "approve", "autonomous"]


class Operation(Model):
    """What a connector is asked to do. Parameters are data: nothing in them is ever evaluated."""

    connector: Name
    operation: Name
    params: dict[str, Any] = Field(default_factory=dict)


class Precondition(Model):
    """What must hold of the target's live state, read just before apply; otherwise the action is refused.

    `operand` is a literal, or `{"$state": "/pointer"}`: another part of the same state.
    """

    pointer: str = Field(description="JSON pointer into the observed state; `*` stands for every array element")
    where: dict[str, Any] = Field(default_factory=dict, description="members that an element under `*` must have")
    relation: Literal["present", "equals", "differs"]
    operand: Any = None


class Redundancy(Model):
    """Where the live state says which instances are in service: an action on one of them must leave enough."""

    pointer: str = Field(description="names one value for every instance, e.g. /instances/*/state")
    healthy: Any = Field(description="the value of an instance in service")


class Witnesses(Model):
    """Whose evidence it rests on, and where the live state says which of them there are.

    Who can write telemetry can make an instance up, but not one that the system acted on knows.
    """

    pointers: tuple[str, ...] = Field(description="name the instance ids that the live state knows")
    ids: tuple[str, ...] = Field(description="hashes of the instance ids that the evidence names, sorted")


class Verification(Model):
    """What must be better, and when that may be judged.

    The action is `better` when every subject has cleared on evidence later than apply + stabilisation, `worse`
    when one of them fires anew or the connector's own check fails, `inconclusive` otherwise.
    """

    subjects: tuple[str, ...] = Field(description="subjects that were firing when this was decided")
    stabilisation_seconds: Annotated[float, Field(ge=0)] = Field(
        description="evidence younger than this after apply is not judged: the system is still moving"
    )
    within_seconds: Annotated[float, Field(gt=0)] = Field(description="after this, what is not better is inconclusive")


class ActionCommand(Record):
    """One step of a playbook on one target."""

    id: str
    incident_id: str
    decision_id: str
    playbook: Name
    playbook_version: Annotated[int, Field(ge=1)]
    step: Name
    target: Entity
    apply: Operation
    revert: Operation | None = Field(description="None: irreversible, never autonomous")
    forensics: Operation | None = Field(
        default=None, description="evidence that is written down before the first change, where a folder is set for it"
    )
    depends_on: Annotated[tuple[Name, ...], Field(max_length=64)] = Field(
        default=(), description="services of the environment whose trouble comes first"
    )
    preconditions: tuple[Precondition, ...] = ()
    redundancy: Redundancy | None = None
    witnesses: Witnesses | None = None
    verification: Verification
    tier: Tier
    approved_by: str | None = Field(default=None, description="the person, where the tier asked for one")
    issued_unix_nano: TimeUnixNano
    decided_unix_nano: TimeUnixNano | None = Field(
        default=None, description="when it was decided, where a person approved it later"
    )
    expires_unix_nano: TimeUnixNano
    effect_seconds: Annotated[float, Field(gt=0)] | None = Field(
        default=None, description="its effect is taken back after this long, unless renewed"
    )
    undoes: str | None = Field(
        default=None,
        description="id of the action that this one takes back: not judged by telemetry, done when it holds",
    )
    replay: bool = Field(default=False, description="made by a replay: executors refuse it")


def witness_id(instance: object) -> str:
    """Hash of an instance's id: what telemetry calls itself is not passed on in a command."""
    return content_id("instance", str(instance))


def action_id(incident: str, playbook: str, playbook_version: int, step: str, target: Entity) -> str:
    """Identity of an intent: however often and by whomever it is issued, its effect is wanted once."""
    return content_id("action", incident, playbook, playbook_version, step, str(target))
