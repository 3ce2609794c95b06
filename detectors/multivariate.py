"""Entity detector: all metrics of a host or service as one vector, once per tick, in constant memory per metric.

Called by the scoreboard (row 3) and by the live path for all entities of a tick at once; what comes out goes to the
paging rule or the evidence stage. Each metric is measured in its own usual spread four ways: its distance from its
level of the last week, and the error of predicting it by its mean over the last 2, 5 and 30 ticks (exponential
smoothing; Gardner, "Exponential smoothing: the state of the art - part II", 2006). The energy of an entity is the root
mean square of all of them: metrics that move together corroborate each other, one that always moves has a wide spread
and weighs little.

Usual spreads come from `fit` on calm history, to be called again on a schedule off the path; only the level follows
the data, with deviations clipped (Huber's winsorising) so that a fault moves it slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

# Half-lives in ticks. A week of minutes for the level; 2, 5 and 30 minutes for what was expected just now.
LEVEL = 10_080.0
RECENT = np.array([2.0, 5.0, 30.0])
# One metric counts for no more than a hundred of its spreads: beyond, it is certain and only drowns the others.
MAX_DEVIATION = 100.0
# A spread below a hundredth of the range seen is rounding, not spread ...
RANGE_FLOOR = 0.01
# ... and a metric that had no more than that has no scale, only the fact that this never happened: it counts for ten
# spreads at most (0 to 20 measure alike, without this limit such metrics decide everything).
MAX_DEVIATION_WITHOUT_SPREAD = 10.0
# A deviation teaches the level no more than ten spreads.
WINSOR = 10.0
# What lasts is worth more than a blip: energies are smoothed with a half-life of two ticks.
SMOOTH = 2.0


@dataclass(frozen=True, slots=True)
class Energy:
    """What was found in one tick."""

    smooth: Floats
    """`[entities]` smoothed energy: about 1 to 2 when calm."""
    deviations: Floats
    """`[metrics]` what each metric contributed, in spreads: names the metrics that explain it."""


class EntityDetector:
    """State of the metrics of some entities.

    >>> detector = EntityDetector(np.array([0, 0, 1]))  # two metrics of entity 0, one of entity 1
    >>> rng = np.random.default_rng(0)
    >>> detector.fit(rng.normal(size=(500, 3)))
    >>> calm = detector.step(np.zeros(3))
    >>> alarmed = detector.step(np.array([0.0, 9.0, 0.0]))
    >>> bool(alarmed.smooth[0] > 2 * calm.smooth[0]), int(alarmed.deviations.argmax())
    (True, 1)
    """

    def __init__(self, entity: Rows) -> None:
        """Watch one metric for each element of `entity`, which says whose metric it is."""
        self._entity = entity
        self._metrics = np.bincount(entity)
        self._smooth = np.zeros(len(self._metrics))

    def fit(self, history: Floats) -> None:
        """Learn what is usual from calm history, `[ticks, metrics]`; NaN where a metric has no value.

        Raises:
            ValueError: a metric has no value at all.

        """
        if not np.isfinite(history).any(axis=0).all():
            raise ValueError("a metric has no value in the history")
        span = np.nanmax(history, axis=0) - np.nanmin(history, axis=0)
        self._floor = np.maximum(RANGE_FLOOR * span, 1e-9 * np.nanmax(np.abs(history), axis=0) + 1e-300)
        self._level, self._variance = np.nanmean(history, axis=0), np.nanvar(history, axis=0)
        flat = np.sqrt(self._variance) <= self._floor
        self._limit = np.where(flat, MAX_DEVIATION_WITHOUT_SPREAD, MAX_DEVIATION)
        self._recent = np.tile(self._level, (len(RECENT), 1))
        count, total, squares = np.zeros(len(span)), np.zeros((len(RECENT), len(span))), np.zeros_like(self._recent)
        for value in history:
            error = self._predict(value)
            count += np.isfinite(value)
            total += error
            squares += error**2
        self._recent_spread = np.maximum(np.sqrt(squares / count - (total / count) ** 2), self._floor)

    def step(self, value: Floats) -> Energy:
        """Judge one value of each metric (NaN: none this tick)."""
        deviation = np.vstack((self._follow(value), self._predict(value) / self._recent_spread))
        power = (np.minimum(np.abs(deviation), self._limit) ** 2).sum(axis=0)
        energy = np.sqrt(np.bincount(self._entity, power) / self._metrics)
        self._smooth = self._smooth + _rate(SMOOTH) * (energy - self._smooth)
        return Energy(self._smooth, np.sqrt(power))

    def _predict(self, value: Floats) -> Floats:
        """Error of the recent means, which then move on."""
        error: Floats = np.where(np.isfinite(value), value - self._recent, 0.0)
        self._recent += (1.0 - 0.5 ** (1.0 / RECENT))[:, None] * error
        return error

    def _follow(self, value: Floats) -> Floats:
        """Distance from the level in spreads; level and spread then move on."""
        known = np.isfinite(value)
        error = np.where(known, value - self._level, 0.0)
        spread = np.maximum(np.sqrt(self._variance), self._floor)
        clipped = np.clip(error, -WINSOR * spread, WINSOR * spread)
        self._level += _rate(LEVEL) * clipped
        self._variance += known * _rate(LEVEL) * (clipped**2 - self._variance)
        deviation: Floats = error / spread
        return deviation


def _rate(half_life: float) -> float:
    return 1.0 - float(0.5 ** (1.0 / half_life))
