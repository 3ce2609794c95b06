"""Peers as witnesses: which instance is unlike its siblings, and was not so before.

Called by `detectors.witnesses` once per closed tick with the numbers of all its series. Siblings are series of the same
metric of other instances of the same service. Each instance is put against the others at the same tick: its distance
from their median (itself left out) in robust spreads of the group, half the length of its shortest half (Rousseeuw,
Least median of squares regression, JASA 1984), which two bad instances in five do not move. That difference has a past
of its own, as some instances always differ: what counts is the lesser of the two surprises, unlike the peers and unlike
its usual difference from them. It adds up over ticks as the series' own evidence does (`detectors.evidence`).

What all siblings do together is in no difference: it points to the service, or to its traffic. A group of which a third
is far out is no group any more, and nothing is said of anyone in it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors import evidence
from detectors.bank import CALM_DECADES, DAY_NANOS, BankSettings, Change, Verdict
from detectors.bank_columns import LARGEST, RELATIVE_SCALE_FLOOR
from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows
from detectors.standing import Standing

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

BY = "peers"
# Of fewer peers than four the median is hardly more than another instance.
MIN_PEERS = 4
# Looks at a difference before it has a past.
WARM_LOOKS = 64
# What is usual of a difference, and how much it varies, is followed with a half-life of 128 looks, twice the window of
# the series' own baseline: a difference moves less than the load that all share.
RATE = 1.0 - 0.5 ** (1.0 / 128.0)
# A difference teaches no more than this many of its spreads.
WINSOR = 5.0
# The mean absolute deviation of a normal distribution is 0.8 of its standard deviation.
DEVIATION_TO_SIGMA = 1.2533
# From the length of the shortest half to a standard deviation, for normal values: 1 / (2 * 0.6745) ...
HALF_TO_SIGMA = 0.7413
# ... and the correction for groups of few, 1 + 5 / (n - 1) (Rousseeuw & Leroy, 1987).
SMALL_GROUP = 5.0
# Far out, in robust deviations: what one instance in a thousand is by chance (Student's tail of four degrees). Of a
# third of a group, it has fallen apart.
FAR = 8.6
FAR_SHARE = 1.0 / 3.0
# How often a series is looked at is followed by an eighth of each gap.
INTERVAL_RATE = 0.125
_TINY = float(np.finfo(np.float32).tiny)


class _State:
    """What is known of each series, in one array, so that a tick reads and writes it in one piece each."""

    def __init__(self, count: int) -> None:
        self.columns = np.zeros((count, len(_COLUMNS)))
        self.columns[:, _LAST], self.columns[:, _INTERVAL] = -1.0, 1.0


# Looks seen; usual difference from the peers and its mean absolute deviation; the sum of evidence; the tail record
# (`evidence.calibrate`); the tick of the last look and the ticks between looks.
_COLUMNS = ("seen", "usual", "spread", "height", "looks", "entered", "excess", "last", "interval")
_SEEN, _USUAL, _SPREAD, _HEIGHT, _LOOKS, _ENTERED, _EXCESS, _LAST, _INTERVAL = range(len(_COLUMNS))


@dataclass(frozen=True, slots=True)
class Comparison:
    """One tick of series that have peers."""

    at: Ints
    """`[n]` position in what was given."""
    median: Floats
    """`[n]` of the peers, itself left out."""
    scale: Floats
    """`[n]` robust spread of the group."""
    flat: Flags
    """`[n]` whether half of the group is one and the same value."""
    peers: Ints
    """`[n]` how many."""
    group: Ints
    """`[n]` which, from 0."""


def compare(group: Ints, value: Floats) -> Comparison:
    """Put each value against the others of its group; groups of fewer than five are left out.

    Args:
        group: `[n]` numbers of groups; below zero: none.
        value: `[n]` finite values.

    """
    size = np.bincount(group[group >= 0])
    at = np.flatnonzero((group >= 0) & (size[np.maximum(group, 0)] > MIN_PEERS)) if len(size) else np.zeros(0, np.int64)
    at = at[np.argsort(value[at])]
    at = at[np.argsort(_short(group[at]), kind="stable")]
    begins = np.flatnonzero(np.diff(group[at], prepend=-1))
    number = np.diff(begins, append=len(at))
    x, first, count = value[at], np.repeat(begins, number), np.repeat(number, number)
    rank, rest = np.arange(len(at)) - first, count - 1
    # The rest of a group, sorted, is the group without the place of this one.
    low, high = (rest - 1) // 2, rest // 2
    median = (x[first + low + (low >= rank)] + x[first + high + (high >= rank)]) / 2.0
    half = count // 2 + 1
    ends = np.minimum(np.arange(len(at)) + half - 1, len(at) - 1)
    length = np.where(rank + half <= count, x[ends] - x, np.inf)
    shortest = np.minimum.reduceat(length, begins) if len(begins) else length
    scale = HALF_TO_SIGMA * (1.0 + SMALL_GROUP / rest) * np.repeat(shortest, number)
    floor = np.maximum(RELATIVE_SCALE_FLOOR * np.abs(median), _TINY)
    of = np.repeat(np.arange(len(number)), number)
    return Comparison(at, median, np.maximum(scale, floor), scale <= 0, rest, of)


def _short(group: Ints) -> NDArray[Any]:
    """Return the same as short integers where they fit: those are sorted by radix."""
    return group.astype(np.uint16) if group.max(initial=0) < 2**16 else group


class PeerWatch:
    """All series of a partition, against their siblings in it."""

    def __init__(self, settings: BankSettings, false_signals_per_day: float = 1.0) -> None:
        self._settings = settings
        self._allowed = false_signals_per_day
        self.group: Ints = np.zeros(0, np.int64)
        """`[rows]` which series are siblings; -1: none's."""
        self._standing, self._state = Standing(), _State(0)

    def admit(self, rows: Ints, group: Ints) -> None:
        """Give `rows` to new series of these groups."""
        missing = int(rows.max(initial=-1)) + 1 - len(self.group)
        if missing > 0:
            missing = max(missing, len(self.group))
            self._state = grown(self._state, _State(missing))
            self.group = np.concatenate((self.group, np.full(missing, -1, np.int64)))
            self._standing.reserve(len(self.group))
        assign(self._state, rows, _State(1))
        self._standing.forget(rows)
        self.group[rows] = group

    def firing(self, row: int) -> int | None:
        """Return the onset of what a series fires for."""
        return self._standing.onset(row) if self._standing.firing[row] else None

    def look(self, tick: int, rows: Ints, values: Floats, times: Ints, sample: int) -> Iterator[Verdict]:
        """Judge the numbers of one tick: see `detectors.bank.Witness`."""
        values = np.clip(values, -LARGEST, LARGEST)
        found = compare(self.group[rows], values)
        if not len(found.at):
            return
        rows, values, times = rows[found.at], values[found.at], times[found.at]
        state = self._state.columns[rows]
        difference = values - found.median
        raw = _surprise(state, difference, found)
        height = evidence.accumulate(
            state[:, _HEIGHT],
            evidence.calibrate(raw, state[:, _LOOKS], state[:, _ENTERED], state[:, _EXCESS]),
        )
        level = self._level(state, tick)
        threshold = evidence.threshold_of(level)
        state[:, _HEIGHT] = height
        calm = (height < threshold / 2.0) & ~self._standing.firing[rows]
        fires = (state[:, _SEEN] >= WARM_LOOKS) & (height >= threshold)
        _learn(state, difference, raw, calm.astype(np.float64))
        self._state.columns[rows] = state
        self._standing.suspect(rows, times, height > 0)
        patience = self._settings.adapt_ticks
        changes = self._standing.change(rows, tick, fires=fires, calm=raw < CALM_DECADES, adapt_ticks=patience)
        yield from self._verdicts(changes, rows, values, found, level=level, tick=tick, sample=sample)

    def _level(self, state: Floats, tick: int) -> Floats:
        """Largest p-value to raise: every series with peers has the same part of what may be false in a day."""
        gap = np.where(state[:, _LAST] >= 0, tick - state[:, _LAST], 1.0)
        interval = state[:, _INTERVAL]
        interval += INTERVAL_RATE * (np.minimum(gap, 2.0 * interval) - interval)
        state[:, _LAST] = tick
        compared = max(len(state), int(np.count_nonzero(self._state.columns[:, _LAST] >= 0)))
        looks = compared * DAY_NANOS / (self._settings.tick_nanos * interval)
        level: Floats = self._allowed / np.maximum(looks, 1.0)
        return level

    def _verdicts(
        self,
        changes: Iterable[tuple[int, Change]],
        rows: Ints,
        values: Floats,
        found: Comparison,
        *,
        level: Floats,
        tick: int,
        sample: int,
    ) -> Iterator[Verdict]:
        columns = self._state.columns
        end = (tick + 1) * self._settings.tick_nanos
        for at, change in changes:
            row = int(rows[at])
            yield Verdict(
                series=row,
                change=change,
                time_unix_nano=end,
                release_unix_nano=end,
                onset_unix_nano=self._standing.onset(row),
                observed=float(values[at]),
                expected=float(found.median[at]),
                scale=float(found.scale[at]),
                height=float(columns[row, _HEIGHT]),
                level=float(level[at]),
                sample=sample,
                by=BY,
                peers=int(found.peers[at]),
            )
            if change is not Change.FIRING:
                columns[row, _HEIGHT] = 0.0
            if change is Change.ADAPTED:
                columns[row, _SEEN] = 0.0

    def freeze(self) -> bytes:
        """Everything it knows."""
        group = self.group.astype("<i8").tobytes()
        return msgspec.msgpack.encode((group, self._standing.freeze(), freeze_rows(self._state)))

    def thaw(self, state: bytes) -> None:
        """Become what `freeze` was called on."""
        group, standing, own = msgspec.msgpack.decode(state, type=list[bytes])
        self.group = np.frombuffer(group, "<i8").astype(np.int64)
        self._standing = Standing.thaw(standing)
        thaw_rows(self._state, own)


def _surprise(state: Floats, difference: Floats, found: Comparison) -> Floats:
    """Decades of the lesser of two: unlike the peers, unlike its usual difference from them; 0 while warming up."""
    among = np.abs(difference) / found.scale
    spread = np.maximum(DEVIATION_TO_SIGMA * state[:, _SPREAD], RELATIVE_SCALE_FLOOR * np.abs(found.median))
    own = np.abs(difference - state[:, _USUAL]) / np.maximum(spread, _TINY)
    surprise = evidence.decades(np.minimum(among, own))
    # Where nothing varies there is no scale, only the fact that this never happened.
    flat = found.flat | (state[:, _SPREAD] <= 0)
    surprise[flat] = np.minimum(surprise[flat], evidence.MAX_DECADES_WITHOUT_SPREAD)
    far = np.bincount(found.group, among > FAR)
    apart = far > FAR_SHARE * np.bincount(found.group)
    surprise[apart[found.group] | (state[:, _SEEN] < WARM_LOOKS)] = 0.0
    return surprise


def _learn(state: Floats, difference: Floats, raw: Floats, calm: Floats) -> None:
    """Let calm looks (1; else 0) teach what is usual."""
    seen = state[:, _SEEN]
    # At first the mean of what there is, then the last of it.
    rate = calm * np.maximum(RATE, 1.0 / (seen + 1.0))
    error = difference - state[:, _USUAL]
    reach = np.where(seen < WARM_LOOKS, np.inf, WINSOR * DEVIATION_TO_SIGMA * state[:, _SPREAD])
    state[:, _USUAL] += rate * np.clip(error, -reach, reach)
    state[:, _SPREAD] += rate * (np.minimum(np.abs(error), reach) - state[:, _SPREAD])
    state[:, _SEEN] += calm
    beyond = np.clip(raw - evidence.TAIL_FROM, 0.0, evidence.TAIL_MAX_EXCESS)
    fade = 1.0 - calm * (1.0 - evidence.TAIL_FADE)
    for column, news in ((_LOOKS, 1.0), (_ENTERED, beyond > 0), (_EXCESS, beyond)):
        state[:, column] = state[:, column] * fade + calm * news
