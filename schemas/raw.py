"""Raw telemetry as producers publish it: metrics, logs, spans and alerts in OpenTelemetry's vocabulary.

Written by applications, collectors and the adapters in `streams/sources`; read by the detect stage. One metric
record carries one sample (`MetricSample`) or a block of many (`MetricBlock`); both are first class.
"""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, StringConstraints, model_validator

from schemas.envelope import Attributes, Model, Name, Record, TimeUnixNano

InstrumentKind = Literal["gauge", "counter", "histogram"]
SpanKind = Literal["internal", "server", "client", "producer", "consumer"]
SpanStatus = Literal["unset", "ok", "error"]
Severity = Literal["critical", "high", "medium", "low"]


class MetricSample(Record):
    """One sample of one series."""

    name: Name = Field(description="e.g. http.server.request.duration")
    time_unix_nano: TimeUnixNano
    value: float
    kind: InstrumentKind = "gauge"
    unit: str = Field(default="", max_length=64, description="UCUM unit, e.g. s, By, 1")
    resource: Attributes = Field(description="OpenTelemetry resource attributes; service.name names the service")
    attributes: Attributes = Field(default_factory=dict)


class Series(Model):
    """Which series a row of a block belongs to."""

    name: Name
    kind: InstrumentKind = "gauge"
    unit: str = Field(default="", max_length=64)
    attributes: Attributes = Field(default_factory=dict)


class MetricBlock(Record):
    """Many samples of one resource: a scrape, or a batch made at the edge.

    `value[i][j]` is the sample of `series[i]` at `time_unix_nano[j]`; null where there is none.
    """

    resource: Attributes
    series: Annotated[tuple[Series, ...], Field(min_length=1, max_length=10_000)]
    time_unix_nano: Annotated[tuple[TimeUnixNano, ...], Field(min_length=1, max_length=10_000)]
    value: tuple[tuple[float | None, ...], ...]

    @model_validator(mode="after")
    def _is_rectangular(self) -> Self:
        if len(self.value) != len(self.series):
            msg = f"value has {len(self.value)} rows for {len(self.series)} series"
            raise ValueError(msg)
        for i, row in enumerate(self.value):
            if len(row) != len(self.time_unix_nano):
                msg = f"value[{i}] has {len(row)} samples for {len(self.time_unix_nano)} times"
                raise ValueError(msg)
        return self


class LogRecord(Record):
    """One log record or structured event (OpenTelemetry log data model).

    A record with `event_name` is a structured event: a deployment, a process start, a connection, a query.
    """

    time_unix_nano: TimeUnixNano
    severity_number: Annotated[int, Field(ge=0, le=24)] = Field(
        default=9,
        description="OpenTelemetry severity: 1-4 trace, 5-8 debug, 9-12 info, 13-16 warn, 17-20 error, 21-24 fatal",
    )
    body: Annotated[str, StringConstraints(max_length=65_536)] = ""
    event_name: Annotated[str, StringConstraints(max_length=256)] = Field(
        default="", description="e.g. deployment.finished"
    )
    resource: Attributes
    attributes: Attributes = Field(default_factory=dict)


# OpenTelemetry's are 32 and 16 hex digits; other tracers have others, and all that matters is which are equal.
_Id = Annotated[str, StringConstraints(min_length=1, max_length=64)]


class Span(Record):
    """One finished operation of a trace (OpenTelemetry trace data model)."""

    trace_id: _Id
    span_id: _Id
    parent_span_id: Annotated[str, StringConstraints(max_length=64)] = Field(default="", description="none: a root")
    name: Name = Field(description="the operation, of low cardinality, e.g. GET /orders/{id}")
    kind: SpanKind = "internal"
    status: SpanStatus = "unset"
    time_unix_nano: TimeUnixNano = Field(description="when it ended")
    duration_nano: Annotated[int, Field(ge=0, lt=2**63)]
    resource: Attributes
    attributes: Attributes = Field(default_factory=dict)


class Alert(Record):
    """An alert of another system, normalised by its adapter."""

    source: Name = Field(description="the system that raised it, e.g. alertmanager")
    fingerprint: Name = Field(description="the source's own stable key; the same alert firing again has the same one")
    status: Literal["firing", "resolved"]
    name: Name
    severity: Severity = "medium"
    time_unix_nano: TimeUnixNano = Field(description="when the status began")
    summary: Annotated[str, StringConstraints(max_length=4096)] = ""
    resource: Attributes
    labels: Annotated[dict[str, str], Field(max_length=50)] = Field(default_factory=dict)
    suppressed_by: Annotated[tuple[Name, ...], Field(max_length=16)] = Field(
        default=(), description="silences and inhibitions of the source that hold it back, in words"
    )
    acknowledged_by: Annotated[str, StringConstraints(max_length=1024)] = Field(
        default="", description="who has told the source that they look after it"
    )
