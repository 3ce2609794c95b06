"""Faust's Kafka transport with micro-batches: one message per partition and poll where a topic asks for it.

Faust pays about 60 microseconds for every message that it hands to an agent, whatever the message holds. This driver
(`reflexarc://host:port`, entry point group `faust.transports`) is Faust's aiokafka driver with another way to fetch
(`streams.fetcher`) and to hand over: for the topics in `Batching.topics` a message is a `Batch`, its offset that of the
last record; for the rest it is one record, as ever. `streams.app` builds apps on it; `streams.stage` takes the batches.

What it changes in Faust's consumer, and why that is sound:

* Offsets. The messages handed over are kept in order, per partition (`InFlight`). What may be committed is the end of
  the run of acknowledged ones at the front: nothing in flight is ever passed, whatever the order of acknowledgements,
  and a batch costs one entry where Faust's gap tracking makes an integer per record. A failed commit is tried again.
* Flow. A partition with `max_in_flight` messages unacknowledged is not fetched, so that memory is bounded per
  partition and a slow partition does not hold back the others.
* Position. A message counts only if its partition has not been moved since it was fetched: nothing fetched before a
  rebalance or a seek reaches an agent, or moves an offset, after it; and nothing fetched after it is dropped.
* Start. On assignment `Batching.assigned` may name offsets that win over the committed ones (where a snapshot ends);
  before partitions are given away `Batching.revoked` is awaited, so that what is half done can be finished.
"""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import count
from typing import Any, cast

from aiokafka.errors import IllegalStateError
from faust.exceptions import ConsumerNotStarted
from faust.transport.drivers import aiokafka
from faust.types import TP, ConsumerMessage, Message
from mode.utils.futures import notify

from schemas.errors import PermanentError
from streams.batch import Batch
from streams.consumer_thread import ConsumerThread
from streams.fetcher import Fetched, FetchSettings

__all__ = ["Batch", "Batching", "Consumer", "InFlight", "Progress", "Transport"]

log = logging.getLogger(__name__)

Partition = tuple[str, int]

# With a full partition among those assigned, a poll for the others must come back soon to notice that it has room.
_SHORT_POLL_SECONDS = 0.02


async def _from_committed(_partitions: Sequence[Partition]) -> Mapping[Partition, int]:
    return {}


def _log(error: Exception) -> None:
    log.error("partitions cannot be read", exc_info=error)


async def _nothing(_partitions: Sequence[Partition]) -> None:
    return


@dataclass(frozen=True, slots=True)
class Batching:
    """How an app wants its records, and what it must be asked on the way."""

    topics: frozenset[str] = frozenset()
    # How to reach the brokers, in librdkafka's vocabulary, where their addresses in the app's URL do not say it all.
    client: Mapping[str, Any] = field(default_factory=dict)
    # Per partition: one being worked on, one ready.
    max_in_flight: int = 2
    # The same for topics whose messages are single records.
    max_in_flight_single: int = 500
    # How long a broker may hold back the answer to a fetch that found nothing. Faust asks for 1.5 s.
    fetch_wait_seconds: float = 0.5
    # The least time between two polls that bring records: longer costs latency, shorter a batch for every few records.
    pace_seconds: float = 0.0
    # All partitions assigned -> offsets to start from; the committed ones where it names none.
    assigned: Callable[[Sequence[Partition]], Awaitable[Mapping[Partition, int]]] = _from_committed
    # Partitions about to be given away. Nothing new is handed over while it runs.
    revoked: Callable[[Sequence[Partition]], Awaitable[None]] = _nothing
    # Told why nothing may be read any more: `assigned` failed, or what it said does not fit the log.
    failed: Callable[[Exception], object] = _log


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a partition is done, and how far it reaches. `end` is None before the first fetch."""

    done: int | None
    end: int | None


@dataclass(slots=True)
class InFlight:
    """Messages of one partition that were handed over, in order, since it was last positioned."""

    next_offset: int | None
    # The move that brought the consumer here (`ConsumerThread.move`).
    move: int = 0
    # Where state ends. A record before it means that the log is not the one that the state was made of.
    floor: int = 0
    messages: deque[ConsumerMessage] = field(default_factory=deque)

    def settle(self) -> int | None:
        """Forget the acknowledged messages at the front; returns the offset after them."""
        while self.messages and self.messages[0].acked:
            self.next_offset = self.messages.popleft().offset + 1
        return self.next_offset


class _Unread(dict[TP, int | None]):
    """Faust's note of what it has read, by which it drops records that come again. Never says that it has.

    What was fetched before a move does not get that far (`Consumer`), and Faust's note may be set after a seek by what
    was read before it: then it drops records that are wanted.
    """

    def __getitem__(self, _: TP) -> None:
        return None

    def __setitem__(self, tp: TP, offset: int | None) -> None:
        pass


class Consumer(aiokafka.Consumer):
    """Faust's consumer, handing over batches."""

    _thread: ConsumerThread

    def __init__(self, transport: Transport, *args: Any, **kwargs: Any) -> None:
        self._batching = transport.batching
        self._in_flight: dict[TP, InFlight] = {}
        self._moves = count(1)
        self._positioning: asyncio.Task[None] | None = None
        super().__init__(transport, *args, **kwargs)
        self._read_offset = _Unread()

    def _new_consumer_thread(self) -> ConsumerThread:
        return ConsumerThread(self, fetch=self._fetch_settings(), loop=self.loop, beacon=self.beacon)

    def _fetch_settings(self) -> FetchSettings:
        conf, batching = self.app.conf, self._batching
        servers = ",".join(f"{url.host}:{url.port or Transport.default_port}" for url in self.transport.url)
        return FetchSettings(
            client={"bootstrap.servers": servers, **batching.client},
            group=str(conf.id),
            batch_topics=batching.topics,
            wait_seconds=batching.fetch_wait_seconds,
            from_beginning=conf.consumer_auto_offset_reset == "earliest",
            pace_seconds=batching.pace_seconds,
        )

    # -- handing over

    async def getmany(self, timeout: float) -> AsyncIterator[tuple[TP, ConsumerMessage]]:  # noqa: ASYNC109
        """Yield what one poll brings, and keep account of it."""
        if not self.flow_active:
            await self.wait(self.can_resume_flow.wait())
        sources = self._sources()
        if not sources:
            await self._next_ack(timeout)
            return
        whole = len(sources) == len(self._active_partitions)
        generation = self.app.consumer_generation_id
        fetched = await self._poll(sources, timeout if whole else _SHORT_POLL_SECONDS)
        for tp, item in self.scheduler.iterate(fetched):
            if self._is_wanted(tp, item, sources[tp]):
                message = _message(tp, item, generation)
                sources[tp].messages.append(message)
                yield tp, message

    def _is_wanted(self, tp: TP, item: Any, in_flight: InFlight) -> bool:
        # Positioned anew, or about to be: what was fetched before will be fetched again.
        if not self.flow_active or self._in_flight.get(tp) is not in_flight:
            return False
        first = item.offsets[0] if isinstance(item, Batch) else item.offset
        if first >= in_flight.floor:
            return True
        self.forget([tp])
        text = f"{tp.topic}/{tp.partition} was reset to {first}, state is at {in_flight.floor}: is it another log?"
        self._batching.failed(PermanentError(text))
        return False

    def _sources(self) -> dict[TP, InFlight]:
        """Return the partitions to poll: positioned, not paused, with room."""
        found = {}
        for tp in self._active_partitions:
            in_flight = self._in_flight.get(tp)
            if in_flight is not None and self._has_room(tp, in_flight):
                found[tp] = in_flight
        return found

    def _has_room(self, tp: TP, in_flight: InFlight) -> bool:
        in_flight.settle()
        batching = self._batching
        limit = batching.max_in_flight if tp.topic in batching.topics else batching.max_in_flight_single
        return len(in_flight.messages) < limit

    async def _poll(self, sources: Mapping[TP, InFlight], seconds: float) -> Fetched:
        self.not_waiting_next_records.clear()
        try:
            return await self._thread.poll({tp: in_flight.move for tp, in_flight in sources.items()}, seconds)
        finally:
            self.not_waiting_next_records.set()

    async def _next_ack(self, seconds: float) -> None:
        self._waiting_for_ack = asyncio.get_running_loop().create_future()
        await asyncio.wait([self._waiting_for_ack], timeout=seconds)

    # -- acknowledging and committing

    async def _add_gap(self, tp: TP, offset_from: int, offset_to: int) -> None:
        """Do nothing: `InFlight` knows what was handed over, so a jump in offsets needs no account."""

    def ack(self, message: Message) -> bool:
        """Mark a message as done."""
        done: bool = super().ack(message)
        self._acked.pop(message.tp, None)
        self._acked_index.pop(message.tp, None)
        return done

    def _filter_tps_with_pending_acks(self, topics: Iterable[Any] | None = None) -> Iterator[TP]:
        wanted = None if topics is None else set(topics)
        return (tp for tp in list(self._in_flight) if wanted is None or tp in wanted or tp.topic in wanted)

    def _new_offset(self, tp: TP) -> int | None:
        # Streams that acknowledge by themselves note it here as well; `message.acked` says all that is needed.
        self._acked.pop(tp, None)
        self._acked_index.pop(tp, None)
        in_flight = self._in_flight.get(tp)
        return in_flight.settle() if in_flight is not None else None

    async def _commit_offsets(self, offsets: Mapping[TP, int], start_new_transaction: bool = True) -> bool:
        before = {tp: self._committed_offset[tp] for tp in offsets}
        committed: bool = await super()._commit_offsets(offsets, start_new_transaction)
        if not committed:  # Faust takes them for committed all the same, and would not try again
            self._committed_offset.update(before)
        return committed

    # -- assignment

    async def perform_seek(self) -> None:
        """Begin to position every assigned partition; each is polled from when that is done.

        Not awaited to the end: Faust goes on after a timeout as if it were done, and a large state takes its time.
        """
        self._stop_positioning()
        self._in_flight.clear()
        self._positioning = asyncio.create_task(self._position_all())

    async def _position_all(self) -> None:
        try:
            committed = await self._thread.committed()
            starts = {TP(*tp): offset for tp, offset in (await self._batching.assigned(sorted(committed))).items()}
            await self._move({**committed, **starts}, floors=starts)
        except IllegalStateError:
            return  # the assignment changed meanwhile; the next one is positioned in its turn
        except Exception as error:  # noqa: BLE001  # whatever it is, records must not be read from a wrong position
            self._batching.failed(error)

    async def _move(self, offsets: Mapping[TP, int | None], floors: Mapping[TP, int]) -> None:
        move = next(self._moves)
        for tp, offset in offsets.items():
            self._committed_offset[tp] = offset
            self._in_flight[tp] = InFlight(offset, move, floors.get(tp, 0))
        notify(self._waiting_for_ack)  # there is something to poll
        await self._thread.move(offsets, move)

    def _stop_positioning(self) -> None:
        if self._positioning is not None:
            self._positioning.cancel()
            self._positioning = None

    async def seek(self, partition: TP, offset: int) -> None:
        """Go on from this offset."""
        await self._move({TP(*partition): offset}, floors={})

    async def on_partitions_revoked(self, revoked: set[TP]) -> None:
        """Let what is being worked on come to its end before the partitions go."""
        self._stop_positioning()
        self.stop_flow()
        if revoked:  # the first assignment is announced with an empty one
            await self._batching.revoked(sorted(revoked))
        self.forget(revoked)
        await super().on_partitions_revoked(revoked)

    async def on_stop(self) -> None:
        """Leave nothing running."""
        self._stop_positioning()
        await super().on_stop()

    def is_current(self, message: Message) -> bool:
        """Whether the message may still be handled: nothing has begun to take its partition away since."""
        in_flight = self._in_flight.get(message.tp)
        return self.flow_active and in_flight is not None and message in in_flight.messages

    def resume_partitions(self, tps: Iterable[TP]) -> None:
        """Read these again."""
        super().resume_partitions(tps)
        notify(self._waiting_for_ack)

    def forget(self, partitions: Iterable[TP]) -> None:
        """Take no further account of these: what is acknowledged from now on is not committed."""
        for tp in partitions:
            self._in_flight.pop(tp, None)

    # -- how far it is

    def assignment(self) -> set[TP]:
        """Return what it reads; nothing while its thread is still starting, so that it can be stopped then."""
        try:
            return super().assignment()
        except ConsumerNotStarted:
            return set()

    def progress(self) -> dict[Partition, Progress]:
        """Return how far each partition is done, as of the last poll or commit. May be called from any thread."""
        return {tp: Progress(in_flight.next_offset, self._end(tp)) for tp, in_flight in list(self._in_flight.items())}

    def at_end(self, topic: str, partition: int) -> bool:
        """Whether every record that the broker had at the last fetch, a moment ago, is done."""
        tp = TP(topic, partition)
        in_flight = self._in_flight.get(tp)
        done = in_flight is not None and in_flight.settle() is not None and in_flight.next_offset == self._end(tp)
        return done and self._thread.is_fresh(tp)

    def in_flight(self, partition: Partition) -> int:
        """Return how many messages of a partition are not done."""
        in_flight = self._in_flight.get(TP(*partition))
        return 0 if in_flight is None else sum(not message.acked for message in in_flight.messages)

    def _end(self, tp: TP) -> int | None:
        return self._thread.end(tp)

    def verify_event_path(self, now: float, tp: TP) -> None:
        """Do nothing: Faust's check knows nothing of batches and only logs. `streams.watchdog` acts."""


def _message(tp: TP, item: Any, generation: int) -> ConsumerMessage:
    """Return the message for a batch (it stands at its last record) or for a record."""
    if isinstance(item, Batch):
        offset, millis, value = item.offsets[-1], item.timestamps[-1], cast(Any, item)
        kind, headers, key = 0, None, None
    else:
        offset, millis, value = item.offset, item.timestamp, item.value
        kind, headers, key = item.timestamp_type, item.headers, item.key
    return ConsumerMessage(*tp, offset, millis / 1000, kind, headers, key, value, None, tp=tp, generation_id=generation)


class Transport(aiokafka.Transport):
    """`reflexarc://`: Faust's aiokafka transport with this consumer."""

    Consumer = Consumer

    def __init__(self, *args: Any, batching: Batching | None = None, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.batching = batching or Batching()
