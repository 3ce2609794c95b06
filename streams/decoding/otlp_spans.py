"""OTLP spans to span rows; the companion of `streams.decoding.otlp_logs`, which does the logs.

Called by `streams.decoding.events`. The event time of a span is its end: only then is there anything
to tell. A span that has no ids, or that ends before it begins, is of no use.
"""

from __future__ import annotations

from typing import Any

from schemas.raw import SpanKind, SpanStatus
from streams.decoding.native import SpanRow
from streams.decoding.otlp import event_time
from streams.decoding.otlp_rows import Rows, bounded
from streams.decoding.otlp_wire import Wire, read_traces

# What the schema allows of a native record. The end of a long name is expendable, a long id is none.
_MAX_NAME = 1024
_MAX_ID = 64
_UNNAMED = "unnamed"
# By number, as OTLP has them, and by name, as some write JSON.
_KINDS: dict[int | str, SpanKind] = {2: "server", 3: "client", 4: "producer", 5: "consumer"}
_KINDS |= {f"SPAN_KIND_{kind.upper()}": kind for kind in _KINDS.values()}
_STATUSES: dict[int | str, SpanStatus] = {1: "ok", 2: "error", "STATUS_CODE_OK": "ok", "STATUS_CODE_ERROR": "error"}


def read_spans(value: bytes, not_after: int) -> Rows[SpanRow] | None:
    """Read the spans of one record; None for what is not OTLP.

    Raises:
        RecordError: it is OTLP JSON of the wrong shape, or has too many faults.

    """
    message = read_traces(value)
    if message is None:
        return None
    wire, traces = message
    by_resource = (
        (one.resource, [span for of_scope in one.scope_spans for span in of_scope.spans])
        for one in traces.resource_spans
    )
    return Rows.read(wire, by_resource, lambda span: _row(wire, span, not_after))


def _row(wire: Wire, span: Any, not_after: int) -> SpanRow:
    ended = event_time(span.end_time_unix_nano, not_after)
    lasted = ended - int(span.start_time_unix_nano)
    if not 0 <= lasted < ended:
        raise ValueError(f"a span from {span.start_time_unix_nano} to {ended}")
    trace, own, parent = (wire.identity(one) for one in (span.trace_id, span.span_id, span.parent_span_id))
    if not trace or not own or max(len(trace), len(own), len(parent)) > _MAX_ID:
        raise ValueError(f"ids of {len(trace)}, {len(own)} and {len(parent)} characters")
    return SpanRow(
        trace_id=trace,
        span_id=own,
        parent_span_id=parent,
        name=span.name[:_MAX_NAME] or _UNNAMED,
        kind=_KINDS.get(span.kind, "internal"),
        status=_STATUSES.get(span.status.code, "unset"),
        time_unix_nano=ended,
        duration_nano=lasted,
        attributes=bounded(wire.attributes(span)),
    )
