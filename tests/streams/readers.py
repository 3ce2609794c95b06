"""Apps that note what they are given, and the broker as seen by someone else, for the tests of transport and apps."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # exported, not so declared

from streams.app import StageApp, create_app
from streams.batch import Batch
from streams.embedded import GROUP_TIMING
from streams.settings import KafkaSettings, Settings
from streams.transport import Partition

PATIENCE_SECONDS = 60.0
STAGE = "reading"


def settings(servers: str, prefix: str) -> Settings:
    return Settings(kafka=KafkaSettings(bootstrap_servers=servers, topic_prefix=prefix, **GROUP_TIMING))


@dataclass
class Reader:
    """A stage that remembers. Set `gate` to hold its handler, `fault` to have it raise."""

    starts: Mapping[Partition, int] = field(default_factory=dict)
    batches: list[Batch] = field(default_factory=list)
    held: list[Batch] = field(default_factory=list)
    assigned: list[list[Partition]] = field(default_factory=list)
    revoked: list[list[Partition]] = field(default_factory=list)
    gate: Callable[[Batch], Any] | None = None

    async def handle(self, batch: Batch) -> None:
        self.held.append(batch)
        if self.gate is not None:
            await self.gate(batch)
        self.held.remove(batch)
        self.batches.append(batch)

    async def on_assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        self.assigned.append([*partitions])
        return {tp: offset for tp, offset in self.starts.items() if tp in partitions}

    async def on_revoked(self, partitions: Sequence[Partition]) -> None:
        assert not self.held, "asked to give partitions away in the middle of a batch"
        self.revoked.append([*partitions])

    @property
    def offsets(self) -> dict[Partition, list[int]]:
        """What was handled to its end, in the order of handling."""
        found: dict[Partition, list[int]] = defaultdict(list)
        for batch in self.batches:
            found[batch.topic, batch.partition] += batch.offsets
        return dict(found)

    @property
    def values(self) -> list[bytes | None]:
        return [value for batch in self.batches for value in batch.values]

    def app(self, config: Settings, topics: Iterable[str]) -> StageApp:
        return create_app(
            config, STAGE, topics=topics, handle=self.handle, assigned=self.on_assigned, revoked=self.on_revoked
        )


@asynccontextmanager
async def running(app: StageApp) -> AsyncIterator[StageApp]:
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


async def until(condition: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
    async with asyncio.timeout(seconds):
        while not condition():  # noqa: ASYNC110  # many conditions, none of them an event
            await asyncio.sleep(0.01)


def make_topic(servers: str, name: str, partitions: int = 4) -> str:
    admin = AdminClient({"bootstrap.servers": servers})
    admin.create_topics([NewTopic(name, partitions, 1)])[name].result(PATIENCE_SECONDS)
    return name


def publish(
    servers: str, topic: str, values: Iterable[bytes], *, partitions: int = 4, compression: str = "none"
) -> int:
    """Spread values over partitions, round robin; each one's key is its partition. Returns how many there were."""
    # Idempotent, so that a retry (a new topic's leader is not known at once) does not change the order.
    config = {"linger.ms": 5, "compression.type": compression, "enable.idempotence": True}
    producer = Producer({"bootstrap.servers": servers, **config})
    count = 0
    for count, value in enumerate(values, 1):
        partition = (count - 1) % partitions
        producer.produce(topic, value, str(partition).encode(), partition=partition)
        producer.poll(0)
    assert producer.flush(PATIENCE_SECONDS) == 0
    return count


def numbers(start: int, stop: int) -> list[bytes]:
    return [b"%d" % number for number in range(start, stop)]


def committed(config: Settings, topic: str, partitions: int = 4) -> list[int | None]:
    """Offsets that the group committed, None where it has none."""
    consumer = Consumer(
        {"bootstrap.servers": config.kafka.bootstrap_servers, "group.id": f"{config.kafka.topic_prefix}-{STAGE}"}
    )
    try:
        found = consumer.committed([TopicPartition(topic, p) for p in range(partitions)], timeout=PATIENCE_SECONDS)
    finally:
        consumer.close()
    return [tp.offset if tp.offset >= 0 else None for tp in found]
