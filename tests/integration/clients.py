"""Few words for what the contract tests do to a broker, in confluent-kafka's terms."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

from confluent_kafka import Consumer, KafkaError, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # exported, not so declared

from tests.parts import Broker

PATIENCE_SECONDS = 30.0


def admin(broker: Broker) -> AdminClient:
    """Return a client to keep while its answers are awaited: they end with it."""
    return AdminClient({"bootstrap.servers": broker.bootstrap_servers})


def create_topic(broker: Broker, name: str, *, partitions: int = 1, config: dict[str, str] | None = None) -> str:
    client = admin(broker)
    client.create_topics([NewTopic(name, partitions, 1, config=config or {})])[name].result(PATIENCE_SECONDS)
    deadline = time.monotonic() + PATIENCE_SECONDS
    # Apache Kafka says yes some milliseconds before its broker has heard of the topic.
    while client.list_topics(name, timeout=PATIENCE_SECONDS).topics[name].error is not None:
        assert time.monotonic() < deadline
        time.sleep(0.01)
    return name


def produce(broker: Broker, topic: str, records: Iterable[dict[str, Any]], **config: Any) -> list[KafkaError | int]:
    """Send the records to partition 0 unless they say otherwise; return their offsets or errors, in order."""
    # Long enough that records sent together travel in one batch, as they do under load.
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "linger.ms": 50, **config})
    results: list[KafkaError | int] = []

    def delivered(error: KafkaError | None, message: Message) -> None:
        results.append(error if error is not None else message.offset() or 0)

    for record in records:
        producer.produce(topic, **{"partition": 0, **record}, on_delivery=delivered)
    assert producer.flush(PATIENCE_SECONDS) == 0
    return results


def consumer(broker: Broker, group: str, **config: Any) -> Consumer:
    settings = {
        "bootstrap.servers": broker.bootstrap_servers,
        "group.id": group,
        "auto.offset.reset": "earliest",
        "enable.auto.commit": False,
        # The shortest that Apache Kafka allows; on Tansu a join takes half of it.
        "session.timeout.ms": 6000,
        "heartbeat.interval.ms": 1000,
    }
    return Consumer({**settings, **config})


def read_to_end(broker: Broker, topic: str, *, partition: int = 0, start: int = 0) -> list[Message]:
    """Read a partition until the broker says that this is its end."""
    reader = consumer(broker, "nobody", **{"enable.partition.eof": True})
    try:
        reader.assign([TopicPartition(topic, partition, start)])
        return list(_until_end(reader))
    finally:
        reader.close()


def _until_end(reader: Consumer) -> Iterator[Message]:
    while True:
        message = reader.poll(PATIENCE_SECONDS)
        assert message is not None, "neither a record nor the end of the partition"
        error = message.error()
        if error is not None:
            assert error.code() == KafkaError._PARTITION_EOF
            return
        yield message


def take(reader: Consumer, count: int) -> list[Message]:
    """Take this many records from a group's subscription."""
    taken: list[Message] = []
    deadline = time.monotonic() + PATIENCE_SECONDS
    while len(taken) < count:
        assert time.monotonic() < deadline, f"{len(taken)} of {count} records"
        message = reader.poll(0.1)
        if message is not None:
            assert message.error() is None
            taken.append(message)
    return taken
