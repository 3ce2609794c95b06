"""What is known of every series of a bank, a row each: how to read it, its history, its baseline, where it stands.

Kept by `detectors.bank`, which judges by it; frozen by `detectors.bank_state`. The baseline is the robust centre and
scale (median, median absolute deviation) of the last `window` calm ticks, refreshed every `REFRESH` ticks.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

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
# No scale is less, whatever it is of: it is divided by.
SMALLEST_SCALE = float(np.finfo(np.float32).tiny)


class Kind(IntEnum):
    """How the samples of one tick become one number."""

    GAUGE = 0  # their mean
    COUNTER = 1  # increase per second since the tick before; a decrease is a reset, not a negative rate
    COUNT = 2  # their sum; a tick without samples counts zero, because silence of events is a fact
    MENTIONS = 3  # a count of which only more than usual is abnormal: what is no longer said here may be said elsewhere


class Columns(NamedTuple):
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
        for name, column in self._asdict().items():
            column[rows] = getattr(other, name)
