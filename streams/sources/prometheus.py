"""Prometheus samples as prometheus-kafka-adapter writes them (JSON) to metric samples.

One record is one sample: `{"timestamp", "value", "name", "labels"}`, the value as text. Remote write does not carry the
type of a metric, so it is told by OpenMetrics' naming rules.
"""

from __future__ import annotations

from math import isfinite

import msgspec

from schemas.errors import RecordError, Rejection
from schemas.raw import InstrumentKind, MetricSample
from streams.sources.common import (
    MAX_ATTRIBUTES,
    clean,
    is_resource_label,
    key_of,
    nanos_of,
    read_json,
    resource_of_labels,
)

# Names that OpenMetrics reserves for cumulative values.
_COUNTERS = ("_total", "_count", "_sum", "_bucket")


class _Sample(msgspec.Struct):
    timestamp: str
    value: str
    name: str
    labels: dict[str, str]


_decode = msgspec.json.Decoder(_Sample).decode


def read(value: bytes) -> tuple[str, MetricSample] | None:
    """Return the record key and the sample; None for one that is not a number (a series that ended, an infinity).

    Raises:
        RecordError: the record is not such a sample.

    """
    sample = read_json(_decode, value)
    try:
        number = float(sample.value)
    except ValueError:
        raise RecordError(Rejection.INVALID_SCHEMA, "value is not a number") from None
    if not isfinite(number):
        return None
    name, time = clean(sample.name), nanos_of(sample.timestamp)
    if not name or not time:
        raise RecordError(Rejection.INVALID_SCHEMA, "name or timestamp is not set")
    labels = {clean(label): clean(text) for label, text in sample.labels.items() if label != "__name__"}
    if len(labels) > MAX_ATTRIBUTES:
        raise RecordError(Rejection.INVALID_SCHEMA, f"{len(labels)} labels, {MAX_ATTRIBUTES} allowed")
    resource = resource_of_labels(labels)
    kind: InstrumentKind = "counter" if name.endswith(_COUNTERS) else "gauge"
    return key_of(resource), MetricSample(
        name=name,
        time_unix_nano=time,
        value=number,
        kind=kind,
        resource=resource,
        attributes={label: text for label, text in labels.items() if not is_resource_label(label)},
    )
