"""OTLP spans as the Collector's Kafka exporter writes them, in both spellings, against the same expectations."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status, TracesData

from schemas.errors import Rejection
from streams.decode import SpanDecoder
from tests.streams.otlp_records import NOW, SECOND, Spell, as_proto, attribute, read_spans, spans

TRACE, OWN, PARENT = bytes(range(16)), bytes(range(8)), bytes(range(8, 16))


def span(**changes: Any) -> Span:
    given: dict[str, Any] = {"trace_id": TRACE, "span_id": OWN, "name": "GET /", "start_time_unix_nano": NOW - SECOND}
    return Span(**(given | {"end_time_unix_nano": NOW} | changes))


def test_span(spell: Spell) -> None:
    record = span(parent_span_id=PARENT, kind=Span.SPAN_KIND_CLIENT, status=Status(code=Status.STATUS_CODE_ERROR))
    record.attributes.append(attribute("peer.service", string_value="cart"))
    record.events.add(name="exception").attributes.append(attribute("exception.type", string_value="E"))
    record.links.add(trace_id=TRACE).attributes.append(attribute("a", int_value=1))
    events = read_spans(spell(spans(record)))
    ((row,), (resource,)) = events.rows, events.resources
    # Protobuf's own JSON writes ids in base64, which is not what OTLP says; they only have to be equal where they were.
    assert row.trace_id.lower() in {TRACE.hex(), "aaecawqfbgcicqolda0odw=="}
    assert (row.name, row.kind, row.status) == ("GET /", "client", "error")
    assert (row.time_unix_nano, row.duration_nano) == (NOW, SECOND)
    assert row.attributes == {"peer.service": "cart"}
    assert row.parent_span_id != row.span_id
    assert str(resource.entity) == "default/checkout"
    assert (events.record, events.rejected) == ([0], [])


def test_ids_in_json_are_hexadecimal_of_either_case() -> None:
    both: list[Any] = [
        {"traceId": "AB" * 16, "spanId": "0" * 15 + "A"},
        {"traceId": "ab" * 16, "spanId": "0" * 15 + "a"},
    ]
    times = {"startTimeUnixNano": str(NOW - 1), "endTimeUnixNano": str(NOW), "kind": "SPAN_KIND_SERVER"}
    record = {"resourceSpans": [{"scopeSpans": [{"spans": [one | times for one in both]}]}]}
    first, second = read_spans(orjson.dumps(record)).rows
    assert (first.trace_id, first.span_id) == (second.trace_id, second.span_id) == ("ab" * 16, "0" * 15 + "a")
    assert first.kind == "server"


@pytest.mark.parametrize("kind", ["internal", "server", "client", "producer", "consumer"])
def test_kind(spell: Spell, kind: str) -> None:
    (row,) = read_spans(spell(spans(span(kind=Span.SpanKind.Value(f"SPAN_KIND_{kind.upper()}"))))).rows
    assert row.kind == kind


@pytest.mark.parametrize(
    "broken",
    [
        span(trace_id=b""),
        span(span_id=b""),
        span(trace_id=b"x" * 100),
        span(end_time_unix_nano=0),
        span(start_time_unix_nano=0),
        span(start_time_unix_nano=NOW + 1),
        span(end_time_unix_nano=2**64 - 1),
        span(attributes=[attribute(str(i), int_value=i) for i in range(129)]),
    ],
)
def test_one_that_cannot_be_used_does_not_take_the_others_with_it(spell: Spell, broken: Span) -> None:
    events = read_spans(spell(spans(span(name="before"), broken, span(name="after"))))
    assert [row.name for row in events.rows] == ["before", "after"]
    ((position, error),) = events.rejected
    assert (position, error.reason) == (0, Rejection.INVALID_SCHEMA)
    assert "1 of its points unusable" in error.detail


def test_names_are_cut_and_never_empty(spell: Spell) -> None:
    rows = read_spans(spell(spans(span(name="x" * 5000), span(name="")))).rows
    assert [row.name for row in rows] == ["x" * 1024, "unnamed"]


def test_a_span_from_the_future_is_a_fault(spell: Spell) -> None:
    ahead = span(end_time_unix_nano=NOW + 61 * SECOND)
    events = read_spans(spell(spans(span(), ahead)), now=NOW)
    assert len(events.rows) == 1
    assert "ahead" in events.rejected[0][1].detail


def test_rows_of_a_record_come_by_time(spell: Spell) -> None:
    rows = read_spans(spell(spans(span(name="b"), span(name="a", end_time_unix_nano=NOW - 1)))).rows
    assert [row.name for row in rows] == ["a", "b"]


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=60))
@example(b"")
@example(b"\n")
@example(b'{"resourceSpans":7}')
@example(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":1}]}]}]}')
@example(b'{"resourceSpans":[{"scopeSpans":[{"spans":[{"attributes":7}]}]}]}')
def test_any_bytes_are_spans_or_a_dead_letter(value: bytes) -> None:
    events = SpanDecoder(future_limit_nanos=0).decode([None], [value], [0])
    assert len(events.rejected) <= 1


@settings(max_examples=100, deadline=None)
@given(st.integers(0, 2**63), st.data())
def test_a_damaged_record_does_not_break_its_batch(at: int, data: st.DataObject) -> None:
    good = as_proto(spans(span()))
    cut = good[: at % len(good)] + data.draw(st.binary(max_size=4)) + good[at % len(good) + 2 :]
    events = SpanDecoder(future_limit_nanos=0).decode([None] * 3, [good, cut, good], [0] * 3)
    assert {0, 2} <= set(events.record)
    assert all(position == 1 for position, _ in events.rejected)


def test_an_empty_message_has_no_spans(spell: Spell) -> None:
    events = read_spans(spell(TracesData(resource_spans=[TracesData().resource_spans.add()])))
    assert (events.rows, events.rejected) == ([], [])
