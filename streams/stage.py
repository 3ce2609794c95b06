"""Run pure kernels over batches: the one place where a stage meets Kafka.

A stage is a set of lanes; a lane is one or more input topics with equal partitioning and a kernel per partition. For
every batch: drop what the kernel's snapshot already holds, let the kernel take the rest, await every send, note the
offset, and snapshot now and then. The order makes the guarantees: a batch is acknowledged only after its output is
durable; a crash in between repeats output with the same ids; and on assignment a kernel goes on from its snapshot's
offsets, so that its state is always the fold of exactly the records before them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from schemas.codec import encode
from schemas.envelope import Record
from schemas.errors import RecordError, Rejection, TemporaryError
from schemas.topics import BY_NAME, DEAD_LETTERS, Topic
from streams.kernel.base import Emit, Keep, Kernel, Output, Records, letter
from streams.kernel.checkpoint import Snapshot
from streams.publisher import Message, Publish
from streams.snapshots import Snapshots

log = logging.getLogger(__name__)

# (partition, state or None) -> kernel
MakeKernel = Callable[[int, bytes | None], Kernel]
# Puts one record into a store of the lane's own; doing it again changes nothing.
KeepRecord = Callable[[Record], Awaitable[None]]
# How long a store that is away is waited for: a restart takes seconds, a failover and its people minutes. Meanwhile
# this lane stands still, so nothing is decided or acted on, and the other stages of the process go on. Then the process
# ends and a supervisor starts it again.
KEEP_SECONDS = 600.0
# Whoever reads the log sees that it waits, and for what.
TELL_SECONDS = 30.0
# The least time between two polls of a stage that bring records. Signals and what follows from them are few, but with
# every batch of telemetry come progress records, in a burst over all its partitions: this makes one or two polls of it.
PACE_SECONDS = 0.004
# Snapshots take at most this share of the time, however large the state.
SNAPSHOT_SHARE = 0.05


@dataclass(frozen=True, slots=True)
class Lane:
    """Input topics that share a kernel per partition."""

    name: str
    inputs: tuple[Topic, ...]
    make: MakeKernel
    keep: KeepRecord | None = None


@dataclass(frozen=True, slots=True)
class Stage:
    """A named set of lanes; one consumer group."""

    name: str
    lanes: tuple[Lane, ...]
    pace_seconds: float = PACE_SECONDS

    @property
    def inputs(self) -> tuple[Topic, ...]:
        return tuple(topic for lane in self.lanes for topic in lane.inputs)


@dataclass(slots=True)
class Counters:
    """What a stage has done since it started."""

    records: int = 0
    batches: int = 0
    emitted: int = 0
    dead_letters: int = 0
    busy_seconds: float = 0.0
    snapshots: int = 0


@dataclass(slots=True)
class _Slot:
    """One kernel and how far it has read."""

    identity: str
    partition: int
    kernel: Kernel
    lane: Lane
    generation: int
    save_at: float
    quiet_since: float | None = None
    next_offsets: dict[str, int] = field(default_factory=dict)
    dirty: bool = False
    # Folding, sending and saving one after the other: a snapshot never sees a state ahead of its offsets.
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


class StageRunner:
    """Feeds one stage. The Faust agents call `handle`, the transport's hooks `assigned` and `revoked`."""

    def __init__(
        self,
        stage: Stage,
        *,
        topic_prefix: str,
        publish: Publish,
        snapshots: Snapshots,
        snapshot_interval: float,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self.stage = stage
        self.counters = Counters()
        self._prefix = topic_prefix
        self._publish_all = publish
        self._snapshots = snapshots
        self._interval = snapshot_interval
        self._clock = clock
        self._lanes = {topic.name: lane for lane in stage.lanes for topic in lane.inputs}
        self._slots: dict[str, _Slot] = {}
        self._waiting: set[str] = set()
        # One thread: kernels never run side by side, and the event loop stays free for heartbeats and sends.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix=f"{stage.name}-kernel")

    async def assigned(self, partitions: Sequence[tuple[str, int]]) -> dict[tuple[str, int], int]:
        """Restore the kernels of all assigned (topic, partition) pairs; returns the offsets to start from.

        Where there is no snapshot, that is the beginning: state is the fold of everything that is kept.
        """
        identities = {self._identity(topic, partition): partition for topic, partition in partitions}
        missing = {identity: partition for identity, partition in identities.items() if identity not in self._slots}
        found = await self._snapshots.load(missing) if missing else {}
        starts: dict[tuple[str, int], int] = {}
        for topic, partition in partitions:
            identity = self._identity(topic, partition)
            if identity not in self._slots:
                self._slots[identity] = self._open(identity, topic, partition, found.get(identity))
                if identity in found:
                    await self._publish_all([Message(*entry) for entry in found[identity].outbox])
            starts[topic, partition] = self._slots[identity].next_offsets.get(topic, 0)
        return starts

    async def revoked(self, partitions: Sequence[tuple[str, int]]) -> None:
        """Save and drop the kernels of revoked partitions; whoever gets them goes on from there."""
        for identity in {self._identity(topic, partition) for topic, partition in partitions}:
            slot = self._slots.pop(identity, None)
            if slot is not None:
                await self._save_last(slot)

    @property
    def waiting(self) -> bool:
        """Whether it stands still because a store of its own is away."""
        return bool(self._waiting)

    async def handle(self, batch: Records) -> None:
        """Take one batch to its end: folded, its output durable, its offset noted.

        Raises:
            ReflexArcError: its output could not be made durable. The process must end: this kernel is ahead of what
                the topics hold, and only a restart from the snapshot brings them together again.

        """
        slot = self._slots.get(self._identity(batch.topic, batch.partition))
        if slot is None:
            return  # revoked while the batch was on its way: its new owner reads it again
        async with slot.lock:
            fresh = batch.since(slot.next_offsets.get(batch.topic, 0))
            if not fresh.offsets:
                return
            started = self._clock()
            slot.quiet_since = None
            with self._in_step(slot):
                await self._carry_out(slot, await self._run(self._take, slot, self._topic(batch.topic), fresh))
            slot.next_offsets[batch.topic] = fresh.offsets[-1] + 1
            slot.dirty = True
            self.counters.records += len(fresh.offsets)
            self.counters.batches += 1
            self.counters.busy_seconds += self._clock() - started
            await self._save_when_due(slot)

    async def wake(self, at_end: Callable[[str, int], bool]) -> None:
        """Let every kernel act on the passing of time, and save what is due.

        Args:
            at_end: whether the broker has surely nothing more of a topic (full name) and partition.

        """
        for slot in list(self._slots.values()):
            async with slot.lock:
                with self._in_step(slot):
                    outputs = await self._run(slot.kernel.wake, self._quiet_seconds(slot, at_end))
                    slot.dirty |= bool(outputs)
                    await self._carry_out(slot, outputs)
                await self._save_when_due(slot)

    async def close(self) -> None:
        """Save everything: a clean stop leaves nothing to fold again."""
        for slot in list(self._slots.values()):
            await self._save_last(slot)
        self._thread.shutdown(wait=False)

    @contextmanager
    def _in_step(self, slot: _Slot) -> Iterator[None]:
        """Forget a kernel that got ahead of what its offsets and the topics say: it must not be saved."""
        try:
            yield
        except BaseException:
            self._slots.pop(slot.identity, None)
            slot.dirty = False
            raise

    def _quiet_seconds(self, slot: _Slot, at_end: Callable[[str, int], bool]) -> float:
        now = self._clock()
        if not all(at_end(t.full_name(self._prefix), slot.partition) for t in slot.lane.inputs):
            slot.quiet_since = None
        elif slot.quiet_since is None:
            slot.quiet_since = now
        return 0.0 if slot.quiet_since is None else now - slot.quiet_since

    def _take(self, slot: _Slot, topic: Topic, batch: Records) -> list[Output]:
        try:
            return slot.kernel.take(topic, batch)
        except Exception as error:  # a bug in a kernel must not stop the stream
            log.exception("%s: %s offsets %d-%d", slot.identity, topic.name, batch.offsets[0], batch.offsets[-1])
            fault = RecordError(Rejection.PROCESSING_FAILED, f"{type(error).__name__}: {error}")
            return [letter(self.stage.name, batch, i, fault) for i in range(len(batch.offsets))]

    async def _carry_out(self, slot: _Slot, outputs: Sequence[Output]) -> None:
        messages = self._messages(outputs)
        self.counters.emitted += len(messages)
        self.counters.dead_letters += sum(isinstance(o, Emit) and o.topic is DEAD_LETTERS for o in outputs)
        await self._publish_all(messages)
        for output in outputs:
            if isinstance(output, Keep) and slot.lane.keep is not None:
                await self._persistently(slot, slot.lane.keep, output.record)

    async def _persistently(self, slot: _Slot, keep: KeepRecord, record: Record) -> None:
        """Keep one record, waiting for a store that is away: bounded, and told again and again."""
        began, told = self._clock(), -TELL_SECONDS
        try:
            while True:
                try:
                    return await keep(record)
                except TemporaryError as error:
                    waited = self._clock() - began
                    if waited >= KEEP_SECONDS:
                        raise
                    if waited - told >= TELL_SECONDS:
                        told = waited
                        log.warning("%s stands still, %.0f s so far: %s", slot.identity, waited, error)
                    self._waiting.add(slot.identity)
                    await asyncio.sleep(error.delay)
        finally:
            if slot.identity in self._waiting:
                self._waiting.discard(slot.identity)
                log.warning("%s waits no longer", slot.identity)

    def _messages(self, outputs: Sequence[Output]) -> list[Message]:
        emits = [output for output in outputs if isinstance(output, Emit)]
        return [Message(e.topic.full_name(self._prefix), e.key, encode(e.record), e.partition) for e in emits]

    async def _save_when_due(self, slot: _Slot) -> None:
        if slot.dirty and self._clock() >= slot.save_at:
            await self._save(slot)

    async def _save_last(self, slot: _Slot) -> None:
        async with slot.lock:
            if slot.dirty:
                await self._save(slot)

    async def _save(self, slot: _Slot, outbox: Sequence[Message] = ()) -> None:
        started = self._clock()
        slot.generation += 1
        slot.dirty = False
        offsets, kept = dict(slot.next_offsets), tuple((m.topic, m.key, m.value, m.partition) for m in outbox)
        state = await self._run(slot.kernel.snapshot)
        await self._snapshots.save(slot.identity, slot.partition, Snapshot(slot.generation, offsets, state, kept))
        self.counters.snapshots += 1
        took = self._clock() - started
        slot.save_at = self._clock() + max(self._interval, took / SNAPSHOT_SHARE)

    def _open(self, identity: str, topic: str, partition: int, snapshot: Snapshot | None) -> _Slot:
        lane = self._lanes[self._topic(topic).name]
        kernel = lane.make(partition, snapshot.state if snapshot else None)
        slot = _Slot(identity, partition, kernel, lane, snapshot.generation if snapshot else 0, self._clock())
        slot.next_offsets.update(snapshot.next_offsets if snapshot else {})
        return slot

    def _topic(self, full_name: str) -> Topic:
        return BY_NAME[full_name.removeprefix(f"{self._prefix}.")]

    def _identity(self, full_name: str, partition: int) -> str:
        return f"{self.stage.name}/{self._lanes[self._topic(full_name).name].name}/{partition}"

    async def _run(self, work: Callable[..., Any], *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, work, *args)
