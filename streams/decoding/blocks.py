"""Blocks, the native records of many samples, to columns: a batch of them at once.

Used by `streams.decoding.batch`. A producer names the same series in every block it sends, byte for byte, so those
bytes lead straight to the rows of all of them (`SeriesTable.layout`); only what was never seen is taken apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import NamedTuple

import msgspec
import numpy as np

from streams.decoding.native import UNUSABLE, Block, BlockSeriesList
from streams.decoding.samples import Ints, Samples
from streams.decoding.series import SeriesTable

_decode_series = msgspec.json.Decoder(BlockSeriesList).decode


class Missed(NamedTuple):
    """A block whose series had to be spelt out."""

    layout: bytes
    first: int  # entry
    height: int  # series


class Blocks:
    """The blocks of one batch. Their entries are those spelt out, and behind them those whose rows are known."""

    def __init__(self, table: SeriesTable) -> None:
        self.spellings: list[bytes] = []
        self.spelling_positions: list[int] = []
        self._find = table.layout
        self._missed: list[Missed] = []
        self._known: list[Ints] = []
        self._known_count = 0
        # One item for each block.
        self._positions: list[int] = []
        self._are_known: list[bool] = []
        self._firsts: list[int] = []  # its first entry, counted among those known or those spelt out
        self._heights: list[int] = []  # series
        self._times: list[Sequence[int]] = []
        self._values: list[Sequence[Sequence[float | None]]] = []

    def add(self, position: int, block: Block) -> bool:
        """Take a block; false where it is none after all."""
        layout = b",".join((block.resource, block.series))
        rows = self._find(layout)
        spellings = _spellings(block) if rows is None else []
        height = len(spellings) if rows is None else len(rows)
        # As many rows as series, each as long as there are times.
        if not height or [len(block.time_unix_nano)] * height != list(map(len, block.value)):
            return False
        if rows is None:
            first = len(self.spellings)
            self._missed.append(Missed(layout, first, height))
            self.spellings += spellings
            self.spelling_positions += [position] * height
        else:
            first = self._known_count
            self._known.append(rows)
            self._known_count += height
        self._positions.append(position)
        self._are_known.append(rows is not None)
        self._firsts.append(first)
        self._heights.append(height)
        self._times.append(block.time_unix_nano)
        self._values.append(block.value)
        return True

    def known_rows(self) -> Ints:
        """Return the rows of the entries that have no spelling."""
        return np.concatenate(self._known) if self._known else np.zeros(0, np.int64)

    def missed(self, base: int) -> list[Missed]:
        """Return the blocks whose series were spelt out; `base` entries come before those of the blocks."""
        return [Missed(one.layout, base + one.first, one.height) for one in self._missed]

    def samples(self, base: int) -> Samples:
        """Return the samples there are, by block and, where its times ascend, by time, else by series.

        `base` entries come before those of the blocks.
        """
        heights, widths = np.array(self._heights, np.int64), np.array(list(map(len, self._times)), np.int64)
        sizes = heights * widths
        # Where the values and the times of each block begin.
        values_from, times_from = np.cumsum(sizes) - sizes, np.cumsum(widths) - widths
        times = np.array(list(chain.from_iterable(self._times)), np.int64)
        # None, where a series has nothing at that time, becomes NaN.
        values = np.array(list(chain.from_iterable(chain.from_iterable(self._values))), np.float64)
        block = np.repeat(np.arange(len(sizes)), sizes)
        place = np.arange(len(block)) - values_from[block]
        if _ascend(times, times_from):
            column, row = np.divmod(place, heights[block])
            values = values[values_from[block] + row * widths[block] + column]
        else:
            row, column = np.divmod(place, widths[block])
        first = base + np.array(self._firsts, np.int64) + np.where(self._are_known, len(self.spellings), 0)
        record = np.array(self._positions, np.int64)
        found = Samples(first[block] + row, times[times_from[block] + column], values, record[block])
        there = ~np.isnan(values)
        return found if there.all() else found.take(there)


def _ascend(times: Ints, starts: Ints) -> bool:
    """Whether the times of every block do."""
    step = np.diff(times, prepend=0)
    step[starts] = 1
    return bool((step > 0).all())


def _spellings(block: Block) -> list[bytes]:
    """Spell out every series of a block; none where they are not what a block names."""
    try:
        series = _decode_series(block.series)
    except UNUSABLE:
        return []
    return [b",".join((one.name, block.resource, one.attributes, one.kind, one.unit)) for one in series]
