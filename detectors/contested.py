"""Who else speaks for a series: samples out of turn that disagree with those around them.

Nothing in a record says who wrote it, but a series has a pace: its own producer brings one sample an interval. Where a
second one puts words into its mouth, samples come sooner than the pace allows, and some are far from the baseline while
others are calm. A fault does not do that: it changes values, not who reports them. What is contested still fires; it is
no ground to act on without a person (`actions.checks`).

Nothing is said of series whose pace is not their own: sampled more often than once a tick, by two scrapers, at random,
or always sent twice. A sample that is sent again, with its time, is no second voice.

Called by the loop over the series of a closed tick (`detectors.bank_loops.gather`), and by `detectors.bank` for single
samples that fire at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from detectors.bank_columns import Columns, Kind

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# Below this share of its pace a sample is out of turn. Of two producers of one pace, one is always within half of it.
EARLY = 0.6
# A series of which more ticks than this are out of turn has no pace to be held to.
IRREGULAR = 0.1
# Ticks over which pace and regularity are averaged: who would teach a series a second voice has to do so for 26 of its
# samples (0.1 of 256).
MEMORY = 256.0
# Calm telemetry is beyond three robust deviations once in 370 samples.
FAR = 3.0
# Ticks of a series after the onset in which a contradiction still tells of how it began: its own producer's next two.
LOOKS = 2
_SECOND_NANOS = 1e9
# A number, which is what a loop compares.
_COUNTER = int(Kind.COUNTER)


def stray(row: int, value: float, c: Columns) -> bool:
    """Tell whether a single sample is far from its baseline; where there is none, it is not."""
    scale = float(c.scale[row]) * sqrt(max(float(c.density[row]), 1.0))
    return abs(value - float(c.centre[row])) > FAR * scale


def early(row: int, number: float, gap: float, c: Columns) -> bool:
    """Tell whether so many samples of a tick, the newest of which is `gap` seconds after the last, are out of turn."""
    return c.last_tick[row] >= 0 and (number > 1.0 or gap < EARLY * float(c.pace[row]))


def suspect(row: int, c: Columns) -> bool:
    """Tell whether a sample of a series out of turn means anything."""
    paced = c.crowded[row] < IRREGULAR and c.kind[row] <= _COUNTER
    return paced and float(c.scale[row]) > 0.0  # not NaN: there is a baseline


def strange(row: int, value: float, again: bool, c: Columns) -> bool:
    """Tell whether one of several samples of a tick is far from the baseline, or, of a counter, a count of its own.

    Args:
        row: of the series.
        value: of the sample.
        again: whether it has the time of the newest: the same sample again has.
        c: all rows.

    """
    return not again if c.kind[row] == _COUNTER else stray(row, value, c)


def disagree(row: int, number: float, many_strange: float, far: bool, c: Columns) -> bool:
    """Tell whether samples out of turn hold both calm and far ones, or, of a counter, more than one count.

    Args:
        row: of the series.
        number: of its samples in this tick.
        many_strange: how many of several are `strange`.
        far: whether the newest is far from the baseline.
        c: all rows.

    """
    if number > 1.0:
        return 0.0 < many_strange < number
    return c.kind[row] == _COUNTER or bool(far != c.strayed[row])


def fires_anew(row: int, tick: int, tick_nanos: int, c: Columns) -> bool:
    """Tell whether it began to fire so short ago that a contradiction tells of how, and is not contested yet."""
    if not c.firing[row] or c.contested[row] >= c.onset[row] // tick_nanos:
        return False
    age = float((tick + 1) * tick_nanos - c.onset[row])
    return age <= LOOKS * max(float(c.pace[row]) * _SECOND_NANOS, float(tick_nanos))


def keep_pace(row: int, gap: float, out_of_turn: float, single: bool, c: Columns) -> None:
    """Learn from a calm tick how often a series brings a sample, and how regularly (`out_of_turn`: 0 or 1)."""
    rate = 1.0 / min(float(c.filled[row]) + 1.0, MEMORY)
    crowded, pace = float(c.crowded[row]), float(c.pace[row])
    c.crowded[row] = crowded + rate * (out_of_turn - crowded)
    if single and gap > 0.0:
        # An outage is no interval, so it counts for two.
        c.pace[row] = pace + rate * (min(gap, 2.0 * pace) - pace) if pace > 0.0 else gap


def in_doubt(c: Columns, row: int, tick_nanos: int) -> bool:
    """Tell whether a series has been contested since the onset of what it fires for."""
    return bool(c.contested[row] >= c.onset[row] // tick_nanos)


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
        if not (c.pace[row] > 0 and suspect(row, c)):
            return False
        before = np.flatnonzero((self.series == row) & (self.position < position) & (self.time < time))
        if len(before):
            one = before[np.argmax(self.time[before])]
            at, far = int(self.time[one]), stray(row, float(self.value[one]), c)
        else:
            at, far = int(c.last_time[row]), bool(c.strayed[row])
        return not far and early(row, 1.0, (time - at) / _SECOND_NANOS, c)
