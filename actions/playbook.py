"""One playbook: which incidents it serves, and its ladder of steps from mild to harsh.

Read from YAML by the catalogue, chosen and filled in by the policy. A step names a connector, what to apply and how
to take it back, what must hold of live state first, what must be better afterwards, and its risk.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Annotated, Any, Literal, TypedDict, Unpack

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, field_validator, model_validator

from actions.connectors.base import Params, validate_params
from actions.connectors.registry import KINDS, kind_of
from actions.templates import NAMES, render, values_for
from schemas.action import (
    ActionCommand,
    Operation,
    Precondition,
    Redundancy,
    Tier,
    Verification,
    Witnesses,
    action_id,
    witness_id,
)
from schemas.envelope import NANOS, AttributeValue, Entity
from schemas.errors import PermanentError
from schemas.incident import Incident
from schemas.signal import Signal, SignalKind

Slug = Annotated[str, StringConstraints(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]


# Every placeholder filled with its own name: what has the right shape so has it with any values.
_AS_THEMSELVES = {name: name for name in NAMES}


class Part(BaseModel):
    """Part of a playbook: a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class SignalCondition(Part):
    """Holds when some signal of the incident is of this kind and its name matches the pattern (`*`, `?`)."""

    kind: SignalKind
    name: str = "*"

    def holds(self, incident: Incident) -> bool:
        return any(item.kind == self.kind and fnmatchcase(item.name, self.name) for item in incident.signals)


class Serves(Part):
    """Incidents this playbook is for: one of the classes, and every condition."""

    classes: Annotated[tuple[str, ...], Field(min_length=1)]
    signals: tuple[SignalCondition, ...] = ()


class Sign(Part):
    """A change that telemetry tells of, by which one sees that people did by themselves what a step does."""

    name: str = "deployment.*"
    """Pattern of the event's name."""
    attributes: dict[str, AttributeValue] = Field(default_factory=dict)
    """What its attributes must be."""
    back_to: dict[str, str] = Field(default_factory=dict)
    """Attributes that must be what another attribute of an earlier change was: the version that ran before."""

    def shows(self, change: Signal, before: Iterable[Signal]) -> bool:
        """Whether a change is such a one; `before` are those from before the proposal."""
        of_it = change.attributes
        if not fnmatchcase(change.name, self.name) or any(of_it.get(k) != v for k, v in self.attributes.items()):
            return False
        wanted = [(of_it.get(name), earlier) for name, earlier in self.back_to.items()]
        earlier_ones = list(before)
        return all(
            value is not None and any(one.attributes.get(earlier) == value for one in earlier_ones)
            for value, earlier in wanted
        )


class Call(Part):
    """An operation of the step's connector; strings in the parameters may hold placeholders."""

    operation: str
    params: dict[str, Any] = Field(default_factory=dict)


class LivePrecondition(Part):
    """See `schemas.action.Precondition`."""

    pointer: Annotated[str, Field(pattern="^/")]
    where: dict[str, Any] = Field(default_factory=dict)
    relation: Literal["present", "equals", "differs"]
    operand: Any = None


class InstancesInService(Part):
    """See `schemas.action.Redundancy`."""

    pointer: Annotated[str, Field(pattern="^/")]
    healthy: Any


class StepVerification(Part):
    """Which of the incident's subjects must recover, when they may be judged after apply, and until when."""

    signals: Annotated[tuple[str, ...], Field(min_length=1)] = ("*",)
    """Patterns of signal names. A surge is not over because there is room for it: only what users feel is judged."""
    stabilisation_seconds: Annotated[float, Field(ge=0)]
    within_seconds: Annotated[float, Field(gt=0)]

    @model_validator(mode="after")
    def _judged_before_the_deadline(self) -> StepVerification:
        if self.within_seconds <= self.stabilisation_seconds:
            raise ValueError("within_seconds must exceed stabilisation_seconds, or nothing can ever be verified")
        return self


class Risk(Part):
    """What the step can do at worst."""

    reversible: bool
    reach: Literal["instance", "service"]
    instances: InstancesInService | None = None
    """For a step that takes an instance out of service: where live state shows which are in service."""


class Step(Part):
    """One rung of the ladder."""

    name: Slug
    target: Literal["service", "cause_instance"] = "service"
    """`service`: as a whole. `cause_instance`: the instance that the likeliest cause names."""
    connector: Annotated[str, Field(pattern=r"^[a-z]+\.[a-z0-9_-]+$")]
    preconditions: tuple[LivePrecondition, ...] = ()
    witnesses: tuple[Annotated[str, Field(pattern="^/")], ...] = ()
    """Where live state names the instances there are, and others that may speak of them, as load balancers do: of those
    that the evidence names at least half must be among them."""
    forensics: Call | None = None
    """Evidence of the target that is written down before apply changes it."""
    apply: Call
    revert: Call | None = None
    verification: StepVerification
    risk: Risk
    done_by_people: tuple[Sign, ...] = ()
    """How telemetry shows that people did this by themselves; any of them. It counts for a proposal in shadow."""
    effect_seconds: Annotated[float, Field(gt=0)] | None = None
    """The step is taken back after this long, unless a person renews it: isolation must not outlive its reason."""

    @field_validator("connector")
    @classmethod
    def _known_kind(cls, name: str) -> str:
        if kind_of(name) is None:
            raise ValueError(f"no such kind of connector; there are: {', '.join(KINDS)}")
        return name

    @model_validator(mode="after")
    def _reversible_steps_revert(self) -> Step:
        if self.risk.reversible and self.revert is None:
            raise ValueError("a reversible step states its revert")
        if self.effect_seconds is not None and self.revert is None:
            raise ValueError("what expires must be taken back: state its revert")
        if self.risk.reach == "instance" and self.risk.instances is None:
            raise ValueError("a step that reaches an instance says where live state shows the instances in service")
        kind = kind_of(self.connector)
        assert kind is not None  # noqa: S101 - its own validator ran first
        for call in filter(None, (self.apply, self.revert)):
            self._check(call, kind.operations)
        if self.forensics is not None:
            self._check(self.forensics, kind.collections)
        try:
            for item in self.preconditions:
                _precondition(item, _AS_THEMSELVES)
        except PermanentError as error:
            raise ValueError(str(error)) from None
        return self

    def _check(self, call: Call, known: Mapping[str, type[Params]]) -> None:
        operation = self._operation(call, _AS_THEMSELVES)
        try:
            validate_params(known, operation)
        except PermanentError as error:
            raise ValueError(str(error)) from None

    def target_in(self, incident: Incident) -> Entity:
        """Find the entity that this step acts on.

        Raises:
            PermanentError: the incident does not name one.

        """
        service = Entity(environment=incident.environment, service=incident.service)
        if self.target == "service":
            return service
        cause = incident.root_causes[0].entity if incident.root_causes else None
        if cause is None or cause.instance is None or cause.scope != service.scope:
            raise PermanentError(f"step {self.name}: the likeliest cause is not an instance of {service.scope}")
        return cause

    def _operation(self, call: Call, values: dict[str, str]) -> Operation:
        try:
            params = render(call.params, values)
        except PermanentError as error:
            raise ValueError(str(error)) from None
        return Operation(connector=self.connector, operation=call.operation, params=params)


class Escalation(Part):
    """What a person is told when no step is left; placeholders may stand in it."""

    reason: Annotated[str, Field(min_length=1)]
    """Why this is for a person."""
    look_at: tuple[str, ...] = ()
    """What to look at first."""

    @model_validator(mode="after")
    def _placeholders_are_known(self) -> Escalation:
        try:
            render([self.reason, *self.look_at], _AS_THEMSELVES)
        except PermanentError as error:
            raise ValueError(str(error)) from None
        return self

    def told(self, incident: Incident) -> str:
        """Fill it in for an incident."""
        values = values_for(incident, Entity(environment=incident.environment, service=incident.service))
        # What has no value here stays the name it has.
        reason, *look_at = render([self.reason, *self.look_at], _AS_THEMSELVES | values)
        return f"{reason} Look at: {'; '.join(look_at)}." if look_at else str(reason)


class Issue(TypedDict):
    """What a command gets from the decision that issues it."""

    decision_id: str
    tier: Tier
    issued_unix_nano: int
    validity_seconds: float
    replay: bool


class Playbook(Part):
    """One file under `actions/playbooks/`."""

    name: Slug
    version: Annotated[int, Field(ge=1)]
    description: Annotated[str, Field(min_length=1)]
    serves: Serves
    steps: tuple[Step, ...] = ()
    """From mild to harsh. Without any, the playbook calls a person and says why."""
    escalate: Escalation | None = None

    @model_validator(mode="after")
    def _does_something(self) -> Playbook:
        if not self.steps and self.escalate is None:
            raise ValueError("it has no steps; one that only calls a person says so under escalate")
        return self

    @model_validator(mode="after")
    def _steps_have_distinct_names(self) -> Playbook:
        names = [step.name for step in self.steps]
        if len(set(names)) != len(names):
            raise ValueError("two steps have the same name; an action's identity is made from it")
        return self

    def serves_incident(self, incident: Incident) -> bool:
        """Whether the incident's class and every condition match."""
        label = incident.classification.label
        return label in self.serves.classes and all(item.holds(incident) for item in self.serves.signals)

    def command(self, step: Step, incident: Incident, **issue: Unpack[Issue]) -> ActionCommand:
        """Fill in one step for one incident.

        Raises:
            PermanentError: the incident lacks what the step needs.

        """
        target = step.target_in(incident)
        values = values_for(incident, target)
        return ActionCommand(
            id=action_id(incident.id, self.name, self.version, step.name, target),
            incident_id=incident.id,
            decision_id=issue["decision_id"],
            playbook=self.name,
            playbook_version=self.version,
            step=step.name,
            target=target,
            apply=_filled(step, step.apply, values),
            revert=None if step.revert is None else _filled(step, step.revert, values),
            forensics=None if step.forensics is None else _filled(step, step.forensics, values),
            depends_on=incident.depends_on,
            preconditions=tuple(_precondition(item, values) for item in step.preconditions),
            redundancy=_redundancy(step.risk.instances),
            witnesses=_witnesses(step, incident),
            verification=_verification(step, incident),
            effect_seconds=step.effect_seconds,
            tier=issue["tier"],
            issued_unix_nano=issue["issued_unix_nano"],
            expires_unix_nano=issue["issued_unix_nano"] + int(issue["validity_seconds"] * NANOS),
            replay=issue["replay"],
        )


def _cited(incident: Incident) -> list[Signal]:
    """Give the symptoms that the deciding rules rest on; none where no rule decided."""
    found = incident.classification
    cited = {signal for hit in found.rules if hit.label == found.label for signal in hit.signals}
    return [signal for signal in incident.signals if signal.id in cited and signal.kind != "change"]


def symptoms(incident: Incident) -> tuple[str, ...]:
    """Give what must recover: what the deciding rules cite and still fires.

    Not every firing series: a restarted process uses other memory, and a neighbour may be ill by itself.
    """
    firing = set(incident.active_subjects)
    subjects = {signal.subject for signal in _cited(incident) if signal.subject in firing}
    return tuple(sorted(subjects)) or incident.active_subjects


def _verification(step: Step, incident: Incident) -> Verification:
    wanted = step.verification
    names = {signal.subject: signal.name for signal in incident.signals}
    subjects = tuple(
        subject
        for subject in symptoms(incident)
        if any(fnmatchcase(names.get(subject, ""), pattern) for pattern in wanted.signals)
    )
    if not subjects:
        raise PermanentError(f"step {step.name}: nothing of what fires now could show that it helped")
    return Verification(
        subjects=subjects,
        stabilisation_seconds=wanted.stabilisation_seconds,
        within_seconds=wanted.within_seconds,
    )


def _precondition(item: LivePrecondition, values: dict[str, str]) -> Precondition:
    return Precondition.model_validate(render(item.model_dump(), values))


def _redundancy(instances: InstancesInService | None) -> Redundancy | None:
    return None if instances is None else Redundancy(pointer=instances.pointer, healthy=instances.healthy)


def _witnesses(step: Step, incident: Incident) -> Witnesses | None:
    if not step.witnesses:
        return None
    named = {signal.entity.instance for signal in _cited(incident) or incident.evidence} - {None}
    return Witnesses(pointers=step.witnesses, ids=tuple(sorted(map(witness_id, named))))


def _filled(step: Step, call: Call, values: dict[str, str]) -> Operation:
    return Operation(connector=step.connector, operation=call.operation, params=render(call.params, values))
