"""Surprise of nonnegative statistics against their own past, for many series at once, in bounded memory.

Called by `detectors.univariate`, which hands over the statistics of a tick as `[series, statistic]` and gets back
decades: -log10 of the share of the past that was at least as large. Beyond the top `TAIL_SHARE` of the past the tail
is extrapolated as a power law with Hill's estimate (Hill, "A simple general approach to inference about the tail of a
distribution", Annals of Statistics, 1975), as peaks-over-threshold detectors do (Siffer et al., KDD 2017).

The past is a histogram on a logarithmic scale, because statistics of telemetry spread over decades and only ratios are
comparable between series: rescaling a series moves its anchor and nothing else.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.base import Streaming

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

# 20 bins, each 1.6 times as wide as the one below, span 4 decades; 64 bins of 1.15 measure the same.
BINS = 20
LOG_RATIO = float(np.log(1.6))
# Where the typical early value is put: a third from the bottom, as what matters lies above it.
ANCHOR_BIN = 7.0
# Looks spent to find the typical value, and looks in the histogram before anything is said.
ANCHOR_LOOKS = 30
WARM_LOOKS = 30
# A memory of ten thousand looks: five weeks of five-minute ticks.
MEMORY_LOOKS = 10_000
# The tail is the top 2 %, but never fewer than ten looks: Hill's estimate from fewer is noise.
TAIL_SHARE = 0.02
TAIL_LOOKS = 10.0
# Prior of Hill's estimate: a mean excess of 0.3 nats (a tail index of 3.3), worth five looks.
PRIOR_EXCESS = 0.3 / LOG_RATIO
PRIOR_LOOKS = 5.0
# More decades than this say more about the extrapolation than about the series.
MAX_DECADES = 8.0
# The tail moves slowly: it is read off the histogram anew every 16 ticks, every 4 in a series' first 256.
REFRESH = 16
REFRESH_YOUNG = 4
YOUNG = 256
_LN10 = float(np.log(10.0))
_TINY = 1e-300


class TailCalibrator:
    """Histograms of `[series, statistic]`, and what was last read off them."""

    def __init__(self, series: int, statistics: int) -> None:
        shape = (series, statistics)
        self.ticks = np.zeros(series, np.int32)
        self.looks = np.zeros(shape, np.int32)
        self.histogram = np.zeros((*shape, BINS), np.float32)
        self.bottom = np.zeros(shape)  # log of the lower edge of the lowest bin; the running mean before that
        self.edges = np.zeros((*shape, BINS + 1), np.float16)  # decades at the edges of the bins
        self.threshold = np.full(shape, np.inf, np.float32)  # where the tail begins, in bins
        self.base = np.zeros(shape, np.float32)  # decades there
        self.excess = np.ones(shape, np.float32)  # mean excess beyond it, in bins

    def step(self, rows: Rows, statistic: Floats) -> Floats:
        """Judge the statistics of one tick against the past, then make them part of it.

        Args:
            rows: distinct rows, one for each line of `statistic`.
            statistic: `[rows, statistics]`, not negative; NaN where there is nothing to say.

        Returns:
            Decades, `[rows, statistics]`; NaN while warming up.

        """
        looks = self.looks[rows]
        known = np.isfinite(statistic)
        value = np.where(known, statistic, 0.0)
        young = known & (looks < ANCHOR_LOOKS)
        if young.any():
            self._anchor(rows, value, young, looks)
        ready = known & ~young
        position = (np.log(np.maximum(value, _TINY)) - self.bottom[rows]) / LOG_RATIO
        self._make_room(rows, position, ready)
        decades = np.where(ready & (looks >= ANCHOR_LOOKS + WARM_LOOKS), self._read(rows, position), np.nan)
        self._learn(rows, position, ready)
        self.looks[rows] = looks + known
        self._refresh(rows)
        return decades

    def _anchor(self, rows: Rows, value: Floats, young: NDArray[np.bool_], looks: NDArray[np.int32]) -> None:
        """Find the typical value of a young series: its mean, each value clipped to five times the mean so far."""
        mean = self.bottom[rows]
        clipped = np.where(mean > 0.0, np.minimum(value, 5.0 * mean), value)
        mean = np.where(young, mean + (clipped - mean) / (looks + 1.0), mean)
        done = young & (looks == ANCHOR_LOOKS - 1)
        self.bottom[rows] = np.where(done, np.log(np.maximum(mean, _TINY)) - ANCHOR_BIN * LOG_RATIO, mean)

    def _make_room(self, rows: Rows, position: Floats, ready: NDArray[np.bool_]) -> None:
        """Shift histograms down where a value lies above the highest bin: their lowest bins become one."""
        for line, column in np.argwhere(ready & (position >= BINS)):
            row = rows[line]
            shift = int(position[line, column]) - BINS + 1
            moved = min(shift, BINS - 1)
            old, edges = self.histogram[row, column].copy(), self.edges[row, column].copy()
            self.histogram[row, column] = np.concatenate((old[moved:], np.zeros(moved, np.float32)))
            self.histogram[row, column, 0] += old[:moved].sum()
            self.edges[row, column] = np.concatenate((edges[moved:], np.full(moved, edges[-1])))
            self.threshold[row, column] -= shift
            self.bottom[row, column] += shift * LOG_RATIO
            position[line, column] -= shift

    def _read(self, rows: Rows, position: Floats) -> Floats:
        """Decades of positions: between bin edges by interpolation, beyond the threshold by the power law."""
        low = np.clip(position, 0.0, BINS - 1e-6)
        lower = low.astype(np.intp)
        row, column = rows[:, None], np.arange(position.shape[1])
        at = self.edges[row, column, lower].astype(np.float64)
        body = at + (self.edges[row, column, lower + 1] - at) * (low - lower)
        threshold, base = self.threshold[rows], self.base[rows]
        beyond = position - threshold
        tail = base + np.maximum(beyond, 0.0) / (self.excess[rows] * _LN10)
        return np.minimum(np.where(beyond > 0.0, tail, np.minimum(body, base)), MAX_DECADES)

    def _learn(self, rows: Rows, position: Floats, ready: NDArray[np.bool_]) -> None:
        line, column = np.nonzero(ready)
        bins = np.clip(position[line, column], 0.0, BINS - 1.0).astype(np.intp)
        self.histogram[rows[line], column, bins] += 1.0

    def _refresh(self, rows: Rows) -> None:
        """Read the tail off the histograms that are due; rows take turns, so that every tick costs the same."""
        self.ticks[rows] += 1
        ticks = self.ticks[rows]
        every = np.where(ticks < YOUNG, REFRESH_YOUNG, REFRESH)
        due = rows[(ticks + rows) % every == 0]
        if not len(due):
            return
        self.histogram[due] *= np.where(self.ticks[due] < YOUNG, 1.0, 1.0 - REFRESH / MEMORY_LOOKS)[:, None, None]
        bins = self.histogram[due].astype(np.float64)
        survivors = np.concatenate(
            (np.cumsum(bins[..., ::-1], axis=-1)[..., ::-1], np.zeros((*bins.shape[:-1], 1))), axis=-1
        )
        total = survivors[..., :1]
        wanted = np.maximum(TAIL_SHARE * total, TAIL_LOOKS)
        self.edges[due] = -np.log10((survivors + 1.0) / (total + 1.0))
        self.base[due] = np.maximum(0.0, -np.log10((wanted + 1.0) / (total + 1.0)))[..., 0]
        self.threshold[due], self.excess[due] = _tail(bins, survivors, wanted)


def _tail(bins: Floats, survivors: Floats, wanted: Floats) -> tuple[Floats, Floats]:
    """Where the `wanted` largest values begin, and how far beyond they lie in the mean, both in bins."""
    first = np.argmax(survivors <= wanted, axis=-1)[..., None]  # lowest edge with no more than `wanted` above it
    rest = (wanted - np.take_along_axis(survivors, first, -1))[..., 0]
    below = np.take_along_axis(bins, np.maximum(first - 1, 0), -1)[..., 0]
    part = np.clip(rest / np.maximum(below, 1e-9), 0.0, 1.0) * (first[..., 0] > 0)
    threshold = first[..., 0] - part
    beyond = np.maximum(np.arange(BINS) + 0.5 - threshold[..., None], 0.0) * (np.arange(BINS) >= first)
    total = (bins * beyond).sum(-1) + rest * part / 2.0
    excess = (total + PRIOR_LOOKS * PRIOR_EXCESS) / (wanted[..., 0] + PRIOR_LOOKS)
    return threshold, excess


class TailSurprise(Streaming[TailCalibrator]):
    """How far out in the tail of its own past the size of each value is, in decades.

    >>> detector = TailSurprise().fit(np.random.default_rng(0).exponential(size=(500, 1)))
    >>> detector.score(np.array([[0.1], [50.0]])).round(1).tolist()
    [0.0, 5.8]
    """

    paper = "Siffer et al., Anomaly Detection in Streams with Extreme Value Theory, KDD 2017; Hill, Ann. Statist. 1975"
    warm_rows = ANCHOR_LOOKS + WARM_LOOKS

    def _blank(self) -> TailCalibrator:
        return TailCalibrator(1, self._columns)

    def _judge(self, state: TailCalibrator, rows: Floats) -> Floats:
        return state.step(np.arange(len(rows)), np.abs(rows))

    def _names(self) -> Sequence[str]:
        return [f"column {column}" for column in range(self._columns)]

    def _together(self, looks: Floats) -> Floats:
        highest: Floats = np.fmax.reduce(looks, axis=1)
        return highest
