"""Signals: what the detect stage found abnormal, and how far it has read.

Written by the detect stage, read by the correlate stage and by executors that verify an action. Keyed by environment,
so that one partition holds a cause and all its effects, in order.
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from schemas.envelope import Attributes, Entity, Model, Models, Name, Record, TimeUnixNano, content_id

SignalKind = Literal["metric", "log", "alert", "change"]
# What a subject is unlike: what it was itself, what its siblings are now, what people said it must be.
Support = Literal["own history", "peers", "objective"]


class Origin(Model):
    """Where the record that completed the evidence lies."""

    topic: str
    partition: int
    offset: int


class Signal(Record):
    """One subject departed from its normal, came back to it, or changed on purpose.

    `firing`, `cleared` and `adapted` speak of a subject: a series, a log template, an alert. A `cleared` needs fresh
    samples inside the normal range it left; silence never clears. `adapted` says that the subject stayed where it
    went for so long that this is its normal now, which is no recovery. `change` kinds are always `noted`: a
    deployment is not a fault. A `noted` metric is the profile of an instance of which something fires: its attributes
    tell of each metric how far it is from its level before.
    """

    type: Literal["signal"] = "signal"
    id: str
    kind: SignalKind
    state: Literal["firing", "cleared", "adapted", "noted"]
    entity: Entity
    subject: str = Field(description="stable id of the series, template or alert this is about")
    name: Name = Field(description="metric name, log template, alert name or event name")
    attributes: Attributes = Field(default_factory=dict)
    time_unix_nano: TimeUnixNano = Field(description="event time at which the evidence was complete")
    onset_unix_nano: TimeUnixNano = Field(description="event time of the first abnormal evidence")
    release_unix_nano: TimeUnixNano | None = Field(
        default=None,
        description="its place in the order of all signals, where that is before `time_unix_nano`: no later signal of "
        "its source has an earlier one. What is clear at once need not wait until nothing older can come",
    )
    p_value: Annotated[float, Field(ge=0, le=1)] | None = Field(
        default=None, description="probability of evidence this strong in the subject's own calm history"
    )
    observed: float | None = None
    expected: float | None = None
    unit: str = ""
    detector: str
    support: Support | None = Field(default=None, description="what it rests on: what the subject is unlike")
    model_version: str
    models: Models = ()
    reasons: tuple[str, ...] = Field(description="in words and numbers, strongest first")
    suppressed_by: tuple[Name, ...] = Field(
        default=(), description="of an alert: silences and inhibitions of its source that hold it back"
    )
    inhibited_by: Name | None = Field(default=None, description="the rule of inhibition here that holds it back")
    acknowledged_by: str = Field(default="", description="of an alert: who looks after it")
    contested: bool = Field(
        default=False,
        description="samples of the same series that came out of turn disagree: more than one producer speaks for it",
    )
    origin: Origin | None = None

    @property
    def muted(self) -> bool:
        """Whether people have decided not to be told of it: context, which opens no incident and bears nothing out."""
        return bool(self.suppressed_by) or self.inhibited_by is not None

    @property
    def witness(self) -> tuple[str | None, SignalKind, str]:
        """Who says it: an instance by one name. All that one instance writes into its log is one witness."""
        return self.entity.instance, self.kind, "" if self.kind == "log" else self.name

    @property
    def key(self) -> bytes:
        """Key of the record: what must be seen together has the same."""
        return self.entity.environment.encode()

    @property
    def place_unix_nano(self) -> int:
        """Where it stands in the order of all signals."""
        return self.time_unix_nano if self.release_unix_nano is None else self.release_unix_nano


# Calls that one progress record tells of: names are long, and a record has to fit.
MOST_CALLS = 256


class Call(Model):
    """A service was seen to call another."""

    caller: Name
    called: Name
    time_unix_nano: TimeUnixNano = Field(description="its place in the order of signals")


class Progress(Record):
    """A watermark: `source` has been read up to this event time, and everything it shows has been published.

    The correlate stage orders signals of many sources by event time with it, so that its output does not depend on
    how partitions happened to interleave.
    """

    type: Literal["progress"] = "progress"
    source: str = Field(description="topic and partition, e.g. raw.metrics/3")
    time_unix_nano: TimeUnixNano
    idle: bool = Field(default=False, description="the source has nothing more for now; do not wait for it")
    abstaining: Annotated[int, Field(ge=0)] = Field(
        default=0, description="series of the source that are not judged yet: too little is known of them"
    )
    calls: Annotated[tuple[Call, ...], Field(max_length=MOST_CALLS)] = Field(
        default=(), description="calls between services that its spans show: new ones, and again once an hour"
    )
    excuses: bool = Field(
        default=False,
        description="no source is waited for any longer that has not come this far: said by the correlate stage of "
        "its partition when the clock ran out, so that a replay goes on at the same place",
    )


SignalRecord = Annotated[Signal | Progress, Field(discriminator="type")]


def signal_id(subject: str, state: str, onset_unix_nano: int) -> str:
    """One signal per subject, state and onset, whoever computes it and however often."""
    return content_id("signal", subject, state, onset_unix_nano)
