"""The series bank: what is known of every series of a partition, as arrays, judged once per event-time tick.

`streams.kernel.detect` feeds it decoded columns and turns the verdicts into signals. All series of a tick go through
one vectorised pass; a sample that is strong enough by itself is judged the moment it is read (`fold`), so that the
tick does not hold it back.

Event time only: what is emitted depends on the records and their order within the partition, never on how they were
cut into batches. A tick closes when the newest event time seen, less the allowed lateness, has passed its end;
samples of closed ticks are late: counted, not used.

What is known of each series, its baseline above all, is in `detectors.bank_columns`. While a series fires its baseline
stands still, so that a fault does not become the normal.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from math import ceil
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors import bank_loops, coarse, contested
from detectors.bank_calibration import Calibration
from detectors.bank_columns import Columns, Kind
from detectors.bank_loops import ADAPTS, FIRES
from detectors.bank_verdict import OWN_HISTORY, SHIPPED, BankSettings, Change, Thresholds, Verdict, Witness
from detectors.coarse import CoarseSeries
from detectors.evidence import accumulate, calibrate, decades, decades_of

__all__ = ["DAY_NANOS", "OWN_HISTORY", "BankSettings", "Change", "SeriesBank", "Thresholds", "Verdict", "Witness"]

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

SECOND_NANOS = 1_000_000_000
DAY_NANOS = 86_400 * SECOND_NANOS


@dataclass(slots=True)
class _OpenTick:
    """Samples of a tick that may still get more."""

    series: list[Ints] = field(default_factory=list)
    time: list[Ints] = field(default_factory=list)
    value: list[Floats] = field(default_factory=list)


_NONE: Ints = np.zeros(0, np.int64)
_NOTHING = _OpenTick([np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros(0)])


class SeriesBank:
    """Ring buffers and baselines of all series of one partition.

    Series are dense indices given by the caller, who also says their `Kind` on first sight (`ensure`).
    """

    def __init__(self, settings: BankSettings | None = None) -> None:
        self.settings = settings or BankSettings()
        self.columns = Columns.blank(0, self.settings.window)
        self.high = 0  # newest event time seen
        self.closed = -1  # ticks below this are closed; -1: nothing seen yet
        self.late = 0
        self.coarse = CoarseSeries()
        self.witness: Witness | None = None
        self.calibration = Calibration()
        self._open: dict[int, _OpenTick] = {}
        self._counts: Ints = np.zeros(0, np.int64)  # rows that count, for zero filling
        self._place: Ints = np.full(0, -1, np.int64)  # see `bank_loops.gather`
        self._tick_seconds = self.settings.tick_nanos / SECOND_NANOS
        self._long_gap = ceil(coarse.COARSE_SECONDS / self._tick_seconds)  # ticks
        self._sample = -1  # the last sample before the tick being closed
        self._thresholds = SHIPPED  # those in force, where the bank is in time

    @property
    def watermark(self) -> int:
        """Event time up to which everything has been judged; 0 before the first record."""
        return max(0, self.high - self.settings.lateness_nanos)

    @property
    def abstaining(self) -> int:
        """How many series in use are not judged yet: they warm up, or bring too few samples ever to be warm."""
        c = self.columns
        young = (c.last_tick >= 0) & (c.slot < 0) & (c.filled < self.settings.warmup)
        return int(np.count_nonzero(young)) + self.coarse.abstaining

    def admit(self, rows: Ints, kinds: NDArray[np.int8], zeros: Ints | None = None) -> None:
        """Give `rows` to new series of these kinds; what the rows knew before is gone.

        Args:
            rows: `[n]` rows of the series.
            kinds: `[n]` how the samples of a tick become one number.
            zeros: `[n]` for how many ticks each is known to have been zero: an event that was never heard of something
                that was listened to has a history. None: nothing is known of any.

        """
        if not len(rows):
            return
        window = self.settings.window
        if (want := int(rows.max()) + 1) > (have := len(self.columns.kind)):
            grown = Columns.blank(max(want, 2 * have, 64), window)
            grown.assign(slice(0, have), self.columns)
            self._use(grown)
        self._blank(rows)
        self.columns.kind[rows] = kinds
        if zeros is not None:
            self.columns.filled[rows] = np.minimum(zeros, window)
            bank_loops.refresh(rows[zeros >= self.settings.warmup], self.columns)
        self._counts = np.flatnonzero(self.columns.kind >= Kind.COUNT)

    def _use(self, columns: Columns) -> None:
        self.columns, self._place = columns, np.full(len(columns.kind), -1, np.int64)

    def idle_since(self, tick: int) -> Ints:
        """Rows that were in use and have had no sample since `tick`."""
        last = self.columns.last_tick
        return np.setdiff1d(np.flatnonzero((last >= 0) & (last < tick)), self.open_samples()[0])

    def forget(self, rows: Ints) -> None:
        """Take `rows` out of use."""
        self._blank(rows)
        self._counts = np.flatnonzero(self.columns.kind >= Kind.COUNT)

    def _blank(self, rows: Ints) -> None:
        slots = self.columns.slot[rows]
        self.coarse.forget(slots[slots >= 0].astype(np.int64))
        self.columns.assign(rows, Columns.blank(1, self.settings.window))

    def open_samples(self) -> tuple[Ints, Ints, Floats]:
        """Series, time and value of the samples whose ticks are still open, in the order in which they were read."""
        ticks = [_NOTHING, *self._open.values()]
        return (
            np.concatenate([part for tick in ticks for part in tick.series]),
            np.concatenate([part for tick in ticks for part in tick.time]),
            np.concatenate([part for tick in ticks for part in tick.value]),
        )

    def resume(
        self, columns: Columns, samples: tuple[Ints, Ints, Floats], *, high: int, closed: int, late: int
    ) -> None:
        """Go on from where another bank was: its public state and its `open_samples`."""
        self._use(columns)
        self.high, self.closed, self.late = high, closed, late
        self._counts = np.flatnonzero(columns.kind >= Kind.COUNT)
        self._open = {}
        self._keep(*samples)

    def fold(self, series: Ints, time: Ints, value: Floats) -> Iterator[Verdict]:
        """Take in samples in the order they were read.

        Args:
            series: `[n]` row of each sample.
            time: `[n]` event time, nanoseconds.
            value: `[n]` finite values.

        Yields:
            Verdicts in event-time order.

        """
        if not len(series):
            return
        before = self.high
        high = np.maximum(np.maximum.accumulate(time), before)
        passed = np.concatenate([[before], high[:-1]]) - self.settings.lateness_nanos
        closing = (high - self.settings.lateness_nanos) // self.settings.tick_nanos
        # The batch is cut where a record closes ticks: everything is judged against the same baseline however the
        # records were batched.
        cuts = np.flatnonzero(np.diff(closing, prepend=self.closed))
        bounds = [*([0] if not len(cuts) or cuts[0] else []), *cuts.tolist(), len(series)]
        for start, stop in pairwise(bounds):
            part = slice(start, stop)
            self.high, self._sample = int(high[start]), start - 1
            yield from self._close_before(int(closing[start]))
            yield from self._take(series[part], time[part], value[part], passed[part], start)
        self.high, self._sample = int(high[-1]), -1

    def advance(self, time: int) -> Iterator[Verdict]:
        """Let event time pass without samples: nothing from before `time` is to come any more."""
        if self.closed >= 0 and time > self.high:
            self.high = time
            yield from self._close_before(self.watermark // self.settings.tick_nanos)

    def flush(self) -> Iterator[Verdict]:
        """Close every tick there is: the end of a replay."""
        if self._open:
            yield from self._close_before(max(self._open) + 1)

    def _take(self, series: Ints, time: Ints, value: Floats, passed: Ints, start: int) -> Iterator[Verdict]:
        tick = time // self.settings.tick_nanos
        sample = np.arange(start, start + len(series))
        on_time = tick >= self.closed
        if not on_time.all():
            self.late += int(np.count_nonzero(~on_time))
            series, time, value = series[on_time], time[on_time], value[on_time]
            passed, sample = passed[on_time], sample[on_time]
        self._thresholds = self.settings.thresholds_at(self.closed * self.settings.tick_nanos)
        yield from self._judge_at_once(series, time, value, passed, sample)
        self._keep(series, time, value)

    def _keep(self, series: Ints, time: Ints, value: Floats) -> None:
        """Put samples into their ticks."""
        tick = time // self.settings.tick_nanos
        # Mostly they are all of one, and to find that out is quicker than to sort them.
        of_one = len(tick) > 0 and bool((tick == tick[0]).all())
        for one in [int(tick[0])] if of_one else np.unique(tick).tolist():
            mine = tick == one
            bucket = self._open.setdefault(one, _OpenTick())
            bucket.series.append(series[mine])
            bucket.time.append(time[mine])
            bucket.value.append(value[mine])

    def _judge_at_once(self, series: Ints, time: Ints, value: Floats, passed: Ints, sample: Ints) -> Iterator[Verdict]:
        """Fire on single samples whose evidence suffices alone; one sample is noisier than the mean of a tick."""
        c = self.columns
        far = bank_loops.far(series, value, c)
        if not len(far):
            return
        part = (series, time, value)
        earlier = contested.Earlier.of(np.unique(series[far]), self.open_samples(), part)
        for i in far.tolist():
            row = int(series[i])
            scale = c.scale[row] * np.sqrt(np.maximum(c.density[row], 1.0))
            raw = decades(float((value[i] - c.centre[row]) / scale), int(c.filled[row]))
            surprise = calibrate(raw, float(c.looks[row]), float(c.entered[row]), float(c.excess[row]))
            height = accumulate(float(c.height[row]), surprise)
            level = self._level(coarse=False) / max(float(c.density[row]), 1.0)
            one = np.array([row])
            if c.firing[row] or height < self.calibration.threshold(c, one, level, coarse=False)[0]:
                continue
            c.height[row], c.firing[row], c.onset[row] = height, True, time[i]
            c.since[row], c.calm[row] = time[i] // self.settings.tick_nanos, 0
            if earlier.contradict(c, row, int(time[i]), i):
                c.contested[row] = c.since[row]
            c.peak[row] = 0.0
            p_value = self.calibration.p_value(c, row)
            self.calibration.raised(c, one, coarse=False)
            # Not before what `watermark` said to be complete when this sample was still to come.
            self._sample, at = int(sample[i]), max(int(time[i]), int(passed[i]) + 1)
            release = max(at - self.settings.lateness_nanos, int(passed[i]) + 1)
            yield self._verdict(row, Change.FIRING, at, float(value[i]), odds=(p_value, level), release=release)

    def _close_before(self, tick: int) -> Iterator[Verdict]:
        if self.closed < 0:
            self.closed = tick
        if tick <= self.closed:
            return
        # Beyond the window older zeros are forgotten anyway; ticks with samples are always closed one by one.
        fill_from = max(self.closed, tick - self.settings.window) if len(self._counts) else tick
        due = sorted({t for t in self._open if t < tick} | set(range(fill_from, tick)))
        for one in due:
            self._thresholds = self.settings.thresholds_at((one + 1) * self.settings.tick_nanos)
            yield from self._close(one, self._open.pop(one, None))
        self.closed = tick

    def _close(self, tick: int, bucket: _OpenTick | None) -> Iterator[Verdict]:
        rows, values, doubted, newest = self._gather(tick, bucket)
        yield from self._doubt(doubted, newest, tick)
        if not len(rows):
            return
        c, warmup = self.columns, self.settings.warmup
        known = bank_loops.arrive(rows, tick, warmup, self._long_gap, c)
        slow = _NONE
        if known < 0:
            self._learn_interval(rows, tick)
            slow = np.flatnonzero(c.slot[rows] >= 0)
            known = int(np.count_nonzero((c.filled[rows] >= warmup) & (c.slot[rows] < 0)))
        self.calibration.pass_time(tick, self._tick_seconds, fine=len(rows) - len(slow), judged=known, coarse=len(slow))
        if known:
            yield from self._judge(rows, values, tick)
        if len(slow):
            yield from self._judge_coarse(rows[slow], values[slow], tick)
        bank_loops.push(rows, values, warmup, c)
        if self.witness is not None:
            yield from self.witness.look(tick, rows, values, c.last_time[rows], self._sample)

    def _doubt(self, rows: Ints, values: Floats, tick: int) -> Iterator[Verdict]:
        """Say again of what has fired that it does, now that it is contested."""
        for row, value in zip(rows.tolist(), values.tolist(), strict=True):
            odds = (self.calibration.p_value(self.columns, row), self._level(coarse=self.columns.slot[row] >= 0))
            yield self._verdict(row, Change.FIRING, (tick + 1) * self.settings.tick_nanos, value, odds=odds)

    def _gather(self, tick: int, bucket: _OpenTick | None) -> bank_loops.Gathered:
        """Return one finite number per series of the tick, and what is contested now."""
        bucket = bucket or _NOTHING
        samples = _joined(bucket.series), _joined(bucket.time), _joined(bucket.value)
        found = bank_loops.Gathered(
            *bank_loops.gather(*samples, tick, self.settings.tick_nanos, self._place, self.columns)
        )
        if not len(self._counts):
            return found
        rows, values = self._fill_zeros(found.rows, found.values, tick)
        return found._replace(rows=rows, values=values)

    def _fill_zeros(self, rows: Ints, values: Floats, tick: int) -> tuple[Ints, Floats]:
        c = self.columns
        silent = self._counts[(c.last_tick[self._counts] >= 0) & (c.last_tick[self._counts] < tick)]
        silent = np.setdiff1d(silent, rows, assume_unique=True)
        if not len(silent):
            return rows, values
        rows, values = np.concatenate([rows, silent]), np.concatenate([values, np.zeros(len(silent))])
        order = np.argsort(rows, kind="stable")
        return rows[order], values[order]

    def _judge(self, rows: Ints, values: Floats, tick: int) -> Iterator[Verdict]:
        level = self._level(coarse=False)
        by = bank_loops.Tick(
            tick=tick,
            end=(tick + 1) * self.settings.tick_nanos,
            warmup=self.settings.warmup,
            patience=self.settings.adapt_ticks,
            patience_nanos=self.settings.adapt_ticks * self.settings.tick_nanos,
            threshold=self.calibration.fine.threshold(level),
        )
        became, over = bank_loops.judge(rows, values, by, self.columns)
        self.calibration.over(over, coarse=False)
        yield from self._change(rows, values, tick, became, level=level, slow=False)

    def _judge_coarse(self, rows: Ints, values: Floats, tick: int) -> Iterator[Verdict]:
        """As `_judge`, of series with a detector of their own each: its score is evidence enough, nothing adds up."""
        c = self.columns
        slots = c.slot[rows].astype(np.int64)
        height, score = self.coarse.height(slots, c.last_time[rows], values)
        height = np.nan_to_num(height)
        level = self._level(coarse=True)
        threshold = self.calibration.threshold(c, rows, level, coarse=True)
        before = c.height[rows]
        begins = (before <= 0) & (height > 0) & ~c.firing[rows]
        c.onset[rows] = np.where(begins, c.last_time[rows], c.onset[rows])
        c.height[rows] = height
        self.calibration.over(bank_loops.follow(rows, before, c), coarse=True)
        calm = ~c.firing[rows] & (height < threshold)
        self.coarse.learn(slots[calm], score[calm])
        with np.errstate(invalid="ignore", over="ignore"):
            deviation = (values - c.centre[rows]) / c.scale[rows]
        raw = np.where(np.isnan(deviation), np.nan, decades_of(np.nan_to_num(deviation), c.filled[rows]))
        # Surprise lasts: it has to rise through the threshold, or what has just been cleared would fire again.
        fires = ~c.firing[rows] & (height >= threshold) & (before < threshold)
        # An hour is a dozen looks at a coarse series: it takes as many as its baseline has.
        patience = np.maximum(self.settings.window * c.interval[rows].astype(np.float64), self.settings.adapt_ticks)
        became = bank_loops.stand(rows, np.where(height < threshold, raw, np.inf), fires, patience, tick, c)
        yield from self._change(rows, values, tick, became, level=level, slow=True)

    def _change(
        self, rows: Ints, values: Floats, tick: int, became: NDArray[np.int8], *, level: float, slow: bool
    ) -> Iterator[Verdict]:
        """Fire, clear, adapt: rows that are all fine, or all coarse."""
        changed = np.flatnonzero(became)
        if not len(changed):
            return
        rows, values, became = rows[changed], values[changed], became[changed]
        c = self.columns
        end = (tick + 1) * self.settings.tick_nanos
        for i in np.argsort(became, kind="stable").tolist():
            row, change = int(rows[i]), Change(int(became[i]) - FIRES)
            odds = (self.calibration.p_value(c, row), level) if change is Change.FIRING else (1.0, 0.0)
            yield self._verdict(row, change, end, float(values[i]), odds=odds)
        fires, adapts = became == FIRES, became == ADAPTS
        self.calibration.raised(c, rows[fires], coarse=slow)
        c.firing[rows[fires]], c.since[rows[fires]], c.peak[rows[fires]] = True, tick, 0.0
        done = rows[~fires]
        c.firing[done], c.calm[done] = False, 0
        c.height[done[c.slot[done] < 0]] = 0.0
        c.filled[rows[adapts]] = 0

    def _learn_interval(self, rows: Ints, tick: int) -> None:
        """Follow how often each series brings a number, and give those that turn coarse their slot, or take it back."""
        c = self.columns
        gap = np.where(c.seen[rows] >= 0, tick - c.seen[rows], 1)
        c.seen[rows] = tick
        long = gap * self.settings.tick_nanos >= coarse.COARSE_SECONDS * 1e9
        streak = c.streak[rows]
        streak = np.where(long, np.maximum(streak, 0) + 1, np.minimum(streak, 0) - 1)
        streak = np.clip(streak, -coarse.STREAK, coarse.STREAK)
        c.streak[rows] = streak
        slots = c.slot[rows]
        # An outage is no interval, so it counts for two.
        moved = c.interval[rows] + coarse.INTERVAL_RATE * (np.minimum(gap, 2 * c.interval[rows]) - c.interval[rows])
        c.interval[rows] = np.where(slots >= 0, moved, 1.0)
        self._turn(rows[(slots < 0) & (streak == coarse.STREAK)], gap[(slots < 0) & (streak == coarse.STREAK)])
        self._turn_fine(rows[(slots >= 0) & (streak == -coarse.STREAK)])

    def _turn(self, rows: Ints, gap: Ints) -> None:
        c, slots = self.columns, self.coarse.admit(len(rows))
        rows, gap = rows[: len(slots)], gap[: len(slots)]
        c.slot[rows], c.interval[rows], c.height[rows], c.peak[rows] = slots, gap, 0.0, 0.0

    def _turn_fine(self, rows: Ints) -> None:
        c = self.columns
        self.coarse.forget(c.slot[rows].astype(np.int64))
        c.slot[rows], c.interval[rows], c.height[rows], c.peak[rows] = -1, 1.0, 0.0, 0.0

    def _verdict(
        self,
        row: int,
        change: Change,
        time: int,
        observed: float,
        *,
        odds: tuple[float, float],
        release: int | None = None,
    ) -> Verdict:
        c = self.columns
        slot = int(c.slot[row])
        return Verdict(
            series=row,
            change=change,
            time_unix_nano=time,
            release_unix_nano=time if release is None else release,
            onset_unix_nano=int(c.onset[row]),
            observed=observed,
            expected=float(c.centre[row]),
            scale=float(c.scale[row]),
            height=float(c.height[row]),
            p_value=odds[0],
            level=odds[1],
            sample=self._sample,
            looks=self.coarse.looks(slot) if slot >= 0 and change is Change.FIRING else (),
            models=self._thresholds.models,
            contested=change is Change.FIRING and contested.in_doubt(c, row, self.settings.tick_nanos),
        )

    def _level(self, *, coarse: bool) -> float:
        return self.calibration.level(self.columns, self._thresholds.max_false_share, coarse=coarse)


def _joined(parts: list[NDArray[Any]]) -> NDArray[Any]:
    return parts[0] if len(parts) == 1 else np.concatenate(parts)
