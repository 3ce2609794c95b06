"""Univariate detector: how unlike its own past a series is, from several independent looks, once per tick.

Called by the scoreboard (rows 1 and 2) and by the live path for all series of a tick at once; what comes out goes to
the paging rule or the evidence stage. Nine statistics look at each series: is the value, is the level new
(`detectors.novelty`)? does it differ from this hour's usual (`detectors.seasonal`), at once and over 6 and 24 ticks,
in units and in usual errors? is it more, is it less restless than usual? Each becomes a surprise in decades against
its own past (`detectors.tail`), stays for a while (so that looks that agree within minutes add up), and the mean of
all is the score: agreement of independent looks, where a maximum would be the opinion of the most excitable.

A look every hour has less chance to be wrong in a week than a look every minute. So a tick that covers more time needs
less evidence: `RATE_CREDIT` decades per decade of tick length.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

from detectors.novelty import ValueNovelty
from detectors.seasonal import SeasonalProfile
from detectors.tail import TailCalibrator

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]

LOOKS: Final = (
    "new value",
    "new level",
    "unlike this hour",
    "unlike this hour for 6 ticks",
    "unlike this hour, in usual errors",
    "unlike this hour for 24 ticks, in usual errors",
    "restless over 12 ticks",
    "restless over 48 ticks",
    "quiet over 48 ticks",
)
WINDOW = 48
LEVEL = 24
SHORT = 6
RESTLESS = 12
# A surprise counts for about ten ticks after it: half of it is left after 6.6.
HOLD = 0.9
# The seasonal error of an hour is trusted only down to half the error of the last two hundred ticks.
ERROR_MEMORY = 200.0
# Restlessness is compared with its mean over the last 300 ticks; a twentieth of its long-run mean is no different
# from none.
RESTLESS_MEMORY = 300.0
RESTLESS_FLOOR = 0.05
LONG_MEMORY = 4000.0
RATE_CREDIT = 0.4
REFERENCE_SECONDS = 300.0
_TINY = 1e-12


@dataclass(frozen=True, slots=True)
class Surprise:
    """What was found in one tick; one line per row asked about."""

    score: Floats
    """Mean surprise of all looks, decades, credited for the length of the tick; NaN while the series warms up."""
    looks: Floats
    """`[rows, looks]` held surprise of each look, in the order of `LOOKS`."""


class UnivariateDetector:
    """State of `[series]`, about 3 kB each."""

    def __init__(self, series: int) -> None:
        self._tail = TailCalibrator(series, len(LOOKS))
        self._value, self._level = ValueNovelty(series), ValueNovelty(series)
        self._season = SeasonalProfile(series)
        self._ring = np.zeros((series, WINDOW))
        self._residual = np.zeros((series, SHORT), np.float32)
        self._ratio = np.zeros((series, LEVEL), np.float32)
        self._ticks = np.zeros(series, np.int64)
        self._error = np.zeros(series)
        self._spread = np.zeros((series, 2))  # long-run mean deviation over 12 and 48 ticks
        self._log_spread = np.zeros((series, 2))  # its log, of late
        self._held = np.zeros((series, len(LOOKS)), np.float32)
        self._last = np.zeros(series, np.int64)
        self._log_seconds = np.zeros(series)

    def step(self, rows: Rows, time_unix_nano: Ints, value: Floats) -> Surprise:
        """Judge one value of each row against the past of its series, then make it part of that.

        Args:
            rows: distinct rows.
            time_unix_nano: event time of each, after the one before.
            value: finite numbers.

        """
        window = self._push(rows, value)
        level = _recent_mean(window, self._ticks[rows], LEVEL)
        statistic = np.column_stack(
            (
                self._value.step(rows, value),
                self._level.step(rows, level),
                self._seasonal(rows, time_unix_nano, value),
                self._restless(rows, window),
            )
        )
        decades = self._tail.step(rows, statistic)
        held = np.fmax(decades, self._held[rows] * HOLD)
        self._held[rows] = held
        warm = np.isfinite(decades[:, 0])
        self._ticks[rows] += 1
        credit = RATE_CREDIT * self._pace(rows, time_unix_nano)
        return Surprise(np.where(warm, held.mean(axis=1) + credit, np.nan), held)

    def _push(self, rows: Rows, value: Floats) -> Floats:
        """Put the value into the ring; the last `WINDOW` values of each row, as written (see `_recent`)."""
        ticks = self._ticks[rows]
        first = ticks == 0
        if first.any():
            self._ring[rows[first]] = value[first, None]
        self._ring[rows, ticks % WINDOW] = value
        return self._ring[rows]

    def _seasonal(self, rows: Rows, time_unix_nano: Ints, value: Floats) -> Floats:
        """Distance from what is usual at this hour: at once and in the mean of a few ticks."""
        expected, usual = self._season.step(rows, time_unix_nano, value)
        known = np.isfinite(expected)
        residual = np.where(known, value - expected, 0.0)
        error = self._error[rows]
        error += np.maximum(1.0 / (self._ticks[rows] + 1.0), _rate(ERROR_MEMORY)) * (np.abs(residual) - error)
        self._error[rows] = error
        ratio = residual / (np.nan_to_num(usual) + 0.5 * error + _TINY)
        ticks = self._ticks[rows]
        self._residual[rows, ticks % SHORT] = residual
        self._ratio[rows, ticks % LEVEL] = ratio
        short = self._residual[rows].mean(axis=1, dtype=np.float64)
        long = self._ratio[rows].mean(axis=1, dtype=np.float64)
        distance = np.abs(np.column_stack((residual, short, ratio, long)))
        return np.where(known[:, None], distance, np.nan)

    def _restless(self, rows: Rows, window: Floats) -> Floats:
        """How much more, and less, the values spread than of late, in nats."""
        ticks = self._ticks[rows]
        spread = np.column_stack((_recent(window, ticks, RESTLESS).std(axis=1), window.std(axis=1)))
        age = (ticks + 1.0)[:, None]
        usual = self._spread[rows]
        usual += np.maximum(1.0 / age, 1.0 / LONG_MEMORY) * (spread - usual)
        self._spread[rows] = usual
        log_spread = np.log(spread + RESTLESS_FLOOR * usual + _TINY)
        of_late = self._log_spread[rows]
        of_late += np.maximum(1.0 / age, _rate(RESTLESS_MEMORY)) * (log_spread - of_late)
        self._log_spread[rows] = of_late
        change = log_spread - of_late
        return np.maximum(np.column_stack((change, -change[:, 1])), 0.0)

    def _pace(self, rows: Rows, time_unix_nano: Ints) -> Floats:
        """Typical length of a tick, decades above `REFERENCE_SECONDS`."""
        ticks = self._ticks[rows]
        seconds = np.maximum((time_unix_nano - self._last[rows]) / 1e9, 1.0)
        self._last[rows] = time_unix_nano
        log_seconds = self._log_seconds[rows]
        rate = np.where(ticks > 1, np.maximum(1.0 / np.maximum(ticks - 1.0, 1.0), _rate(RESTLESS_MEMORY)), 0.0)
        log_seconds += rate * (np.log10(seconds / REFERENCE_SECONDS) - log_seconds)
        self._log_seconds[rows] = log_seconds
        return log_seconds


def _rate(half_life: float) -> float:
    """Weight of the newest value in a mean that halves its memory in so many ticks."""
    return 1.0 - float(0.5 ** (1.0 / half_life))


def _recent(window: Floats, ticks: Ints, count: int) -> Floats:
    """The last `count` values of rings written at `ticks % WINDOW`."""
    column = (ticks[:, None] - np.arange(count)) % WINDOW
    return np.take_along_axis(window, column, axis=1)


def _recent_mean(window: Floats, ticks: Ints, count: int) -> Floats:
    mean: Floats = _recent(window, ticks, count).mean(axis=1)
    return mean
