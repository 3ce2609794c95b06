"""Objectives as witnesses: what people said may not be exceeded, whatever a series or its peers usually do.

Called by `detectors.witnesses` once per closed tick. An objective is a bound on what a metric of a service shows in one
tick: the mean of a gauge, the increase per second of a counter. It is broken when `LOOKS` looks in a row are beyond it
and kept again after as many within (`detectors.standing`); nothing is learned.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from math import inf

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.bank import BankSettings, Verdict
from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows
from detectors.standing import Standing

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

BY = "objective"
# As many as a series needs to be calm again: one lucky or unlucky sample is neither.
LOOKS = 3


@dataclass(frozen=True, slots=True)
class Objective:
    """A bound. Patterns are shell-style; scopes are environment/service."""

    metric: str
    service: str = "*"
    above: float = inf
    """More than this breaks it."""
    below: float = -inf
    """Less than this breaks it."""

    def covers(self, scope: str, metric: str) -> bool:
        """Whether it is about a metric of a service."""
        return fnmatchcase(metric, self.metric) and fnmatchcase(scope, self.service)


class _State:
    def __init__(self, count: int) -> None:
        self.above = np.full(count, inf)
        self.below = np.full(count, -inf)
        self.beyond = np.zeros(count, np.int16)  # looks in a row


class ObjectiveWatch:
    """All series of a partition that have an objective; the first that covers a series counts."""

    def __init__(self, settings: BankSettings, objectives: Sequence[Objective]) -> None:
        self._settings = settings
        self._objectives = objectives
        self._standing, self._state = Standing(), _State(0)

    def admit(self, row: int, scope: str, metric: str) -> None:
        """Give `row` to a new series of a service."""
        mine = next((one for one in self._objectives if one.covers(scope, metric)), None)
        if mine is None:
            return
        missing = row + 1 - len(self._state.above)
        if missing > 0:
            self._state = grown(self._state, _State(max(missing, len(self._state.above))))
            self._standing.reserve(len(self._state.above))
        self.forget(np.array([row]))
        self._state.above[row], self._state.below[row] = mine.above, mine.below

    def forget(self, rows: Ints) -> None:
        """Take rows out of use."""
        rows = rows[rows < len(self._state.above)]
        assign(self._state, rows, _State(1))
        self._standing.forget(rows)

    def firing(self, row: int) -> int | None:
        """Return the onset of what a series fires for."""
        return self._standing.onset(row) if row < len(self._standing.firing) and self._standing.firing[row] else None

    def look(self, tick: int, rows: Ints, values: Floats, times: Ints, sample: int) -> Iterator[Verdict]:
        """Judge the numbers of one tick: see `detectors.bank.Witness`."""
        mine = rows < len(self._state.above)
        if not mine.any():
            return
        rows, values, times, s = rows[mine], values[mine], times[mine], self._state
        beyond = (values > s.above[rows]) | (values < s.below[rows])
        s.beyond[rows] = np.where(beyond, np.minimum(s.beyond[rows] + 1, LOOKS), 0)
        self._standing.suspect(rows, times, beyond)
        fires = s.beyond[rows] == LOOKS
        end = (tick + 1) * self._settings.tick_nanos
        # What was promised does not become otherwise by being broken for long: it never adapts.
        changes = self._standing.change(rows, tick, fires=fires, calm=~beyond, adapt_ticks=np.iinfo(np.int64).max)
        for at, change in changes:
            row = int(rows[at])
            # Of a bound above and one below, the one that is nearer.
            high = s.below[row] == -inf or abs(values[at] - s.above[row]) < abs(values[at] - s.below[row])
            yield Verdict(
                series=row,
                change=change,
                time_unix_nano=end,
                release_unix_nano=end,
                onset_unix_nano=self._standing.onset(row),
                observed=float(values[at]),
                expected=float(s.above[row] if high else s.below[row]),
                scale=0.0,
                height=0.0,
                level=0.0,
                sample=sample,
                by=BY,
            )

    def freeze(self) -> bytes:
        """Everything it knows."""
        return msgspec.msgpack.encode((self._standing.freeze(), freeze_rows(self._state)))

    def thaw(self, state: bytes) -> None:
        """Become what `freeze` was called on: the objectives it was watching then are those it goes on to watch."""
        standing, own = msgspec.msgpack.decode(state, type=list[bytes])
        self._standing = Standing.thaw(standing)
        thaw_rows(self._state, own)
