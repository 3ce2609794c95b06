"""What `detectors.bank` does with every series of a tick, as loops over its rows: see `detectors.compiled`."""

from __future__ import annotations

from math import sqrt
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.bank_columns import (
    LARGEST,
    MAD_TO_SIGMA,
    MEAN_DEVIATION_TO_SIGMA,
    REFRESH,
    RELATIVE_SCALE_FLOOR,
    SMALLEST_SCALE,
    Columns,
    Kind,
)
from detectors.compiled import loop
from detectors.contested import disagree, early, fires_anew, keep_pace, strange, stray, suspect
from detectors.evidence import (
    MAX_DECADES,
    MAX_DECADES_WITHOUT_SPREAD,
    accumulate,
    calibrate,
    decades,
    tail_taught,
)
from detectors.excursions import taught, unit

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Codes = NDArray[np.int8]

# Calm: a surprise below two decades, that is, within what one tick in a hundred shows anyway ...
CALM_DECADES = 2.0
# ... three times in a row, so that one lucky sample in the middle of a fault does not clear it.
CALM_TICKS = 3
# Distance in scales at which one sample can carry more than nine decades: below it no threshold is reachable
# (one series a second for a day needs ln(86400) / 1.99 + 1 = 6.7), so it only saves the exact computation.
FAR = 20.0
# Half-way to firing, as a rule: from here on a series teaches its baseline nothing.
SUSPICIOUS = 4.0
# What became of a row: nothing, or one of `bank_verdict.Change`, from 1.
STAYS, FIRES, CLEARS, ADAPTS = 0, 1, 2, 3
# Kinds as numbers, which is what a loop compares.
_GAUGE, _COUNTER, _COUNT, _MENTIONS = int(Kind.GAUGE), int(Kind.COUNTER), int(Kind.COUNT), int(Kind.MENTIONS)


class Tick(NamedTuple):
    """What all rows of a tick are judged by."""

    tick: int
    end: int
    """Event time at which it is over."""
    warmup: int
    """Numbers that a series needs to be judged."""
    patience: int
    """Ticks after which what lasts is its normal."""
    patience_nanos: int
    threshold: float
    """Height, in units of a series."""


class Gathered(NamedTuple):
    """What became of the samples of a tick."""

    rows: Ints
    """Ascending."""
    values: Floats
    """Their numbers; a counter without an increase to measure has none, and is not in `rows`."""
    doubted: Ints
    """Rows that have begun to fire not long ago and are contested for the first time since."""
    newest: Floats
    """Their newest samples."""


@loop()
def far(series: Ints, value: Floats, c: Columns) -> Ints:
    """Return the positions of `[n]` samples of gauges that may fire at once: `FAR` from a baseline that varies."""
    found, many = np.empty(len(series), np.int64), 0
    for i in range(len(series)):
        row = series[i]
        if c.kind[row] != _GAUGE or c.firing[row] or not c.spread[row] or c.slot[row] >= 0:
            continue
        scale = float(c.scale[row]) * sqrt(max(float(c.density[row]), 1.0))
        if abs(float(value[i]) - float(c.centre[row])) > FAR * scale:
            found[many] = i
            many += 1
    return found[:many]


def _place_rows(series: Ints, place: Ints) -> Ints:
    """Return the distinct rows in ascending order, each with its position in `place`."""
    found = np.empty(len(series), np.int64)
    many = 0
    for i in range(len(series)):
        row = series[i]
        if place[row] < 0:
            place[row] = many
            found[many] = row
            many += 1
    rows = np.sort(found[:many])
    for at in range(many):
        place[rows[at]] = at
    return rows


def _number(row: int, mean: float, newest: float, when: int, c: Columns) -> float:
    """Return the number of a series in a tick: a counter's rate, NaN where there is none; of all others `mean`."""
    if c.kind[row] != _COUNTER:
        return mean
    seconds = float(when - c.last_time[row]) / 1e9
    rate = (newest - float(c.last_value[row])) / seconds if seconds > 0.0 else -1.0
    c.last_value[row] = newest
    # A decrease is a reset.
    return rate if rate >= 0.0 else np.nan


@loop(_place_rows, _number, stray, early, suspect, strange, disagree, fires_anew, keep_pace)
def gather(
    series: Ints, time: Ints, value: Floats, tick: int, tick_nanos: int, place: Ints, c: Columns
) -> tuple[Ints, Floats, Ints, Floats]:
    """Make one number of the samples of each series, and note where samples out of turn disagree.

    Args:
        series: `[n]` whose samples these are.
        time: `[n]` event time.
        value: `[n]`.
        tick: which they are of.
        tick_nanos: how long it is.
        place: `[rows]` all -1, and so again afterwards.
        c: all rows.

    Returns:
        What is in `Gathered`.

    """
    rows = _place_rows(series, place)
    many = len(rows)
    number, total, last = np.zeros(many), np.zeros(many), np.zeros(many, np.int64)
    for i in range(len(series)):
        at = place[series[i]]
        number[at] += 1.0
        total[at] += float(value[i])
        last[at] = i
    crowds = False
    for at in range(many):
        row = rows[at]
        density = float(c.density[row])
        c.density[row] = density + 0.125 * (float(number[at]) - density)
        crowds = crowds or (number[at] > 1.0 and suspect(row, c))
    many_strange = np.zeros(many)
    for i in range(len(series) if crowds else 0):
        at = place[series[i]]
        if number[at] > 1.0 and suspect(series[i], c):
            many_strange[at] += strange(series[i], float(value[i]), time[i] == time[last[at]], c)
    doubted, latest, doubts = np.empty(many, np.int64), np.empty(many), 0
    kept = 0
    for at in range(many):
        row, samples = rows[at], float(number[at])
        place[row] = -1
        newest, when = float(value[last[at]]), time[last[at]]
        far, gap = stray(row, newest, c), float(when - c.last_time[row]) / 1e9
        known, single = c.last_tick[row] >= 0, samples <= 1.0
        out_of_turn = early(row, samples, gap, c)
        if out_of_turn and suspect(row, c) and disagree(row, samples, many_strange[at], far, c):
            if fires_anew(row, tick, tick_nanos, c):
                doubted[doubts], latest[doubts] = row, newest
                doubts += 1
            c.contested[row] = tick
        if known and not c.firing[row] and c.height[row] < SUSPICIOUS:
            keep_pace(row, gap, 1.0 if out_of_turn else 0.0, single, c)
        c.strayed[row] = far
        mean = float(total[at]) if c.kind[row] >= _COUNT else float(total[at]) / samples
        found = _number(row, mean, newest, when, c)
        c.last_tick[row], c.last_time[row] = tick, when
        if abs(found) < np.inf:
            rows[kept], total[kept] = row, found
            kept += 1
    return rows[:kept], total[:kept], doubted[:doubts], latest[:doubts]


@loop()
def arrive(rows: Ints, tick: int, warmup: int, long_gap: int, c: Columns) -> int:
    """Note that `[n]` rows have a number; how many of them can be judged, -1 if coarse ones are or may be among them.

    Those are for `SeriesBank` to look after, and nothing has been noted then.
    """
    known = 0
    for i in range(len(rows)):
        row = rows[i]
        gap = tick - c.seen[row] if c.seen[row] >= 0 else 1
        if c.slot[row] >= 0 or gap >= long_gap:
            return -1
    for i in range(len(rows)):
        row = rows[i]
        c.seen[row], c.streak[row] = tick, 0
        if c.filled[row] >= warmup:
            known += 1
    return known


def _follow(row: int, before: float, fine: bool, c: Columns) -> float:
    """Keep the peak of an excursion; return it when the excursion is over and was not raised, else 0."""
    height, ended = float(c.height[row]), 0.0
    over = before > 0.0 and height <= 0.0
    if over and not c.firing[row] and c.peak[row] > 0.0:
        ended = _end(row, fine, c)
    if c.firing[row] or over:
        c.peak[row] = 0.0
    elif height > c.peak[row]:
        c.peak[row] = height
    return ended


def _end(row: int, fine: bool, c: Columns) -> float:
    """Teach a series an excursion that was nothing; return its peak in units of the series as they were before."""
    peak = float(c.peak[row])
    peaks, heights = float(c.peaks[row]), float(c.heights[row])
    c.peaks[row], c.heights[row] = taught(peaks, 1.0, 1.0), taught(heights, peak, 1.0)
    return peak / unit(peaks, heights) if fine else peak


def _stand(row: int, raw: float, fires: bool, patience: float, tick: int, c: Columns) -> int:
    """Return what becomes of a row; a tick from before it fired says nothing of whether it is over."""
    c.calm[row] = min(c.calm[row] + 1, CALM_TICKS) if raw < CALM_DECADES and tick >= c.since[row] else 0
    if fires:
        return FIRES
    if not c.firing[row]:
        return STAYS
    if c.calm[row] >= CALM_TICKS:
        return CLEARS
    return ADAPTS if tick - c.since[row] >= patience else STAYS


@loop(decades, calibrate, accumulate, tail_taught, unit, taught, _end, _follow, _stand)
def judge(rows: Ints, values: Floats, by: Tick, c: Columns) -> tuple[Codes, Floats]:
    """Judge the numbers of a tick by the past of their series; coarse series and those that warm up are passed over.

    Returns:
        `[n]` what became of each, for the caller to do, and the peaks of excursions that are over and were nothing.

    """
    became = np.zeros(len(rows), np.int8)
    ended, many = np.empty(2 * len(rows)), 0
    for i in range(len(rows)):
        row = rows[i]
        if c.slot[row] >= 0 or c.filled[row] < by.warmup:
            continue
        value, centre = float(values[i]), float(c.centre[row])
        raw = decades((value - centre) / float(c.scale[row]), int(c.filled[row]))
        if c.kind[row] == _MENTIONS and value <= centre:
            raw = 0.0
        looks, entered, excess = float(c.looks[row]), float(c.entered[row]), float(c.excess[row])
        surprise = calibrate(raw, looks, entered, excess)
        surprise = min(surprise, MAX_DECADES if c.spread[row] else MAX_DECADES_WITHOUT_SPREAD)
        before = float(c.height[row])
        height = accumulate(before, surprise)
        firing = bool(c.firing[row])
        if before <= 0.0 < height and not firing:
            # The newest sample of the tick: what began it may have come at any time before, and a cause comes before
            # its effect. A tick without samples is abnormal as of its end.
            c.onset[row] = c.last_time[row] if c.last_tick[row] == by.tick else by.end - 1
        c.height[row] = height
        if not firing and height < SUSPICIOUS:
            c.looks[row], c.entered[row], c.excess[row] = tail_taught(looks, entered, excess, raw)
        peak = _follow(row, before, True, c)
        if peak > 0.0:
            ended[many] = peak
            many += 1
        if not firing and height >= SUSPICIOUS and by.end - c.onset[row] >= by.patience_nanos:
            # Suspected for as long as one that fires is given, and never raised: that is its level now.
            ended[many] = _end(row, True, c)
            many += 1
            c.height[row], c.peak[row], c.filled[row] = 0.0, 0.0, 0
        threshold = by.threshold * unit(float(c.peaks[row]), float(c.heights[row]))
        fires = not firing and float(c.height[row]) >= threshold
        became[i] = _stand(row, raw, fires, float(by.patience), by.tick, c)
    return became, ended[:many]


@loop(unit, taught, _end, _follow)
def follow(rows: Ints, before: Floats, c: Columns) -> Floats:
    """Keep the peaks of `[n]` coarse rows whose heights were `before`; return those of excursions that are over."""
    ended, many = np.empty(len(rows)), 0
    for i in range(len(rows)):
        peak = _follow(rows[i], float(before[i]), False, c)
        if peak > 0.0:
            ended[many] = peak
            many += 1
    return ended[:many]


@loop(_stand)
def stand(rows: Ints, raw: Floats, fires: NDArray[np.bool_], patience: Floats, tick: int, c: Columns) -> Codes:
    """Return what becomes of `[n]` coarse rows."""
    became = np.zeros(len(rows), np.int8)
    for i in range(len(rows)):
        became[i] = _stand(rows[i], float(raw[i]), bool(fires[i]), float(patience[i]), tick, c)
    return became


def baseline(ordered: Floats) -> tuple[float, float, bool]:
    """Return the centre and the scale of `[n]` values in ascending order, and whether they have any spread at all."""
    many = len(ordered)
    above = many // 2
    below = above - 1
    centre = float(ordered[above])
    if many % 2 == 0:
        centre = (float(ordered[below]) + centre) / 2.0
    # The deviations in ascending order, up to the middle ones, from the centre outwards.
    low, high = 0.0, 0.0
    for _ in range(many // 2 + 1):
        low = high
        left = centre - float(ordered[below]) if below >= 0 else np.inf
        right = float(ordered[above]) - centre if above < many else np.inf
        if left < right:
            high, below = left, below - 1
        else:
            high, above = right, above + 1
    spread = (high if many % 2 else (low + high) / 2.0) * MAD_TO_SIGMA
    if spread <= 0.0:
        total = 0.0
        for i in range(many):
            total += abs(float(ordered[i]) - centre)
        spread = total / many * MEAN_DEVIATION_TO_SIGMA
    return centre, max(spread, abs(centre) * RELATIVE_SCALE_FLOOR, SMALLEST_SCALE), spread > 0.0


def _refresh(row: int, c: Columns) -> None:
    """Take the baseline of a row from its history."""
    history = c.ring[row, : min(int(c.filled[row]), c.ring.shape[1])]
    c.centre[row], c.scale[row], c.spread[row] = baseline(np.sort(history).astype(np.float64))


@loop(baseline, _refresh)
def refresh(rows: Ints, c: Columns) -> None:
    """Take the baselines of rows, none of them without a history, from it."""
    for i in range(len(rows)):
        _refresh(rows[i], c)


@loop(baseline, _refresh)
def push(rows: Ints, values: Floats, warmup: int, c: Columns) -> None:
    """Append its number to the history of each of `[n]` rows that is calm, and refresh the baselines that are due.

    Calm rows are those that do not fire, nor are half-way to it.
    """
    window = c.ring.shape[1]
    for i in range(len(rows)):
        row = rows[i]
        if c.firing[row] or c.height[row] >= SUSPICIOUS:
            continue
        # Anyone may send 1e300: what the ring cannot hold is its largest, not infinity.
        c.ring[row, c.filled[row] % window] = min(max(float(values[i]), -LARGEST), LARGEST)
        filled = c.filled[row] + 1
        c.filled[row] = filled
        # Staggered by row, so that no tick pays for all; the first baseline is due at the end of the warm-up.
        if filled == warmup or (filled > warmup and (filled + row) % REFRESH == 0):
            _refresh(row, c)
