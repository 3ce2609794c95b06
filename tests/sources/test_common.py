from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.errors import RecordError, Rejection
from streams.sources.common import (
    MAX_LABELS,
    clean,
    clean_labels,
    flatten,
    nanos_of,
    resource_of_labels,
    severity_of,
)


@pytest.mark.parametrize(
    ("said", "kept"),
    [
        ("disk full", "disk full"),
        ("\x1b[31mdisk\x1b[0m full", "disk full"),
        ("\x1b]0;owned\x07disk full", "disk full"),
        ("\x1b]8;;http://x\x1b\\disk\x1b]8;;\x1b\\ full", "disk full"),
        ("disk\r\n\tfull", "disk full"),
        ("disk\x00 \x08full", "disk full"),
        ("\u202edisk full\u202c", "disk full"),
        ("  disk full \n", "disk full"),
        ("Füllstand 😀", "Füllstand 😀"),
        ("\ud800x", "x"),
        ("", ""),
    ],
)
def test_clean(said: str, kept: str) -> None:
    assert clean(said) == kept


def test_clean_cuts() -> None:
    assert clean("x" * 5000) == "x" * 1024
    assert clean("x" * 5000, 10) == "x" * 10


@given(st.text(st.characters(), max_size=200), st.integers(1, 50))
def test_clean_leaves_nothing_that_acts(said: str, limit: int) -> None:
    kept = clean(said, limit)
    assert len(kept) <= limit
    assert not any(unicodedata.category(c) in {"Cc", "Cf", "Cs"} for c in kept)


@pytest.mark.parametrize(
    ("timestamp", "nanos"),
    [
        ("2023-11-14T22:13:20Z", 1_700_000_000_000_000_000),
        ("2023-11-14T22:13:20.123456789Z", 1_700_000_000_123_456_789),
        ("2023-11-14T22:13:20.1Z", 1_700_000_000_100_000_000),
        ("2023-11-14T22:13:20.1234567899Z", 1_700_000_000_123_456_789),
        ("2023-11-15T00:13:20+02:00", 1_700_000_000_000_000_000),
        ("2023-11-14t22:13:20z", 1_700_000_000_000_000_000),
        ("0001-01-01T00:00:00Z", 0),
        ("0001-01-01T00:00:00+02:00", 0),
    ],
)
def test_nanos_of(timestamp: str, nanos: int) -> None:
    assert nanos_of(timestamp) == nanos


@pytest.mark.parametrize(
    "timestamp",
    [
        "",
        "now",
        "2023-11-14",
        "2023-11-14T22:13:20",
        "2023-13-14T22:13:20Z",
        "2023-11-14T25:13:20Z",
        "1969-01-01T00:00:00Z",
        "9999-01-01T00:00:00Z",
        "2023-11-14T22:13:20+99:00",
        "٢٠٢٣-11-14T22:13:20Z",
    ],
)
def test_nanos_of_refuses(timestamp: str) -> None:
    with pytest.raises(RecordError) as caught:
        nanos_of(timestamp)
    assert caught.value.reason is Rejection.INVALID_SCHEMA


@pytest.mark.parametrize(
    ("words", "severity"),
    [
        (("critical",), "critical"),
        (("PAGE",), "critical"),
        ((" Warning ",), "medium"),
        (("error",), "high"),
        (("info",), "low"),
        (("P1", "info"), "critical"),
        ((None, "info"), "low"),
        (("who knows", "info"), "low"),
        (("who knows",), "medium"),
        ((), "medium"),
    ],
)
def test_severity_of(words: tuple[str | None, ...], severity: str) -> None:
    assert severity_of(*words) == severity


def test_labels_are_capped_and_clean() -> None:
    labels = {f"l{i:04}": str(i) for i in range(1000)} | {"a\x1b[0m": "\x00", "b": "", "c\n": "x" * 2000}
    kept = clean_labels(labels)
    assert len(kept) == MAX_LABELS
    assert "a" not in kept
    assert "b" not in kept
    assert kept["c"] == "x" * 1024
    assert kept == clean_labels(dict(reversed(labels.items())))


@pytest.mark.parametrize(
    ("labels", "resource"),
    [
        ({}, {}),
        ({"job": "shop/checkout"}, {"service.name": "shop/checkout"}),
        ({"service": "checkout", "job": "node"}, {"service.name": "checkout"}),
        ({"instance": "10.0.0.1:80"}, {"service.instance.id": "10.0.0.1:80"}),
        ({"instance": "10.0.0.1:80", "pod": "p1"}, {"k8s.pod.name": "p1"}),
        ({"env": "prod", "cluster": "eu"}, {"deployment.environment.name": "prod", "k8s.cluster.name": "eu"}),
    ],
)
def test_resource_of_labels(labels: dict[str, str], resource: dict[str, str]) -> None:
    assert resource_of_labels(labels) == resource


def test_flatten() -> None:
    document = {"a": {"b": {"c": 1}, "d.e": "x"}, "f": [1, {"g": 2}], "h": None, "i": True}
    assert flatten(document) == {"a.b.c": 1, "a.d.e": "x", "f": '[1,{"g":2}]', "i": True}
