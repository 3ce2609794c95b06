"""What ReflexArc needs from any Kafka-compatible broker, proved on the embedded one and on Apache Kafka 4."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer
from aiokafka import TopicPartition as AioPartition
from confluent_kafka import OFFSET_END, KafkaError, KafkaException, Message, TopicPartition
from confluent_kafka.admin import ConfigResource, NewTopic  # type: ignore[attr-defined]  # exported, not so declared

from schemas.topics import CATALOGUE, STATE, Topic
from tests.integration.clients import admin, consumer, create_topic, produce, read_to_end, take
from tests.parts import Broker

TEN_MEGABYTES = 10_000_000
T0_MILLIS = 1_700_000_000_000


@pytest.fixture
def topic(broker: Broker, topic_prefix: str) -> str:
    return create_topic(broker, f"{topic_prefix}.records")


def values(messages: list[Message]) -> list[bytes | None]:
    return [message.value() for message in messages]


async def aio_consumer(broker: Broker, topic: str, **settings: Any) -> AIOKafkaConsumer:
    reader = AIOKafkaConsumer(
        topic, bootstrap_servers=broker.bootstrap_servers, auto_offset_reset="earliest", **settings
    )
    await reader.start()
    return reader


# -- records


def test_a_record_keeps_its_key_headers_and_time(broker: Broker, topic: str) -> None:
    headers = [("traceparent", b"00-abc"), ("empty", b""), ("none", None), ("traceparent", b"again")]
    produce(broker, topic, [{"key": b"k", "value": b"v", "headers": headers, "timestamp": T0_MILLIS}])
    (record,) = read_to_end(broker, topic)
    assert (record.key(), record.value(), record.headers()) == (b"k", b"v", headers)
    assert record.timestamp()[1] == T0_MILLIS


def test_a_nil_key_and_a_tombstone_stay_nil(broker: Broker, topic: str) -> None:
    produce(broker, topic, [{"value": b"v"}, {"key": b"k", "value": None}, {"key": b"", "value": b""}])
    records = read_to_end(broker, topic)
    assert [(record.key(), record.value()) for record in records] == [(None, b"v"), (b"k", None), (b"", b"")]


async def test_aiokafka_and_librdkafka_read_what_the_other_wrote(broker: Broker, topic: str) -> None:
    produce(broker, topic, [{"key": b"1", "value": b"librdkafka", "headers": {"h": b"1"}}])
    producer = AIOKafkaProducer(bootstrap_servers=broker.bootstrap_servers)
    await producer.start()
    await producer.send_and_wait(topic, b"aiokafka", key=b"2", partition=0, headers=[("h", b"2")])
    await producer.stop()
    reader = await aio_consumer(broker, topic)
    first, second = [await reader.getone() for _ in range(2)]
    await reader.stop()
    assert [(r.key, r.value, r.headers) for r in (first, second)] == [
        (b"1", b"librdkafka", (("h", b"1"),)),
        (b"2", b"aiokafka", (("h", b"2"),)),
    ]
    assert values(read_to_end(broker, topic)) == [b"librdkafka", b"aiokafka"]


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_records_are_read_by_both_clients(broker: Broker, topic: str, codec: str) -> None:
    sent = [b"%d " % i * 500 for i in range(20)]
    produce(broker, topic, [{"value": value} for value in sent], **{"compression.type": codec})
    assert values(read_to_end(broker, topic)) == sent
    reader = await aio_consumer(broker, topic)
    received = [(await reader.getone()).value for _ in sent]
    await reader.stop()
    assert received == sent


async def test_ten_megabytes_pass_where_the_topic_allows_it(broker: Broker, topic_prefix: str) -> None:
    large = os.urandom(TEN_MEGABYTES)
    topic = create_topic(broker, f"{topic_prefix}.large", config={"max.message.bytes": str(2 * TEN_MEGABYTES)})
    assert produce(broker, topic, [{"value": large}, {"value": b"next"}], **{"message.max.bytes": 2 * TEN_MEGABYTES})
    # Both clients read a record that is larger than their fetch size, whose default here is 1 MiB.
    assert values(read_to_end(broker, topic)) == [large, b"next"]
    reader = await aio_consumer(broker, topic)
    assert [(await reader.getone()).value for _ in range(2)] == [large, b"next"]
    await reader.stop()


def test_a_retried_batch_is_stored_once(broker: Broker, topic: str) -> None:
    assert produce(broker, topic, [{"value": b"v"}] * 100, **{"enable.idempotence": True}) == list(range(100))
    assert len(read_to_end(broker, topic)) == 100


# -- positions


def test_the_end_of_a_partition_comes_after_its_last_record(broker: Broker, topic: str) -> None:
    # Batches of several records: a broker that counts batches gets this wrong.
    for size in (1, 5, 1, 7):
        produce(broker, topic, [{"value": b"v"}] * size)
    assert [record.offset() for record in read_to_end(broker, topic)] == list(range(14))
    assert [record.offset() for record in read_to_end(broker, topic, start=10)] == [10, 11, 12, 13]


def test_a_fetch_tells_the_high_watermark(broker: Broker, topic: str) -> None:
    produce(broker, topic, [{"value": b"v"}] * 7)
    reader = consumer(broker, "nobody")
    reader.assign([TopicPartition(topic, 0, 0)])
    take(reader, 1)
    assert reader.get_watermark_offsets(TopicPartition(topic, 0), cached=True)[1] == 7
    reader.close()


async def test_aiokafka_knows_the_high_watermark_of_what_it_fetched(broker: Broker, topic: str) -> None:
    produce(broker, topic, [{"value": b"v"}] * 7)
    reader = await aio_consumer(broker, topic)
    await reader.getone()
    assert reader.highwater(AioPartition(topic, 0)) == 7
    await reader.stop()


def test_a_reader_from_the_end_misses_nothing_that_comes_later(broker: Broker, topic: str) -> None:
    produce(broker, topic, [{"value": b"before"}] * 5)
    reader = consumer(broker, "nobody", **{"enable.partition.eof": True})
    reader.assign([TopicPartition(topic, 0, OFFSET_END)])
    while (message := reader.poll(10)) is not None and message.error() is None:
        assert message.value() == b"before"
    produce(broker, topic, [{"value": b"after"}])
    (after,) = take(reader, 1)
    assert after.value() == b"after"
    reader.close()


@pytest.mark.parametrize(("since", "first"), [(-1, 0), (0, 0), (1, 1), (2500, 3), (4000, 4)])
def test_reading_from_a_time_shows_every_record_since(broker: Broker, topic: str, since: int, first: int) -> None:
    for i in range(5):
        produce(broker, topic, [{"value": b"%d" % i, "timestamp": T0_MILLIS + i * 1000}])
    reader = consumer(broker, "nobody")
    (found,) = reader.offsets_for_times([TopicPartition(topic, 0, T0_MILLIS + since)])
    reader.close()
    assert 0 <= found.offset <= first
    if broker.name == "apache-kafka":
        assert found.offset == first


# -- groups


def test_a_group_goes_on_after_what_it_committed(broker: Broker, topic: str, topic_prefix: str) -> None:
    produce(broker, topic, [{"value": b"%d" % i} for i in range(10)])
    first = consumer(broker, topic_prefix)
    first.subscribe([topic])
    sixth = take(first, 6)[-1]
    first.commit(message=sixth, asynchronous=False)
    take(first, 2)
    first.close()
    second = consumer(broker, topic_prefix)
    second.subscribe([topic])
    assert values(take(second, 4)) == [b"6", b"7", b"8", b"9"]
    second.close()


async def test_aiokafka_goes_on_after_what_its_group_committed(broker: Broker, topic: str, topic_prefix: str) -> None:
    produce(broker, topic, [{"value": b"%d" % i} for i in range(10)])
    settings = {"group_id": topic_prefix, "enable_auto_commit": False, "session_timeout_ms": 6000}
    reader = await aio_consumer(broker, topic, **settings)
    await reader.getone()
    await reader.commit({AioPartition(topic, 0): 7})
    await reader.stop()
    reader = await aio_consumer(broker, topic, **settings)
    assert (await reader.getone()).value == b"7"
    await reader.stop()


_MEMBER = """
import sys
from confluent_kafka import Consumer
servers, group, topic = sys.argv[1:]
member = Consumer({"bootstrap.servers": servers, "group.id": group, "auto.offset.reset": "earliest",
                   "enable.auto.commit": False, "session.timeout.ms": 6000, "heartbeat.interval.ms": 1000})
member.subscribe([topic])
while True:
    if member.poll(0.1) is not None:
        print("reading", flush=True)
"""


def test_a_killed_member_is_replaced(broker: Broker, topic: str, topic_prefix: str) -> None:
    produce(broker, topic, [{"value": b"v"}])
    command = [sys.executable, "-c", _MEMBER, broker.bootstrap_servers, topic_prefix, topic]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as member:
        assert member.stdout is not None
        assert member.stdout.readline() == "reading\n"
        member.send_signal(signal.SIGKILL)
    successor = consumer(broker, topic_prefix)
    successor.subscribe([topic])
    began = time.monotonic()
    assert values(take(successor, 1)) == [b"v"]
    # One session timeout on Apache Kafka, two on Tansu, and a margin for a busy machine.
    assert time.monotonic() - began < 20
    successor.close()


def test_two_members_share_the_partitions(broker: Broker, topic_prefix: str) -> None:
    topic = create_topic(broker, f"{topic_prefix}.shared", partitions=4)
    members = [consumer(broker, topic_prefix) for _ in range(2)]
    for member in members:
        member.subscribe([topic])
    deadline = time.monotonic() + 30
    while sorted(len(member.assignment()) for member in members) != [2, 2]:
        assert time.monotonic() < deadline
        for member in members:
            member.poll(0.05)
    owned = {partition.partition for member in members for partition in member.assignment()}
    assert owned == {0, 1, 2, 3}
    for member in members:
        member.close()


# -- topics


@pytest.mark.parametrize("described", [*CATALOGUE, STATE], ids=lambda described: described.name)
def test_every_topic_of_the_catalogue_can_be_created(broker: Broker, topic_prefix: str, described: Topic) -> None:
    name = create_topic(
        broker, described.full_name(topic_prefix), partitions=described.partitions, config=described.config()
    )
    resource = ConfigResource(ConfigResource.Type.TOPIC, name)
    client = admin(broker)
    stored = client.describe_configs([resource])[resource].result(30)
    assert {key: stored[key].value for key in described.config()} == described.config()
    assert len(client.list_topics(name, timeout=10).topics[name].partitions) == described.partitions


def test_a_topic_is_created_once(broker: Broker, topic: str) -> None:
    client = admin(broker)
    with pytest.raises(KafkaException) as refusal:
        client.create_topics([NewTopic(topic, 1, 1)])[topic].result(30)
    assert refusal.value.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS


def test_a_compacted_topic_keeps_the_last_of_each_key(broker: Broker, topic_prefix: str) -> None:
    # When it forgets the others is the broker's business (Tansu never does); what readers rely on is the fold.
    topic = create_topic(broker, f"{topic_prefix}.compacted", config={"cleanup.policy": "compact"})
    produce(broker, topic, [{"key": b"%d" % (i % 3), "value": b"%d" % i} for i in range(9)])
    folded = {record.key(): record.value() for record in read_to_end(broker, topic)}
    assert folded == {b"0": b"6", b"1": b"7", b"2": b"8"}
