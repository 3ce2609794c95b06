"""Incidents: signals that belong together, with their likely cause and class.

Written by the correlate stage as a series of revisions; the last revision of an id is the incident's
state. Anyone may subscribe: this is the topic that consumers of ReflexArc read first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field

from schemas.envelope import Entity, Model, Models, Name, Record, TimeUnixNano, content_id
from schemas.raw import Severity
from schemas.signal import Signal

# What can speak for an incident: see `schemas.signal.Support` for the first three.
Support = Literal["own history", "peers", "objective", "another signal type", "persistence"]
Probability = Annotated[float, Field(ge=0, le=1)]


class RuleHit(Model):
    """A named rule that held, and what it held on."""

    rule: Name
    label: Name
    because: tuple[str, ...]
    signals: tuple[str, ...] = Field(default=(), description="ids of the signals it held on")


class Neighbour(Model):
    """A labelled incident of the past that resembles this one."""

    incident_id: str
    label: Name
    distance: Annotated[float, Field(ge=0)]


class Counterfactual(Model):
    """Evidence without which the incident would be called something else."""

    without: tuple[Name, ...] = Field(description="names of the metrics, log templates, alerts or changes")
    signals: tuple[str, ...] = Field(default=(), description="ids of all signals of these names")
    label: Name = Field(description="the class it would have")


class Classification(Model):
    """What kind of incident this is, how sure we are, and what decided it.

    `prediction_set` holds every class that cannot be ruled out; more than one means ambiguous, none means
    unfamiliar, and both go to a person whatever the tier.
    """

    label: Name = "unknown"
    confidence: Probability = Field(default=0.0, description="probability that the label is right")
    credibility: Probability = Field(default=0.0, description="how familiar this incident is")
    basis: str = Field(default="", description="where the two numbers come from")
    prediction_set: tuple[Name, ...] = ()
    rules: tuple[RuleHit, ...] = ()
    neighbours: tuple[Neighbour, ...] = ()
    counterfactuals: tuple[Counterfactual, ...] = Field(
        default=(), description="what would change the label; filled in where a decision is made"
    )


class RootCause(Model):
    """A candidate cause with its share of the evidence."""

    entity: Entity
    what: Name = Field(description="metric, log template or change event")
    signal_id: str
    score: Probability
    because: str


class Incident(Record):
    """One revision of an incident."""

    id: str
    revision: Annotated[int, Field(ge=1)]
    status: Literal["open", "resolved", "merged"] = Field(
        description="`merged`: its signals belong to another incident from now on, which `merged_into` names"
    )
    environment: Name
    service: Name
    onset_unix_nano: TimeUnixNano = Field(description="event time of the first abnormal evidence")
    opened_unix_nano: TimeUnixNano = Field(description="event time at which the evidence sufficed")
    updated_unix_nano: TimeUnixNano
    resolved_unix_nano: TimeUnixNano | None = None
    severity: Severity
    support: tuple[Support, ...] = Field(default=(), description="which kinds of evidence speak for it")
    severity_because: tuple[str, ...] = Field(default=(), description="what it was set, raised or lowered for")
    recurrence: Annotated[int, Field(ge=0)] = Field(default=0, description="how often it came back, this time included")
    recurrence_of: str | None = Field(
        default=None, description="the incident before this one, of which a subject fires again soon after its end"
    )
    merged_into: str | None = Field(default=None, description="the incident of what this one is an effect of")
    split_from: str | None = Field(
        default=None, description="the incident that held its signals until they outlasted its cause"
    )
    services: tuple[Name, ...] = Field(
        default=(), description="services whose signals it holds: its own first, then those that depend on it"
    )
    depends_on: Annotated[tuple[Name, ...], Field(max_length=64)] = Field(
        default=(), description="services that its own depends on, and that do not depend on it; the nearest first"
    )
    services_because: tuple[str, ...] = Field(default=(), description="why the signals of each other service are here")
    acknowledged_by: tuple[Name, ...] = Field(
        default=(), description="who looks after alerts of it, as other systems have it"
    )
    title: str
    profile: Annotated[dict[Name, float], Field(max_length=64)] = Field(
        default_factory=dict,
        description="how far each metric of the instance that is farthest from its usual was from its level before: "
        "the asinh of robust spreads, up or down",
    )
    classification: Classification = Classification()
    root_causes: tuple[RootCause, ...] = ()
    signals: Annotated[tuple[Signal, ...], Field(max_length=256)] = Field(
        description="the evidence and the changes before it, by event time; of more than 256 the strongest are carried"
    )
    signal_count: int = Field(description="all signals that ever joined, carried or not")
    active_subjects: tuple[str, ...] = Field(default=(), description="subjects that still fire")
    models: Models = ()

    @property
    def scope(self) -> str:
        return f"{self.environment}/{self.service}"

    @property
    def evidence(self) -> tuple[Signal, ...]:
        """What its class rests on: symptoms of its own service, not of those that depend on it, nor what is muted."""
        return heard([s for s in self.signals if s.kind != "change" and s.entity.service == self.service])

    @property
    def changes(self) -> tuple[Signal, ...]:
        """The changes before it."""
        return tuple(s for s in self.signals if s.kind == "change")


def heard(signals: Sequence[Signal]) -> tuple[Signal, ...]:
    """Leave out what is muted; where that is everything, the last word on what it was stays with all of them."""
    return tuple(signal for signal in signals if not signal.muted) or tuple(signals)


def incident_id(scope: str, onset_unix_nano: int, split_from: str | None = None) -> str:
    """One incident per scope and onset; what is split off may have been one before it was merged."""
    return content_id("incident", scope, onset_unix_nano, *([] if split_from is None else [split_from]))
