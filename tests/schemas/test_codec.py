from __future__ import annotations

import json

import pytest

from schemas.codec import decode, encode
from schemas.envelope import Record
from schemas.errors import RecordError, Rejection
from schemas.topics import BY_NAME, CATALOGUE, RAW_LOGS, RAW_METRICS, SIGNALS, Topic

from .records import RECORDS

KEY = b"prod/checkout"
GOOD = b'{"name":"cpu","time_unix_nano":1,"value":0.5,"resource":{"service.name":"a"}}'
ALL = [(BY_NAME[name], record) for name, records in RECORDS.items() for record in records]


@pytest.mark.parametrize(("topic", "record"), ALL, ids=lambda value: getattr(value, "name", type(value).__name__))
def test_round_trip(topic: Topic, record: Record) -> None:
    assert decode(topic, KEY, encode(record)) == record


@pytest.mark.parametrize(("topic", "record"), ALL, ids=lambda value: getattr(value, "name", type(value).__name__))
def test_same_record_same_bytes(topic: Topic, record: Record) -> None:
    again = decode(topic, KEY, encode(record))
    assert encode(again) == encode(record)


def rejection(topic: Topic, key: bytes | None, value: bytes | None) -> RecordError:
    with pytest.raises(RecordError) as caught:
        decode(topic, key, value)
    return caught.value


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        pytest.param(None, Rejection.EMPTY, id="null"),
        pytest.param(b"", Rejection.EMPTY, id="zero bytes"),
        pytest.param(b"{" + b" " * RAW_METRICS.max_message_bytes, Rejection.TOO_LARGE, id="too large"),
        pytest.param(b"x" * 10_000_000, Rejection.TOO_LARGE, id="10 MB"),
        pytest.param(GOOD[:-1], Rejection.INVALID_JSON, id="cut short"),
        pytest.param(b"cpu 0.5", Rejection.INVALID_JSON, id="not JSON"),
        pytest.param(GOOD.replace(b"0.5", b"NaN"), Rejection.INVALID_JSON, id="NaN"),
        pytest.param(GOOD.replace(b"0.5", b"Infinity"), Rejection.INVALID_JSON, id="Infinity"),
        pytest.param(GOOD.replace(b"0.5", b"1e999"), Rejection.INVALID_JSON, id="overflow"),
        pytest.param(GOOD.replace(b"cpu", b"\xff"), Rejection.INVALID_ENCODING, id="not UTF-8"),
        pytest.param(GOOD.decode().encode("utf-16"), Rejection.INVALID_ENCODING, id="UTF-16"),
        pytest.param(b"[" + GOOD + b"]", Rejection.INVALID_SCHEMA, id="an array"),
        pytest.param(b"null", Rejection.INVALID_SCHEMA, id="JSON null"),
        pytest.param(b"{}", Rejection.INVALID_SCHEMA, id="nothing in it"),
        pytest.param(GOOD.replace(b"0.5", b'"0.5"'), Rejection.INVALID_SCHEMA, id="text for a number"),
        pytest.param(GOOD.replace(b"0.5", b"true"), Rejection.INVALID_SCHEMA, id="true for a number"),
        pytest.param(GOOD.replace(b":1,", b":0,"), Rejection.INVALID_SCHEMA, id="no time"),
        pytest.param(GOOD.replace(b":1,", b":9223372036854775808,"), Rejection.INVALID_SCHEMA, id="year 2262"),
        pytest.param(GOOD.replace(b"{", b'{"schema_version":2,', 1), Rejection.UNKNOWN_VERSION, id="version 2"),
        pytest.param(GOOD.replace(b"{", b'{"schema_version":"1",', 1), Rejection.UNKNOWN_VERSION, id="version text"),
        pytest.param(GOOD.replace(b"{", b'{"schema_version":true,', 1), Rejection.UNKNOWN_VERSION, id="version true"),
    ],
)
def test_each_fault_has_its_reason(value: bytes | None, reason: Rejection) -> None:
    assert rejection(RAW_METRICS, KEY, value).reason is reason


@pytest.mark.parametrize("key", [None, b""])
def test_missing_key(key: bytes | None) -> None:
    error = rejection(RAW_METRICS, key, GOOD)
    assert error.reason is Rejection.MISSING_KEY
    assert RAW_METRICS.key in error.detail


def test_key_is_not_asked_for_where_none_is_needed() -> None:
    assert not SIGNALS.key_required
    record = RECORDS["signals"][0]
    assert decode(SIGNALS, None, encode(record)) == record


def test_what_needs_no_parsing_is_judged_first() -> None:
    assert rejection(RAW_METRICS, None, b"").reason is Rejection.EMPTY
    assert rejection(RAW_METRICS, None, b"x").reason is Rejection.MISSING_KEY


def test_unknown_fields_are_ignored_anywhere() -> None:
    known = decode(RAW_METRICS, KEY, GOOD)
    assert decode(RAW_METRICS, KEY, GOOD[:-1] + b',"added":{"later":[1]}}') == known
    signal = json.loads(encode(RECORDS["signals"][0]))
    signal["entity"]["added"] = 1
    assert decode(SIGNALS, KEY, json.dumps(signal).encode()) == RECORDS["signals"][0]


def test_a_record_without_a_version_is_version_1() -> None:
    assert decode(RAW_METRICS, KEY, GOOD).schema_version == 1


def test_the_size_limit_is_the_topics() -> None:
    filling = b" " * (RAW_METRICS.max_message_bytes - len(GOOD))
    decode(RAW_METRICS, KEY, GOOD + filling)
    assert rejection(RAW_METRICS, KEY, GOOD + filling + b" ").reason is Rejection.TOO_LARGE
    large = BY_NAME["deadletters"]
    assert rejection(large, KEY, filling + b"  ").reason is Rejection.INVALID_JSON


def test_detail_names_the_fields_and_never_repeats_the_input() -> None:
    secret = "hunter2" * 100
    record = {"time_unix_nano": secret, "severity_number": 99, "body": 1, "event_name": 2, "resource": secret}
    detail = rejection(RAW_LOGS, KEY, json.dumps(record).encode()).detail
    assert "time_unix_nano" in detail
    assert "more" in detail
    assert "hunter2" not in detail
    assert len(detail) <= 500


@pytest.mark.parametrize("topic", CATALOGUE, ids=lambda topic: topic.name)
def test_every_topic_refuses_rubbish(topic: Topic) -> None:
    for value in (None, b"", b"\xff", b"{", b"[]", b"1", b"{}", b'{"schema_version":7}'):
        with pytest.raises(RecordError):
            decode(topic, KEY, value)
