"""How high excursions rise in telemetry like this: the record of a partition, from which p-values and thresholds come.

Kept by `detectors.bank`, one record for its fine and one for its coarse series. Lundberg's inequality bounds how high
the sum of independent surprises rises; those of telemetry are not independent, so sums that all went the same way rise
far higher than it says. What counts is therefore not the look but the excursion, from zero back to zero: its peak is
one value, however many looks it took (declustering: Leadbetter, "On a basis for peaks over threshold modeling",
Statistics & Probability Letters, 1991).

A peak is divided by what is usual of its series (locally weighted conformal scores: Lei et al., JASA 2018) and then
compared with the peaks of all series: what of them may be false together is a matter of all of them. Peaks fade within
days, so that the record follows telemetry that changes (weighted conformal prediction: Barber et al., "Conformal
prediction beyond exchangeability", Annals of Statistics, 2023). Beyond the highest of the record the exponential tail
goes on (peaks over threshold), never steeper than Lundberg's. A young record leans on a shipped one.
"""

from __future__ import annotations

from math import exp, log

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import loop
from detectors.evidence import LUNDBERG

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY_SECONDS = 86_400.0
# Peaks are remembered for three days on end, so that a quiet night does not make the morning a surprise.
MEMORY_SECONDS = 3.0 * DAY_SECONDS
LATE_SECONDS = 3600.0
# 96 bins, each 1.12 times as wide as the one below, from 0.02 to the most that a peak teaches: one real fault must not
# make a partition deaf.
BINS = 96
LOG_RATIO = float(np.log(1.12))
LOWEST = 0.02
MOST = 1000.0
# The tail is the twenty highest: a mean of fewer is noise, and lower ones say little of how high the highest are.
TAIL_PEAKS = 20.0
# What a record holds at first, worth a thousand looks: one look in so many begins an excursion, and its peaks are as
# Lundberg says. It is never surer than that. Of sums of surprises, one look in twenty (Nezha A: 0.03 to 0.04).
FINE_BEGINS = 0.05
# A height that was made of a p-value of its own is as rare as that says.
COARSE_BEGINS = 1.0
PRIOR_LOOKS = 1000.0
MEAN_PEAK = 1.0 / LUNDBERG
# What is usual of a series is its mean peak, shrunken toward that of the model by as much as twenty peaks.
PRIOR_PEAKS = 20.0
PEAKS_FADE = 1.0 - 1.0 / 256.0

_EDGES = LOWEST * np.exp(LOG_RATIO * np.arange(BINS))


def unit(peaks: float, heights: float) -> float:
    """Return what one unit of height is for a series: 1, or more where its excursions usually rise higher.

    Args:
        peaks: faded number of its excursions.
        heights: faded sum of their peaks.

    """
    return max((heights + PRIOR_PEAKS * MEAN_PEAK) / (peaks + PRIOR_PEAKS) / MEAN_PEAK, 1.0)


def taught(known: float, news: float, weight: float) -> float:
    """Return a faded sum with one more in it; `weight`: the probability that the excursion was nothing."""
    return known * PEAKS_FADE + weight * min(news, MOST)


@loop(unit)
def units(rows: Ints, peaks: Floats, heights: Floats) -> Floats:
    """Return `unit` of each of `[n]` rows, given the `peaks` and `heights` of all."""
    found = np.empty(len(rows))
    for i in range(len(rows)):
        found[i] = unit(float(peaks[rows[i]]), float(heights[rows[i]]))
    return found


class ExcursionRecord:
    """Peaks of a partition's excursions, in units of their series."""

    def __init__(self, begins: float) -> None:
        self._begins = begins
        self.weight = np.zeros(BINS)
        self.total = np.zeros(BINS)
        # Looks, faded like the peaks.
        self.looks = np.zeros(1)
        # Numbers that came, those of series that warm up included, and the seconds they took: over three days, and of
        # late, so that what has just begun counts for what it is.
        self.numbers = np.zeros(2)
        self.seconds = np.zeros(2)
        # Where the tail begins, the share of looks that begin an excursion as high, and its mean excess there.
        self.tail = np.array([0.0, begins, MEAN_PEAK])

    @property
    def looks_a_day(self) -> float:
        """How many looks at all series together a day has, as far as it has been seen."""
        rates = self.numbers / np.maximum(self.seconds, 1.0)
        return float(rates.max()) * DAY_SECONDS

    def pass_time(self, seconds: float, numbers: int, looks: int) -> None:
        """Let the record fade, and count the numbers that came since, and those of them that were judged."""
        keep = exp(-seconds / MEMORY_SECONDS)
        self.weight *= keep
        self.total *= keep
        self.looks[0] = self.looks[0] * keep + looks
        fade = np.array([keep, exp(-seconds / LATE_SECONDS)])
        self.numbers[:] = self.numbers * fade + numbers
        self.seconds[:] = self.seconds * fade + seconds

    def add(self, heights: Floats) -> None:
        """Put `[n]` peaks on record, in units of their series."""
        heights = np.minimum(heights, MOST)
        bins = np.clip(np.searchsorted(_EDGES, heights, side="right") - 1, 0, BINS - 1)
        self.weight += np.bincount(bins, minlength=BINS)
        self.total += np.bincount(bins, weights=heights, minlength=BINS)

    def refresh(self) -> None:
        """Read the tail off the record."""
        above, total = np.cumsum(self.weight[::-1])[::-1], np.cumsum(self.total[::-1])[::-1]
        at = max(int(np.searchsorted(-above, -TAIL_PEAKS, side="right")) - 1, 0)
        start = float(_EDGES[at]) if at else 0.0
        prior = PRIOR_LOOKS * self._begins * exp(-LUNDBERG * start)
        peaks = float(above[at]) + prior
        excess = max(float(total[at]) - start * float(above[at]), 0.0) + prior * MEAN_PEAK
        self.tail[:] = start, peaks / (float(self.looks[0]) + PRIOR_LOOKS), max(excess / peaks, MEAN_PEAK)

    def p_value(self, height: float) -> float:
        """Probability that a look at calm telemetry begins an excursion as high; `height` in units of the series."""
        start, share, excess = self.tail.tolist()
        tail = share * exp(-max(height - start, 0.0) / excess)
        p_value: float = min(1.0, max(tail, self._begins * exp(-LUNDBERG * height)))
        return p_value

    def threshold(self, level: float) -> float:
        """Height, in units of the series, that has this p-value."""
        start, share, excess = self.tail.tolist()
        height: float = max(
            start + excess * log(max(share / level, 1.0)), log(max(self._begins / level, 1.0)) / LUNDBERG
        )
        return height
