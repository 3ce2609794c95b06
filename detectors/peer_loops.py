"""What `detectors.peers` does with every series of a tick, as loops over its rows: see `detectors.compiled`."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.bank_columns import RELATIVE_SCALE_FLOOR, SMALLEST_SCALE
from detectors.bank_loops import CALM_DECADES
from detectors.compiled import loop
from detectors.evidence import (
    MAX_DECADES_WITHOUT_SPREAD,
    YOUNG,
    accumulate,
    calibrate,
    decades,
    tail_taught,
    threshold_of,
)

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

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

# What is known of each series, a column each: looks seen; usual difference from the peers and its mean absolute
# deviation; the sum of evidence; the tail record (`evidence.calibrate`); the tick of the last look and the ticks
# between looks.
COLUMNS = ("seen", "usual", "spread", "height", "looks", "entered", "excess", "last", "interval")
SEEN, USUAL, SPREAD, HEIGHT, LOOKS, ENTERED, EXCESS, LAST, INTERVAL = range(len(COLUMNS))


class Comparison(NamedTuple):
    """One tick of series that have peers, group by group."""

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


@loop()
def compare(group: Ints, value: Floats) -> tuple[Ints, Floats, Floats, Flags, Ints]:
    """Put each value against the others of its group; groups of fewer than five are left out.

    Args:
        group: `[n]` numbers of groups; below zero: none.
        value: `[n]` finite values.

    Returns:
        What a `Comparison` is made of.

    """
    most = -1
    for i in range(len(group)):
        most = max(most, group[i])
    size, place = np.zeros(most + 1, np.int64), np.full(most + 1, -1, np.int64)
    for i in range(len(group)):
        if group[i] >= 0:
            size[group[i]] += 1
    at, many = np.empty(len(group), np.int64), 0
    for i in range(len(group)):
        one = group[i]
        if one < 0 or size[one] <= MIN_PEERS:
            continue
        if place[one] < 0:
            place[one] = many
            many += size[one]
        at[place[one]] = i
        place[one] += 1
    at = at[:many]
    median, scale = np.empty(many), np.empty(many)
    flat, peers = np.empty(many, np.bool_), np.empty(many, np.int64)
    first = 0
    while first < many:
        count = size[group[at[first]]]
        members = at[first : first + count]
        order = np.argsort(value[members])
        ordered = value[members][order]
        rest, half = count - 1, count // 2 + 1
        shortest = np.inf
        for rank in range(count - half + 1):
            shortest = min(shortest, float(ordered[rank + half - 1]) - float(ordered[rank]))
        spread = HALF_TO_SIGMA * (1.0 + SMALL_GROUP / rest) * shortest
        # The rest of a group, sorted, is the group without the place of this one.
        low, high = (rest - 1) // 2, rest // 2
        for rank in range(count):
            below = float(ordered[low + 1]) if low >= rank else float(ordered[low])
            above = float(ordered[high + 1]) if high >= rank else float(ordered[high])
            to = first + order[rank]
            centre = (below + above) / 2.0
            median[to] = centre
            scale[to] = max(spread, RELATIVE_SCALE_FLOOR * abs(centre), SMALLEST_SCALE)
            flat[to], peers[to] = spread <= 0.0, rest
        first += count
    return at, median, scale, flat, peers


class Tick(NamedTuple):
    """What all series of a tick are judged by."""

    tick: int
    looks_a_day: float
    """Of a series that is looked at in every tick."""
    allowed: float
    """Of all series together, how many may be raised falsely in a day."""
    compared: int
    """How many there are."""


def _surprise(difference: float, median: float, scale: float, flat: bool, known: Floats) -> float:
    """Decades of the lesser of two: unlike the peers, unlike its usual difference from them; 0 while warming up."""
    if known[SEEN] < WARM_LOOKS:
        return 0.0
    deviation = float(known[SPREAD])
    spread = max(DEVIATION_TO_SIGMA * deviation, RELATIVE_SCALE_FLOOR * abs(median), SMALLEST_SCALE)
    surprise = decades(min(abs(difference) / scale, abs(difference - float(known[USUAL])) / spread), YOUNG)
    # Where nothing varies there is no scale, only the fact that this never happened.
    return min(surprise, MAX_DECADES_WITHOUT_SPREAD) if flat or deviation <= 0.0 else surprise


def _learn(difference: float, raw: float, known: Floats) -> None:
    """Let a calm look teach what is usual."""
    seen, deviation = float(known[SEEN]), float(known[SPREAD])
    # At first the mean of what there is, then the last of it.
    rate = max(RATE, 1.0 / (seen + 1.0))
    error = difference - float(known[USUAL])
    if seen >= WARM_LOOKS:
        reach = WINSOR * DEVIATION_TO_SIGMA * deviation
        error = min(max(error, -reach), reach)
    known[USUAL] = float(known[USUAL]) + rate * error
    known[SPREAD] = deviation + rate * (abs(error) - deviation)
    known[SEEN] = seen + 1.0
    known[LOOKS], known[ENTERED], known[EXCESS] = tail_taught(
        float(known[LOOKS]), float(known[ENTERED]), float(known[EXCESS]), raw
    )


def _level(by: Tick, compared: int, known: Floats) -> float:
    """Largest p-value to raise: every series with peers has the same part of what may be false in a day."""
    interval = float(known[INTERVAL])
    gap = by.tick - float(known[LAST]) if known[LAST] >= 0.0 else 1.0
    interval += INTERVAL_RATE * (min(gap, 2.0 * interval) - interval)
    known[INTERVAL], known[LAST] = interval, by.tick
    return by.allowed / max(compared * by.looks_a_day / interval, 1.0)


@loop(decades, calibrate, accumulate, tail_taught, threshold_of, _surprise, _learn, _level)
def judge(
    rows: Ints, values: Floats, found: Comparison, firing: Flags, by: Tick, state: Floats
) -> tuple[Floats, Flags, Flags, Flags]:
    """Judge what was compared by what is usual of each.

    Args:
        rows: `[n]` series, as in `found`.
        values: `[n]`.
        found: of this tick.
        firing: `[series]`.
        by: what they are judged by.
        state: `[series, columns]`.

    Returns:
        `[n]` each: the largest p-value to raise, whether it is begun, whether it suffices, whether it is as usual.

    """
    many = len(rows)
    level, begun = np.empty(many), np.empty(many, np.bool_)
    fires, calm = np.empty(many, np.bool_), np.empty(many, np.bool_)
    compared = max(by.compared, many)
    first = 0
    while first < many:
        count = int(found.peers[first]) + 1
        far = 0
        for i in range(first, first + count):
            if abs(float(values[i]) - float(found.median[i])) / float(found.scale[i]) > FAR:
                far += 1
        apart = far > FAR_SHARE * count
        for i in range(first, first + count):
            row = rows[i]
            known = state[row]
            median = float(found.median[i])
            difference = float(values[i]) - median
            raw = 0.0 if apart else _surprise(difference, median, float(found.scale[i]), bool(found.flat[i]), known)
            surprise = calibrate(raw, float(known[LOOKS]), float(known[ENTERED]), float(known[EXCESS]))
            height = accumulate(float(known[HEIGHT]), surprise)
            known[HEIGHT] = height
            largest = _level(by, compared, known)
            threshold = threshold_of(largest)
            level[i], begun[i], calm[i] = largest, height > 0.0, raw < CALM_DECADES
            fires[i] = known[SEEN] >= WARM_LOOKS and height >= threshold
            if height < threshold / 2.0 and not firing[row]:
                _learn(difference, raw, known)
        first += count
    return level, begun, fires, calm
