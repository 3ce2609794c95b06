"""Telemetry of the fleet: what is measured on real requests, and where it is published.

Every process of the fleet owns one `Publisher` and one `Telemetry` per resource. The request window is drained every
half second into a metric block; log records go out as they happen.
"""

from __future__ import annotations

import math
import os
import sys
import time
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson
from confluent_kafka import KafkaError, Producer

from examples.fleet.config import FleetConfig
from schemas.codec import encode
from schemas.envelope import AttributeValue, Record, entity_of
from schemas.raw import LogRecord, MetricBlock, Series
from schemas.topics import RAW_LOGS, RAW_METRICS, Topic

# Two reports a second: a detector that looks once a second always finds fresh samples.
REPORT_SECONDS = 0.5
# OpenTelemetry severity numbers.
INFO, WARN, ERROR = 9, 13, 17
# Longest body the schema takes; a deep traceback may be longer.
MAX_BODY = 65_536


class Metric(NamedTuple):
    """What is measured, and in which UCUM unit."""

    name: str
    unit: str


DURATION_P95 = Metric("http.server.request.duration.p95", "s")
DURATION_MEAN = Metric("http.server.request.duration.mean", "s")
ERROR_RATIO = Metric("http.server.request.error_ratio", "1")
REQUEST_RATE = Metric("http.server.request.rate", "{request}/s")
CPU_UTILIZATION = Metric("process.cpu.utilization", "1")
MEMORY_USAGE = Metric("process.memory.usage", "By")

Resource = Mapping[str, AttributeValue]
Values = dict[Metric, float | None]
"""None where it could not be measured: missing is not zero."""


class Publisher(Protocol):
    """Takes one record of a topic under a key. Never blocks the caller, never raises for a broker that is away."""

    def publish(self, topic: Topic, key: str, record: Record) -> None: ...

    def close(self) -> None: ...


class KafkaPublisher:
    """Publishes to Kafka; what cannot be delivered is dropped, as collectors do under pressure."""

    def __init__(self, bootstrap_servers: str, prefix: str) -> None:
        self._prefix = prefix
        self._complained = False
        self._producer = Producer(
            {
                "bootstrap.servers": bootstrap_servers,
                # Batches what one report makes; invisible beside the 500 ms between reports.
                "linger.ms": 10,
                "compression.type": "lz4",
                # A minute-old sample explains nothing any more.
                "message.timeout.ms": 60_000,
                # A minute of the fleet at its noisiest: a few hundred records a second at most.
                "queue.buffering.max.messages": 20_000,
                # It would say for every attempt to connect, in every process, what `_complain` says once.
                "log_level": 0,
                "error_cb": self._complain,
            }
        )

    def publish(self, topic: Topic, key: str, record: Record) -> None:
        with suppress(BufferError):
            self._producer.produce(topic.full_name(self._prefix), encode(record), key.encode())
        self._producer.poll(0)

    def close(self) -> None:
        self._producer.flush(1.0)

    def _complain(self, error: KafkaError) -> None:
        if error.code() == KafkaError._ALL_BROKERS_DOWN and not self._complained:  # noqa: SLF001 - its public name
            self._complained = True
            sys.stderr.write(f"fleet: telemetry is lost while no broker answers: {error.str()}\n")


class FilePublisher:
    """Appends JSON lines `{"topic", "key", "value"}`. Several processes may share the file."""

    def __init__(self, path: Path, prefix: str) -> None:
        self._prefix = prefix
        self._descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def publish(self, topic: Topic, key: str, record: Record) -> None:
        line = {"topic": topic.full_name(self._prefix), "key": key, "value": orjson.Fragment(encode(record))}
        # One write per line: with O_APPEND, lines of different processes never mix.
        os.write(self._descriptor, orjson.dumps(line, option=orjson.OPT_APPEND_NEWLINE))

    def close(self) -> None:
        os.close(self._descriptor)


def open_publisher(config: FleetConfig) -> Publisher:
    """Make the publisher that the configuration names."""
    if config.bootstrap_servers is not None:
        return KafkaPublisher(config.bootstrap_servers, config.topic_prefix)
    if config.telemetry_file is not None:
        return FilePublisher(config.telemetry_file, config.topic_prefix)
    raise ValueError("a fleet needs bootstrap_servers or telemetry_file")


@dataclass
class RequestWindow:
    """Requests that ended since the last report."""

    durations: list[float] = field(default_factory=list)
    errors: int = 0

    def add(self, duration: float, *, failed: bool) -> None:
        self.durations.append(duration)
        self.errors += failed

    def drain(self, seconds: float) -> Values:
        """Summarise `seconds` of requests and begin anew. Without requests only the rate is known: it is zero."""
        ordered, errors = sorted(self.durations), self.errors
        self.durations, self.errors = [], 0
        count = len(ordered)
        rate: Values = {REQUEST_RATE: count / seconds}
        if not count:
            return {DURATION_P95: None, DURATION_MEAN: None, ERROR_RATIO: None} | rate
        # Nearest rank: always a duration that some request really had.
        p95 = ordered[math.ceil(0.95 * count) - 1]
        return {DURATION_P95: p95, DURATION_MEAN: sum(ordered) / count, ERROR_RATIO: errors / count} | rate


class ProcessUsage:
    """CPU and memory of this process."""

    def __init__(self) -> None:
        self._cpu_seconds = time.process_time()
        self._cpus = os.cpu_count() or 1

    def sample(self, seconds: float) -> Values:
        """Usage since the last sample, which was `seconds` ago."""
        cpu_seconds = time.process_time()
        used, self._cpu_seconds = cpu_seconds - self._cpu_seconds, cpu_seconds
        return {CPU_UTILIZATION: used / seconds / self._cpus, MEMORY_USAGE: resident_bytes()}


def resident_bytes() -> float | None:
    """Resident set size of this process; None where the system has no /proc to ask."""
    try:
        pages = int(Path("/proc/self/statm").read_bytes().split()[1])
    except OSError:
        return None
    return float(pages * os.sysconf("SC_PAGESIZE"))


class Telemetry:
    """Publishes the metrics and logs of one resource."""

    def __init__(self, resource: Resource, publisher: Publisher) -> None:
        self._resource = dict(resource)
        self._publisher = publisher
        self._key = str(entity_of(resource))

    def metrics(self, time_unix_nano: int, values: Values) -> None:
        block = MetricBlock(
            resource=self._resource,
            series=tuple(Series(name=metric.name, unit=metric.unit) for metric in values),
            time_unix_nano=(time_unix_nano,),
            value=tuple((value,) for value in values.values()),
        )
        self._publisher.publish(RAW_METRICS, self._key, block)

    def log(self, time_unix_nano: int, severity: int, body: str, attributes: Resource, event_name: str = "") -> None:
        record = LogRecord(
            time_unix_nano=time_unix_nano,
            severity_number=severity,
            body=body[:MAX_BODY],
            event_name=event_name,
            resource=self._resource,
            attributes=dict(attributes),
        )
        self._publisher.publish(RAW_LOGS, self._key, record)


def read_lines(path: Path) -> list[dict[str, Any]]:
    """Read what `FilePublisher` wrote."""
    return [orjson.loads(line) for line in path.read_bytes().splitlines()]
