"""OTLP metrics, as the OpenTelemetry Collector's Kafka exporter writes them, to samples.

Called by `streams.decoding.batch` for records that are not of our own format. Both spellings are read, protobuf
(`otlp_proto`, the exporter's default) and JSON (`otlp_json`); `otlp_wire` tells them apart. The record key may
be null, which is what the exporter writes unless told otherwise.

How instruments become series:

| OTLP | series | kind |
|---|---|---|
| gauge | `name` | gauge |
| sum, monotonic | `name` | counter, cumulative or delta |
| sum, not monotonic | `name` | gauge where cumulative, delta counter where delta |
| histogram, exponential histogram | `name.count`, `name.sum` | counter, cumulative or delta |
| | `name.p50`, `name.p95`, `name.p99` | gauge: of what was observed since the point before |
| summary | `name.count`, `name.sum` | counter, cumulative |
| | `name.p95` for the quantile 0.95 | gauge |

The scope's name is the attribute `otel.scope.name` where it is not empty: two scopes may have metrics of one name. A
point flagged as "no recorded value", and one whose value is not finite, is no sample. A point that cannot be used at
all does not take the others of its record with it: those are used, and the record is reported with the count.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from hashlib import blake2b
from math import isfinite
from typing import Any

import msgspec
from google.protobuf.message import DecodeError

from schemas.envelope import AttributeValue
from schemas.errors import RecordError, Rejection
from schemas.raw import InstrumentKind
from streams.decoding.histogram import LEVELS, Distribution, Histograms, explicit, exponential
from streams.decoding.otlp_wire import Wire, read_metrics
from streams.decoding.series import Identity, Temporality

# What the schema allows of a native record.
_TIME_MAX = 2**63 - 1
_MAX_NAME = 1024
_MAX_UNIT = 64
MAX_ATTRIBUTES = 128
_NO_RECORDED_VALUE = 1
# A megabyte may hold half a million empty points, each of them a fault. Nobody means such a record, and it is refused
# as a whole before it has cost a second.
_MAX_FAULTS = 1_000
# What reading a message may raise about its content: not numbers, out of range, nested too deeply, another type.
UNREADABLE = (ValueError, TypeError, OverflowError, RecursionError, msgspec.MsgspecError, DecodeError)
_TEMPORALITIES: dict[int, Temporality] = {1: "delta", 2: "cumulative"}
_SUFFIXES = tuple(f"p{level * 100:g}" for level in LEVELS)


@dataclass(frozen=True, slots=True)
class Stream:
    """What the points of one metric of one resource have in common, and the first half of their spelling."""

    wire: Wire
    resource: dict[str, AttributeValue]
    scope: str
    name: str
    unit: str
    kind: InstrumentKind
    temporality: Temporality
    head: bytes

    def identity(self, point: Any) -> Identity:
        """Return what series a point belongs to.

        Raises:
            RecordError: its attributes cannot be those of a series.

        """
        try:
            attributes = self.wire.attributes(point)
        except UNREADABLE as error:
            raise unusable(1, str(error)) from None
        if self.scope:
            attributes.setdefault("otel.scope.name", self.scope)
        if len(attributes) > MAX_ATTRIBUTES:
            raise unusable(1, f"{len(attributes)} attributes, {MAX_ATTRIBUTES} allowed")
        return Identity(self.name, self.kind, self.temporality, attributes, self.resource, self.unit)


@dataclass(slots=True)
class Points:
    """Samples of one record: four lists of equal length, and what could not be read."""

    not_after: int
    spellings: list[bytes] = field(default_factory=list)
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)
    origins: list[tuple[Stream, Any]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    def add(self, stream: Stream, spelling: bytes, point: Any, time: int, value: float) -> None:
        """Add a sample, unless it has no finite value."""
        if isfinite(value):
            self.spellings.append(stream.head + spelling)
            self.times.append(time)
            self.values.append(value)
            self.origins.append((stream, point))

    def time(self, point: Any) -> int:
        """Return a point's event time."""
        return event_time(point.time_unix_nano, self.not_after)

    def each(self, points: Iterable[Any], read: Callable[[Any], None]) -> None:
        """Read points one by one; one that cannot be read is a fault, not the end."""
        for point in points:
            if not point.flags & _NO_RECORDED_VALUE:
                try:
                    read(point)
                except UNREADABLE as error:
                    self.fault(str(error))

    def fault(self, what: str) -> None:
        """Note something that could not be read."""
        note_fault(self.faults, what)


def note_fault(faults: list[str], what: str) -> None:
    """Add to the faults of a record.

    Raises:
        RecordError: there are too many.

    """
    faults.append(what)
    if len(faults) > _MAX_FAULTS:
        raise RecordError(Rejection.INVALID_SCHEMA, f"OTLP: more than {_MAX_FAULTS} faults; {faults[0]}")


def event_time(time: int | str, not_after: int) -> int:
    """Check an event time.

    Raises:
        ValueError: it cannot be right.

    """
    nanos = int(time)
    if not 0 < nanos <= _TIME_MAX:
        raise ValueError(f"time {nanos} is not a nanosecond since 1970")
    if nanos > not_after:
        raise ValueError(f"clock: {(nanos - not_after) / 1e9:.1f} s further ahead of the broker than allowed")
    return nanos


def unusable(count: int, first: str) -> RecordError:
    """Build the report about a record of which some was of no use."""
    return RecordError(Rejection.INVALID_SCHEMA, f"OTLP: {count} of its points unusable, the others used; {first}")


def read_points(value: bytes, histograms: Histograms, not_after: int) -> Points | None:
    """Read the metrics of one record; None for what is not OTLP.

    Args:
        value: the record's value.
        histograms: the points before these.
        not_after: event times beyond this come from a wrong clock.

    Raises:
        RecordError: it is OTLP JSON of the wrong shape, or has too many faults.

    """
    message = read_metrics(value)
    if message is None:
        return None
    wire, metrics = message
    points = Points(not_after)
    for of_resource in metrics.resource_metrics:
        if not of_resource.scope_metrics:
            continue
        try:
            _read_resource(_Reader(wire, histograms, points, *resource_of(wire, of_resource.resource)), of_resource)
        except UNREADABLE as error:
            points.fault(f"resource: {error}")
    return points


def resource_of(wire: Wire, resource: Any) -> tuple[dict[str, AttributeValue], bytes]:
    """Return the attributes of a resource, and the bytes that spell them."""
    attributes = wire.attributes(resource)
    if len(attributes) > MAX_ATTRIBUTES:
        raise ValueError(f"{len(attributes)} attributes, {MAX_ATTRIBUTES} allowed")
    return attributes, wire.spelling(resource)


def _read_resource(reader: _Reader, of_resource: Any) -> None:
    for of_scope in of_resource.scope_metrics:
        reader.scope = of_scope.scope.name
        for metric in of_scope.metrics:
            reader.read(metric)


@dataclass(slots=True)
class _Reader:
    """Reads the metrics of one resource into `points`."""

    wire: Wire
    histograms: Histograms
    points: Points
    resource: dict[str, AttributeValue]
    resource_spelling: bytes
    scope: str = ""

    def read(self, metric: Any) -> None:
        """Read all points of a metric."""
        kind = self.wire.kind(metric)
        try:
            if not 0 < len(metric.name) <= _MAX_NAME - len(".count"):
                raise ValueError(f"a name of {len(metric.name)} characters")
            match kind:
                case "gauge":
                    self._numbers(metric.gauge, self._stream(metric, "", "gauge", "unspecified"))
                case "sum":
                    self._numbers(metric.sum, self._stream(metric, "", *_kind_of_sum(metric.sum)))
                case "histogram":
                    self._distributions(metric, metric.histogram, _explicit)
                case "exponential_histogram":
                    self._distributions(metric, metric.exponential_histogram, _exponential)
                case "summary":
                    self._summaries(metric, metric.summary)
                case _:
                    raise ValueError(f"no data of a known kind in {metric.name[:100]}")
        except UNREADABLE as error:
            self.points.fault(str(error))

    def _numbers(self, data: Any, stream: Stream) -> None:
        points, wire = self.points, self.wire

        def read(point: Any) -> None:
            time, value = points.time(point), wire.number(point)
            if value is not None:
                points.add(stream, wire.spelling(point), point, time, value)

        points.each(data.data_points, read)

    def _distributions(self, metric: Any, data: Any, read_counts: Callable[[Any, int], Distribution | None]) -> None:
        points, wire, temporality = self.points, self.wire, _temporality(data)
        counts, sums = self._totals(metric, temporality)
        levels = [self._stream(metric, f".{suffix}", "gauge", "unspecified") for suffix in _SUFFIXES]

        def read(point: Any) -> None:
            time, count, total = points.time(point), int(point.count), wire.optional(point, "sum")
            now = read_counts(point, time)
            spelling = wire.spelling(point)
            points.add(counts, spelling, point, time, count)
            if total is not None:
                points.add(sums, spelling, point, time, total)
            if now is not None:
                before = temporality == "cumulative"
                found = self.histograms.percentiles(counts.head + spelling, now, cumulative=before)
                for stream, value in zip(levels, found or (), strict=False):
                    points.add(stream, spelling, point, time, value)

        points.each(data.data_points, read)

    def _summaries(self, metric: Any, data: Any) -> None:
        points, wire = self.points, self.wire
        counts, sums = self._totals(metric, "cumulative")

        def read(point: Any) -> None:
            time, count, total = points.time(point), int(point.count), float(point.sum)
            levels = [(float(one.quantile), float(one.value)) for one in point.quantile_values]
            spelling = wire.spelling(point)
            points.add(counts, spelling, point, time, count)
            points.add(sums, spelling, point, time, total)
            for level, value in levels:
                stream = self._stream(metric, f".p{level * 100:g}", "gauge", "unspecified")
                points.add(stream, spelling, point, time, value)

        points.each(data.data_points, read)

    def _totals(self, metric: Any, temporality: Temporality) -> tuple[Stream, Stream]:
        return (
            self._stream(metric, ".count", "counter", temporality, unit="1"),
            self._stream(metric, ".sum", "counter", temporality),
        )

    def _stream(
        self, metric: Any, suffix: str, kind: InstrumentKind, temporality: Temporality, *, unit: str | None = None
    ) -> Stream:
        name = metric.name + suffix
        what = (self.resource_spelling, self.scope, name, kind, temporality)
        head = b"\0" + blake2b(msgspec.msgpack.encode(what), digest_size=16).digest()
        unit = metric.unit[:_MAX_UNIT] if unit is None else unit
        return Stream(self.wire, self.resource, self.scope, name, unit, kind, temporality, head)


def _kind_of_sum(data: Any) -> tuple[InstrumentKind, Temporality]:
    temporality = _temporality(data)
    if data.is_monotonic or temporality == "delta":
        return "counter", temporality
    return "gauge", "unspecified"


def _temporality(data: Any) -> Temporality:
    try:
        return _TEMPORALITIES[data.aggregation_temporality]
    except KeyError:
        raise ValueError(f"aggregation temporality {data.aggregation_temporality}") from None


def _explicit(point: Any, time: int) -> Distribution | None:
    """Read explicit buckets; a histogram may have none, and one bucket says no more than its count."""
    if not point.explicit_bounds:
        return None
    bounds = [float(bound) for bound in point.explicit_bounds]
    return explicit(bounds, [int(count) for count in point.bucket_counts], time)


def _exponential(point: Any, time: int) -> Distribution:
    positive, negative = (
        {buckets.offset + i: int(count) for i, count in enumerate(buckets.bucket_counts)}
        for buckets in (point.positive, point.negative)
    )
    return exponential(point.scale, int(point.zero_count), positive, negative, time)
