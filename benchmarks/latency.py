"""From a broker's append of the telling sample to the command on the action topic, at several rates.

Run as `python -m benchmarks.latency [--loads SAMPLES,LINES ...] [--json FILE]`. One worker with all stages and its
shipped settings, Apache Kafka and Valkey on loopback; one sample a second of as many series as the rate says. Every
half second one of the services gets a new version, and then its two instances fail, each with its next sample. The
rails that would hold back so many rollbacks in a row are lifted; nothing else is. The clock starts when the broker
appends the last sample that the rule cites, and stops with the time in the command's record: both are of this machine.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import orjson
from confluent_kafka import Consumer, Message, Producer, TopicPartition

from benchmarks.measure import Measure, at_most, write_json
from schemas.topics import ACTIONS, DECISIONS, INCIDENTS, RAW_LOGS, RAW_METRICS
from streams.embedded import EmbeddedValkey
from streams.kafka_client import create_topics
from streams.settings import KafkaSettings
from tests.parts.kafka import JARS, ApacheKafka

SERVICES = 500  # besides those that break


class Offered(NamedTuple):
    """What the fleet says a second."""

    samples: int
    log_lines: int

    def __str__(self) -> str:
        return f"at {self.samples:,} samples/s, {self.log_lines:,} log lines/s"


# A service logs two lines a second; and, for what silence costs, one in two and a half seconds. Signals wait until
# every partition of logs has been read as far, or is known to be silent.
LOADS = (Offered(1_000, 1_000), Offered(10_000, 1_000), Offered(50_000, 1_000), Offered(50_000, 200))
GOAL_RATE = 50_000
P50_GOAL_MS, P99_GOAL_MS = 100.0, 500.0
FAULTS = 60
INSTANCES = 2
SLICE_SECONDS = 0.01
# The group forms in ten seconds, the bank knows a series after 16 looks, and has a baseline of its own at 20.
WARM_SECONDS = 45.0
FAULT_EVERY_SECONDS = 0.5
# The fleet goes on after the last fault: where it falls silent, event time stands still and so does what waits for it.
AFTERWARDS_SECONDS = 5.0
PATIENCE_SECONDS = 10.0
ENVIRONMENT = "bench"
_CONFIG = """
[policy]
grants = [{{ environment = "{environment}", tier = "autonomous" }}]
[policy.rails]
max_actions_per_hour = 1000
storm_incidents = 1000
max_broken_services = 1000
max_broken_share = 1.0
"""


@dataclass
class Load:
    """Telemetry of a fleet: two instances a faulty service, the rest are bystanders."""

    producer: Producer
    prefix: str
    offered: Offered
    broken: set[int] = field(default_factory=set)  # series
    _rng: np.random.Generator = field(default_factory=lambda: np.random.default_rng(7))

    def __post_init__(self) -> None:
        # The two instances of a faulty service report one after the other, and the services all over the second.
        series = self.offered.samples
        self._apart = series // FAULTS
        places = [divmod(i, self._apart) for i in range(series)]
        services = [
            f"faulty-{at}" if at < FAULTS and which < INSTANCES else f"svc-{i % SERVICES}"
            for i, (at, which) in enumerate(places)
        ]
        self._heads = [_head(service, i) for i, service in enumerate(services)]
        self._keys = [f"{ENVIRONMENT}/{service}/i-{i}".encode() for i, service in enumerate(services)]

    def run(self, seconds: float, faults: int = 0) -> None:
        """Publish for so long, evenly; break one service after the other."""
        rate, lines = self.offered
        began, sent, logged, broken = time.perf_counter(), 0, 0, 0
        while (elapsed := time.perf_counter() - began) < seconds:
            due = int(elapsed * rate)
            for i in range(sent, due):
                series = i % rate
                self._sample(series, 0.9 if series in self.broken else 0.01 + 0.002 * self._noise(i))
            sent = due
            for i in range(logged, int(elapsed * lines)):
                self._log(i)
            logged = int(elapsed * lines)
            if broken < faults and elapsed >= (broken + 1) * FAULT_EVERY_SECONDS:
                self._break(broken)
                broken += 1
            self.producer.poll(0)
            time.sleep(max(0.0, SLICE_SECONDS - (time.perf_counter() - began - elapsed)))

    def _noise(self, i: int) -> float:
        if i % 4096 == 0 or not hasattr(self, "_noises"):
            self._noises = self._rng.normal(0.0, 1.0, 4096).clip(-3, 3).tolist()
        return float(self._noises[i % 4096])

    def _break(self, service: int) -> None:
        name = f"faulty-{service}"
        event = {
            "time_unix_nano": time.time_ns(),
            "severity_number": 9,
            "body": "rollout of v2 finished",
            "event_name": "deployment.finished",
            "resource": {"service.name": name, "deployment.environment.name": ENVIRONMENT},
            "attributes": {"deployment.kind": "rollout", "service.version": "v2", "deployment.previous.version": "v1"},
        }
        self.producer.produce(f"{self.prefix}.{RAW_LOGS.name}", orjson.dumps(event), f"{ENVIRONMENT}/{name}")
        # Not `flush`: it was seen to take a second, in which the fleet says nothing.
        self.producer.poll(0.02)
        # In their turn: samples out of turn that disagree with those before are contested, and a person is asked.
        self.broken |= {service * self._apart + which for which in range(INSTANCES)}

    def _log(self, i: int) -> None:
        name = f"svc-{i % SERVICES}"
        resource = {"service.name": name, "deployment.environment.name": ENVIRONMENT}
        record = {"time_unix_nano": time.time_ns(), "body": f"served request {i}", "resource": resource}
        self.producer.produce(f"{self.prefix}.{RAW_LOGS.name}", orjson.dumps(record), f"{ENVIRONMENT}/{name}")

    def _sample(self, series: int, value: float) -> None:
        record = b'%s,"time_unix_nano":%d,"value":%.6f}' % (self._heads[series], time.time_ns(), value)
        self.producer.produce(f"{self.prefix}.{RAW_METRICS.name}", record, self._keys[series])


def _head(service: str, instance: int) -> bytes:
    resource = {
        "service.name": service,
        "service.instance.id": f"i-{instance}",
        "deployment.environment.name": ENVIRONMENT,
    }
    sample = {"name": "http.server.request.error_ratio", "unit": "1", "resource": resource}
    return orjson.dumps(sample).removesuffix(b"}")


def measure(servers: str, offered: Offered) -> list[float]:
    """Return the latency of every command, in milliseconds."""
    prefix = f"latency{offered.samples}-{time.time_ns()}"
    create_topics(KafkaSettings(bootstrap_servers=servers, topic_prefix=prefix), divide_partitions_by=3)
    producer = Producer({"bootstrap.servers": servers, "linger.ms": 5, "partitioner": "murmur2_random"})
    with ExitStack() as stack:
        redis = stack.enter_context(EmbeddedValkey())
        stack.enter_context(_worker(servers, prefix, redis.url))
        load = Load(producer, prefix, offered)
        load.run(WARM_SECONDS)
        load.run((FAULTS + 1) * FAULT_EVERY_SECONDS + AFTERWARDS_SECONDS, FAULTS)
        producer.flush(10)
        time.sleep(PATIENCE_SECONDS)
        return list(_latencies(servers, prefix))


@contextmanager
def _worker(servers: str, prefix: str, redis: str) -> Iterator[None]:
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "reflexarc.toml"
        config.write_text(_CONFIG.format(environment=ENVIRONMENT))
        variables = {
            "REFLEXARC_CONFIG": str(config),
            "REFLEXARC_KAFKA__BOOTSTRAP_SERVERS": servers,
            "REFLEXARC_KAFKA__TOPIC_PREFIX": prefix,
            "REFLEXARC_LEDGER__URL": redis,
        }
        process = subprocess.Popen([sys.executable, "-m", "streams.cli", "worker"], env={**os.environ, **variables})
        try:
            yield
            if process.poll() is not None:
                raise RuntimeError(f"the worker ended with {process.returncode}")
        finally:
            process.terminate()
            process.wait(30)


def _latencies(servers: str, prefix: str) -> Iterator[float]:
    """Follow the first command for each service back to the records that its rule cites."""
    commands: dict[str, Message] = {}
    for message in _read(servers, f"{prefix}.{ACTIONS.name}"):
        commands.setdefault(orjson.loads(message.value() or b"{}")["target"]["service"], message)
    decisions = {found["id"]: found for found in _values(servers, f"{prefix}.{DECISIONS.name}")}
    incidents = {(found["id"], found["revision"]): found for found in _values(servers, f"{prefix}.{INCIDENTS.name}")}
    with closing(Consumer(_client(servers, prefix))) as consumer:
        for message in commands.values():
            decision = decisions[orjson.loads(message.value() or b"{}")["decision_id"]]
            incident = incidents[decision["incident_id"], decision["incident_revision"]]
            cited = {identity for rule in incident["classification"]["rules"] for identity in rule["signals"]}
            origins = [signal["origin"] for signal in incident["signals"] if signal["id"] in cited]
            yield float(message.timestamp()[1] - max(_appended(consumer, prefix, origin) for origin in origins))


def _appended(consumer: Consumer, prefix: str, origin: dict[str, Any]) -> int:
    consumer.assign([TopicPartition(f"{prefix}.{origin['topic']}", origin["partition"], origin["offset"])])
    (message,) = consumer.consume(1, PATIENCE_SECONDS)
    return int(message.timestamp()[1])


def _values(servers: str, topic: str) -> Iterator[dict[str, Any]]:
    return (orjson.loads(message.value() or b"{}") for message in _read(servers, topic))


def _read(servers: str, topic: str) -> Iterator[Message]:
    """Read a topic from its beginning to where it ends now."""
    with closing(Consumer({**_client(servers, topic), "enable.partition.eof": True})) as consumer:
        partitions = consumer.list_topics(topic, PATIENCE_SECONDS).topics[topic].partitions
        consumer.assign([TopicPartition(topic, partition, 0) for partition in partitions])
        ended: set[int] = set()  # a topic that is written to ends more than once
        while len(ended) < len(partitions):
            for message in consumer.consume(1000, 0.2):
                if message.error() is None:
                    yield message
                else:
                    ended.add(message.partition() or 0)  # only its end


def _client(servers: str, group: str) -> dict[str, Any]:
    return {"bootstrap.servers": servers, "group.id": f"{group}-bench", "enable.auto.commit": False}


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.latency", description=__doc__)
    parser.add_argument("--loads", type=_offered, nargs="+", default=list(LOADS), help="samples,log lines a second")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--servers", help="brokers to use; by default Apache Kafka is started")
    arguments = parser.parse_args()
    why_not = None if arguments.servers else JARS.obstacle()
    if why_not is not None:
        sys.stderr.write(f"{why_not}\n")
        return 2
    with ExitStack() as stack:
        servers = arguments.servers or stack.enter_context(ApacheKafka(heap="1g")).bootstrap_servers
        found = {offered: measure(servers, offered) for offered in arguments.loads}
    print(table(found))
    if arguments.json is not None:
        write_json(measures(found), arguments.json)
    return 0


def _offered(text: str) -> Offered:
    samples, lines = map(int, text.split(","))
    return Offered(samples, lines)


def measures(found: dict[Offered, list[float]]) -> list[Measure]:
    """Return the figures with their goals."""
    rows = []
    for at, latencies in found.items():
        p50, p99 = _percentiles(latencies)
        goal = at.samples == GOAL_RATE
        rows.append(at_most(f"p50 {at}", p50, "ms", goal=P50_GOAL_MS) if goal else Measure(f"p50 {at}", p50, "ms"))
        rows.append(at_most(f"p99 {at}", p99, "ms", goal=P99_GOAL_MS) if goal else Measure(f"p99 {at}", p99, "ms"))
        rows.append(Measure(f"faults acted on {at}", len(latencies) / FAULTS, "share"))
    return rows


def table(found: dict[Offered, list[float]]) -> str:
    """Return the figures as Markdown."""
    heads = ["samples/s", "log lines/s", "p50, ms", "p99, ms", "faults acted on"]
    lines = [f"| {' | '.join(heads)} |", f"|{' ---: |' * len(heads)}"]
    for (samples, log_lines), latencies in found.items():
        p50, p99 = _percentiles(latencies)
        lines.append(f"| {samples:,} | {log_lines:,} | {p50:.0f} | {p99:.0f} | {len(latencies)} of {FAULTS} |")
    return "\n".join(lines) + "\n"


def _percentiles(latencies: Sequence[float]) -> tuple[float, float]:
    if not latencies:
        return float("nan"), float("nan")
    p50, p99 = np.percentile(latencies, [50, 99]).tolist()
    return p50, p99


if __name__ == "__main__":
    sys.exit(main())
