"""The JSON shapes of raw telemetry as msgspec types, and the quick parse of a whole batch.

Used by `streams.decoding.batch` and `streams.decoding.events`. Every type here accepts a part of what the pydantic
model of the same topic accepts, and gives it the same meaning; `tests/streams/test_decode_agreement.py` holds the two
together. Unknown fields are refused by the quick types because msgspec steps over them without looking inside: a
record that has some is checked by `is_strict_json` first.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Literal, TypeVar

import msgspec
import orjson
from msgspec import Meta, Raw

from schemas.raw import InstrumentKind, Severity, SpanKind, SpanStatus

# What msgspec raises about bytes it cannot use: malformed or another shape, not UTF-8, nested too deeply, None.
UNUSABLE = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError, TypeError)
# The codec refuses what nests deeper than 200, and nothing of ours nests deeper than 4: a record with fewer brackets
# than this is surely fine, one with more is for the codec to judge.
_SURELY_SHALLOW = 190

Time = Annotated[int, Meta(gt=0, le=2**63 - 1)]
# Beyond 64 bits the parsers differ: orjson turns such integers into floats, and refuses those beyond a float.
Int64 = Annotated[int, Meta(ge=-(2**63), le=2**63 - 1)]
Name = Annotated[str, Meta(min_length=1, max_length=1024)]
Attributes = Annotated[dict[str, str | bool | Int64 | float], Meta(max_length=128)]
Id = Annotated[str, Meta(min_length=1, max_length=64)]
Unit = Annotated[str, Meta(max_length=64)]

Row = TypeVar("Row")


class _SampleFields(msgspec.Struct, gc=False):
    name: Raw
    time_unix_nano: Time
    value: float
    resource: Raw
    kind: Raw = Raw(b'"gauge"')
    unit: Raw = Raw(b'""')
    attributes: Raw = Raw(b"{}")
    schema_version: Literal[1] = 1


class Sample(_SampleFields, gc=False, forbid_unknown_fields=True):
    """One metric sample; what names its series is left as bytes."""


decode_sample = msgspec.json.Decoder(Sample).decode


class ExtendedSample(_SampleFields, gc=False):
    """A metric sample with fields of a newer producer."""


class BlockSeries(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """One series of a block, left as bytes."""

    name: Raw
    kind: Raw = Raw(b'"gauge"')
    unit: Raw = Raw(b'""')
    attributes: Raw = Raw(b"{}")


BlockSeriesList = Annotated[list[BlockSeries], Meta(min_length=1, max_length=10_000)]


class Block(msgspec.Struct, gc=False, forbid_unknown_fields=True):
    """Many metric samples of one resource; its series, a `BlockSeriesList`, are left as bytes."""

    resource: Raw
    series: Raw
    time_unix_nano: Annotated[list[Time], Meta(min_length=1, max_length=10_000)]
    value: list[list[float | None]]
    schema_version: Literal[1] = 1


class SeriesFields(msgspec.Struct, gc=False, array_like=True):
    """What names a series, in the order in which `streams.decoding.metrics` joins their bytes."""

    name: Name
    resource: Attributes
    attributes: Attributes
    kind: InstrumentKind
    unit: Unit


class LogRow(msgspec.Struct, gc=False, kw_only=True):
    """A log record; its resource is kept beside it (`events.Events`)."""

    time_unix_nano: Time
    severity_number: Annotated[int, Meta(ge=0, le=24)] = 9
    body: Annotated[str, Meta(max_length=65_536)] = ""
    event_name: Annotated[str, Meta(max_length=256)] = ""
    attributes: Attributes = {}


class ExtendedLog(LogRow, gc=False, kw_only=True):
    """A log record as it is read, with fields of a newer producer."""

    resource: Raw
    schema_version: Literal[1] = 1


class Log(ExtendedLog, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A log record as it is read."""


class SpanRow(msgspec.Struct, gc=False, kw_only=True):
    """A finished span; its resource is kept beside it."""

    trace_id: Id
    span_id: Id
    parent_span_id: Annotated[str, Meta(max_length=64)] = ""
    name: Name
    kind: SpanKind = "internal"
    status: SpanStatus = "unset"
    time_unix_nano: Time
    duration_nano: Annotated[int, Meta(ge=0, le=2**63 - 1)]
    attributes: Attributes = {}


class ExtendedSpan(SpanRow, gc=False, kw_only=True):
    """A span as it is read, with fields of a newer producer."""

    resource: Raw
    schema_version: Literal[1] = 1


class Span(ExtendedSpan, gc=False, kw_only=True, forbid_unknown_fields=True):
    """A span as it is read."""


class AlertRow(msgspec.Struct, gc=False, kw_only=True):
    """An alert; its resource is kept beside it."""

    source: Name
    fingerprint: Name
    status: Literal["firing", "resolved"]
    name: Name
    severity: Severity = "medium"
    time_unix_nano: Time
    summary: Annotated[str, Meta(max_length=4096)] = ""
    labels: Annotated[dict[str, str], Meta(max_length=50)] = {}
    suppressed_by: Annotated[tuple[Name, ...], Meta(max_length=16)] = ()
    acknowledged_by: Annotated[str, Meta(max_length=1024)] = ""


class ExtendedAlert(AlertRow, gc=False, kw_only=True):
    """An alert as it is read, with fields of a newer producer."""

    resource: Raw
    schema_version: Literal[1] = 1


class Alert(ExtendedAlert, gc=False, kw_only=True, forbid_unknown_fields=True):
    """An alert as it is read."""


def parse_each(
    decode: Callable[[bytes], Row], keys: Sequence[bytes | None], values: Sequence[bytes | None], max_bytes: int
) -> tuple[list[Row], list[int]]:
    """Parse a batch; returns the rows that came out, and the positions, ascending, of the records that gave none."""
    if not all(keys):
        values = [value if key else None for key, value in zip(keys, values, strict=True)]
    if max(map(len, filter(None, values)), default=0) > max_bytes:
        values = [value if value and len(value) <= max_bytes else None for value in values]
    rows: list[Row] = []
    others: list[int] = []
    rest = iter(values)
    while True:
        try:
            # At the speed of C. What it raises ends it after the rows before; the loop goes on behind that record.
            rows.extend(map(decode, rest))  # type: ignore[arg-type]  # None is one of the things it raises about
        except UNUSABLE:
            others.append(len(rows) + len(others))
        else:
            return rows, others


def is_strict_json(value: bytes | None) -> bool:
    """Whether the codec would take these bytes for JSON, whatever they say."""
    try:
        orjson.loads(value or b"")
    except orjson.JSONDecodeError:
        return False
    return value is not None and value.count(b"[") + value.count(b"{") < _SURELY_SHALLOW
