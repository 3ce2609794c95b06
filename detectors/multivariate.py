"""Entity detector: all metrics of a host or service as one vector, once per tick, in constant memory per metric.

Called by the scoreboard (row 3) and by the live path for all entities of a tick at once; what comes out goes to the
paging rule or the evidence stage. Each metric is measured in its own usual spread three ways: its distance from its
level of the last week, and the error of predicting it by its mean over the last 5 and 30 ticks (exponential smoothing;
Gardner, "Exponential smoothing: the state of the art - part II", 2006). The energy of an entity is the root mean square
of all of them: metrics that move together corroborate each other, one that always moves has a wide spread and weighs
little.

Spreads follow the data with deviations clipped (Huber's winsorising), so that a fault widens them only slowly.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Rows = NDArray[np.intp]

# Half-lives in ticks. A week of minutes for what is usual; 5 and 30 minutes for what was expected just now.
USUAL = 10_080.0
RECENT = (5.0, 30.0)
# One metric counts for no more than a hundred of its spreads: beyond, it is certain and only drowns the others.
MAX_DEVIATION = 100.0
# A deviation teaches its spread no more than ten spreads.
WINSOR = 10.0
# A spread below a hundredth of the range seen is rounding, not spread.
RANGE_FLOOR = 0.01
# What lasts is worth more than a blip: energies are smoothed over two ticks (half-life).
SMOOTH = 2.0
# Ticks before anything is said: an hour of minutes.
WARM = 60


@dataclass(frozen=True, slots=True)
class Energy:
    """What was found in one tick."""

    smooth: Floats
    """`[entities]` smoothed energy; NaN while warming up."""
    deviations: Floats
    """`[metrics]` what each metric contributed, in spreads: names the metrics that explain it."""


class EntityDetector:
    """State of the metrics of some entities.

    >>> detector = EntityDetector(np.array([0, 0, 1]))  # two metrics of entity 0, one of entity 1
    >>> rng = np.random.default_rng(0)
    >>> for _ in range(100):
    ...     calm = detector.step(rng.normal(size=3))
    >>> alarmed = detector.step(np.array([0.0, 9.0, 0.0]))
    >>> bool(alarmed.smooth[0] > 2 * calm.smooth[0]), int(alarmed.deviations.argmax())
    (True, 1)
    """

    def __init__(self, entity: Rows) -> None:
        """Watch one metric for each element of `entity`, which says whose metric it is."""
        self._entity = entity
        self._entities = int(entity.max()) + 1
        self._metrics = np.bincount(entity, minlength=self._entities)
        shape = (1 + len(RECENT), len(entity))
        self._mean = np.zeros(shape)
        self._variance = np.zeros(shape)
        self._lowest, self._highest = np.full(len(entity), np.inf), np.full(len(entity), -np.inf)
        self._smooth = np.zeros(self._entities)
        self._ticks = 0

    def step(self, value: Floats) -> Energy:
        """Judge one value of each metric (NaN: none this tick), then make them part of the past."""
        known = np.isfinite(value)
        if self._ticks == 0:
            self._mean[:] = np.where(known, value, 0.0)
        error = np.where(known, value - self._mean, 0.0)
        spread = self._spread()
        deviation = np.minimum(np.abs(error) / spread, MAX_DEVIATION)
        self._learn(error, spread, known, value)
        power = (deviation**2).sum(axis=0)
        energy = np.sqrt(np.bincount(self._entity, power, self._entities) / self._metrics)
        self._smooth += _rate(SMOOTH) * (energy - self._smooth)
        self._ticks += 1
        warm = self._ticks > WARM
        return Energy(self._smooth.copy() if warm else np.full(self._entities, np.nan), np.sqrt(power))

    def _spread(self) -> Floats:
        span = np.where(self._highest > self._lowest, self._highest - self._lowest, 0.0)
        floor = np.maximum(RANGE_FLOOR * span, 1e-9 * np.abs(self._mean) + 1e-300)
        return np.maximum(np.sqrt(self._variance), floor)

    def _learn(self, error: Floats, spread: Floats, known: NDArray[np.bool_], value: Floats) -> None:
        clip = WINSOR * spread if self._ticks > WARM else np.inf
        clipped = np.clip(error, -clip, clip)
        # Rates begin at one over the number of ticks: a plain mean until the memory is full.
        young = 1.0 / (self._ticks + 1.0)
        usual = max(_rate(USUAL), young)
        rates = np.array([usual, *(max(_rate(half_life), young) for half_life in RECENT)])[:, None]
        step = np.concatenate((clipped[:1], error[1:]))
        self._mean += rates * step
        self._variance += np.where(known, usual * (clipped**2 - self._variance), 0.0)
        self._lowest = np.fmin(self._lowest, value)
        self._highest = np.fmax(self._highest, value)


def _rate(half_life: float) -> float:
    return 1.0 - float(0.5 ** (1.0 / half_life))
