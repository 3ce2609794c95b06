"""Snapshots on the compacted state topic: saving one, and finding the newest when a partition is assigned.

Called by `streams.stage`. Saving goes through the stage's own producer and counts only when every chunk is
acknowledged; loading reads the state partition from its beginning, which compaction keeps short.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, TopicPartition

from schemas.errors import TemporaryError
from schemas.topics import STATE
from streams.kernel.checkpoint import Assembler, Snapshot, cut
from streams.publisher import Message, Publish

# A broker that says nothing for this long while a snapshot is read is down; the assignment is retried.
POLL_SECONDS = 10.0


class Snapshots:
    """Reads and writes snapshots. `identity` is stage/lane/partition; its partition decides where it lies."""

    def __init__(self, client_config: Mapping[str, Any], topic_prefix: str, publish: Publish) -> None:
        self._config = dict(client_config)
        self._topic = STATE.full_name(topic_prefix)
        self._publish = publish
        self._partitions: int | None = None

    async def save(self, identity: str, partition: int, snapshot: Snapshot) -> None:
        """Write a snapshot; on return it is durable."""
        where = partition % await self._count()
        # Not in the event loop: of 12 thousand series it is a fifth of a second, in which all stages stood still.
        parts = await asyncio.to_thread(cut, identity, snapshot)
        chunks = [Message(self._topic, key, value, where) for key, value in parts]
        await self._publish(chunks[:-1])
        # The manifest makes the chunks valid, so it must not overtake them.
        await self._publish(chunks[-1:])

    async def load(self, identities: Mapping[str, int]) -> dict[str, Snapshot]:
        """Newest whole snapshot of each identity (name to partition) that has one."""
        count = await self._count()
        wanted: dict[int, list[Assembler]] = {}
        for identity, partition in identities.items():
            wanted.setdefault(partition % count, []).append(Assembler(identity))
        await asyncio.to_thread(self._read, wanted)
        found = ((a.identity, a.latest()) for assemblers in wanted.values() for a in assemblers)
        return {identity: snapshot for identity, snapshot in found if snapshot is not None}

    async def _count(self) -> int:
        if self._partitions is None:
            self._partitions = await asyncio.to_thread(self._partition_count)
        return self._partitions

    def _consumer(self) -> Consumer:
        # A group id is demanded by the client and never used: partitions are assigned by hand, nothing is committed.
        return Consumer(
            {
                **self._config,
                "group.id": f"{self._topic}-reader",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
            }
        )

    def _partition_count(self) -> int:
        consumer = self._consumer()
        try:
            found = consumer.list_topics(self._topic, timeout=POLL_SECONDS).topics[self._topic]
        finally:
            consumer.close()
        if not found.partitions:
            raise TemporaryError(f"topic {self._topic} does not exist yet; `reflexarc topics` creates it")
        return len(found.partitions)

    def _read(self, wanted: Mapping[int, Iterable[Assembler]]) -> None:
        consumer = self._consumer()
        try:
            for partition, assemblers in wanted.items():
                self._read_partition(consumer, partition, list(assemblers))
        finally:
            consumer.close()

    def _read_partition(self, consumer: Consumer, partition: int, assemblers: list[Assembler]) -> None:
        # To the event that says "end", not to an offset asked for before: the embedded broker names one too low.
        consumer.assign([TopicPartition(self._topic, partition, OFFSET_BEGINNING)])
        while (message := consumer.poll(POLL_SECONDS)) is not None:
            error = message.error()
            if error is not None and error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
                return
            if error is not None:
                raise TemporaryError(f"{self._topic}/{partition}: {error.str()}")
            for assembler in assemblers:
                assembler.add(_bytes(message.key()), _bytes(message.value()))
        raise TemporaryError(f"{self._topic}/{partition}: no answer in {POLL_SECONDS:g} s")


def _bytes(part: bytes | str | None) -> bytes:
    return part.encode() if isinstance(part, str) else part or b""
