"""The thread in which Faust's aiokafka consumer lives: fetching, and moving to other offsets.

Started by `streams.transport`, which gets from it what one poll brought. Moving and fetching happen here, one after the
other: what is handed out for a partition was fetched after the move that its reader knows of, or not at all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from time import monotonic
from typing import Any

from aiokafka.errors import ConsumerStoppedError
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka
from faust.types import TP

from streams.batch import Batch, FetchedRecord
from streams.fetched import take_fetched

# All that a poll found is one batch per partition. 20 000 records are some 30 ms of decoding: less costs throughput,
# more costs latency.
_POLL_RECORDS = 20_000

# What a poll brings: one batch, or records (aiokafka's parser's), per partition.
Fetched = Mapping[TP, list[Any]]


class ConsumerThread(aiokafka.AIOKafkaConsumerThread):
    """Faust's consumer thread, fetching batches."""

    def __init__(self, *args: Any, batch_topics: frozenset[str], fetch_wait_seconds: float, **kwargs: Any) -> None:
        self._batch_topics = batch_topics
        self._fetch_wait_seconds = fetch_wait_seconds
        # Which move each partition has made last.
        self._moves: dict[TP, int] = {}
        super().__init__(*args, **kwargs)

    def _create_worker_consumer(self, transport: aiokafka.Transport) -> Any:
        consumer = super()._create_worker_consumer(transport)
        consumer._fetch_max_wait_ms = int(self._fetch_wait_seconds * 1000)  # noqa: SLF001  # read when it starts
        return consumer

    async def committed(self) -> dict[TP, int | None]:
        """Ask for the committed offset of every assigned partition."""
        found: dict[TP, int | None] = await self.call_thread(self._committed)
        return found

    async def _committed(self) -> dict[TP, int | None]:
        consumer = self._ensure_consumer()
        return {TP(*tp): await consumer.committed(tp) for tp in consumer.assignment()}

    async def move(self, offsets: Mapping[TP, int | None], move: int) -> None:
        """Go on from these offsets; None is where Kafka's reset rule says. From now on polls must know this move."""
        await self.call_thread(self._move, offsets, move)

    async def _move(self, offsets: Mapping[TP, int | None], move: int) -> None:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher  # noqa: SLF001  # as Faust's own driver does
        unknown = []
        for tp, offset in offsets.items():
            self._moves[tp] = move
            if offset is None:
                unknown.append(TopicPartition(*tp))
            else:
                consumer.seek(TopicPartition(*tp), offset)
        if unknown:
            await fetcher.request_offset_reset(unknown, fetcher._default_reset_strategy)  # noqa: SLF001

    async def poll(self, partitions: Mapping[TP, int], seconds: float) -> Fetched:
        """Wait for records of these partitions, each given with the last move that the caller knows of."""
        fetched: Fetched = await self.call_thread(self._poll, partitions, seconds)
        return fetched

    async def _poll(self, partitions: Mapping[TP, int], seconds: float) -> Fetched:
        consumer = self._ensure_consumer()
        fetcher = consumer._fetcher  # noqa: SLF001
        deadline = monotonic() + seconds
        with fetcher._subscriptions.fetch_context():  # noqa: SLF001
            while self.consumer.flow_active:
                if consumer._closed or fetcher._closed:  # noqa: SLF001
                    raise ConsumerStoppedError
                # No await between here and the records: nothing can move meanwhile.
                current = {tp for tp, move in partitions.items() if self._moves.get(tp) == move}
                found = self._drain(fetcher, current)
                if found or not current or not await _more_to_come(fetcher, deadline - monotonic()):
                    return {tp: self._pack(tp, records) for tp, records in found.items()}
        return {}

    def _drain(self, fetcher: Any, partitions: set[TP]) -> dict[TP, list[FetchedRecord]]:
        # During a reassignment nothing that is here is ours any more.
        if fetcher._subscriptions.reassignment_in_progress:  # noqa: SLF001
            return {}
        return take_fetched(fetcher, partitions, _POLL_RECORDS)

    def _pack(self, tp: TP, records: list[FetchedRecord]) -> list[Any]:
        # Here rather than in the event loop, which has the agents to serve.
        if tp.topic in self._batch_topics:
            return [Batch.of(tp.topic, tp.partition, records)]
        return records


async def _more_to_come(fetcher: Any, seconds: float) -> bool:
    if seconds <= 0:
        return False
    waiter = fetcher._create_fetch_waiter()  # noqa: SLF001
    done, _ = await asyncio.wait([waiter], timeout=seconds)
    if not done:
        waiter.cancel()
        return False
    waiter.result()  # raises what the coordinator could not recover from
    return True
