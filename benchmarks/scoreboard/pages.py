"""The paging rule: what an engineer would have received, judged as they would judge it.

An alarm is one page, then quiet for a fixed number of records; a page is true only if its first record lies in a
labelled window. Called by the rows of the scoreboard. Unlike event-wise scores with merged alarms, it cannot be won by
being always on.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Window = tuple[int, int]
"""First and last record of a labelled window, both inside."""


@dataclass(frozen=True, slots=True)
class Paged:
    """Tally of pages against labels."""

    true: int = 0
    false: int = 0
    found: int = 0
    windows: int = 0

    def __add__(self, other: Paged) -> Paged:
        return Paged(
            self.true + other.true,
            self.false + other.false,
            self.found + other.found,
            self.windows + other.windows,
        )

    @property
    def recall(self) -> float:
        """Share of the labelled windows with a page in them."""
        return self.found / self.windows if self.windows else 0.0

    @property
    def false_share(self) -> float:
        """Share of the pages that are false."""
        return self.false / (self.true + self.false) if self.true + self.false else 0.0


def pages(score: Floats, threshold: float, quiet: int, first: int = 0) -> NDArray[np.intp]:
    """Records that page: at or above the threshold, and none in the `quiet - 1` records before them.

    `first` is where paging begins; NaN never pages.
    """
    above = np.flatnonzero(score >= threshold)
    above = above[above >= first]
    raised: list[int] = []
    at = 0
    while at < len(above):
        raised.append(int(above[at]))
        at = int(np.searchsorted(above, above[at] + quiet))
    return np.array(raised, dtype=np.intp)


def tally(paged: NDArray[np.intp], windows: Sequence[Window]) -> Paged:
    """Judge the pages of one series."""
    inside = np.zeros(len(paged), dtype=np.bool_)
    found = 0
    for start, end in windows:
        hit = (paged >= start) & (paged <= end)
        inside |= hit
        found += bool(hit.any())
    return Paged(int(inside.sum()), int((~inside).sum()), found, len(windows))


def total(tallies: Iterable[Paged]) -> Paged:
    """Judge the pages of many series together."""
    return sum(tallies, Paged())
