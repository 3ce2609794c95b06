"""What an instance looks like as a whole while something of it is abnormal: how far each metric is from its usual.

Asked by `detectors.witnesses` once per closed tick, after all that judge. Where they tell what is beyond chance, this
tells the rest, too: three metrics that fire say little about which trouble it is, ninety that have moved a little in a
certain pattern say a lot. It raises nothing. `detectors.memory` compares the profiles of incidents by it.

The profile of an instance begins when the first of its metrics fires, and is taken after `EARLY` and after `LOOKS`
looks at it: the median departure of each metric from its level before, in robust spreads, as its asinh (linear near
calm, logarithmic far off). What is over sooner has the first alone. The level before is that of the calm history but
for the last `LATELY` values, in which the trouble may have begun unnoticed. Whatever fires anew after that begins
another, against the same level.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Protocol

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.bank_columns import Columns
from detectors.bank_loops import baseline
from detectors.bank_verdict import BankSettings, Change, Verdict

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BY = "profile"
# Eight looks tell most, sixteen what is left of chance.
EARLY, LOOKS = 8, 16
# Values left out of the level before: a fault is seen some seconds after it began.
LATELY = 8
# No metric counts for more than asinh of 1,500 spreads: beyond, it has simply never moved before.
MOST_DEPARTURE = 8.0
# Fewer metrics than this are no profile.
MIN_METRICS = 3
# Instances that are looked at together; of those that come on top there is none.
MAX_ENTITIES = 100


class Bank(Protocol):
    """What is needed of a series bank."""

    columns: Columns
    settings: BankSettings


class _Trouble(msgspec.Struct):
    """An instance of which something fires. Lists are by metric, of those of which a level is known."""

    all_rows: list[int]
    rows: list[int]
    centre: list[float]
    scale: list[float]
    fired: set[int]
    began: int  # tick
    seen: list[list[float]]  # [looks, metrics]; what had no value is NaN
    open: bool = True


class ProfileWatch:
    """The instances of a partition of which something fires."""

    def __init__(self) -> None:
        self._troubles: dict[int, _Trouble] = {}

    def look(
        self, tick: int, rows: Ints, values: Floats, sample: int, *, bank: Bank, owner: Ints, raised: Iterable[int]
    ) -> Iterator[Verdict]:
        """Look at the numbers of one tick.

        Args:
            tick: which.
            rows: `[n]` distinct series, ascending.
            values: `[n]` their finite numbers.
            sample: what `Verdict.sample` is to be.
            bank: whose series these are.
            owner: `[rows of the bank]` the number of whose each series is, -1 where it is nobody's.
            raised: series that other witnesses fire for as of this tick.

        """
        firing = rows[bank.columns.firing[rows]]
        fired: dict[int, set[int]] = {}
        for row in (*firing.tolist(), *raised):
            fired.setdefault(int(owner[row]), set()).add(row)
        fired.pop(-1, None)
        for one in sorted({*fired, *self._troubles}):
            trouble = self._trouble(one, bank, owner, tick, fired.get(one, set()))
            if trouble is None:
                continue
            _see(trouble, rows, values)
            looks, over = len(trouble.seen), not bank.columns.firing[trouble.all_rows].any()
            if trouble.open and looks in (EARLY, LOOKS):
                yield from _verdict(trouble, tick, bank.settings.tick_nanos, sample)
            if looks >= (EARLY if over else LOOKS):
                trouble.open, trouble.seen = False, []
            if over and not (trouble.open and trouble.rows):
                del self._troubles[one]

    def _trouble(self, one: int, bank: Bank, owner: Ints, tick: int, fired: set[int]) -> _Trouble | None:
        trouble = self._troubles.get(one)
        if trouble is None:
            if len(self._troubles) >= MAX_ENTITIES:
                return None
            trouble = self._troubles[one] = _begun(bank, np.flatnonzero(owner == one), tick)
        elif not trouble.open and not fired <= trouble.fired:
            trouble.open, trouble.began, trouble.seen = True, tick, []
        trouble.fired |= fired
        return trouble

    def forget(self, entities: Iterable[int]) -> None:
        """Give up on instances of which series are taken out of use: their rows may be given to others."""
        for one in entities:
            self._troubles.pop(one, None)

    def freeze(self) -> bytes:
        """Everything it knows."""
        return msgspec.msgpack.encode(self._troubles)

    def thaw(self, state: bytes) -> None:
        """Become what `freeze` was called on."""
        self._troubles = msgspec.msgpack.decode(state, type=dict[int, _Trouble])


def _begun(bank: Bank, rows: Ints, tick: int) -> _Trouble:
    c = bank.columns
    known = rows[(c.filled[rows] >= bank.settings.warmup) & (c.slot[rows] < 0)].tolist()
    levels = [_level_before(c, row) for row in known]
    centre, scale = [level[0] for level in levels], [level[1] for level in levels]
    return _Trouble(rows.tolist(), known, centre, scale, set(), tick, [])


def _level_before(c: Columns, row: int) -> tuple[float, float]:
    """Centre and robust spread of the calm history, without what came lately where enough is left."""
    filled, window = int(c.filled[row]), c.ring.shape[1]
    length = min(filled, window)
    first = LATELY if length >= 2 * LATELY else 0
    # By age: 0 is what came last.
    history = c.ring[row, (filled - 1 - np.arange(first, length)) % window]
    centre, scale, _ = baseline(np.sort(history).astype(np.float64))
    return centre, scale


def _see(trouble: _Trouble, rows: Ints, values: Floats) -> None:
    """Keep what the instance shows in a tick, if it shows anything."""
    if not trouble.open or not trouble.rows:
        return
    mine = np.array(trouble.rows)
    at = np.minimum(np.searchsorted(rows, mine), len(rows) - 1)
    here = rows[at] == mine
    if here.any():
        trouble.seen.append(np.where(here, values[at], np.nan).tolist())


def _verdict(trouble: _Trouble, tick: int, tick_nanos: int, sample: int) -> Iterator[Verdict]:
    seen = np.array(trouble.seen)
    # What is missing in half of the looks has no median worth the name.
    known = np.count_nonzero(np.isfinite(seen), axis=0) * 2 > len(seen)
    if np.count_nonzero(known) < MIN_METRICS:
        return
    median = np.nanmedian(seen[:, known], axis=0)
    off = (median - np.array(trouble.centre)[known]) / np.array(trouble.scale)[known]
    departure = np.clip(np.arcsinh(off), -MOST_DEPARTURE, MOST_DEPARTURE)
    rows, end = np.array(trouble.rows)[known], (tick + 1) * tick_nanos
    yield Verdict(
        series=int(rows[0]),
        change=Change.NOTED,
        time_unix_nano=end,
        release_unix_nano=end,
        onset_unix_nano=trouble.began * tick_nanos,
        observed=float(np.linalg.norm(departure)),
        expected=0.0,
        scale=1.0,
        height=0.0,
        level=0.0,
        sample=sample,
        by=BY,
        parts=tuple(zip(rows.tolist(), departure.tolist(), strict=True)),
    )
