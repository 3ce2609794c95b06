"""Entity detector: all metrics of a host or service as one vector, once per tick, in constant memory per metric.

Stepped by `detectors.entity_watch` with all metrics of a partition's tick at once, live and in the scoreboard (row 3).
Each metric is measured in its own usual spread four ways: its distance from its level of the last 10 thousand looks,
and the error of predicting it by its mean over the last 2, 5 and 30 looks (exponential smoothing; Gardner,
"Exponential smoothing: the state of the art - part II", 2006). The energy of an entity is the root mean square of all
of them: metrics that move together corroborate each other, one that always moves has a wide spread and weighs little.

Usual spreads are taken from the calm looks a metric has had, at its 64th, 128th, 256th ... and, from `MEMORY` on, at
every half of that: what was seen is summed up as it passes, so that a fit costs nothing extra and comes at a stated
look whatever the batches were. Between fits only the level follows the data, with deviations clipped (Huber's
winsorising) so that a fault moves it slowly.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows
from detectors.base import RELATIVE_ROUNDING, Contribution, Detector
from detectors.entity_loops import LOOKS, Entities, Metrics, follow, learn

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

# Looks at a metric before its spreads mean something, and how many its spreads are taken from at most.
WARM_LOOKS = 64
MEMORY = 32_768
# One metric counts for no more than a hundred of its spreads: beyond, it is certain and only drowns the others.
MAX_DEVIATION = 100.0
# A spread below a hundredth of the range seen is rounding, not spread ...
RANGE_FLOOR = 0.01
# ... and a metric that had no more than that has no scale, only the fact that this never happened: it counts for ten
# spreads at most (0 to 20 measure alike, without this limit such metrics decide everything).
MAX_DEVIATION_WITHOUT_SPREAD = 10.0
# What lasts is worth more than a blip: energies are smoothed with a half-life of two looks.
SMOOTH = 1.0 - 0.5**0.5
# Fewer metrics than this are no vector: their own detectors say all there is to say.
MIN_METRICS = 3


class _Metrics:
    """What is known of each metric: see `entity_loops.Metrics`."""

    def __init__(self, count: int) -> None:
        self.centre = np.full((count, LOOKS), np.nan)  # NaN: what comes next
        self.spread = np.ones((count, LOOKS))
        self.variance = np.zeros(count)
        self.floor = np.zeros(count)
        self.limit = np.zeros(count)
        self.fitted = np.zeros(count, np.bool_)
        self.due = np.full(count, WARM_LOOKS, np.int32)
        self.looks = np.zeros(count, np.int32)
        self.first = np.full(count, np.nan)
        self.low = np.full(count, np.inf)
        self.high = np.full(count, -np.inf)
        self.total = np.zeros((count, LOOKS))
        self.squares = np.zeros((count, LOOKS))

    def columns(self) -> Metrics:
        """Return the same, as loops take it."""
        return Metrics(**vars(self))


class _Entities:
    """What is known of each entity."""

    def __init__(self, count: int) -> None:
        self.energy = np.zeros(count)  # smoothed
        self.rest = np.zeros(count)  # smoothed, of all its metrics but the loudest of each look


@dataclass(frozen=True, slots=True)
class Energy:
    """What was found in one tick, of the entities that were judged in it."""

    entity: Ints
    """`[entities]` which, ascending."""
    smooth: Floats
    """`[entities]` smoothed energy: about 1 to 2 when calm."""
    rest: Floats
    """`[entities]` the same without the loudest metric of each look: what the others say."""
    away: Floats
    """`[entities]` root mean square distance of the metrics from their levels, in spreads, at this look."""
    power: Floats
    """`[rows]` squared deviations of each metric given, summed over its looks; NaN: warming up."""
    error: Floats
    """`[rows, 4]` what `learn` sums up."""


class EntityDetector:
    """State of the metrics of some entities, as rows of arrays.

    >>> detector, rows = EntityDetector(), np.arange(4)
    >>> detector.admit(rows, np.array([0, 0, 0, 0]))  # four metrics of entity 0
    >>> for value in np.random.default_rng(0).normal(size=(500, 4)):
    ...     detector.learn(rows, value, detector.step(rows, value))
    >>> calm = detector.step(rows, np.zeros(4))
    >>> alarmed = detector.step(rows, np.array([0.0, 9.0, 0.0, 9.0]))
    >>> bool(alarmed.smooth[0] > 2 * calm.smooth[0]), np.argsort(alarmed.power)[-2:].tolist()
    (True, [3, 1])
    """

    def __init__(self) -> None:
        self.entity: Ints = np.zeros(0, np.int64)
        """`[rows]` whose metric each row is; -1: none's."""
        self._metrics, self._entities = _Metrics(0), _Entities(0)
        self._warm: Ints | None = None  # see `_all_warm`

    @property
    def entities(self) -> int:
        """How many entities there is room for."""
        return len(self._entities.energy)

    def admit(self, rows: Ints, entity: Ints) -> None:
        """Give `rows` to new metrics of these entities (-1: not to be judged); what the rows knew is gone."""
        missing = int(rows.max(initial=-1)) + 1 - len(self.entity)
        if missing > 0:
            missing = max(missing, len(self.entity))
            self._metrics = grown(self._metrics, _Metrics(missing))
            self.entity = np.concatenate((self.entity, np.full(missing, -1, np.int64)))
        missing = int(entity.max(initial=-1)) + 1 - self.entities
        if missing > 0:
            self._entities = grown(self._entities, _Entities(max(missing, self.entities)))
        assign(self._metrics, rows, _Metrics(1))
        self.entity[rows] = entity
        self._warm = None

    def forget_entities(self, entity: Ints) -> None:
        """Forget what was found of entities; their numbers may be given to others."""
        assign(self._entities, entity, _Entities(1))

    def step(self, rows: Ints, value: Floats) -> Energy:
        """Judge one finite value of each of some distinct metrics of entities; levels and recent means then move on.

        An entity is judged in a tick in which half of its metrics that are warm have a value, and three at least.
        """
        known = self.entities
        together = Entities(np.zeros(known, np.int64), np.zeros(known), np.zeros(known), np.zeros(known))
        power, error = follow(rows, value, self.entity, self._metrics.columns(), together)
        judged = np.flatnonzero((together.number >= MIN_METRICS) & (2 * together.number >= self._all_warm()))
        number, total, loudest, far = (column[judged] for column in together)
        e = self._entities
        for kept, found in ((e.energy, total / number), (e.rest, np.maximum(total - loudest, 0.0) / (number - 1))):
            kept[judged] += SMOOTH * (np.sqrt(found) - kept[judged])
        return Energy(judged, e.energy[judged], e.rest[judged], np.sqrt(far / number), power, error)

    def _all_warm(self) -> Ints:
        """How many metrics of each entity have spreads."""
        if self._warm is None:
            of = self.entity[self._metrics.fitted & (self.entity >= 0)]
            self._warm = np.bincount(of, minlength=self.entities)
        return self._warm

    def learn(self, rows: Ints, value: Floats, found: Energy, suspect: Flags | None = None) -> None:
        """Sum up calm values that `step` has just judged, and take the spreads that are due.

        Args:
            rows: `[n]` as given to `step`.
            value: `[n]`.
            found: by `step`.
            suspect: `[entities]` of whom nothing is to be learned; None: all are calm.

        """
        suspect = np.zeros(self.entities, np.bool_) if suspect is None else suspect
        due = learn(rows, value, found.error, self.entity, suspect, self._metrics.columns())
        if len(due):
            self.fit(due)

    def fit(self, rows: Ints) -> None:
        """Take the spreads of metrics, each of which was learned from, from what was summed up."""
        m = self._metrics
        self._warm = None
        looks = m.looks[rows][:, None].astype(np.float64)
        mean = m.total[rows] / looks
        variance = np.maximum(m.squares[rows] / looks - mean**2, 0.0)
        span, size = m.high[rows] - m.low[rows], np.maximum(np.abs(m.low[rows]), np.abs(m.high[rows]))
        floor = np.maximum(RANGE_FLOOR * span, RELATIVE_ROUNDING * size + 1e-300)
        flat = np.sqrt(variance[:, 0]) <= floor
        m.floor[rows] = floor
        m.limit[rows] = np.where(flat, MAX_DEVIATION_WITHOUT_SPREAD, MAX_DEVIATION)
        m.spread[rows] = np.maximum(np.sqrt(variance), floor[:, None])
        m.variance[rows] = variance[:, 0]
        m.fitted[rows] = True
        young = rows[m.due[rows] < MEMORY]
        m.centre[young, 0] = m.first[young] + m.total[young, 0] / m.looks[young]
        m.due[young] *= 2
        self._forget_half(rows[m.looks[rows] >= MEMORY])

    def _forget_half(self, rows: Ints) -> None:
        m = self._metrics
        m.looks[rows] //= 2
        m.total[rows] /= 2.0
        m.squares[rows] /= 2.0
        m.low[rows], m.high[rows] = np.inf, -np.inf

    def begin_anew(self, entity: Ints, *, spreads: bool) -> None:
        """Expect next of entities what they show next; with `spreads`, learn all of them anew."""
        rows = np.flatnonzero(np.isin(self.entity, entity))
        assign(self._entities, entity, _Entities(1))
        if spreads:
            assign(self._metrics, rows, _Metrics(1))
            self._warm = None
        self._metrics.centre[rows, 1:] = np.nan

    def freeze(self) -> tuple[bytes, bytes, bytes]:
        """Everything it knows."""
        return self.entity.astype("<i8").tobytes(), freeze_rows(self._metrics), freeze_rows(self._entities)

    @classmethod
    def thaw(cls, entity: bytes, metrics: bytes, entities: bytes) -> EntityDetector:
        """Make what `freeze` was called on."""
        made = cls()
        made.entity = np.frombuffer(entity, "<i8").astype(np.int64)
        thaw_rows(made._metrics, metrics)
        thaw_rows(made._entities, entities)
        return made


class Entity(Detector):
    """One entity under the protocol of all detectors: a row is its metrics at a tick, judged as if it came next.

    >>> rng = np.random.default_rng(0)
    >>> detector = Entity().fit(rng.normal(size=(300, 4)))
    >>> calm, odd = detector.score(np.array([[0.0, 0.0, 0.0, 0.0], [0.0, 9.0, 0.0, 0.0]]))
    >>> bool(odd > 2 * calm), detector.explain(1)[0].name
    (True, 'column 1')
    """

    paper = "Gardner, Exponential smoothing: the state of the art - part II, Int. J. Forecasting 22, 2006"
    warm_rows = WARM_LOOKS

    def _fit(self, history: Floats) -> None:
        detector = EntityDetector()
        columns = np.arange(history.shape[1])
        detector.admit(columns, np.zeros(len(columns), np.int64))
        for row in history:
            here = np.flatnonzero(np.isfinite(row))
            detector.learn(here, row[here], detector.step(here, row[here]))
        detector.fit(np.flatnonzero(np.isfinite(history).any(axis=0)))
        self._state = detector.freeze()

    def _next(self, row: Floats) -> tuple[Ints, Energy]:
        here = np.flatnonzero(np.isfinite(row))
        return here, EntityDetector.thaw(*self._state).step(here, row[here])

    def _score(self, rows: Floats) -> Floats:
        found = [self._next(row)[1].smooth for row in rows]
        return np.array([energy[0] if len(energy) else np.nan for energy in found])

    def _explain(self, row: Floats) -> Sequence[Contribution]:
        here, found = self._next(row[0])
        far = np.sqrt(found.power)
        return [Contribution(f"column {c}", float(w)) for c, w in zip(here, far, strict=True) if np.isfinite(w)]

    def _freeze(self) -> bytes:
        return msgspec.msgpack.encode(self._state)

    def _thaw(self, state: bytes) -> None:
        self._state = msgspec.msgpack.decode(state, type=tuple[bytes, bytes, bytes])
