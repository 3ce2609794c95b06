"""What a series does at this hour: profiles by hour of the day and of the week, for many series at once.

Called by `detectors.univariate`. The profile that predicted better of late is used: the weekly one takes a week to
know anything and is the better one only where weekdays differ. Hours are counted from the Unix epoch, so any time zone
or shift of the clock is as good as another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from detectors.base import Streaming

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]

HOUR_NANOS = 3600 * 1_000_000_000
DAY_HOURS = 24
WEEK_HOURS = 168
# An hour remembers about the last four times it came round.
RATE = 0.25
# The choice between the profiles follows the errors of the last hundred hours.
ERROR_RATE = 0.01
# Means are kept in 32 bits: a thousandth of the level is less than what they forget.
ROUNDING = 1e-3


class SeasonalProfile:
    """Hourly means of `[series]`, NaN where an hour has not been seen."""

    def __init__(self, series: int) -> None:
        self.daily = np.full((series, DAY_HOURS), np.nan, np.float32)
        self.spread = np.full((series, DAY_HOURS), np.nan, np.float32)
        self.weekly = np.full((series, WEEK_HOURS), np.nan, np.float32)
        self.visits = np.zeros((series, DAY_HOURS), np.uint8)
        self.hour = np.full(series, -1, np.int64)
        self.sum = np.zeros(series)
        self.count = np.zeros(series)
        self.error = np.zeros((series, 2))

    def step(self, rows: Rows, time_unix_nano: Ints, value: Floats) -> tuple[Floats, Floats]:
        """Return what this hour is expected to be and the usual error of that, before this value; NaN: unknown."""
        hour = time_unix_nano // HOUR_NANOS
        turned = hour != self.hour[rows]
        if turned.any():
            self._close(rows[turned & (self.count[rows] > 0)])
            self.hour[rows[turned]] = hour[turned]
            self.sum[rows[turned]] = self.count[rows[turned]] = 0.0
        self.sum[rows] += value
        self.count[rows] += 1.0
        day, week = hour % DAY_HOURS, hour % WEEK_HOURS
        daily, weekly = self.daily[rows, day], self.weekly[rows, week]
        error = self.error[rows]
        use_weekly = np.isfinite(weekly) & (error[:, 1] < error[:, 0])
        expected = np.where(use_weekly, weekly, daily).astype(np.float64)
        return expected, self.spread[rows, day].astype(np.float64)

    def _close(self, rows: Rows) -> None:
        """Make the hour that just ended part of the profiles."""
        mean = self.sum[rows] / self.count[rows]
        day, week = self.hour[rows] % DAY_HOURS, self.hour[rows] % WEEK_HOURS
        daily, weekly = self.daily[rows, day], self.weekly[rows, week]
        off_daily, off_weekly = np.abs(mean - daily), np.abs(mean - weekly)
        both = np.isfinite(off_weekly)
        off = np.where(both[:, None], np.stack((off_daily, off_weekly), axis=1), 0.0)
        self.error[rows] += ERROR_RATE * both[:, None] * (off - self.error[rows])
        visits = self.visits[rows, day]
        rate = np.maximum(RATE, 1.0 / (visits + 1.0))
        self.daily[rows, day] = np.where(np.isfinite(daily), daily + rate * (mean - daily), mean)
        spread = self.spread[rows, day]
        off_daily = np.where(np.isfinite(off_daily), off_daily, 0.0)
        rate_spread = np.maximum(RATE, 1.0 / np.maximum(visits, 1.0))
        spread = np.where(np.isfinite(spread), spread + rate_spread * (off_daily - spread), off_daily)
        self.spread[rows, day] = np.where(visits > 0, spread, np.nan)
        # The weekly profile halves its distance: it meets each hour but once a week.
        self.weekly[rows, week] = np.where(both, (weekly + mean) / 2.0, mean)
        self.visits[rows, day] = np.minimum(visits + 1, 250)


class UnlikeThisHour(Streaming[SeasonalProfile]):
    """How far a value lies from the profile of its hour, in usual errors of that hour; it takes a few days to know.

    >>> hours = np.arange(24 * 10)
    >>> values = np.where(hours % 24 < 12, 10.0, 50.0) + np.random.default_rng(0).normal(size=240)
    >>> detector = UnlikeThisHour().fit(np.column_stack((hours * float(HOUR_NANOS), values)))
    >>> night = (24 * 10 + 3) * float(HOUR_NANOS)
    >>> as_ever, as_by_day = detector.score(np.array([[night, 10.0], [night, 50.0]]))
    >>> bool(as_by_day > 10.0 > as_ever)
    True
    """

    paper = "Cleveland et al., STL: A Seasonal-Trend Decomposition, J. Off. Statist. 6, 1990; here online, by hour"
    timed = True
    values = 1
    warm_rows = 2 * DAY_HOURS

    def _blank(self) -> SeasonalProfile:
        return SeasonalProfile(1)

    def _judge(self, state: SeasonalProfile, rows: Floats) -> Floats:
        expected, usual = state.step(np.arange(len(rows)), rows[:, 0].astype(np.int64), rows[:, 1])
        distance = np.abs(rows[:, 1] - expected)
        floor = np.abs(expected) * ROUNDING
        unit = np.maximum(usual, floor)
        away = np.divide(distance, unit, out=np.zeros_like(distance), where=unit > 0.0)
        return np.where(np.isfinite(unit), np.where(distance > floor, away, 0.0), np.nan)[:, None]

    def _names(self) -> Sequence[str]:
        return ["unlike this hour"]

    def _together(self, looks: Floats) -> Floats:
        return looks[:, 0]
