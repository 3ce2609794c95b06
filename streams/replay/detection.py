"""The detect stage over an archive: every raw partition through its own kernel, in recorded time.

Detection knows nothing beyond its partition, so partitions can be played in any order and by any number of processes:
what comes out is put in order afterwards (`streams.replay.arc`). The kernels are those of the live stage.
"""

from __future__ import annotations

import multiprocessing
from array import array
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor, wait
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import numpy as np

from schemas.dead_letter import DeadLetter
from schemas.signal import Progress, Signal
from schemas.topics import BY_NAME, Topic
from streams.batch import Batch
from streams.course import Course
from streams.kernel.base import Emit, Kernel, Output
from streams.raw_to_signal import stage
from streams.replay.archive import RAW, Archive
from streams.replay.slices import Slices
from streams.replay.span import Place

# How often a progress bar hears of processes beside this one.
LOOK_SECONDS = 0.2


@dataclass(slots=True)
class Detected:
    """What one raw partition told, by the end of the slice in which it did."""

    place: Place
    signals: list[tuple[int, Signal]] = field(default_factory=list)
    # Three numbers each: end of the slice, event time reached, whether idle. The last word of a slice is enough.
    progress: array[int] = field(default_factory=lambda: array("q"))
    dead_letters: Counter[str] = field(default_factory=Counter)
    records: int = 0


class PartitionReplay:
    """One raw partition on its way through time."""

    def __init__(self, place: Place, kernel: Kernel, slices: Slices, until_millis: int) -> None:
        self.found = Detected(place)
        self._topic: Topic = BY_NAME[place.topic]
        self._kernel = kernel
        self._slices = slices
        self._until = until_millis
        self._end: int | None = None  # of the slice at hand
        self._heard = 0  # when the newest record came, in milliseconds

    def take(self, batch: Batch) -> None:
        """Play some records, slice by slice."""
        came = np.maximum.accumulate(np.maximum(np.array(batch.timestamps, np.int64), self._heard))
        ends = self._slices.ends(came)
        cuts = [0, *(np.flatnonzero(np.diff(ends)) + 1).tolist(), len(batch)]
        for first, until in pairwise(cuts):
            self._go_to(int(ends[first]))
            self._heard = int(came[until - 1])
            self._note(self._kernel.take(self._topic, part(batch, first, until)))
        self.found.records += len(batch)

    def close(self) -> Detected:
        """Let time pass to the end of the recording."""
        if self._end is not None:
            self._go_to(max(self._end, int(self._slices.ends(np.array([self._until], np.int64))[0])))
            self._wake()
        return self.found

    def _go_to(self, end: int) -> None:
        while self._end is not None and self._end < end:
            self._wake()
            self._end = self._slices.after(self._end)
        self._end = end

    def _wake(self) -> None:
        if self._end is not None:
            self._note(self._kernel.wake((self._end - self._heard) / 1000))

    def _note(self, outputs: Iterable[Output]) -> None:
        end = self._end or 0
        for output in outputs:
            record = output.record
            if isinstance(record, Signal):
                self.found.signals.append((end, record))
            elif isinstance(record, DeadLetter):
                self.found.dead_letters[record.reason] += 1
            # Every partition of the signals topic is told the same; once is enough to know it.
            elif isinstance(record, Progress) and isinstance(output, Emit) and not output.partition:
                self._reached(end, record)

    def _reached(self, end: int, record: Progress) -> None:
        kept = self.found.progress
        if kept and kept[-3] == end:
            del kept[-3:]
        kept.extend((end, record.time_unix_nano, record.idle))


def detect(
    archive: Archive,
    course: Course,
    slices: Slices,
    signal_partitions: int,
    *,
    workers: int,
    moved: Callable[[int], None],
) -> list[Detected]:
    """Play all raw partitions, in this process or in several; the result is the same."""
    shares = _shares(archive, workers)
    work = (archive, course, slices, signal_partitions)
    found = _here(work, shares[0], moved) if len(shares) == 1 else _beside(work, shares, moved)
    return sorted(found, key=lambda one: one.place)


Work = tuple[Archive, Course, Slices, int]


def _here(work: Work, places: Collection[Place], moved: Callable[[int], None]) -> list[Detected]:
    archive, course, slices, signal_partitions = work
    make = {topic.name: lane.make for lane in stage(course, signal_partitions).lanes for topic in lane.inputs}
    replays: dict[Place, PartitionReplay] = {}
    for place, batch in archive.batches(places):
        if place not in replays:
            kernel = make[place.topic](place.partition, None)
            replays[place] = PartitionReplay(place, kernel, slices, archive.until_millis)
        replays[place].take(batch)
        moved(len(batch))
    return [replay.close() for replay in replays.values()]


def _beside(work: Work, shares: Sequence[Collection[Place]], moved: Callable[[int], None]) -> list[Detected]:
    # Fresh interpreters: this one may have threads, which do not survive a fork.
    context = multiprocessing.get_context("spawn")
    counted, told = context.Value("q", 0), 0
    with ProcessPoolExecutor(len(shares), context, _count_with, (counted,)) as pool:
        waiting = {pool.submit(_counted, work, share) for share in shares}
        done = set()
        while waiting:
            ended, waiting = wait(waiting, LOOK_SECONDS)
            done |= ended
            now = counted.value
            moved(now - told)
            told = now
        return [one for future in done for one in future.result()]


_counter: Any = None  # of this process, set when it starts


def _count_with(counter: Any) -> None:
    global _counter  # noqa: PLW0603 - what a process pool's initializer is for
    _counter = counter


def _counted(work: Work, places: Collection[Place]) -> list[Detected]:
    def moved(more: int) -> None:
        with _counter.get_lock():
            _counter.value += more

    return _here(work, places, moved)


def _shares(archive: Archive, workers: int) -> list[set[Place]]:
    """Deal out partitions, the largest first, to whoever has least."""
    files = sorted((f for f in archive.manifest.files if f.topic in RAW), key=lambda f: (-f.records, f.place))
    shares: list[set[Place]] = [set() for _ in range(max(1, min(workers, len(files))))]
    loads = [0] * len(shares)
    for file in files:
        least = loads.index(min(loads))
        shares[least].add(file.place)
        loads[least] += file.records
    return shares


def part(batch: Batch, first: int, until: int) -> Batch:
    """Return some records of a batch, by position."""
    if until - first == len(batch):
        return batch
    return Batch(
        batch.topic,
        batch.partition,
        batch.values[first:until],
        batch.keys[first:until],
        batch.offsets[first:until],
        batch.timestamps[first:until],
    )
