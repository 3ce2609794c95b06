from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

import pytest

from schemas.dead_letter import DeadLetter
from schemas.errors import PermanentError, Rejection, TemporaryError
from schemas.signal import Progress
from schemas.topics import DEAD_LETTERS, RAW_METRICS, SIGNALS, Topic
from streams.batch import Batch
from streams.kernel.base import Emit, Keep, Output, Records
from streams.kernel.checkpoint import Snapshot
from streams.publisher import Message
from streams.snapshots import Snapshots
from streams.stage import KEEP_SECONDS, Lane, Stage, StageRunner

NAME = "t.raw.metrics"


class Counter:
    """Counts bytes; says where it is. Fails on `bug`."""

    def __init__(self, state: bytes | None) -> None:
        self.total = int(state or b"0")
        self.woken: list[float] = []

    def take(self, topic: Topic, records: Records) -> list[Output]:
        if b"bug" in records.values:
            raise ValueError("a bug")
        self.total += sum(len(value or b"") for value in records.values)
        return [Emit(SIGNALS, b"k", self._said()), Keep(self._said())]

    def wake(self, quiet_seconds: float) -> list[Output]:
        self.woken.append(quiet_seconds)
        return [Keep(self._said())] if quiet_seconds > 10 else []

    def snapshot(self) -> bytes:
        return str(self.total).encode()

    def _said(self) -> Progress:
        return Progress(source="test", time_unix_nano=max(1, self.total))


@dataclass
class World:
    """What a stage meets: a broker, a store, the clock."""

    published: list[Message] = field(default_factory=list)
    kept: list[int] = field(default_factory=list)
    snapshots: dict[str, Snapshot] = field(default_factory=dict)
    kernels: list[Counter] = field(default_factory=list)
    publishing_fails: Exception | None = None
    keep_fails: list[Exception] = field(default_factory=list)
    keep_takes: float = 0.0
    now: float = 0.0

    def runner(self, interval: float = 10.0) -> StageRunner:
        return StageRunner(
            Stage("test", (Lane("lane", (RAW_METRICS,), self._make, self._keep),)),
            topic_prefix="t",
            publish=self._publish,
            snapshots=_Store(self),
            snapshot_interval=interval,
            clock=lambda: self.now,
        )

    def _make(self, _partition: int, state: bytes | None) -> Counter:
        self.kernels.append(Counter(state))
        return self.kernels[-1]

    async def _publish(self, messages: Sequence[Message]) -> None:
        await asyncio.sleep(0)
        if self.publishing_fails is not None:
            raise self.publishing_fails
        self.published += messages

    async def _keep(self, record: object) -> None:
        if self.keep_fails:
            self.now += self.keep_takes
            raise self.keep_fails.pop()
        assert isinstance(record, Progress)
        self.kept.append(record.time_unix_nano)


class _Store(Snapshots):
    def __init__(self, world: World) -> None:
        self._world = world

    async def save(self, identity: str, partition: int, snapshot: Snapshot) -> None:
        self._world.snapshots[identity] = snapshot

    async def load(self, identities: object) -> dict[str, Snapshot]:
        assert isinstance(identities, dict)
        return {name: found for name, found in self._world.snapshots.items() if name in identities}


@pytest.fixture
def world() -> World:
    return World()


def records(first: int, *values: bytes, partition: int = 0) -> Batch:
    return Batch(NAME, partition, values, [b"k"] * len(values), range(first, first + len(values)), [1] * len(values))


async def test_without_a_snapshot_a_kernel_folds_the_log_from_its_beginning(world: World) -> None:
    runner = world.runner()
    assert await runner.assigned([(NAME, 0)]) == {(NAME, 0): 0}


async def test_output_is_published_before_a_batch_is_done(world: World) -> None:
    runner = world.runner()
    await runner.assigned([(NAME, 0)])
    await runner.handle(records(0, b"aa", b"b"))
    assert [message.topic for message in world.published] == ["t.signals"]
    assert world.kept == [3]
    assert runner.counters.records == 2


async def test_a_restart_goes_on_from_the_snapshot_and_folds_nothing_twice(world: World) -> None:
    runner = world.runner(interval=0.0)
    await runner.assigned([(NAME, 0)])
    await runner.handle(records(0, b"aa", b"b"))
    restarted = world.runner()
    assert await restarted.assigned([(NAME, 0)]) == {(NAME, 0): 2}
    await restarted.handle(records(0, b"aa", b"b", b"c"))
    assert world.kernels[-1].total == 4


async def test_what_was_folded_after_the_last_snapshot_is_folded_again(world: World) -> None:
    runner = world.runner(interval=10.0)
    await runner.assigned([(NAME, 0)])
    await runner.handle(records(0, b"aa"))
    world.now = 11.0
    await runner.handle(records(1, b"b"))
    await runner.handle(records(2, b"lost with the process"))
    restarted = world.runner()
    assert await restarted.assigned([(NAME, 0)]) == {(NAME, 0): 2}
    await restarted.handle(records(2, b"c"))
    assert world.kernels[-1].total == 4


async def test_revoked_partitions_are_saved_and_their_late_batches_ignored(world: World) -> None:
    runner = world.runner()
    await runner.assigned([(NAME, 0), (NAME, 1)])
    await runner.handle(records(0, b"aa", partition=1))
    await runner.revoked([(NAME, 1)])
    await runner.handle(records(1, b"bb", partition=1))
    assert world.snapshots["test/lane/1"].state == b"2"
    assert len(world.published) == 1


async def test_a_partition_that_stays_keeps_its_kernel(world: World) -> None:
    runner = world.runner()
    await runner.assigned([(NAME, 0)])
    await runner.handle(records(0, b"aa"))
    assert await runner.assigned([(NAME, 0), (NAME, 1)]) == {(NAME, 0): 1, (NAME, 1): 0}
    assert len(world.kernels) == 2


async def test_a_clean_stop_leaves_nothing_to_fold_again(world: World) -> None:
    runner = world.runner()
    await runner.assigned([(NAME, 0)])
    await runner.handle(records(0, b"aa"))
    await runner.close()
    assert world.snapshots["test/lane/0"].next_offsets == {NAME: 1}


async def test_a_bug_in_a_kernel_dead_letters_the_batch_and_the_stream_goes_on(
    world: World, expected_errors: list[str]
) -> None:
    expected_errors.append("test/lane/0: raw.metrics offsets 0-1")
    runner = world.runner()
    await runner.assigned([(NAME, 0)])
    await runner.handle(records(0, b"aa", b"bug"))
    await runner.handle(records(2, b"c"))
    letters = [DeadLetter.model_validate_json(m.value) for m in world.published if m.topic == "t.deadletters"]
    assert [(letter.offset, letter.value, letter.reason) for letter in letters] == [
        (0, b"aa", Rejection.PROCESSING_FAILED),
        (1, b"bug", Rejection.PROCESSING_FAILED),
    ]
    assert all(message.key for message in world.published)
    assert DEAD_LETTERS.full_name("t") == "t.deadletters"
    assert world.kernels[-1].total == 1


async def test_output_that_cannot_be_published_is_not_acknowledged(world: World) -> None:
    runner = world.runner(interval=0.0)
    await runner.assigned([(NAME, 0)])
    world.publishing_fails = PermanentError("no")
    with pytest.raises(PermanentError):
        await runner.handle(records(0, b"aa"))
    assert world.snapshots == {}


async def test_a_kernel_ahead_of_its_offsets_is_not_saved_on_the_way_out(world: World) -> None:
    runner = world.runner(interval=10.0)
    await runner.assigned([(NAME, 0)])
    await runner.handle(records(0, b"aa"))
    await runner.handle(records(1, b"b"))
    world.publishing_fails = PermanentError("no")
    with pytest.raises(PermanentError):
        await runner.handle(records(2, b"folded, but not published"))
    await runner.close()
    restarted = world.runner()
    world.publishing_fails = None
    assert await restarted.assigned([(NAME, 0)]) == {(NAME, 0): 1}
    await restarted.handle(records(1, b"b", b"cc"))
    assert world.kernels[-1].total == 5


async def test_a_store_that_is_away_for_a_moment_is_waited_for(world: World) -> None:
    world.keep_fails, world.keep_takes = [TemporaryError("away", delay=0.0)] * 7, KEEP_SECONDS / 8
    runner = world.runner()
    await runner.assigned([(NAME, 0)])
    await runner.handle(records(0, b"aa"))
    assert world.kept == [2]


async def test_a_store_that_stays_away_ends_the_stage(world: World) -> None:
    world.keep_fails, world.keep_takes = [TemporaryError("away", delay=0.0)] * 9, KEEP_SECONDS / 8
    runner = world.runner()
    await runner.assigned([(NAME, 0)])
    with pytest.raises(TemporaryError):
        await runner.handle(records(0, b"aa"))


async def test_kernels_are_told_how_long_it_has_surely_been_quiet(world: World) -> None:
    runner = world.runner()
    await runner.assigned([(NAME, 0)])
    for now, at_end in ((1.0, False), (2.0, True), (5.0, True), (6.0, False), (7.0, True)):
        world.now = now
        await runner.wake(lambda _topic, _partition, at_end=at_end: at_end)  # type: ignore[misc]  # bound per turn
    assert world.kernels[0].woken == [0.0, 0.0, 3.0, 0.0, 0.0]


async def test_what_the_clock_brought_about_is_kept_before_anyone_sees_it(world: World) -> None:
    runner = world.runner()
    await runner.assigned([(NAME, 0)])
    await runner.handle(records(0, b"aa"))
    world.kept.clear()
    world.keep_fails = [PermanentError("the process dies here")]
    await runner.wake(lambda _topic, _partition: True)
    world.now = 11.0
    with pytest.raises(PermanentError):
        await runner.wake(lambda _topic, _partition: True)
    assert world.snapshots["test/lane/0"].next_offsets == {NAME: 1}


async def test_what_was_kept_and_not_published_is_published_by_the_next_owner(world: World) -> None:
    letter = ("t.signals", b"k", b"v", 1)
    world.snapshots["test/lane/0"] = Snapshot(1, {NAME: 3}, b"5", (letter,))
    assert await world.runner().assigned([(NAME, 0)]) == {(NAME, 0): 3}
    assert world.published == [Message(*letter)]


async def test_large_states_are_saved_less_often(world: World) -> None:
    """Saving takes at most a twentieth of the time."""
    runner = world.runner(interval=1.0)
    saved_at = []

    class Slow(_Store):
        async def save(self, identity: str, partition: int, snapshot: Snapshot) -> None:
            saved_at.append(world.now)
            world.now += 2.0

    runner._snapshots = Slow(world)
    await runner.assigned([(NAME, 0)])
    for offset in range(100):
        world.now += 1.0
        await runner.handle(records(offset, b"a"))
    gaps = [later - earlier for earlier, later in pairwise(saved_at)]
    assert min(gaps) >= 40
