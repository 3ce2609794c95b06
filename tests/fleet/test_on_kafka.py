"""The fleet's telemetry on a broker: complete, keyed, and readable by the contract."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterator, Mapping

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from examples.fleet import Fleet
from schemas.codec import decode
from schemas.envelope import entity_of
from schemas.raw import MetricBlock
from schemas.topics import RAW_LOGS, RAW_METRICS, Topic
from streams.kafka_client import create_topics
from streams.settings import KafkaSettings
from tests.parts import Broker

# Three instances and a proxy of one service, one and a proxy of the other.
SPEAKERS, REPORTS = 6, 4
EVENTS = ["deployment.started", "deployment.finished"]
METRICS = {
    "http.server.request.duration.p95",
    "http.server.request.duration.mean",
    "http.server.request.error_ratio",
    "http.server.request.rate",
    "process.cpu.utilization",
    "process.memory.usage",
}


def test_every_record_decodes_and_every_instance_reports(broker: Broker, topic_prefix: str) -> None:
    create_topics(KafkaSettings(bootstrap_servers=broker.bootstrap_servers, topic_prefix=topic_prefix))
    topics = {topic.full_name(topic_prefix): topic for topic in (RAW_METRICS, RAW_LOGS)}
    with Fleet(broker.bootstrap_servers, topic_prefix) as fleet:
        fleet.deploy("checkout", "v2")
        deadline = time.monotonic() + 60
        while not all_has_come(broker, topics):
            assert time.monotonic() < deadline, "not everything was reported in time"
            time.sleep(0.2)
    reports, names, events, errors = Counter[str](), set[str](), list[str](), 0
    for name, key, value in read_all(broker, list(topics)):
        record = decode(topics[name], key, value)
        entity = str(entity_of(record.resource))
        assert key == entity.encode()
        if isinstance(record, MetricBlock):
            reports[entity] += 1
            names |= {series.name for series in record.series}
        else:
            events += [record.event_name] if record.event_name else []
            errors += record.severity_number >= 17
    assert names == METRICS
    assert set(reports) == {
        "demo/checkout/checkout-1",
        "demo/checkout/checkout-2",
        "demo/checkout/checkout-3",
        "demo/checkout/checkout-proxy",
        "demo/payment/payment-1",
        "demo/payment/payment-proxy",
    }
    assert min(reports.values()) >= REPORTS
    assert events == EVENTS
    assert errors > 0


def all_has_come(broker: Broker, topics: Mapping[str, Topic]) -> bool:
    """Whether all six reported, the deployment is over, and an error of the bad version was logged."""
    reports, logged = Counter[bytes | None](), ""
    for name, key, value in read_all(broker, list(topics)):
        if topics[name] is RAW_METRICS:
            reports[key] += 1
        else:
            logged += (value or b"").decode()
    told = EVENTS[1] in logged and '"severity_number":17' in logged
    return told and len(reports) == SPEAKERS and min(reports.values()) >= REPORTS


def read_all(broker: Broker, topics: list[str]) -> Iterator[tuple[str, bytes | None, bytes | None]]:
    """Read every partition to its end."""
    consumer = Consumer(
        {"bootstrap.servers": broker.bootstrap_servers, "group.id": "unused", "enable.partition.eof": True}
    )
    metadata = consumer.list_topics(timeout=10).topics
    open_ends = {(topic, partition) for topic in topics for partition in metadata[topic].partitions}
    consumer.assign([TopicPartition(topic, partition, OFFSET_BEGINNING) for topic, partition in open_ends])
    try:
        while open_ends:
            message = consumer.poll(10)
            assert message is not None, f"nothing came from {open_ends}"
            error, topic, partition = message.error(), message.topic(), message.partition()
            assert topic is not None
            if error is None:
                yield topic, message.key(), message.value()
            else:
                assert error.code() == KafkaError._PARTITION_EOF
                open_ends.discard((topic, partition))
    finally:
        consumer.close()
