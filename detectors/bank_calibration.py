"""The calibration of a bank: what its series' excursions teach, and what may be raised by that.

Kept by `detectors.bank`, over the rows of its `Columns`; frozen with it. Two records, of fine and of coarse series
(`detectors.excursions`), and one account of what may be false (`detectors.false_share`).
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import NDArray

from detectors.bank_columns import Columns
from detectors.excursions import COARSE_BEGINS, FINE_BEGINS, ExcursionRecord, taught, units
from detectors.false_share import FalseShare

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Whether what was raised was nothing is not known: half of it counts toward what is usual of its series.
RAISED_WEIGHT = 0.5
# What the records say is read off them once in so many ticks: what happens within them is one thing.
REFRESH_TICKS = 8
# Series are sampled hourly at the slowest; an outage is no time that was watched.
MOST_GAP_SECONDS = 3600.0


class Calibration:
    """Where thresholds and p-values come from."""

    def __init__(self) -> None:
        self.fine = ExcursionRecord(FINE_BEGINS)
        self.coarse = ExcursionRecord(COARSE_BEGINS)
        self.allowed = FalseShare()
        # The last tick that had numbers, -1: none yet; and the one at which the records were read last.
        self.tick = np.full(1, -1, np.int64)
        self.refreshed = np.full(1, -REFRESH_TICKS, np.int64)

    def pass_time(self, tick: int, tick_seconds: float, *, fine: int, judged: int, coarse: int) -> None:
        """Come to a tick with numbers: of fine series, those of them that are judged, and of coarse series."""
        gone = min((tick - int(self.tick[0])) * tick_seconds, MOST_GAP_SECONDS) if self.tick[0] >= 0 else 0.0
        self.fine.pass_time(gone, fine, judged)
        self.coarse.pass_time(gone, coarse, coarse)
        self.allowed.pass_time(tick * tick_seconds)
        self.tick[0] = tick
        if tick - self.refreshed[0] >= REFRESH_TICKS:
            self.fine.refresh()
            self.coarse.refresh()
            self.refreshed[0] = tick

    def level(self, c: Columns, share: float, *, coarse: bool) -> float:
        """Largest p-value of a look that may be raised: every series in use has the same part of what may be false."""
        every = max(1, int(np.count_nonzero(c.last_tick >= 0)))
        slow = int(np.count_nonzero(c.slot >= 0))
        part = (slow if coarse else every - slow) / every
        return part * self.allowed.level(share, self._record(coarse=coarse).looks_a_day)

    def threshold(self, c: Columns, rows: Ints, level: float, *, coarse: bool) -> Floats:
        """Heights of rows that have this p-value."""
        return self._record(coarse=coarse).threshold(level) * _unit(c, rows, coarse=coarse)

    def p_value(self, c: Columns, row: int) -> float:
        """Probability that calm telemetry shows an excursion as high as that of a row."""
        coarse = bool(c.slot[row] >= 0)
        height = float(c.height[row] / _unit(c, np.array([row]), coarse=coarse)[0])
        return self._record(coarse=coarse).p_value(height)

    def over(self, peaks: Floats, *, coarse: bool) -> None:
        """Put excursions that were nothing on record, in units of their series."""
        if len(peaks):
            self._record(coarse=coarse).add(peaks)

    def raised(self, c: Columns, rows: Ints, *, coarse: bool) -> None:
        """Learn from rows that begin to fire: what is raised together is one discovery, and one peak on record."""
        if not len(rows):
            return
        if self.allowed.discovered():
            highest = (c.height[rows] / _unit(c, rows, coarse=coarse)).max(keepdims=True)
            self._record(coarse=coarse).add(highest)
        _teach(c, rows, c.height[rows], RAISED_WEIGHT)

    def _record(self, *, coarse: bool) -> ExcursionRecord:
        return self.coarse if coarse else self.fine


def _unit(c: Columns, rows: Ints, *, coarse: bool) -> Floats:
    """Return what is usual of rows; the heights of coarse ones were made of their own record already."""
    return np.ones(len(rows)) if coarse else cast(Floats, units(rows, c.peaks, c.heights))


def _teach(c: Columns, rows: Ints, heights: Floats, weight: float) -> None:
    """Let series know of an excursion; `weight`: the probability that it was nothing."""
    for row, height in zip(rows.tolist(), heights.tolist(), strict=True):
        c.peaks[row] = taught(float(c.peaks[row]), 1.0, weight)
        c.heights[row] = taught(float(c.heights[row]), height, weight)
