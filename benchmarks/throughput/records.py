"""The records: made once, the same for every engine. One sample a second of each series, in order.

One record carries one sample (`SINGLE`), or a hundred (`BLOCK`): samples and records are different things, and a fat
record flatters any engine.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass

import orjson
from confluent_kafka import Producer

from schemas.topics import RAW_METRICS
from streams.kafka_client import create_topics
from streams.settings import KafkaSettings

SERIES = 1000
PARTITIONS = 4
BLOCK_SAMPLES = 100
T0_NANOS = 1_700_000_000_000_000_000
_SECOND = 1_000_000_000


@dataclass(frozen=True)
class Load:
    """Records of one kind, and where they are."""

    prefix: str
    samples_per_record: int

    @property
    def topic(self) -> str:
        return RAW_METRICS.full_name(self.prefix)


SINGLE = Load("single", 1)
BLOCK = Load("block", BLOCK_SAMPLES)


def fill(servers: str, load: Load, records: int) -> None:
    """Create the topics and publish this many records."""
    # The catalogue's 12 raw partitions, by 3: what a laptop has, and as many as two cores can use.
    create_topics(KafkaSettings(bootstrap_servers=servers, topic_prefix=load.prefix), divide_partitions_by=3)
    producer = Producer(
        {
            "bootstrap.servers": servers,
            "linger.ms": 20,
            "batch.size": 262_144,
            "partitioner": "murmur2_random",
            "queue.buffering.max.messages": 1_000_000,
        }
    )
    make = _singles if load.samples_per_record == 1 else _blocks
    for key, value in make(records):
        _send(producer, load.topic, key, value)
    if producer.flush(120):
        raise RuntimeError("the records did not all reach the broker")


def _send(producer: Producer, topic: str, key: bytes, value: bytes) -> None:
    while True:
        try:
            producer.produce(topic, value, key)
        except BufferError:
            producer.poll(0.05)
        else:
            return


def _singles(records: int) -> Iterator[tuple[bytes, bytes]]:
    noise = random.Random(1)
    for i in range(records):
        second, series = divmod(i, SERIES)
        sample = {
            "name": "http.server.request.duration",
            "time_unix_nano": T0_NANOS + second * _SECOND + series,
            "value": round(noise.gauss(0.2, 0.02), 5),
            "resource": _resource(series),
        }
        yield _key(series), orjson.dumps(sample)


def _blocks(records: int) -> Iterator[tuple[bytes, bytes]]:
    noise = random.Random(1)
    for i in range(records):
        # Ten metrics of one instance, ten seconds of each.
        turn, instance = divmod(i, SERIES // 10)
        times = [T0_NANOS + (turn * 10 + j) * _SECOND + instance for j in range(10)]
        block = {
            "resource": _resource(instance),
            "series": [{"name": f"metric.{j}"} for j in range(10)],
            "time_unix_nano": times,
            "value": [[round(noise.gauss(0.2, 0.02), 5) for _ in times] for _ in range(10)],
        }
        yield _key(instance), orjson.dumps(block)


def _key(series: int) -> bytes:
    return b"prod/svc-%d/i-%d" % (series % 50, series)


def _resource(series: int) -> dict[str, str]:
    return {
        "service.name": f"svc-{series % 50}",
        "service.instance.id": f"i-{series}",
        "deployment.environment.name": "prod",
    }
