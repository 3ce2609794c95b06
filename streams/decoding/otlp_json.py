"""OTLP in JSON: the messages as msgspec types, and how to read their leaves.

Used by `streams.decoding.otlp_wire`. The types are our own because protobuf's own JSON reader takes 87 us a data point
where these take 2. What we do not read is not named here, and is stepped over.
"""

from __future__ import annotations

from collections.abc import Iterable
from math import isfinite
from typing import Any

import msgspec
import orjson
from msgspec import Raw

from schemas.envelope import AttributeValue

# In JSON a 64-bit integer is text, though some producers write a number; a double may be "NaN" or "Infinity".
_Int = int | str
_Double = float | str
_NO_ATTRIBUTES = Raw(b"[]")


class _Message(msgspec.Struct, rename="camel", gc=False):
    """Base of the messages."""


class _Any(_Message):
    string_value: str | None = None
    bool_value: bool | None = None
    int_value: _Int | None = None
    double_value: _Double | None = None
    bytes_value: str | None = None
    array_value: _Array | None = None
    kvlist_value: _KeyValues | None = None


class _Array(_Message):
    values: list[_Any] = []


class _KeyValue(_Message):
    key: str = ""
    value: _Any | None = None


class _KeyValues(_Message):
    values: list[_KeyValue] = []


class _Owner(_Message):
    """A resource or a scope."""

    name: str = ""
    attributes: Raw = _NO_ATTRIBUTES


class _Point(_Message):
    attributes: Raw = _NO_ATTRIBUTES
    start_time_unix_nano: _Int = 0
    time_unix_nano: _Int = 0
    flags: int = 0


class _Number(_Point):
    as_double: _Double | None = None
    as_int: _Int | None = None


class _Histogram(_Point):
    count: _Int = 0
    sum: _Double | None = None
    bucket_counts: list[_Int] = []
    explicit_bounds: list[_Double] = []


class _Buckets(_Message):
    offset: int = 0
    bucket_counts: list[_Int] = []


class _ExponentialHistogram(_Point):
    count: _Int = 0
    sum: _Double | None = None
    scale: int = 0
    zero_count: _Int = 0
    zero_threshold: _Double = 0.0
    positive: _Buckets = msgspec.field(default_factory=_Buckets)
    negative: _Buckets = msgspec.field(default_factory=_Buckets)


class _Quantile(_Message):
    quantile: _Double = 0.0
    value: _Double = 0.0


class _Summary(_Point):
    count: _Int = 0
    sum: _Double = 0.0
    quantile_values: list[_Quantile] = []


class _Gauge(_Message):
    data_points: list[_Number] = []


class _Sum(_Message):
    data_points: list[_Number] = []
    aggregation_temporality: int = 0
    is_monotonic: bool = False


class _HistogramData(_Message):
    data_points: list[_Histogram] = []
    aggregation_temporality: int = 0


class _ExponentialHistogramData(_Message):
    data_points: list[_ExponentialHistogram] = []
    aggregation_temporality: int = 0


class _SummaryData(_Message):
    data_points: list[_Summary] = []


class _Metric(_Message):
    name: str = ""
    unit: str = ""
    gauge: _Gauge | None = None
    sum: _Sum | None = None
    histogram: _HistogramData | None = None
    exponential_histogram: _ExponentialHistogramData | None = None
    summary: _SummaryData | None = None


class _ScopeMetrics(_Message):
    scope: _Owner = msgspec.field(default_factory=_Owner)
    metrics: list[_Metric] = []


class _ResourceMetrics(_Message):
    resource: _Owner = msgspec.field(default_factory=_Owner)
    scope_metrics: list[_ScopeMetrics] = []


class Metrics(_Message):
    resource_metrics: list[_ResourceMetrics]
    # Records of our own have it, OTLP never.
    resource: Raw | msgspec.UnsetType = msgspec.UNSET


class _Log(_Message):
    time_unix_nano: _Int = 0
    observed_time_unix_nano: _Int = 0
    severity_number: int = 0
    severity_text: str = ""
    body: _Any | None = None
    attributes: Raw = _NO_ATTRIBUTES
    event_name: str = ""


class _ScopeLogs(_Message):
    log_records: list[_Log] = []


class _ResourceLogs(_Message):
    resource: _Owner = msgspec.field(default_factory=_Owner)
    scope_logs: list[_ScopeLogs] = []


class Logs(_Message):
    resource_logs: list[_ResourceLogs]
    resource: Raw | msgspec.UnsetType = msgspec.UNSET


class _Status(_Message):
    code: int | str = 0


class _Span(_Message):
    trace_id: str = ""
    span_id: str = ""
    parent_span_id: str = ""
    name: str = ""
    kind: int | str = 0
    start_time_unix_nano: _Int = 0
    end_time_unix_nano: _Int = 0
    status: _Status = msgspec.field(default_factory=_Status)
    attributes: Raw = _NO_ATTRIBUTES


class _ScopeSpans(_Message):
    spans: list[_Span] = []


class _ResourceSpans(_Message):
    resource: _Owner = msgspec.field(default_factory=_Owner)
    scope_spans: list[_ScopeSpans] = []


class Traces(_Message):
    resource_spans: list[_ResourceSpans]
    resource: Raw | msgspec.UnsetType = msgspec.UNSET


_METRIC_KINDS = ("gauge", "sum", "histogram", "exponential_histogram", "summary")
decode_metrics = msgspec.json.Decoder(Metrics).decode
decode_logs = msgspec.json.Decoder(Logs).decode
decode_traces = msgspec.json.Decoder(Traces).decode
_decode_attributes = msgspec.json.Decoder(list[_KeyValue]).decode


class JsonWire:
    """Reads the leaves."""

    def kind(self, metric: _Metric) -> str | None:
        return next((kind for kind in _METRIC_KINDS if getattr(metric, kind) is not None), None)

    def number(self, point: _Number) -> float | int | None:
        if point.as_double is not None:
            return float(point.as_double)
        return None if point.as_int is None else int(point.as_int)

    def optional(self, point: Any, field: str) -> float | None:
        value = getattr(point, field)
        return None if value is None else float(value)

    def spelling(self, owner: _Owner | _Point) -> bytes:
        return bytes(owner.attributes)

    def attributes(self, owner: _Owner | _Point | _Log | _Span) -> dict[str, AttributeValue]:
        return scalars((pair.key, _json_value(pair.value)) for pair in _decode_attributes(owner.attributes))

    def text(self, body: _Any | None) -> str:
        return text_of(_json_value(body))

    def identity(self, given: str) -> str:
        return given.lower()  # hexadecimal, of either case


def _json_value(value: _Any | None) -> Any:
    if value is None:
        return None
    if value.int_value is not None:
        return int(value.int_value)
    if value.double_value is not None:
        return float(value.double_value)
    if value.array_value is not None:
        return [_json_value(item) for item in value.array_value.values]
    if value.kvlist_value is not None:
        return {pair.key: _json_value(pair.value) for pair in value.kvlist_value.values}
    return next((v for v in (value.string_value, value.bool_value, value.bytes_value) if v is not None), None)


def scalars(pairs: Iterable[tuple[str, Any]]) -> dict[str, AttributeValue]:
    return {key: _scalar(value) for key, value in pairs}


def _scalar(value: Any) -> AttributeValue:
    """Return what an attribute of ours may hold: lists, maps and numbers that JSON lacks become text."""
    if isinstance(value, str | bool):
        return value
    if isinstance(value, int) and -(2**63) <= value < 2**63:
        return value
    if isinstance(value, float) and isfinite(value):
        return value
    return text_of(value)


def text_of(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, list | dict | bool):
        return orjson.dumps(value, default=str).decode()
    return str(value)
