"""One record of a collector's topic to one of ours: Prometheus samples, Fluent Bit and Vector logs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode, encode
from schemas.errors import RecordError, Rejection
from schemas.topics import RAW_LOGS, RAW_METRICS
from streams.sources import fluent_bit, prometheus, vector

TIME = "2023-11-14T22:13:20.123456789Z"
NANOS = 1_700_000_000_123_456_789


def sample(**changes: Any) -> bytes:
    record: dict[str, Any] = {
        "timestamp": TIME,
        "value": "4.5",
        "name": "http_requests_total",
        "labels": {"__name__": "http_requests_total", "job": "checkout", "instance": "10.0.0.1:80", "code": "500"},
    }
    return json.dumps(record | changes).encode()


def test_prometheus_sample() -> None:
    found = prometheus.read(sample())
    assert found is not None
    key, metric = found
    assert key == "default/checkout/10.0.0.1:80"
    assert (metric.name, metric.value, metric.time_unix_nano) == ("http_requests_total", 4.5, NANOS)
    assert metric.kind == "counter"
    assert metric.attributes == {"code": "500"}
    assert decode(RAW_METRICS, key.encode(), encode(metric)) == metric


@pytest.mark.parametrize(
    ("name", "kind"),
    [("a_total", "counter"), ("a_bucket", "counter"), ("a_seconds_sum", "counter"), ("a_bytes", "gauge")],
)
def test_prometheus_type_by_name(name: str, kind: str) -> None:
    found = prometheus.read(sample(name=name))
    assert found is not None
    assert found[1].kind == kind


@pytest.mark.parametrize("value", ["NaN", "+Inf", "-Inf"])
def test_prometheus_value_that_is_no_number(value: str) -> None:
    assert prometheus.read(sample(value=value)) is None


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Rejection.EMPTY),
        (b"{", Rejection.INVALID_JSON),
        (b"\xff", Rejection.INVALID_ENCODING),
        (sample(value=4.5), Rejection.INVALID_SCHEMA),
        (sample(value="many"), Rejection.INVALID_SCHEMA),
        (sample(timestamp="today"), Rejection.INVALID_SCHEMA),
        (sample(name=""), Rejection.INVALID_SCHEMA),
        (sample(labels={f"l{i}": "x" for i in range(129)}), Rejection.INVALID_SCHEMA),
    ],
)
def test_prometheus_faults(value: bytes, reason: Rejection) -> None:
    with pytest.raises(RecordError) as caught:
        prometheus.read(value)
    assert caught.value.reason is reason


POD = {
    "pod_name": "checkout-7d9",
    "namespace_name": "shop",
    "host": "node-3",
    "container_name": "app",
    "labels": {"app": "checkout", "environment": "prod"},
}


def test_fluent_bit_log() -> None:
    record = {"@timestamp": 1700000000.123456, "log": "boom\n", "stream": "stderr", "level": "ERROR", "kubernetes": POD}
    key, log = fluent_bit.read(json.dumps(record).encode())
    assert key == "prod/checkout/checkout-7d9"
    assert log.time_unix_nano == 1_700_000_000_123_456_000
    assert log.severity_number == 17
    assert log.body == "boom\n"
    assert log.resource["k8s.namespace.name"] == "shop"
    assert log.attributes["stream"] == "stderr"
    assert decode(RAW_LOGS, key.encode(), encode(log)) == log


def test_fluent_bit_iso_time_and_plain_message() -> None:
    key, log = fluent_bit.read(json.dumps({"@timestamp": TIME, "message": "hi", "hostname": "h1"}).encode())
    assert (key, log.time_unix_nano, log.body, log.severity_number) == ("default/h1/h1", NANOS, "hi", 9)


VECTOR_NESTED = {
    "timestamp": TIME,
    "message": "boom",
    "stream": "stdout",
    "source_type": "kubernetes_logs",
    "kubernetes": {
        "pod_name": "checkout-7d9",
        "pod_namespace": "shop",
        "container_name": "app",
        "pod_labels": {"app": "checkout"},
    },
}
VECTOR_DOTTED = {
    "timestamp": TIME,
    "message": "boom",
    "stream": "stdout",
    "source_type": "kubernetes_logs",
    "kubernetes.pod_name": "checkout-7d9",
    "kubernetes.pod_namespace": "shop",
    "kubernetes.container_name": "app",
    "kubernetes.pod_labels.app": "checkout",
}


def test_vector_log_nested_or_dotted() -> None:
    nested, dotted = (vector.read(json.dumps(record).encode()) for record in (VECTOR_NESTED, VECTOR_DOTTED))
    assert nested == dotted
    key, log = nested
    assert key == "default/checkout/checkout-7d9"
    assert (log.time_unix_nano, log.body) == (NANOS, "boom")
    assert decode(RAW_LOGS, key.encode(), encode(log)) == log


@pytest.mark.parametrize("read", [fluent_bit.read, vector.read])
@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b"", Rejection.EMPTY),
        (b"plain text", Rejection.INVALID_JSON),
        (b"[]", Rejection.INVALID_SCHEMA),
        (b'{"message":"no time"}', Rejection.INVALID_SCHEMA),
        (b'{"timestamp":true}', Rejection.INVALID_SCHEMA),
        (b'{"timestamp":-1}', Rejection.INVALID_SCHEMA),
        (b'{"timestamp":1e300}', Rejection.INVALID_SCHEMA),
        (b'{"timestamp":1,"a":' + b'{"a":' * 900 + b"1" + b"}" * 901, Rejection.INVALID_SCHEMA),
    ],
)
def test_log_faults(read: Any, value: bytes, reason: Rejection) -> None:
    with pytest.raises(RecordError) as caught:
        read(value)
    assert caught.value.reason is reason


def test_a_log_keeps_no_more_than_the_schema_allows() -> None:
    record = {"timestamp": TIME, "message": "x" * 100_000} | {f"f{i}": "\x1b[0mv" for i in range(500)}
    key, log = vector.read(json.dumps(record).encode())
    assert len(log.body) == 65_536
    assert len(log.attributes) == 128
    assert set(log.attributes.values()) == {"v"}
    assert decode(RAW_LOGS, key.encode(), encode(log)) == log


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=10) | st.floats(allow_nan=False, allow_infinity=False),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
)
NAMES = st.sampled_from(["timestamp", "@timestamp", "message", "log", "level", "kubernetes", "host", "service"])


@given(st.dictionaries(NAMES | st.text(max_size=5), JSON, max_size=8))
def test_any_object_is_taken_or_refused_by_name(record: dict[str, Any]) -> None:
    value = json.dumps(record).encode()
    for read in (fluent_bit.read, vector.read):
        try:
            key, log = read(value)
        except RecordError:
            continue
        assert decode(RAW_LOGS, key.encode(), encode(log)) == log
