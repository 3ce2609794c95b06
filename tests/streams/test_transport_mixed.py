"""The driver under ordinary Faust apps: batches for the topics that ask for them, records for the rest."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import faust
import pytest
from faust.types import EventT, StreamT

from streams.batch import Batch
from streams.settings import Settings
from streams.transport import Batching, Transport
from tests.parts import Broker
from tests.streams.readers import STAGE, committed, make_topic, numbers, publish, settings, until

PARTITIONS = 4


class MixedApp(faust.App):
    def __init__(self, config: Settings, batching: Batching) -> None:
        self.batching = batching
        super().__init__(
            f"{config.kafka.topic_prefix}-{STAGE}",
            broker=f"reflexarc://{config.kafka.bootstrap_servers}",
            broker_session_timeout=6,
            broker_rebalance_timeout=6,
            broker_heartbeat_interval=1,
            broker_commit_interval=0.5,
            key_serializer="raw",
            value_serializer="raw",
            topic_disable_leader=True,
            topic_allow_declare=False,
            stream_wait_empty=False,
            web_enabled=False,
            worker_redirect_stdouts=False,
        )

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self, batching=self.batching)

    def _create_directories(self) -> None:
        pass


@pytest.fixture
def config(broker: Broker, topic_prefix: str) -> Settings:
    return settings(broker.bootstrap_servers, topic_prefix)


@asynccontextmanager
async def running(app: faust.App) -> AsyncIterator[None]:
    await app.start()
    try:
        yield
    finally:
        await app.stop()


async def settled(config: Settings, topic: str, wanted: list[int | None]) -> None:
    async with asyncio.timeout(30):
        while await asyncio.to_thread(committed, config, topic) != wanted:  # noqa: ASYNC110  # another process's state
            await asyncio.sleep(0.2)


async def test_one_app_reads_batches_and_records_side_by_side(
    broker: Broker, config: Settings, topic_prefix: str
) -> None:
    many, few = (make_topic(broker.bootstrap_servers, f"{topic_prefix}.{name}") for name in ("many", "few"))
    publish(broker.bootstrap_servers, many, numbers(0, 4000))
    publish(broker.bootstrap_servers, few, numbers(0, 400))
    app = MixedApp(config, Batching(frozenset({many})))
    batches: list[Batch] = []
    events: list[EventT[Any]] = []

    @app.agent(app.topic(many))
    async def take_batches(stream: StreamT[Any]) -> None:
        async for batch in stream:
            batches.append(batch)  # noqa: PERF401  # noted one by one, while it runs

    @app.agent(app.topic(few))
    async def take_records(stream: StreamT[Any]) -> None:
        async for event in stream.events():
            events.append(event)  # noqa: PERF401  # noted one by one, while it runs

    async with running(app):
        await until(lambda: sum(map(len, batches)) >= 4000 and len(events) >= 400)
        await settled(config, many, [1000] * PARTITIONS)
        await settled(config, few, [100] * PARTITIONS)
    assert all(isinstance(batch, Batch) for batch in batches)
    for partition in range(PARTITIONS):
        mine = [event for event in events if event.message.partition == partition]
        assert [event.message.offset for event in mine] == list(range(100))
        assert [event.value for event in mine] == [b"%d" % (i * PARTITIONS + partition) for i in range(100)]
        assert {event.key for event in mine} == {str(partition).encode()}


async def test_acknowledgements_out_of_order_commit_nothing_that_is_open(
    broker: Broker, config: Settings, topic_prefix: str
) -> None:
    topic = make_topic(broker.bootstrap_servers, f"{topic_prefix}.records")
    publish(broker.bootstrap_servers, topic, numbers(0, 40))
    app = MixedApp(config, Batching())
    events: list[EventT[Any]] = []

    @app.agent(app.topic(topic))
    async def take(stream: StreamT[Any]) -> None:
        assert isinstance(stream, faust.Stream)
        async for event in stream.noack().events():
            events.append(event)  # noqa: PERF401  # noted one by one, while it runs

    async with running(app):
        await until(lambda: len(events) >= 40)
        for event in events:
            if event.message.offset != 4:
                event.ack()
        await settled(config, topic, [4] * PARTITIONS)
        for event in events:
            event.ack()
        await settled(config, topic, [10] * PARTITIONS)


async def test_records_in_flight_are_bounded_as_well(broker: Broker, config: Settings, topic_prefix: str) -> None:
    topic = make_topic(broker.bootstrap_servers, f"{topic_prefix}.records", 1)
    app = MixedApp(config, Batching(max_in_flight_single=50))
    opened = asyncio.Event()
    seen: list[bytes] = []

    @app.agent(app.topic(topic))
    async def take(stream: StreamT[Any]) -> None:
        async for value in stream:
            await opened.wait()
            seen.append(value)

    async with running(app):
        consumer = app.consumer
        total = 0
        for start in range(0, 500, 20):
            total += publish(broker.bootstrap_servers, topic, numbers(start, start + 20), partitions=1)
            await asyncio.sleep(0.05)
        # A poll may bring more than there is room for, but none follows.
        waiting = consumer.in_flight((topic, 0))  # type: ignore[attr-defined]  # ours, behind Faust's interface
        assert 50 <= waiting < 200
        opened.set()
        await until(lambda: len(seen) >= total)
    assert seen == numbers(0, total)
