"""OTLP logs as the Collector's Kafka exporter writes them, in both spellings, against the same expectations."""

from __future__ import annotations

from typing import Any

import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, SeverityNumber

from streams.decode import LogDecoder
from tests.streams.otlp_records import NOW, SECOND, Spell, attribute, logs, read_logs


def test_log(spell: Spell) -> None:
    record = LogRecord(
        time_unix_nano=NOW, observed_time_unix_nano=NOW + 1, severity_number=SeverityNumber.SEVERITY_NUMBER_ERROR
    )
    record.body.string_value = "boom"
    record.attributes.append(attribute("http.route", string_value="/pay"))
    record.trace_id = bytes(range(16))
    events = read_logs(spell(logs(record)))
    ((row,), (resource,)) = events.rows, events.resources
    assert (row.time_unix_nano, row.severity_number, row.body, row.event_name) == (NOW, 17, "boom", "")
    assert row.attributes == {"http.route": "/pay"}
    assert str(resource.entity) == "default/checkout"
    assert (events.record, events.rejected) == ([0], [])


@pytest.mark.parametrize(
    ("own", "observed", "broker", "expected"),
    [(5, 6, 7_000_000, 5), (0, 6, 7_000_000, 6), (0, 0, 7_000_000, 7_000_000)],
)
def test_time_of_a_log(spell: Spell, own: int, observed: int, broker: int, expected: int) -> None:
    record = LogRecord(time_unix_nano=own, observed_time_unix_nano=observed)
    assert read_logs(spell(logs(record)), now=broker).rows[0].time_unix_nano == expected


def test_log_without_any_time_is_a_fault(spell: Spell) -> None:
    events = read_logs(spell(logs(LogRecord(), LogRecord(time_unix_nano=5))))
    assert [row.time_unix_nano for row in events.rows] == [5]
    assert len(events.rejected) == 1


@pytest.mark.parametrize(
    ("body", "text"),
    [
        (AnyValue(string_value="x"), "x"),
        (AnyValue(int_value=7), "7"),
        (AnyValue(double_value=0.5), "0.5"),
        (AnyValue(bool_value=True), "true"),
        (AnyValue(bytes_value=b"\xff"), "/w=="),
        (AnyValue(array_value=ArrayValue(values=[AnyValue(int_value=1)])), "[1]"),
        (AnyValue(kvlist_value=KeyValueList(values=[attribute("a", string_value="é")])), '{"a":"é"}'),
        (None, ""),
    ],
)
def test_body_of_any_kind(spell: Spell, body: AnyValue | None, text: str) -> None:
    record = LogRecord(time_unix_nano=NOW)
    if body is not None:
        record.body.CopyFrom(body)
    assert read_logs(spell(logs(record))).rows[0].body == text


def test_event_name(spell: Spell) -> None:
    new = LogRecord(time_unix_nano=1, event_name="deployment.finished")
    old = LogRecord(time_unix_nano=2)
    old.attributes.append(attribute("event.name", string_value="deployment.finished"))
    events = read_logs(spell(logs(new, old)))
    assert [row.event_name for row in events.rows] == ["deployment.finished"] * 2
    assert events.rows[1].attributes == {}


@pytest.mark.parametrize(
    ("severity", "text", "expected"),
    [(0, "", 0), (0, "ERROR", 17), (0, "Warning", 13), (9, "ERROR", 9), (0, "whatever", 0), (99, "", 24)],
)
def test_severity(spell: Spell, severity: Any, text: str, expected: int) -> None:
    record = LogRecord(time_unix_nano=NOW, severity_number=severity, severity_text=text)
    assert read_logs(spell(logs(record))).rows[0].severity_number == expected


def test_what_is_too_long_is_cut(spell: Spell) -> None:
    record = LogRecord(time_unix_nano=NOW, event_name="e" * 300)
    record.body.string_value = "x" * 70_000
    row = read_logs(spell(logs(record))).rows[0]
    assert (len(row.body), len(row.event_name)) == (65_536, 256)


def test_logs_are_read_by_time_and_those_ahead_are_dropped(spell: Spell) -> None:
    records = [LogRecord(time_unix_nano=time) for time in (NOW + 2, NOW, NOW + SECOND + 1, NOW + 1)]
    events = read_logs(spell(logs(*records)), now=NOW, limit=SECOND)
    assert [row.time_unix_nano - NOW for row in events.rows] == [0, 1, 2]
    assert events.record == [0, 0, 0]
    assert len(events.rejected) == 1


def test_resources_of_logs_are_shared(spell: Spell) -> None:
    decoder = LogDecoder(future_limit_nanos=0)
    value = spell(logs(LogRecord(time_unix_nano=1), LogRecord(time_unix_nano=2)))
    events = decoder.decode([None, None], [value, value], [0, 0])
    assert len({id(resource) for resource in events.resources}) == 1


@pytest.mark.parametrize("value", [b"\n\xff", b'{"resourceLogs":7}', b'{"resourceLogs":[}', b"\n"])
def test_malformed_logs_are_refused(value: bytes) -> None:
    assert len(read_logs(value).rejected) == 1
