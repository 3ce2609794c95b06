"""What single samples look like without their two numbers: the quickest way from a record to its series.

Used by `streams.decoding.metrics` before anything else. A producer writes the same bytes in every sample of a series,
but for the time and the value. Once a record was taken, what is left of it without them, its skeleton, leads straight
to the row, and the two numbers are read by a compiled loop (`streams.decoding.scan`) that lets go of Python's lock.

That is as strict as the parser it saves: a skeleton is learnt only when the record still parses with two other numbers
in their place, and gives just these. JSON being what it is, a record with the same skeleton and any two numbers then
says the same of the same series. Numbers that need care (more digits than a float holds) are left to the parser.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import isfinite
from typing import TypeVar

import numpy as np
from numpy.typing import NDArray

from streams.decoding import compiled
from streams.decoding.native import UNUSABLE, Sample, decode_sample

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]
Bytes = NDArray[np.uint8]
Table = tuple[Ints, Ints, Ints, Bytes]
Scalar = TypeVar("Scalar", np.int64, np.uint8)

# What the skeletons may take, for each series there is room for: a sample of 200 bytes is most of one.
BYTES_PER_SERIES = 256
# A skeleton costs about ten parses to learn: learning at most so many of the records of a batch bounds what producers
# that write the same series differently every time can cost, and the rest is learnt from the next batches.
_LEARN_SHARE = 8
_LEARN_LEAST = 256
_FIRST_SLOTS = 1024
# Longer records are not looked at: what is known of them would be large, and one sample needs no more.
MAX_BYTES = 4096
# What no record is found as.
MISSED = -1
# Two numbers that no producer needs to have sent.
_PROBE_TIME, _PROBE_VALUE = 7, 0.5


@dataclass(frozen=True, slots=True)
class Found:
    """What is known of the records of a batch, each `[records]`. Time and value mean something only where row >= 0."""

    row: Ints
    time: Ints
    value: Floats


class Skeletons:
    """Skeleton -> row, bounded by bytes: when there is no more room all are forgotten, and learnt again."""

    def __init__(self, max_series: int) -> None:
        self._room = BYTES_PER_SERIES * max_series
        self.clear()

    def __len__(self) -> int:
        return self._count

    def clear(self) -> None:
        """Forget all."""
        self._count = 0
        self._used = 0
        self._slots: Ints = np.full(_FIRST_SLOTS, MISSED, np.int64)
        self._hashes: Ints = np.zeros(_FIRST_SLOTS // 2, np.int64)
        self._shapes: Ints = np.zeros((_FIRST_SLOTS // 2, 6), np.int64)
        self._bytes: Bytes = np.zeros(_FIRST_SLOTS * 64, np.uint8)

    def read(self, values: Sequence[bytes | None]) -> Found | None:
        """Look up the records of a batch; None where they are to be parsed, all of them."""
        loop = compiled.loop(len(values))
        if loop is None:
            return None
        whole = values if all(values) else [value or b"" for value in values]
        ends = np.cumsum(np.array(list(map(len, whole)), np.int64))  # type: ignore[arg-type]  # no None is left
        found = Found(np.empty(len(ends), np.int64), np.zeros(len(ends), np.int64), np.zeros(len(ends)))
        data = np.frombuffer(b"".join(whole), np.uint8)  # type: ignore[arg-type]  # no None is left
        for record, start, stop in loop.scan(data, ends, self._table, (found.row, found.time, found.value)):
            found.value[record] = value = float(data[start:stop].tobytes())
            if not isfinite(value):
                found.row[record] = MISSED
        return found

    def learn(self, values: Sequence[bytes | None], positions: Sequence[int], rows: Sequence[int]) -> None:
        """Learn from records that were taken, each with the row it led to; from a bounded number of them."""
        loop = compiled.loop(0)
        if loop is None:
            return
        most = max(_LEARN_LEAST, len(values) // _LEARN_SHARE)
        for position, row in zip(positions[:most], rows[:most], strict=True):
            value = values[position]
            if value is not None and len(value) <= MAX_BYTES:
                self._learn(loop, value, row)

    @property
    def _table(self) -> Table:
        return self._slots, self._hashes, self._shapes, self._bytes

    def _learn(self, loop: compiled.Loop, value: bytes, row: int) -> None:
        data = np.frombuffer(value, np.uint8)
        start, stop, second_start, second_stop, time_first = loop.find_cut(data)
        parts = value[:start], value[stop:second_start], value[second_stop:]
        if start == stop or not _is_sound(value, parts, time_first=time_first):
            return
        views = data[:start], data[stop:second_start], data[second_stop:]
        # It may be known, and its record missed for its numbers.
        if loop.find(views, time_first, self._table) < 0:
            if self._used + sum(map(len, parts)) > self._room:
                self.clear()
            self._add(b"".join(parts), loop.hash_parts(views), (*map(len, parts), int(time_first), row))

    def _add(self, skeleton: bytes, key: int, shape: tuple[int, ...]) -> None:
        entry, begin = self._count, self._used
        self._count, self._used = entry + 1, begin + len(skeleton)
        self._hashes = _grown(self._hashes, self._count)
        self._shapes = _grown(self._shapes, self._count)
        self._bytes = _grown(self._bytes, self._used)
        self._hashes[entry] = key
        self._shapes[entry] = (begin, *shape)
        self._bytes[begin : self._used] = np.frombuffer(skeleton, np.uint8)
        if 2 * self._count > len(self._slots):
            self._slots = np.full(2 * len(self._slots), MISSED, np.int64)
            for one in range(self._count):
                self._seat(one)
        else:
            self._seat(entry)

    def _seat(self, entry: int) -> None:
        mask = len(self._slots) - 1
        at = int(self._hashes[entry]) & mask
        while self._slots[at] >= 0:
            at = (at + 1) & mask
        self._slots[at] = entry


def _is_sound(value: bytes, parts: tuple[bytes, bytes, bytes], *, time_first: bool) -> bool:
    """Whether what was cut out are the time and the value of the record, and nothing else is."""
    numbers = (b"%d" % _PROBE_TIME, b"%g" % _PROBE_VALUE)
    first, second = numbers if time_first else numbers[::-1]
    try:
        probe = decode_sample(b"".join((parts[0], first, parts[1], second, parts[2])))
        sample = decode_sample(value)
    except UNUSABLE:
        return False
    return (probe.time_unix_nano, probe.value) == (_PROBE_TIME, _PROBE_VALUE) and _names(probe) == _names(sample)


def _names(sample: Sample) -> tuple[bytes, ...]:
    return tuple(map(bytes, (sample.name, sample.resource, sample.attributes, sample.kind, sample.unit)))


def _grown(array: NDArray[Scalar], size: int) -> NDArray[Scalar]:
    """Return an array with room for `size` rows at least."""
    if size <= len(array):
        return array
    grown = np.zeros((max(size, 2 * len(array)), *array.shape[1:]), array.dtype)
    grown[: len(array)] = array
    return grown
