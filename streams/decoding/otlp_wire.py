"""The two spellings of OTLP, protobuf and JSON, behind one way of reading them; and telling them from JSON of our own.

Used by `streams.decoding.otlp`, `otlp_logs` and `otlp_spans`, which walk messages without knowing how they were
spelt: messages of both have the same attribute names, and a `Wire` reads the leaves in which they differ.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
import orjson
from google.protobuf.message import DecodeError

from schemas import codec
from schemas.envelope import AttributeValue
from schemas.errors import RecordError, Rejection
from streams.decoding.native import UNUSABLE
from streams.decoding.otlp_json import JsonWire, Logs, Metrics, Traces, decode_logs, decode_metrics, decode_traces
from streams.decoding.otlp_proto import LogsData, MetricsData, ProtoWire, TracesData


class Wire(Protocol):
    """How to read the leaves of messages in one spelling."""

    def kind(self, metric: Any) -> str | None:
        """Return which kind of data the metric has, None for one we do not know."""

    def number(self, point: Any) -> float | int | None:
        """Return the value of a number point."""

    def optional(self, point: Any, field: str) -> float | None:
        """Return a double that may be absent."""

    def spelling(self, owner: Any) -> bytes:
        """Return the bytes that say which attributes a resource or point has."""

    def attributes(self, owner: Any) -> dict[str, AttributeValue]:
        """Return the attributes of a resource or point."""

    def text(self, body: Any) -> str:
        """Return a log body as text."""

    def identity(self, given: Any) -> str:
        """Return the id of a trace or span in hexadecimal digits."""


JSON: Wire = JsonWire()
PROTO: Wire = ProtoWire()


def read_metrics(value: bytes) -> tuple[Wire, Any] | None:
    """Return OTLP metrics and how to read their leaves; None for what is not OTLP.

    Raises:
        RecordError: it is OTLP, and wrong.

    """
    if _may_be_proto(value):
        return _read_proto(MetricsData, value)
    return _read_json(decode_metrics, value) if b'"resourceMetrics"' in value else None


def read_logs(value: bytes) -> tuple[Wire, Any] | None:
    """Return OTLP logs and how to read their leaves; None for what is not OTLP.

    Raises:
        RecordError: it is OTLP, and wrong.

    """
    if _may_be_proto(value):
        return _read_proto(LogsData, value)
    return _read_json(decode_logs, value) if b'"resourceLogs"' in value else None


def read_traces(value: bytes) -> tuple[Wire, Any] | None:
    """Return OTLP traces and how to read their leaves; None for what is not OTLP.

    Raises:
        RecordError: it is OTLP, and wrong.

    """
    if _may_be_proto(value):
        return _read_proto(TracesData, value)
    return _read_json(decode_traces, value) if b'"resourceSpans"' in value else None


def _may_be_proto(value: bytes) -> bool:
    """Tell protobuf by its first byte.

    MetricsData, LogsData and TracesData have one field, whose tag is 0x0A. JSON begins with a brace; but it may begin
    with a line break, which is 0x0A too, and is then told by being JSON.
    """
    if value[:1] != b"\n":
        return False
    if value.lstrip(b" \t\r\n")[:1] != b"{":
        return True
    try:
        orjson.loads(value)
    except orjson.JSONDecodeError:
        return True
    return False


def _read_proto(message: Any, value: bytes) -> tuple[Wire, Any] | None:
    try:
        return PROTO, message.FromString(value)
    except DecodeError:
        return None


def _read_json(decode: Callable[[bytes], Metrics | Logs | Traces], value: bytes) -> tuple[Wire, Any] | None:
    try:
        message = decode(value)
    except msgspec.ValidationError as error:
        document = codec.parse_json(value)
        if not isinstance(document, dict) or "resource" in document:
            return None
        raise RecordError(Rejection.INVALID_SCHEMA, f"OTLP: {error}") from None
    except UNUSABLE:
        return None
    return (JSON, message) if message.resource is msgspec.UNSET else None
