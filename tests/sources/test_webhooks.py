from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode, encode
from schemas.errors import RecordError, Rejection
from schemas.topics import RAW_ALERTS
from streams.sources import WEBHOOKS, alertmanager

START = "2023-11-14T22:13:20.5Z"
STARTED = 1_700_000_000_500_000_000
OPEN = "0001-01-01T00:00:00Z"


def alert(**changes: Any) -> dict[str, Any]:
    return {
        "status": "firing",
        "labels": {"alertname": "HighLatency", "severity": "page", "service": "checkout", "pod": "c-1", "env": "prod"},
        "annotations": {"summary": "p99 is 3 s", "runbook_url": "https://runbooks.example/latency"},
        "startsAt": START,
        "endsAt": OPEN,
        "generatorURL": "http://prometheus:9090/graph",
        "fingerprint": "a1b2c3",
    } | changes


def body(*alerts: dict[str, Any], **changes: Any) -> bytes:
    group = {
        "version": "4",
        "groupKey": '{}:{alertname="HighLatency"}',
        "truncatedAlerts": 0,
        "status": "firing",
        "receiver": "reflexarc",
        "groupLabels": {"alertname": "HighLatency"},
        "commonLabels": {},
        "commonAnnotations": {},
        "externalURL": "http://alertmanager:9093",
        "alerts": list(alerts),
    }
    return json.dumps(group | changes).encode()


def test_firing_alert() -> None:
    ((key, found),) = alertmanager.parse(body(alert()), {})
    assert key == "prod/checkout/c-1"
    assert found.source == "alertmanager"
    assert found.fingerprint == "a1b2c3"
    assert found.status == "firing"
    assert found.name == "HighLatency"
    assert found.severity == "critical"
    assert found.time_unix_nano == STARTED
    assert found.summary == "p99 is 3 s"
    assert found.labels["alertname"] == "HighLatency"
    assert decode(RAW_ALERTS, key.encode(), encode(found)) == found


def test_each_alert_has_its_own_status() -> None:
    over = alert(status="resolved", endsAt="2023-11-14T22:13:21.5Z", fingerprint="x")
    (_, first), (_, second) = alertmanager.parse(body(alert(), over), {})
    assert (first.status, first.time_unix_nano) == ("firing", STARTED)
    assert (second.status, second.time_unix_nano) == ("resolved", STARTED + 1_000_000_000)


def test_end_of_a_firing_alert_is_only_its_timeout() -> None:
    ((_, found),) = alertmanager.parse(body(alert(endsAt="2030-01-01T00:00:00Z")), {})
    assert found.time_unix_nano == STARTED


@pytest.mark.parametrize("end", ["", OPEN])
def test_resolved_without_an_end(end: str) -> None:
    ((_, found),) = alertmanager.parse(body(alert(status="resolved", endsAt=end)), {})
    assert found.time_unix_nano == STARTED


def test_without_a_fingerprint_the_labels_are_it() -> None:
    labels = {"alertname": "A", "pod": "1"}
    same = [alert(fingerprint="", labels=labels), alert(fingerprint="", labels=dict(reversed(labels.items())))]
    other = alert(fingerprint="", labels={"alertname": "A", "pod": "2"})
    prints = [found.fingerprint for _, found in alertmanager.parse(body(*same, other), {})]
    assert prints[0] == prints[1] != prints[2]


def test_priority_beats_severity() -> None:
    ((_, found),) = alertmanager.parse(body(alert(labels={"priority": "P4", "severity": "critical"})), {})
    assert found.severity == "low"
    assert found.name == "unnamed alert"


def test_text_is_made_harmless() -> None:
    hostile = alert(
        labels={"alertname": "\x1b[2J\u202eevil\n", **{f"l{i}": "x" for i in range(200)}},
        annotations={"summary": "\x1b]0;title\x07" + "y" * 100_000},
    )
    ((_, found),) = alertmanager.parse(body(hostile), {})
    assert found.name == "evil"
    assert found.summary == "y" * 4096
    assert len(found.labels) == 50


def test_no_alerts_is_no_fault() -> None:
    assert alertmanager.parse(body(), {}) == []


def test_grafana_has_a_version_of_its_own() -> None:
    ((_, found),) = WEBHOOKS["grafana"](body(alert(valueString="[ x ]"), version="1", orgId=1, state="alerting"), {})
    assert found.source == "grafana"
    with pytest.raises(RecordError) as caught:
        alertmanager.parse(body(alert(), version="1"), {})
    assert caught.value.reason is Rejection.UNKNOWN_VERSION


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Rejection.EMPTY),
        (b"{", Rejection.INVALID_JSON),
        (b"NaN", Rejection.INVALID_JSON),
        (b"\xff\xfe", Rejection.INVALID_ENCODING),
        (b"[]", Rejection.INVALID_SCHEMA),
        (b"{}", Rejection.INVALID_SCHEMA),
        (body(version=4), Rejection.INVALID_SCHEMA),
        (body(version="5"), Rejection.UNKNOWN_VERSION),
        (body(alerts={}), Rejection.INVALID_SCHEMA),
        (body(alert(status="pending")), Rejection.INVALID_SCHEMA),
        (body(alert(labels=None)), Rejection.INVALID_SCHEMA),
        (body(alert(labels={"a": 1})), Rejection.INVALID_SCHEMA),
        (body(alert(startsAt="yesterday")), Rejection.INVALID_SCHEMA),
        (body(alert(startsAt=OPEN)), Rejection.INVALID_SCHEMA),
    ],
)
def test_faults_have_reasons(value: bytes, reason: Rejection) -> None:
    with pytest.raises(RecordError) as caught:
        alertmanager.parse(value, {})
    assert caught.value.reason is reason


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=30)


@given(
    labels=st.dictionaries(TEXT, TEXT, max_size=60),
    annotations=st.dictionaries(st.sampled_from(["summary", "description", "x"]), TEXT, max_size=3),
    fingerprint=TEXT,
)
def test_any_text_gives_a_record_that_the_codec_takes(
    labels: dict[str, str], annotations: dict[str, str], fingerprint: str
) -> None:
    value = body(alert(labels=labels, annotations=annotations, fingerprint=fingerprint))
    ((key, found),) = alertmanager.parse(value, {})
    assert decode(RAW_ALERTS, key.encode(), encode(found)) == found


def test_half_a_character_is_not_json() -> None:
    with pytest.raises(RecordError) as caught:
        alertmanager.parse(body(alert(fingerprint="\ud800")), {})
    assert caught.value.reason is Rejection.INVALID_JSON


@given(st.dictionaries(st.sampled_from(["version", "alerts", "status"]), JSON), JSON)
def test_any_json_is_taken_or_refused_by_name(changes: dict[str, Any], item: Any) -> None:
    for value in (body(**changes), body(item), orjson.dumps(repr(item))):
        try:
            alertmanager.parse(value, {})
        except RecordError:
            continue
