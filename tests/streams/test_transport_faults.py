"""Brokers that go away, answer with errors, or move: librdkafka's mock cluster does it on request."""

from __future__ import annotations

import asyncio
from functools import partial

import pytest
from confluent_kafka import KafkaError

from streams.app import StageApp
from streams.settings import Settings
from tests.parts.mock_cluster import ApiKey, MockCluster
from tests.streams.readers import STAGE, Reader, committed, numbers, publish, running, settings, until

pytestmark = pytest.mark.integration

PARTITIONS = 4


@pytest.fixture
def config(mock_cluster: MockCluster, topic_prefix: str) -> Settings:
    mock_cluster.rebalance_delay(0)
    return settings(mock_cluster.bootstrap_servers, topic_prefix)


@pytest.fixture
def topic(mock_cluster: MockCluster, topic_prefix: str) -> str:
    name = f"{topic_prefix}.records"
    mock_cluster.create_topic(name, partitions=PARTITIONS)
    return name


async def feed(cluster: MockCluster, topic: str, start: int, stop: int) -> None:
    await asyncio.to_thread(publish, cluster.bootstrap_servers, topic, numbers(start, stop))


def everything(reader: Reader, total: int) -> bool:
    return len(set(reader.values)) >= total


async def test_all_is_read_across_an_outage_of_every_broker(
    mock_cluster: MockCluster, config: Settings, topic: str
) -> None:
    reader = Reader()
    async with running(reader.app(config, [topic])):
        await feed(mock_cluster, topic, 0, 2000)
        await until(lambda: everything(reader, 2000))
        for broker in (1, 2, 3):
            mock_cluster.broker_down(broker)
            await asyncio.sleep(1)
            mock_cluster.broker_up(broker)
            await feed(mock_cluster, topic, broker * 2000, broker * 2000 + 2000)
        await until(lambda: everything(reader, 8000))
    assert sorted(set(reader.values), key=lambda value: int(value or b"")) == numbers(0, 8000)


async def settled(app: StageApp, config: Settings, topic: str, wanted: list[int | None]) -> None:
    async with asyncio.timeout(30):
        while await asyncio.to_thread(committed, config, topic) != wanted:
            assert not app.crashed
            await asyncio.sleep(0.2)


@pytest.mark.parametrize(
    "error", [KafkaError.NOT_COORDINATOR, KafkaError.COORDINATOR_LOAD_IN_PROGRESS, KafkaError.REQUEST_TIMED_OUT]
)
async def test_a_commit_that_failed_is_made_up_for(
    mock_cluster: MockCluster, config: Settings, topic: str, error: int
) -> None:
    reader = Reader()
    app = reader.app(config, [topic])
    async with running(app):
        mock_cluster.fail(ApiKey.OFFSET_COMMIT, error, times=2)
        await feed(mock_cluster, topic, 0, 400)
        await until(lambda: everything(reader, 400))
        await settled(app, config, topic, [100] * PARTITIONS)


async def test_the_group_lives_on_when_its_coordinator_moves(
    mock_cluster: MockCluster, config: Settings, topic: str
) -> None:
    reader = Reader()
    app = reader.app(config, [topic])
    async with running(app):
        await feed(mock_cluster, topic, 0, 400)
        await until(lambda: everything(reader, 400))
        for broker in (1, 2, 3):
            mock_cluster.move_coordinator(f"{config.kafka.topic_prefix}-{STAGE}", broker)
            await feed(mock_cluster, topic, broker * 400, broker * 400 + 400)
            await until(partial(everything, reader, broker * 400 + 400))
        await settled(app, config, topic, [400] * PARTITIONS)


async def test_partitions_are_read_on_from_their_new_leaders(
    mock_cluster: MockCluster, config: Settings, topic: str
) -> None:
    reader = Reader()
    async with running(reader.app(config, [topic])):
        await feed(mock_cluster, topic, 0, 400)
        await until(lambda: everything(reader, 400))
        for partition in range(PARTITIONS):
            mock_cluster.move_leader(topic, partition, 1 + partition % 3)
        await feed(mock_cluster, topic, 400, 800)
        await until(lambda: everything(reader, 800))
    assert [reader.offsets[topic, p] for p in range(PARTITIONS)] == [list(range(200))] * PARTITIONS


@pytest.mark.parametrize("error", [KafkaError.NOT_LEADER_FOR_PARTITION, KafkaError.UNKNOWN_TOPIC_OR_PART])
async def test_fetches_that_err_are_tried_again(
    mock_cluster: MockCluster, config: Settings, topic: str, error: int
) -> None:
    reader = Reader()
    async with running(reader.app(config, [topic])):
        mock_cluster.fail(ApiKey.FETCH, error, times=5)
        await feed(mock_cluster, topic, 0, 400)
        await until(lambda: everything(reader, 400))
    assert sorted(reader.values, key=lambda value: int(value or b"")) == numbers(0, 400)


async def test_slow_brokers_only_slow_it_down(mock_cluster: MockCluster, config: Settings, topic: str) -> None:
    for broker in (1, 2, 3):
        mock_cluster.round_trip(broker, 200)
    reader = Reader()
    async with running(reader.app(config, [topic])):
        await feed(mock_cluster, topic, 0, 2000)
        await until(lambda: everything(reader, 2000))
    assert [reader.offsets[topic, p] for p in range(PARTITIONS)] == [list(range(500))] * PARTITIONS
