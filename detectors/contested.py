"""Who else speaks for a series: samples out of turn that disagree with those around them.

Nothing in a record says who wrote it, but a series has a pace: its own producer brings one sample an interval. Where a
second one puts words into its mouth, samples come sooner than the pace allows, and some are far from the baseline while
others are calm. A fault does not do that: it changes values, not who reports them. What is contested still fires; it is
no ground to act on without a person (`actions.checks`).

Nothing is said of series whose pace is not their own: sampled more often than once a tick, by two scrapers, at random,
or always sent twice. A sample that is sent again, with its time, is no second voice.

Called by `detectors.bank` for each closed tick, and for single samples that fire at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.bank_columns import Columns, Kind

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Mask = NDArray[np.bool_]

# Below this share of its pace a sample is out of turn. Of two producers of one pace, one is always within half of it.
EARLY = 0.6
# A series of which more ticks than this are out of turn has no pace to be held to.
IRREGULAR = 0.1
# Ticks over which pace and regularity are averaged: who would teach a series a second voice has to do so for 26 of its
# samples (0.1 of 256).
MEMORY = 256
# Calm telemetry is beyond three robust deviations once in 370 samples.
FAR = 3.0
# Ticks of a series after the onset in which a contradiction still tells of how it began: its own producer's next two.
LOOKS = 2
_SECOND_NANOS = 1e9


class TickSamples(NamedTuple):
    """Samples of a tick: `[n]` which of `rows` each is of, its time and value; `[rows]` how many, and the last one."""

    rows: Ints
    of: Ints
    time: Ints
    value: Floats
    number: Floats
    last: Ints


def note(c: Columns, tick: int, tick_nanos: int, samples: TickSamples, calm: Mask) -> dict[int, float]:
    """Learn paces from a tick that closes, and note in `c.contested` where samples out of turn disagree.

    Args:
        c: what is known of the series; times and values of the tick before are still in it.
        tick: the tick.
        tick_nanos: how long it is.
        samples: of the tick.
        calm: `[rows]` which may be learned from.

    Returns:
        Of series that have begun to fire not long ago and are contested for the first time since: the newest value.

    """
    rows, last = samples.rows, samples.last
    far = strays(c, rows, samples.value[last])
    gap = (samples.time[last] - c.last_time[rows]) / _SECOND_NANOS
    known = c.last_tick[rows] >= 0
    early = known & ((samples.number > 1) | (gap < EARLY * c.pace[rows]))
    suspect = early & (c.crowded[rows] < IRREGULAR) & (c.kind[rows] <= Kind.COUNTER) & ~np.isnan(c.scale[rows])
    news: dict[int, float] = {}
    if suspect.any():
        found = np.flatnonzero(suspect)
        found = found[_disagree(c, samples, found, far[found])]
        new = found[_fires_anew(c, rows[found], tick, tick_nanos)]
        news = dict(zip(rows[new].tolist(), samples.value[last[new]].tolist(), strict=True))
        c.contested[rows[found]] = tick
    _learn(c, rows, gap, early, calm=known & calm, single=samples.number == 1)
    c.strayed[rows] = far
    return news


def in_doubt(c: Columns, row: int, tick_nanos: int) -> bool:
    """Tell whether a series has been contested since the onset of what it fires for."""
    return bool(c.contested[row] >= c.onset[row] // tick_nanos)


def strays(c: Columns, rows: Ints, values: Floats) -> Mask:
    """Tell which single samples are far from their baselines; those without one are not."""
    with np.errstate(invalid="ignore"):
        spread = c.scale[rows] * np.sqrt(np.maximum(c.density[rows], 1.0))
        far: Mask = np.abs(values - c.centre[rows]) > FAR * spread
    return far


def _fires_anew(c: Columns, rows: Ints, tick: int, tick_nanos: int) -> Mask:
    """Tell which began to fire so short ago that a contradiction tells of how, and have not been contested since."""
    age = (tick + 1) * tick_nanos - c.onset[rows]
    fresh: Mask = c.firing[rows] & (c.contested[rows] < c.onset[rows] // tick_nanos)
    return fresh & (age <= LOOKS * np.maximum(c.pace[rows] * _SECOND_NANOS, tick_nanos))


def _disagree(c: Columns, samples: TickSamples, found: Ints, far: Mask) -> Mask:
    """Tell which of the places `found` hold both calm and far samples, or, of counters, more than one count."""
    place = np.full(len(samples.rows), -1)
    place[found] = np.arange(len(found))
    mine = np.flatnonzero(place[samples.of] >= 0)
    of, rows = place[samples.of[mine]], samples.rows[found]
    strange = np.bincount(of, strays(c, rows[of], samples.value[mine]), len(found))
    # The same sample again has the same time.
    others = np.bincount(of, samples.time[mine] != samples.time[samples.last[found]][of], len(found)) > 0
    single = samples.number[found] == 1
    mixed = np.where(single, far != c.strayed[rows], (strange > 0) & (strange < samples.number[found]))
    return np.where(c.kind[rows] == Kind.COUNTER, single | others, mixed)


def _learn(c: Columns, rows: Ints, gap: Floats, early: Mask, *, calm: Mask, single: Mask) -> None:
    rate = 1.0 / np.minimum(c.filled[rows] + 1.0, MEMORY)
    c.crowded[rows] += np.where(calm, rate * (early - c.crowded[rows]), 0.0)
    pace = c.pace[rows]
    # An outage is no interval, so it counts for two.
    moved = np.where(pace > 0, pace + rate * (np.minimum(gap, 2 * pace) - pace), gap)
    c.pace[rows] = np.where(calm & single & (gap > 0), moved, pace)


@dataclass(frozen=True, slots=True)
class Earlier:
    """What a few series have said lately: samples of ticks that are still open, and of the part being read."""

    series: Ints
    time: Ints
    value: Floats
    position: Ints  # in the part; -1: before it

    @classmethod
    def of(cls, rows: Ints, waiting: tuple[Ints, Ints, Floats], part: tuple[Ints, Ints, Floats]) -> Earlier:
        """Keep what is about `rows`."""
        position = np.concatenate([np.full(len(waiting[0]), -1), np.arange(len(part[0]))])
        series, time, value = (np.concatenate(both) for both in zip(waiting, part, strict=True))
        mine = np.isin(series, rows)
        return cls(series[mine], time[mine], value[mine], position[mine])

    def contradict(self, c: Columns, row: int, time: int, position: int) -> bool:
        """Tell whether a far sample comes out of turn after a calm one."""
        if not (c.pace[row] > 0 and c.crowded[row] < IRREGULAR):
            return False
        before = np.flatnonzero((self.series == row) & (self.position < position) & (self.time < time))
        if len(before):
            one = before[np.argmax(self.time[before])]
            at, far = int(self.time[one]), bool(strays(c, np.array([row]), self.value[[one]])[0])
        else:
            at, far = int(c.last_time[row]), bool(c.strayed[row])
        return not far and (time - at) / _SECOND_NANOS < EARLY * float(c.pace[row])
