"""The job as the peers do it: the mean of ten seconds of a series, scored against the windows before it.

The score is the cheapest that deserves the name, in favour of the peers: an exponentially weighted mean and variance.
ReflexArc does its real one (robust centre and scale of 64 windows, calibrated evidence). Standard library only.
"""

from __future__ import annotations

from math import sqrt

WINDOW_SECONDS = 10
WINDOW_NANOS = WINDOW_SECONDS * 1_000_000_000
_ALPHA = 0.1


class Scores:
    """Anomaly score of a window mean, per series."""

    def __init__(self) -> None:
        self._known: dict[object, tuple[float, float]] = {}

    def score(self, series: object, value: float) -> float:
        """Return how many deviations off the value is, and learn it."""
        mean, variance = self._known.get(series, (value, 1.0))
        step = value - mean
        self._known[series] = (mean + _ALPHA * step, (1 - _ALPHA) * (variance + _ALPHA * step * step))
        return abs(step) / sqrt(variance)


class Windows:
    """Tumbling event-time windows, each closed by the first record of its series after it."""

    def __init__(self) -> None:
        self._open: dict[object, tuple[int, float, int]] = {}

    def add(self, series: object, time_unix_nano: int, value: float) -> float | None:
        """Take a sample; returns the mean of the window that it closes."""
        window = time_unix_nano // WINDOW_NANOS
        current, total, count = self._open.get(series, (window, 0.0, 0))
        if window <= current:
            self._open[series] = (current, total + value, count + 1)
            return None
        self._open[series] = (window, value, 1)
        return total / count
