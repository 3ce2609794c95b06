"""How far a value lies from every value seen before, for many series at once, in bounded memory.

Called by `detectors.univariate`. Keeps a few representatives per series that cover what was seen: a value farther from
all of them than the two nearest are from each other replaces one of those two (the greedy step of Charikar et al.,
"Incremental clustering and dynamic information retrieval", STOC 1997). Rare but known values stay known, which a
sample of the past would forget.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.base import Streaming

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

# A gap of a twentieth of the range is novel; 24 to 96 representatives measure the same.
REPRESENTATIVES = 24


class ValueNovelty:
    """Representatives of `[series]`, sorted; infinity where there is none yet."""

    def __init__(self, series: int) -> None:
        self.centres = np.full((series, REPRESENTATIVES), np.inf, np.float32)
        self.closest = np.zeros(series, np.float32)  # least distance between two representatives

    def step(self, rows: Rows, value: Floats) -> Floats:
        """Distance of each value to its nearest representative; then it may become one."""
        centres = self.centres[rows]
        value32 = value.astype(np.float32)
        distance = np.abs(centres - value32[:, None]).min(axis=1)
        novel = distance > self.closest[rows]
        if novel.any():
            self._insert(rows[novel], centres[novel], value32[novel])
        return np.where(np.isfinite(distance), distance, np.nan).astype(np.float64)

    def _insert(self, rows: Rows, centres: NDArray[np.float32], value: NDArray[np.float32]) -> None:
        """Put the value where there is room, or in place of one of the two nearest to each other."""
        lines = np.arange(len(rows))
        with np.errstate(invalid="ignore"):
            gaps = np.diff(centres, axis=1)
        full = np.isfinite(centres[:, -1])
        place = np.where(full, np.argmin(np.where(np.isnan(gaps), np.inf, gaps), axis=1) + 1, REPRESENTATIVES - 1)
        centres[lines, place] = value
        centres.sort(axis=1)
        self.centres[rows] = centres
        with np.errstate(invalid="ignore"):
            gaps = np.diff(centres, axis=1)
        self.closest[rows] = np.where(np.isfinite(centres[:, -1]), gaps.min(axis=1), 0.0)


class NovelValue(Streaming[ValueNovelty]):
    """How far a value lies from all seen before, as a share of the range it would make: 0 known, 1 unlike anything.

    >>> detector = NovelValue().fit(np.random.default_rng(0).normal(size=(500, 1)))
    >>> detector.score(np.array([[0.5], [20.0]])).round(1).tolist()
    [0.0, 0.7]
    """

    paper = "Charikar et al., Incremental clustering and dynamic information retrieval, STOC 1997"
    values = 1
    warm_rows = 2 * REPRESENTATIVES

    def _blank(self) -> ValueNovelty:
        return ValueNovelty(1)

    def _judge(self, state: ValueNovelty, rows: Floats) -> Floats:
        known = np.where(np.isfinite(state.centres), state.centres, np.nan)
        span = (
            (np.nanmax(known, axis=1) - np.nanmin(known, axis=1)) if np.isfinite(known).any() else np.zeros(len(rows))
        )
        distance = state.step(np.arange(len(rows)), rows[:, 0])
        whole = distance + span
        share = np.divide(distance, whole, out=np.zeros(len(rows)), where=whole > 0.0)
        return share[:, None]

    def _names(self) -> Sequence[str]:
        return ["new value"]

    def _together(self, looks: Floats) -> Floats:
        return looks[:, 0]
