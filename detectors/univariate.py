"""Univariate detector: how unlike its own past a series is, from several independent looks, once per tick.

Called by the scoreboard (rows 1 and 2) and by the live path for all series of a tick at once; what comes out goes to
the paging rule or the evidence stage. Eleven looks at each series ask three questions over several horizons: is this
level new (`detectors.novelty`)? is it unlike this hour (`detectors.seasonal`)? does it move more, or less, than usual?
Each answer becomes a surprise in decades against its own past (`detectors.tail`) and stays for a while, so that looks
that agree within minutes add up. The mean of all is the score: agreement of independent looks, where a maximum would
be the opinion of the most excitable.

A look every hour has fewer chances to be wrong in a week than a look every minute. So a tick that covers more time
needs less evidence: `RATE_CREDIT` decades per decade of tick length.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.base import Streaming
from detectors.novelty import ValueNovelty
from detectors.seasonal import SeasonalProfile
from detectors.tail import ANCHOR_LOOKS, WARM_LOOKS, TailCalibrator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]

LOOKS: Final = (
    "new value",
    "new level over 6 ticks",
    "new level over 24 ticks",
    "unlike this hour",
    "unlike this hour for 6 ticks",
    "unlike this hour for 24 ticks",
    "unlike this hour for 24 ticks, in usual errors",
    "restless over 12 ticks",
    "restless over 48 ticks",
    "jumping over 12 ticks",
    "quiet over 48 ticks",
)
WINDOW = 48
LONG = 24
MIDDLE = 12
SHORT = 6
# A surprise counts for about ten ticks after it: half of it is left after 6.6.
HOLD = 0.9
# No look alone may say more than this: the score is about agreement. 4 to 8 measure alike.
MAX_DECADES = 6.0
# The usual error of an hour is trusted only down to half the error of the last two hundred ticks.
ERROR_MEMORY = 200.0
# Spread is compared with its mean over the last 300 ticks; a twentieth of its long-run mean is as good as none.
SPREAD_MEMORY = 300.0
SPREAD_FLOOR = 0.05
LONG_MEMORY = 4000.0
# Squares of 48 distances must fit into 32 bits: anyone may send 1e300.
FARTHEST = 1e17
RATE_CREDIT = 0.4
REFERENCE_SECONDS = 300.0


@dataclass(frozen=True, slots=True)
class Surprise:
    """What was found in one tick; one line per row asked about."""

    score: Floats
    """Mean surprise of all looks, decades, credited for the length of the tick; NaN while the series warms up."""
    looks: Floats
    """`[rows, looks]` held surprise of each look, in the order of `LOOKS`."""


class UnivariateDetector:
    """State of `[series]`, about 3 kB each.

    >>> detector = UnivariateDetector(1)
    >>> rng = np.random.default_rng(0)
    >>> minute = 60 * 1_000_000_000
    >>> for tick in range(400):
    ...     calm = detector.step(np.array([0]), np.array([(tick + 1) * minute]), rng.normal(size=1))
    >>> spike = detector.step(np.array([0]), np.array([401 * minute]), np.array([50.0]))
    >>> bool(spike.score[0] > calm.score[0] + 1.0), LOOKS[int(spike.looks[0, :3].argmax())]
    (True, 'new value')
    """

    def __init__(self, series: int) -> None:
        self._tail = TailCalibrator(series, len(LOOKS))
        self._novelty = [ValueNovelty(series) for _ in range(3)]
        self._season = SeasonalProfile(series)
        self._first = np.zeros(series)  # values are kept as distances from the first: 32 bits are enough for those
        self._ring = np.zeros((series, WINDOW), np.float32)
        self._residual = np.zeros((series, LONG), np.float32)
        self._ratio = np.zeros((series, LONG), np.float32)
        self._ticks = np.zeros(series, np.int64)
        self._error = np.zeros(series)
        self._spread = np.zeros((series, 3))  # long-run mean of the three spreads
        self._log_spread = np.zeros((series, 3))  # mean of late of the logs of their ratios to that
        self._held = np.zeros((series, len(LOOKS)), np.float32)
        self._last = np.zeros(series, np.int64)
        self._log_seconds = np.zeros(series)

    def step(self, rows: Rows, time_unix_nano: Ints, value: Floats) -> Surprise:
        """Judge one value of each row against the past of its series, then make it part of that.

        Args:
            rows: distinct rows.
            time_unix_nano: event time of each, later than the one before.
            value: finite numbers.

        """
        ticks = self._ticks[rows]
        value = self._push(rows, ticks, value)
        recent = _latest(self._ring, rows, ticks, LONG)
        levels = (value, recent[:, :SHORT].mean(axis=1, dtype=np.float64), recent.mean(axis=1, dtype=np.float64))
        statistic = np.column_stack(
            (
                *(novelty.step(rows, level) for novelty, level in zip(self._novelty, levels, strict=True)),
                self._seasonal(rows, ticks, time_unix_nano, value),
                self._restless(rows, ticks, recent[:, : MIDDLE + 1]),
            )
        )
        decades = np.minimum(self._tail.step(rows, statistic), MAX_DECADES)
        held = np.fmax(decades, HOLD * self._held[rows])
        self._held[rows] = held
        self._ticks[rows] = ticks + 1
        credit = RATE_CREDIT * self._pace(rows, ticks, time_unix_nano)
        return Surprise(np.where(np.isfinite(decades[:, 0]), held.mean(axis=1) + credit, np.nan), held)

    def surprises(self, row: int) -> NDArray[np.float32]:
        """Return the held surprise of each look at one series, in the order of `LOOKS`; NaN as long as it has none."""
        held: NDArray[np.float32] = self._held[row]
        return held

    def _push(self, rows: Rows, ticks: Ints, value: Floats) -> Floats:
        """Put the value into the ring; a new series has always been what it is first."""
        self._first[rows] = np.where(ticks == 0, value, self._first[rows])
        # Half of each, so that no two values are further apart than a float can say.
        distance = 2.0 * np.clip(value / 2.0 - self._first[rows] / 2.0, -FARTHEST, FARTHEST)
        self._ring[rows, ticks % WINDOW] = distance
        return distance

    def _seasonal(self, rows: Rows, ticks: Ints, time_unix_nano: Ints, value: Floats) -> Floats:
        """Distance from what is usual at this hour: at once and in the mean of a few ticks."""
        expected, usual = self._season.step(rows, time_unix_nano, value)
        known = np.isfinite(expected)
        residual = np.where(known, value - expected, 0.0)
        error = _toward(self._error[rows], np.abs(residual), ticks, ERROR_MEMORY)
        self._error[rows] = error
        ratio = _ratio(residual, np.nan_to_num(usual) + 0.5 * error)
        self._residual[rows, ticks % LONG] = residual
        self._ratio[rows, ticks % LONG] = ratio
        residuals = _latest(self._residual, rows, ticks, LONG)
        short, long = residuals[:, :SHORT].mean(axis=1), residuals.mean(axis=1)
        distance = np.abs(np.column_stack((residual, short, long, self._ratio[rows].mean(axis=1))))
        return np.where(known[:, None], distance, np.nan)

    def _restless(self, rows: Rows, ticks: Ints, recent: NDArray[np.float32]) -> Floats:
        """How much more, and less, the values spread than of late, in nats."""
        jumps = np.abs(np.diff(recent, axis=1)).mean(axis=1)
        spread = np.column_stack((recent[:, :MIDDLE].std(axis=1), self._ring[rows].std(axis=1), jumps))
        usual = self._spread[rows]
        usual += np.maximum(1.0 / (ticks + 1.0), 1.0 / LONG_MEMORY)[:, None] * (spread - usual)
        self._spread[rows] = usual
        log_spread = np.log(_ratio(spread, usual) + SPREAD_FLOOR)
        of_late = _toward(self._log_spread[rows], log_spread, ticks[:, None], SPREAD_MEMORY)
        self._log_spread[rows] = of_late
        change = log_spread - of_late
        return np.maximum(np.column_stack((change, -change[:, 1])), 0.0)

    def _pace(self, rows: Rows, ticks: Ints, time_unix_nano: Ints) -> Floats:
        """Typical length of a tick, in decades above `REFERENCE_SECONDS`."""
        seconds = np.maximum((time_unix_nano - self._last[rows]) / 1e9, 1.0)
        self._last[rows] = time_unix_nano
        pace = _toward(self._log_seconds[rows], np.log10(seconds / REFERENCE_SECONDS), ticks - 1, SPREAD_MEMORY)
        self._log_seconds[rows] = np.where(ticks == 0, 0.0, pace)
        return self._log_seconds[rows]


def _latest(ring: NDArray[np.float32], rows: Rows, ticks: Ints, count: int) -> NDArray[np.float32]:
    """Return the last `count` values of rings written at `ticks` modulo their length, the newest first."""
    latest: NDArray[np.float32] = ring[rows[:, None], (ticks[:, None] - np.arange(count)) % ring.shape[1]]
    return latest


def _ratio(value: Floats, unit: Floats) -> Floats:
    """Value in units; nothing where there is no unit yet, so that the scale of a series never matters."""
    return np.divide(value, unit, out=np.zeros_like(value), where=unit > 0.0)


def _toward(mean: Floats, value: Floats, ticks: Ints, half_life: float) -> Floats:
    """Move a mean toward the newest value: a plain mean at first, then one with the given half-life in ticks."""
    rate = np.maximum(1.0 / (np.maximum(ticks, 0) + 1.0), 1.0 - 0.5 ** (1.0 / half_life))
    moved: Floats = mean + rate * (value - mean)
    return moved


class Univariate(Streaming[UnivariateDetector]):
    """All looks at one series: the score is their mean, decades.

    >>> minutes = 60e9 * np.arange(1.0, 401.0)
    >>> history = np.column_stack((minutes, np.random.default_rng(0).normal(size=400)))
    >>> detector = Univariate().fit(history)
    >>> calm, spike = detector.score(np.array([[60e9 * 401, 0.1], [60e9 * 401, 50.0]]))
    >>> bool(spike > calm + 1.0), 'new value' in [one.name for one in detector.explain(1)[:6]]
    (True, True)
    """

    paper = (
        "Agreement of looks: Zimek, Campello & Sander, Ensembles for Unsupervised Outlier Detection, SIGKDD Expl. 2013;"
        " their own papers in detectors/novelty.py, seasonal.py and tail.py"
    )
    timed = True
    values = 1
    # Means over 24 ticks are kept of any history; the tails say something after this many.
    warm_rows = ANCHOR_LOOKS + WARM_LOOKS

    def _blank(self) -> UnivariateDetector:
        return UnivariateDetector(1)

    def _judge(self, state: UnivariateDetector, rows: Floats) -> Floats:
        found = state.step(np.arange(len(rows)), rows[:, 0].astype(np.int64), rows[:, 1])
        looks = found.looks.astype(np.float64)
        return np.column_stack((looks, found.score - looks.mean(axis=1)))

    def _names(self) -> Sequence[str]:
        return (*LOOKS, "time a tick covers")

    def _together(self, looks: Floats) -> Floats:
        score: Floats = looks[:, :-1].mean(axis=1) + looks[:, -1]
        return score
