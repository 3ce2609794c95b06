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

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.bank import DAY_NANOS, BankSettings, Change, Verdict
from detectors.bank_columns import LARGEST
from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows
from detectors.peer_loops import COLUMNS, HEIGHT, INTERVAL, LAST, SEEN, Comparison, Tick, compare, judge
from detectors.standing import Standing

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]

BY = "peers"


class _State:
    """What is known of each series, in one array, so that a tick reads and writes it in one piece each."""

    def __init__(self, count: int) -> None:
        self.columns = np.zeros((count, len(COLUMNS)))
        self.columns[:, LAST], self.columns[:, INTERVAL] = -1.0, 1.0


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
        values = np.minimum(np.maximum(values, -LARGEST), LARGEST)
        found = Comparison(*compare(self.group[rows], values))
        if not len(found.at):
            return
        rows, values, times = rows[found.at], values[found.at], times[found.at]
        known = self._state.columns
        by = Tick(
            tick=tick,
            looks_a_day=DAY_NANOS / self._settings.tick_nanos,
            allowed=self._allowed,
            compared=int(np.count_nonzero(known[:, LAST] >= 0)),
        )
        level, begun, fires, calm = judge(rows, values, found, self._standing.firing, by, known)
        self._standing.suspect(rows, times, begun)
        changes = self._standing.change(rows, tick, fires=fires, calm=calm, adapt_ticks=self._settings.adapt_ticks)
        yield from self._verdicts(changes, rows, values, found, level=level, tick=tick, sample=sample)

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
                height=float(columns[row, HEIGHT]),
                level=float(level[at]),
                sample=sample,
                by=BY,
                peers=int(found.peers[at]),
            )
            if change is not Change.FIRING:
                columns[row, HEIGHT] = 0.0
            if change is Change.ADAPTED:
                columns[row, SEEN] = 0.0

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
