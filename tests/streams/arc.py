"""Telemetry and batches for tests of the kernels."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Any

from schemas.codec import encode
from schemas.envelope import NANOS, Record
from schemas.raw import Alert, LogRecord, MetricSample, Span, SpanKind
from schemas.signal import Progress, Signal
from schemas.topics import Topic
from streams.batch import Batch
from streams.kernel.base import Emit, Output

# In the past: telemetry from the future is refused.
T0 = 1_700_000_000 * NANOS
RESOURCE = {"deployment.environment.name": "demo", "service.name": "checkout", "service.instance.id": "checkout-1"}


def at(seconds: float) -> int:
    return T0 + int(seconds * NANOS)


def metric(seconds: float, value: float, name: str = "http.server.request.duration", **resource: str) -> MetricSample:
    return MetricSample(name=name, time_unix_nano=at(seconds), value=value, unit="s", resource={**RESOURCE, **resource})


def log(
    seconds: float,
    body: str = "served",
    severity: int = 9,
    event: str = "",
    deployment: str = "",
    *,
    service: str = RESOURCE["service.name"],
) -> LogRecord:
    return LogRecord(
        time_unix_nano=at(seconds),
        severity_number=severity,
        body=body,
        event_name=event,
        resource={**RESOURCE, "service.name": service},
        attributes={"deployment.id": deployment} if deployment else {},
    )


def span(
    seconds: float,
    duration: float,
    service: str,
    kind: SpanKind = "server",
    *,
    trace: str = "t",
    own: str = "s",
    parent: str = "",
    name: str = "GET /",
    failed: bool = False,
    **attributes: str,
) -> Span:
    """A span of a service that ended then."""
    return Span(
        trace_id=trace,
        span_id=own,
        parent_span_id=parent,
        name=name,
        kind=kind,
        status="error" if failed else "unset",
        time_unix_nano=at(seconds),
        duration_nano=int(duration * NANOS),
        resource={**RESOURCE, "service.name": service, "service.instance.id": f"{service}-1"},
        attributes={key.replace("_", "."): value for key, value in attributes.items()},
    )


def trace(seconds: float, took: float, *, number: int, failed: bool = False) -> list[Span]:
    """The shop asks the cart, which takes so long; what is between takes 20 ms, what is before and behind 30."""
    of = f"t{number}"
    return [
        span(seconds - 0.02, took, "cart", trace=of, own="c", parent="b", name="cart", failed=failed),
        span(seconds - 0.01, took + 0.02, "shop", "client", trace=of, own="b", parent="a", name="ask"),
        span(seconds, took + 0.05, "shop", trace=of, own="a", name="shop"),
    ]


def alert(seconds: float, status: Any = "firing", fingerprint: str = "f1") -> Alert:
    return Alert(
        source="alertmanager",
        fingerprint=fingerprint,
        status=status,
        name="HighErrorRate",
        severity="critical",
        time_unix_nano=at(seconds),
        summary="5 % of requests fail",
        resource=RESOURCE,
    )


def batch(
    topic: Topic, records: Iterable[Record | bytes], *, first: int = 0, seconds: float | None = None, partition: int = 0
) -> Batch:
    values = [record if isinstance(record, bytes) else encode(record) for record in records]
    timestamp = 0 if seconds is None else at(seconds) // 1_000_000
    offsets = range(first, first + len(values))
    return Batch(f"t.{topic.name}", partition, values, [b"key"] * len(values), offsets, [timestamp] * len(values))


def cut(topic: Topic, records: Sequence[Record | bytes], at_positions: Iterable[int]) -> list[Batch]:
    """Cut records into consecutive batches at these positions."""
    bounds = sorted({0, len(records), *(p for p in at_positions if 0 < p < len(records))})
    return [batch(topic, records[a:z], first=a) for a, z in pairwise(bounds)]


def signals(outputs: Iterable[Output]) -> list[Signal]:
    return [o.record for o in outputs if isinstance(o, Emit) and isinstance(o.record, Signal)]


def progresses(outputs: Iterable[Output]) -> list[Progress]:
    return [o.record for o in outputs if isinstance(o, Emit) and isinstance(o.record, Progress)]
