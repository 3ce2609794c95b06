"""Entities as witnesses: which of them are unlike themselves as a whole, how improbable that is, and by what metrics.

Called by `detectors.witnesses` once per closed tick with the numbers of all its series. `detectors.multivariate` gives
each entity an energy; here it becomes the p-value of an excursion so high, by the entity's own record of excursions
(peaks over a threshold, one peak an excursion, as looks next to each other are not independent: Davison & Smith, Models
for exceedances over high thresholds, JRSS B 1990). It is compared with what may be raised falsely in a day by all
entities of the partition together. What one metric says alone is the business of the series' own detector: an entity
fires only if half of its energy is there without its loudest metric, too.
"""

from __future__ import annotations

from collections.abc import Iterator

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import evidence
from detectors.bank import DAY_NANOS, BankSettings, Change, Verdict
from detectors.bank_columns import LARGEST
from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows
from detectors.multivariate import Energy, EntityDetector
from detectors.standing import Standing
from detectors.tail_record import Prior, TailRecord

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

BY = "entity"
# Of the logarithm of the energy, calm is about 0.5 to 0.7. On the calm histories of SMD and ASD (part A) an excursion
# beyond 1 begins in 0.012 of all looks (young: 0.015) and its peak lies 0.20 (ASD) to 0.33 (SMD; young: 0.49) beyond.
# Of the young the heavier is taken; two hundred looks of an entity's own weigh as much.
PRIOR = Prior(
    point=0.7, share=0.02, wanted=0.005, rate=0.03, mean_excess=0.45, looks=200.0, memory=10_000.0, max_excess=1.5
)
# What is less probable than this teaches no spreads.
SUSPECT = 1e-3
# Calm again: no further from the levels than twice what is usual, in the mean of the metrics.
CALM_RATIO = 2.0
# What is usual is followed with a half-life of 30 looks; how often an entity is looked at by an eighth of each gap.
USUAL_RATE = 1.0 - 0.5 ** (1.0 / 30.0)
INTERVAL_RATE = 0.125
# Metrics named in a verdict.
NAMED = 5


class _State:
    def __init__(self, count: int) -> None:
        self.last = np.full(count, -1, np.int64)  # tick of the last look
        self.interval = np.ones(count)  # ticks between looks
        self.away = np.ones(count)  # usual distance from the levels
        self.energy = np.ones(count)  # usual energy


class EntityWatch:
    """All entities of a partition."""

    def __init__(self, settings: BankSettings, false_signals_per_day: float = 1.0) -> None:
        self._settings = settings
        self._allowed = false_signals_per_day
        self.detector = EntityDetector()
        self._standing, self._record, self._state = Standing(), TailRecord(PRIOR), _State(0)

    def admit(self, rows: Ints, entity: Ints) -> None:
        """Give `rows` to new series; `entity` `[rows]` is the number of whose they are, -1 where it is not judged."""
        self.detector.admit(rows, entity)
        self._standing.reserve(self.detector.entities)
        self._record.reserve(self.detector.entities)
        missing = self.detector.entities - len(self._state.last)
        if missing > 0:
            self._state = grown(self._state, _State(missing))

    def forget(self, entity: Ints) -> None:
        """Let entities be new: none of their series is there any more."""
        self.detector.forget_entities(entity)
        self._standing.forget(entity)
        self._record.forget(entity)
        assign(self._state, entity, _State(1))

    def firing(self, entity: int) -> int | None:
        """Return the onset of what an entity fires for."""
        return self._standing.onset(entity) if self._standing.firing[entity] else None

    def look(self, tick: int, rows: Ints, values: Floats, times: Ints, sample: int) -> Iterator[Verdict]:
        """Judge the numbers of one tick.

        Args:
            tick: which.
            rows: `[n]` distinct series.
            values: `[n]` their finite numbers.
            times: `[n]` event time of their newest samples.
            sample: what `Verdict.sample` is to be.

        """
        mine = np.flatnonzero(self.detector.entity[rows] >= 0)
        if not len(mine):
            return
        rows, times = rows[mine], times[mine]
        values = np.minimum(np.maximum(values[mine], -LARGEST), LARGEST)
        found = self.detector.step(rows, values)
        if not len(found.entity):
            self.detector.learn(rows, values, found, self._standing.firing)
            return
        p_value = self._p_values(found)
        self._learn(rows, values, found, p_value)
        newest = np.zeros(self.detector.entities, np.int64)
        np.maximum.at(newest, self.detector.entity[rows], times)
        self._standing.suspect(found.entity, newest[found.entity], p_value < 1.0)
        yield from self._change(tick, rows, found, p_value, sample)

    def _p_values(self, found: Energy) -> Floats:
        """Score what was found, and put excursions on record."""
        score = np.log(np.maximum(np.minimum(found.smooth, 2.0 * found.rest), 1e-12))
        p_value = self._record.p_value(found.entity, score)
        self._record.learn(found.entity, score)
        return p_value

    def _learn(self, rows: Ints, values: Floats, found: Energy, p_value: Floats) -> None:
        """Let the calm ones teach what is usual."""
        bad = np.zeros(self.detector.entities, np.bool_)
        bad[found.entity] = p_value < SUSPECT
        bad |= self._standing.firing
        self.detector.learn(rows, values, found, bad)
        calm, s = ~bad[found.entity], self._state
        entity = found.entity[calm]
        s.away[entity] += USUAL_RATE * (found.away[calm] - s.away[entity])
        s.energy[entity] += USUAL_RATE * (found.smooth[calm] - s.energy[entity])

    def _change(self, tick: int, rows: Ints, found: Energy, p_value: Floats, sample: int) -> Iterator[Verdict]:
        s, entity = self._state, found.entity
        gap = np.where(s.last[entity] >= 0, tick - s.last[entity], 1)
        # An outage is no interval, so it counts for two.
        s.interval[entity] += INTERVAL_RATE * (np.minimum(gap, 2.0 * s.interval[entity]) - s.interval[entity])
        s.last[entity] = tick
        level = self._level(entity)
        changes = self._standing.change(
            entity,
            tick,
            fires=p_value < level,
            calm=found.away <= CALM_RATIO * np.maximum(s.away[entity], 1.0),
            adapt_ticks=self._settings.adapt_ticks,
        )
        for at, change in list(changes):
            one, parts = int(entity[at]), self._parts(int(entity[at]), rows, found.power)
            yield Verdict(
                series=parts[0][0],
                change=change,
                time_unix_nano=(tick + 1) * self._settings.tick_nanos,
                release_unix_nano=(tick + 1) * self._settings.tick_nanos,
                onset_unix_nano=self._standing.onset(one),
                observed=float(found.smooth[at]),
                expected=float(s.energy[one]),
                scale=1.0,
                height=-float(np.log(p_value[at])) / evidence.LUNDBERG,
                level=float(level[at]),
                sample=sample,
                by=BY,
                parts=parts,
            )
            if change is not Change.FIRING:
                self.detector.begin_anew(entity[[at]], spreads=change is Change.ADAPTED)

    def _level(self, entity: Ints) -> Floats:
        """Largest p-value to raise: every entity has the same part of what may be false in a day."""
        looks = DAY_NANOS / (self._settings.tick_nanos * self._state.interval[entity])
        level: Floats = self._allowed / np.maximum(np.count_nonzero(self._state.last >= 0) * looks, 1.0)
        return level

    def _parts(self, entity: int, rows: Ints, power: Floats) -> tuple[tuple[int, float], ...]:
        """Name the loudest metrics, each with how far it was out in spreads."""
        mine = np.flatnonzero((self.detector.entity[rows] == entity) & np.isfinite(power))
        loudest = mine[np.argsort(-power[mine], kind="stable")[:NAMED]]
        return tuple((int(rows[i]), float(np.sqrt(power[i]))) for i in loudest)

    def freeze(self) -> bytes:
        """Everything it knows."""
        own = self._standing.freeze(), self._record.freeze(), freeze_rows(self._state)
        return msgspec.msgpack.encode((*self.detector.freeze(), *own))

    def thaw(self, state: bytes) -> None:
        """Become what `freeze` was called on."""
        entity, metrics, entities, standing, record, own = msgspec.msgpack.decode(state, type=list[bytes])
        self.detector = EntityDetector.thaw(entity, metrics, entities)
        self._standing = Standing.thaw(standing)
        self._record.thaw(record)
        thaw_rows(self._state, own)
