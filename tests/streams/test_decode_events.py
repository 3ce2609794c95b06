"""Logs, spans and alerts in batches: the codec's verdicts, shared resources, the clock."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.codec import decode
from schemas.envelope import entity_of
from schemas.errors import RecordError, Rejection
from schemas.topics import RAW_ALERTS, RAW_LOGS, RAW_SPANS, Topic
from streams.decode import EventDecoder, LogDecoder, SpanDecoder, alert_decoder

from .hostile import ANYTHING, ATTRIBUTES, RESOURCES, TIMES, Record, batches

NOW = 1_700_000_000_000_000_000
KEY = b"default/a"
LOGS = st.fixed_dictionaries(
    {"time_unix_nano": TIMES, "resource": RESOURCES},
    optional={
        "severity_number": st.integers(0, 24),
        "body": st.text(max_size=20),
        "event_name": st.sampled_from(["", "deployment.finished"]),
        "attributes": ATTRIBUTES,
        "schema_version": st.just(1),
        "added_by_a_newer_producer": ANYTHING,
    },
)
IDS = st.sampled_from(["0af7651916cd43dd8448eb211c80319c", "1", "x" * 64])
SPANS = st.fixed_dictionaries(
    {
        "trace_id": IDS,
        "span_id": IDS,
        "name": st.sampled_from(["GET /", "é😀"]),
        "time_unix_nano": TIMES,
        "duration_nano": st.sampled_from([0, 1, 2**63 - 1]),
        "resource": RESOURCES,
    },
    optional={
        "parent_span_id": IDS | st.just(""),
        "kind": st.sampled_from(["internal", "server", "client", "producer", "consumer"]),
        "status": st.sampled_from(["unset", "ok", "error"]),
        "attributes": ATTRIBUTES,
        "added_by_a_newer_producer": ANYTHING,
    },
)
NAMES = st.sampled_from(["alertmanager", "a", "é😀"])
ALERTS = st.fixed_dictionaries(
    {
        "source": NAMES,
        "fingerprint": NAMES,
        "status": st.sampled_from(["firing", "resolved"]),
        "name": NAMES,
        "time_unix_nano": TIMES,
        "resource": RESOURCES,
    },
    optional={
        "severity": st.sampled_from(["critical", "high", "medium", "low"]),
        "summary": st.text(max_size=10),
        "labels": st.dictionaries(st.text(max_size=4), st.text(max_size=4), max_size=4),
        "added_by_a_newer_producer": ANYTHING,
    },
)
LOG_FIELDS = ("time_unix_nano", "severity_number", "body", "event_name", "attributes")
SPAN_FIELDS = (
    *("trace_id", "span_id", "parent_span_id", "name", "kind", "status", "time_unix_nano", "duration_nano"),
    "attributes",
)
ALERT_FIELDS = ("source", "fingerprint", "status", "name", "severity", "time_unix_nano", "summary", "labels")


def plain(value: Any) -> Any:
    """Return attributes with integers beyond 64 bits as floats, and with their types, which == does not compare."""
    if not isinstance(value, dict):
        return value
    fit = {name: float(v) if type(v) is int and not -(2**63) <= v < 2**64 else v for name, v in value.items()}
    return {name: (type(v), v) for name, v in fit.items()}


def agree(decoder: EventDecoder[Any], topic: Topic, fields: tuple[str, ...], batch: list[Record]) -> None:
    rows, rejected = [], {}
    for position, (key, value) in enumerate(batch):
        try:
            record = decode(topic, key, value)
        except RecordError as error:
            rejected[position] = error.reason
        else:
            content = [plain(getattr(record, name)) for name in fields]
            rows.append((position, content, entity_of(record.resource), plain(record.resource)))
    events = decoder.decode([key for key, _ in batch], [value for _, value in batch], [0] * len(batch))
    assert [
        (position, [plain(getattr(row, name)) for name in fields], resource.entity, plain(resource.attributes))
        for position, row, resource in zip(events.record, events.rows, events.resources, strict=True)
    ] == rows
    assert {position: error.reason for position, error in events.rejected} == rejected


LOG = b'{"time_unix_nano":1,"body":"x","resource":{"service.name":"a"}}'


@settings(max_examples=100, deadline=None)
@given(batches(LOGS))
@example([])
@example([(KEY, LOG), (KEY, LOG[:-1] + b',"attributes":{"a":' + b"1" * 400 + b"}}")])
@example([(KEY, LOG), (KEY, LOG[:-1] + b',"attributes":{"a":' + b"1" * 30 + b"}}")])
@example([(KEY, LOG), (KEY, LOG[:-1] + b',"body":"' + b"x" * 65_537 + b'"}')])
@example([(KEY, LOG), (KEY, LOG[:-1] + b',"resource":{"a":1e400}}'), (KEY, LOG)])
@example([(KEY, LOG), (KEY, LOG[:-1] + b',"resource":{"a":' + b"1" * 30 + b"}}"), (KEY, LOG)])
def test_logs_of_any_kind(batch: list[Record]) -> None:
    decoder = LogDecoder(future_limit_nanos=0)
    agree(decoder, RAW_LOGS, LOG_FIELDS, batch)
    agree(decoder, RAW_LOGS, LOG_FIELDS, batch)  # now every resource is known


SPAN = b'{"trace_id":"t","span_id":"s","name":"n","time_unix_nano":9,"duration_nano":3,"resource":{"service.name":"a"}}'


@settings(max_examples=100, deadline=None)
@given(batches(SPANS))
@example([(KEY, SPAN), (KEY, SPAN[:-1] + b',"duration_nano":-1}'), (KEY, SPAN)])
@example([(KEY, SPAN), (KEY, SPAN[:-1] + b',"duration_nano":9223372036854775808}')])
@example([(KEY, SPAN), (KEY, SPAN[:-1] + b',"trace_id":"' + b"x" * 65 + b'"}')])
def test_spans_of_any_kind(batch: list[Record]) -> None:
    decoder = SpanDecoder(future_limit_nanos=0)
    agree(decoder, RAW_SPANS, SPAN_FIELDS, batch)
    agree(decoder, RAW_SPANS, SPAN_FIELDS, batch)


@settings(max_examples=100, deadline=None)
@given(batches(ALERTS))
def test_alerts_of_any_kind(batch: list[Record]) -> None:
    decoder = alert_decoder(future_limit_nanos=0)
    agree(decoder, RAW_ALERTS, ALERT_FIELDS, batch)
    agree(decoder, RAW_ALERTS, ALERT_FIELDS, batch)


def log(**changes: Any) -> bytes:
    return orjson.dumps({"time_unix_nano": NOW, "body": "boom", "resource": {"service.name": "a"}} | changes)


def test_resources_are_shared() -> None:
    decoder = LogDecoder(future_limit_nanos=0)
    values = [log(), log(body="other"), log(resource={"service.name": "b"})]
    events = decoder.decode([KEY] * 3, values, [0] * 3)
    first, second, third = events.resources
    assert first is second
    assert str(third.entity) == "default/b"
    assert len(events) == 3


def test_endless_resources_take_no_more_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.decoding.events._MAX_RESOURCES", 10)
    decoder = LogDecoder(future_limit_nanos=0)
    values = [log(resource={"service.name": str(i)}) for i in range(100)]
    events = decoder.decode([KEY] * 100, values, [0] * 100)
    assert [resource.entity.service for resource in events.resources] == [str(i) for i in range(100)]
    assert len(decoder._resources) <= 10


def test_a_record_from_the_future_is_refused() -> None:
    decoder = LogDecoder(future_limit_nanos=1_000_000_000)
    values = [log(time_unix_nano=NOW + 1_000_000_000), log(time_unix_nano=NOW + 1_000_000_001), log(added_later=1)]
    events = decoder.decode([KEY] * 3, values, [NOW // 1_000_000] * 3)
    assert events.record == [0, 2]
    ((position, error),) = events.rejected
    assert (position, error.reason) == (1, Rejection.INVALID_SCHEMA)
    assert "clock" in error.detail
    unknown = decoder.decode([KEY], [log(time_unix_nano=2**63 - 1)], [0])
    assert len(unknown) == 1
