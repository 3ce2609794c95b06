"""What is measured, and how it is written down."""

from __future__ import annotations

import time
from pathlib import Path

import orjson
import pytest

from examples.fleet.config import FleetConfig
from examples.fleet.telemetry import (
    CPU_UTILIZATION,
    DURATION_MEAN,
    DURATION_P95,
    ERROR,
    ERROR_RATIO,
    MAX_BODY,
    MEMORY_USAGE,
    REQUEST_RATE,
    FilePublisher,
    ProcessUsage,
    RequestWindow,
    Telemetry,
    open_publisher,
    read_lines,
)
from schemas.codec import decode
from schemas.raw import LogRecord, MetricBlock
from schemas.topics import RAW_LOGS, RAW_METRICS
from tests.fleet.parts import MemoryPublisher

RESOURCE = {
    "service.name": "checkout",
    "service.instance.id": "checkout-1",
    "service.version": "v1",
    "deployment.environment.name": "demo",
}


def test_a_window_summarises_its_requests_and_begins_anew() -> None:
    window = RequestWindow()
    for hundredths in range(1, 21):
        window.add(hundredths / 100, failed=hundredths > 15)
    assert window.drain(0.5) == {
        DURATION_P95: 0.19,  # nearest rank: the 19th of 20
        DURATION_MEAN: pytest.approx(0.105),
        ERROR_RATIO: 0.25,
        REQUEST_RATE: 40.0,
    }
    assert window.drain(0.5)[REQUEST_RATE] == 0.0


def test_without_requests_durations_and_errors_are_missing_and_not_zero() -> None:
    assert RequestWindow().drain(0.5) == {
        DURATION_P95: None,
        DURATION_MEAN: None,
        ERROR_RATIO: None,
        REQUEST_RATE: 0.0,
    }


def test_usage_is_that_of_this_process() -> None:
    usage = ProcessUsage()
    began = time.process_time()
    while time.process_time() - began < 0.02:
        pass
    busy = usage.sample(0.02)
    cpu, memory = busy[CPU_UTILIZATION], busy[MEMORY_USAGE]
    assert cpu is not None
    assert cpu > 0
    assert memory is None or memory > 10_000_000  # an interpreter with pydantic loaded


def test_metrics_are_one_block_keyed_by_entity() -> None:
    publisher = MemoryPublisher()
    Telemetry(RESOURCE, publisher).metrics(5, {DURATION_MEAN: 0.1, ERROR_RATIO: None})
    [(topic, key, block)] = publisher.records
    assert topic is RAW_METRICS
    assert key == "demo/checkout/checkout-1"
    assert isinstance(block, MetricBlock)
    assert [(s.name, s.unit) for s in block.series] == [DURATION_MEAN, ERROR_RATIO]
    assert (block.time_unix_nano, block.value) == ((5,), ((0.1,), (None,)))


def test_an_endless_traceback_is_cut_to_what_the_schema_takes() -> None:
    publisher = MemoryPublisher()
    Telemetry(RESOURCE, publisher).log(5, ERROR, "x" * (MAX_BODY + 1), {})
    [(topic, _, record)] = publisher.records
    assert topic is RAW_LOGS
    assert isinstance(record, LogRecord)
    assert len(record.body) == MAX_BODY


def test_a_file_of_telemetry_holds_records_as_they_are_on_the_topics(tmp_path: Path) -> None:
    path = tmp_path / "telemetry.jsonl"
    publisher = FilePublisher(path, "reflexarc")
    telemetry = Telemetry(RESOURCE, publisher)
    telemetry.metrics(5, {DURATION_MEAN: 0.1})
    telemetry.log(6, ERROR, "boom", {"exception.type": "KeyError"})
    publisher.close()
    metrics, log = read_lines(path)
    assert metrics["topic"] == "reflexarc.raw.metrics"
    assert isinstance(decode(RAW_METRICS, metrics["key"].encode(), orjson.dumps(metrics["value"])), MetricBlock)
    decoded = decode(RAW_LOGS, log["key"].encode(), orjson.dumps(log["value"]))
    assert (decoded.body, decoded.severity_number) == ("boom", 17)


def test_telemetry_must_go_somewhere() -> None:
    with pytest.raises(ValueError, match="bootstrap_servers or telemetry_file"):
        open_publisher(FleetConfig(token="x"))


def test_the_token_is_not_shown() -> None:
    assert "s3cret" not in repr(FleetConfig(token="s3cret"))
