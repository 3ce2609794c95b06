"""What is known of every series of a bank, a row each: how to read it, its history, its baseline, where it stands.

Kept by `detectors.bank`, which judges by it; frozen by `detectors.bank_state`. The baseline is the robust centre and
scale (median, median absolute deviation) of the last `window` calm ticks, refreshed every `REFRESH` ticks.
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from enum import IntEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# 1.4826 makes the median absolute deviation estimate a normal standard deviation (1 / 0.6745).
MAD_TO_SIGMA = 1.4826
# 1.2533 = sqrt(pi / 2) does the same for the mean absolute deviation, used where more than half of a history is
# one and the same value and the median deviation is zero.
MEAN_DEVIATION_TO_SIGMA = 1.2533
# A departure below 2 % of the level is of no consequence, however quiet the series used to be.
RELATIVE_SCALE_FLOOR = 0.02
# Median and deviation of 64 values move little in 8 ticks, and recomputing them is most of a tick's cost.
REFRESH = 8
# What the ring holds at most.
LARGEST = float(np.finfo(np.float32).max)


class Kind(IntEnum):
    """How the samples of one tick become one number."""

    GAUGE = 0  # their mean
    COUNTER = 1  # increase per second since the tick before; a decrease is a reset, not a negative rate
    COUNT = 2  # their sum; a tick without samples counts zero, because silence of events is a fact
    MENTIONS = 3  # a count of which only more than usual is abnormal: what is no longer said here may be said elsewhere


@dataclass(slots=True)
class Columns:
    """One row per series."""

    kind: NDArray[np.int8]
    filled: NDArray[np.int32]  # ticks ever pushed into the ring
    centre: Floats
    scale: Floats  # NaN until the first baseline: nothing is far from NaN
    spread: NDArray[np.bool_]  # the history has any spread at all
    height: Floats
    firing: NDArray[np.bool_]
    onset: Ints
    since: Ints  # tick since which it fires
    calm: NDArray[np.int16]
    last_tick: Ints  # -1: row not in use
    last_value: Floats
    last_time: Ints
    density: NDArray[np.float32]  # samples a tick, smoothed
    looks: Floats  # the tail record: see `evidence.calibrate`
    entered: Floats
    excess: Floats
    peak: Floats  # of the excursion at hand
    peaks: Floats  # excursions that are over, faded: see `excursions.unit`
    heights: Floats  # the sum of their peaks
    pace: Floats  # seconds from one sample to the next: see `contested`
    crowded: Floats  # share of ticks with samples out of turn
    strayed: NDArray[np.bool_]  # the last sample was far from the baseline
    contested: Ints  # the last tick in which samples out of turn disagreed; -1: none
    seen: Ints  # the last tick that gave a number
    interval: NDArray[np.float32]  # ticks from one number to the next, smoothed; 1 of a fine series
    streak: NDArray[np.int8]  # long gaps in a row; below zero: short ones
    slot: NDArray[np.int32]  # in `coarse`; -1: a fine series
    ring: NDArray[np.float32]  # [series, window]

    @classmethod
    def blank(cls, size: int, window: int) -> Columns:
        """Rows that know nothing."""
        return cls(
            kind=np.zeros(size, np.int8),
            filled=np.zeros(size, np.int32),
            centre=np.zeros(size),
            scale=np.full(size, np.nan),
            spread=np.zeros(size, np.bool_),
            height=np.zeros(size),
            firing=np.zeros(size, np.bool_),
            onset=np.zeros(size, np.int64),
            since=np.zeros(size, np.int64),
            calm=np.zeros(size, np.int16),
            last_tick=np.full(size, -1, np.int64),
            last_value=np.full(size, np.nan),
            last_time=np.zeros(size, np.int64),
            density=np.ones(size, np.float32),
            looks=np.zeros(size),
            entered=np.zeros(size),
            excess=np.zeros(size),
            peak=np.zeros(size),
            peaks=np.zeros(size),
            heights=np.zeros(size),
            pace=np.zeros(size),
            crowded=np.zeros(size),
            strayed=np.zeros(size, np.bool_),
            contested=np.full(size, -1, np.int64),
            seen=np.full(size, -1, np.int64),
            interval=np.ones(size, np.float32),
            streak=np.zeros(size, np.int8),
            slot=np.full(size, -1, np.int32),
            ring=np.zeros((size, window), np.float32),
        )

    def assign(self, rows: Any, other: Columns) -> None:
        """Copy `other` into `rows`."""
        for column in fields(self):
            getattr(self, column.name)[rows] = getattr(other, column.name)

    def push(self, rows: Ints, values: Floats, warmup: int) -> None:
        """Append one calm value to each row's history and refresh the baselines that are due."""
        # Anyone may send 1e300: what the ring cannot hold is its largest, not infinity.
        self.ring[rows, self.filled[rows] % self.ring.shape[1]] = np.clip(values, -LARGEST, LARGEST)
        self.filled[rows] += 1
        # Staggered by row, so that no tick pays for all; the first baseline is due at the end of the warm-up.
        filled = self.filled[rows]
        due = rows[(filled == warmup) | ((filled > warmup) & ((filled + rows) % REFRESH == 0))]
        if len(due):
            self.refresh(due)

    def refresh(self, rows: Ints) -> None:
        """Take the baselines of these rows from their histories."""
        lengths = np.minimum(self.filled[rows], self.ring.shape[1])
        for length in np.unique(lengths).tolist():
            mine = rows[lengths == length]
            history = self.ring[mine, :length].astype(np.float64)
            centre = np.median(history, axis=1)
            deviation = np.abs(history - centre[:, None])
            spread = np.median(deviation, axis=1) * MAD_TO_SIGMA
            flat = spread <= 0
            spread[flat] = deviation[flat].mean(axis=1) * MEAN_DEVIATION_TO_SIGMA
            floor = np.maximum(np.abs(centre) * RELATIVE_SCALE_FLOOR, np.finfo(np.float32).tiny)
            self.centre[mine], self.spread[mine], self.scale[mine] = centre, spread > 0, np.maximum(spread, floor)
