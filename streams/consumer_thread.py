"""The thread in which Faust's aiokafka consumer lives: it keeps the group, and has `streams.fetcher` do the reading.

Started by `streams.transport`, which gets from it what one poll brought. aiokafka's own fetching is paused for every
partition; joining, heartbeats and commits are its work.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeVar

from aiokafka.errors import ConsumerStoppedError
from aiokafka.structs import TopicPartition
from faust.transport.drivers import aiokafka
from faust.types import TP

from streams.fetcher import Fetched, Fetcher, FetchSettings

Result = TypeVar("Result")


class ConsumerThread(aiokafka.AIOKafkaConsumerThread):
    """Faust's consumer thread, fetching batches."""

    def __init__(self, *args: Any, fetch: FetchSettings, **kwargs: Any) -> None:
        self._fetch = fetch
        self._fetcher: Fetcher | None = None
        # One thread: what the fetcher is asked comes one after the other, and waiting holds up no heartbeat.
        self._reading = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{fetch.group}-fetch")
        super().__init__(*args, **kwargs)

    async def on_start(self) -> None:
        """Start both consumers."""
        self._fetcher = await self._read(Fetcher, self._fetch)
        await super().on_start()

    async def on_partitions_assigned(self, assigned: set[TP], generation_id: int = 0) -> None:
        """Take these partitions, and keep aiokafka from fetching them as well."""
        self._ensure_consumer().pause(*(TopicPartition(*tp) for tp in assigned))
        await super().on_partitions_assigned(assigned, generation_id)

    async def on_thread_stop(self) -> None:
        """Leave nothing running."""
        if self._fetcher is not None:
            self._fetcher.hurry()
            await self._read(self._fetcher.close)
        self._reading.shutdown(wait=False)
        await super().on_thread_stop()

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
        fetcher, consumer = self._ensure_fetcher(), self._ensure_consumer()
        fetcher.hurry()
        await self._read(fetcher.move, offsets, move, {TP(*tp) for tp in consumer.assignment()})

    async def poll(self, partitions: Mapping[TP, int], seconds: float) -> Fetched:
        """Wait for records of these partitions, each given with the last move that the caller knows of."""
        fetched: Fetched = await self.call_thread(self._poll, partitions, seconds)
        return fetched

    async def _poll(self, partitions: Mapping[TP, int], seconds: float) -> Fetched:
        consumer = self._ensure_consumer()
        if consumer._closed:  # noqa: SLF001  # as its own methods do
            raise ConsumerStoppedError
        consumer._coordinator.check_errors()  # noqa: SLF001  # as aiokafka does when it is asked for records
        # Or the group takes this member for one that works no more.
        with consumer._subscription.fetch_context():  # noqa: SLF001
            return await self._read(self._ensure_fetcher().poll, partitions, seconds)

    def end(self, tp: TP) -> int | None:
        """Return the offset after the last record that the broker had at the last fetch. May be called anywhere."""
        return None if self._fetcher is None else self._fetcher.end(tp)

    def is_fresh(self, tp: TP) -> bool:
        """Whether the broker has surely been asked a moment ago. May be called anywhere."""
        return self._fetcher is not None and self._fetcher.is_fresh(tp)

    def _ensure_fetcher(self) -> Fetcher:
        if self._fetcher is None:
            raise ConsumerStoppedError
        return self._fetcher

    async def _read(self, work: Callable[..., Result], *args: Any) -> Result:
        return await asyncio.get_running_loop().run_in_executor(self._reading, work, *args)
