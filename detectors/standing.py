"""Who fires: the state machine that all witnesses beside the bank's own judgement share.

Used by `detectors.entity_watch`, `detectors.peers` and `detectors.objectives`. A subject fires when its witness says
so, clears when it has been calm `CALM_TICKS` looks in a row, and has adapted when it fires for too long. Subjects are
rows; each is looked at once a tick at most.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.bank import Change
from detectors.bank_loops import ADAPTS, CALM_TICKS, CLEARS, FIRES
from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows
from detectors.compiled import loop

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


class _Columns(NamedTuple):
    """A `_State`, as loops take it."""

    firing: Flags
    since: Ints
    onset: Ints
    suspect: Flags
    calm: NDArray[np.int16]


class _Look(NamedTuple):
    """When subjects are looked at, and who has fired for how long by then has a new normal. Ticks."""

    tick: int
    patience: int


@loop()
def _suspect(subjects: Ints, time: Ints, begun: Flags, c: _Columns) -> None:
    for i in range(len(subjects)):
        one = subjects[i]
        if begun[i] and not c.suspect[one] and not c.firing[one]:
            c.onset[one] = time[i]
        c.suspect[one] = begun[i]


@loop()
def _change(subjects: Ints, fires: Flags, calm: Flags, look: _Look, c: _Columns) -> NDArray[np.int8]:
    became = np.zeros(len(subjects), np.int8)
    for i in range(len(subjects)):
        one = subjects[i]
        if not c.firing[one]:
            c.calm[one] = 0
            if fires[i]:
                c.firing[one], c.since[one], became[i] = True, look.tick, FIRES
            continue
        c.calm[one] = min(c.calm[one] + 1, CALM_TICKS) if calm[i] else 0
        if c.calm[one] >= CALM_TICKS:
            c.firing[one], became[i] = False, CLEARS
        elif look.tick - c.since[one] >= look.patience:
            c.firing[one], became[i] = False, ADAPTS
    return became


class _State:
    def __init__(self, count: int) -> None:
        self.firing = np.zeros(count, np.bool_)
        self.since = np.zeros(count, np.int64)  # tick since which it fires
        self.onset = np.zeros(count, np.int64)
        self.suspect = np.zeros(count, np.bool_)  # something has begun of which `onset` is the beginning
        self.calm = np.zeros(count, np.int16)


class Standing:
    """Where each subject stands."""

    def __init__(self) -> None:
        self._state = _State(0)

    @property
    def firing(self) -> Flags:
        """`[subjects]`."""
        return self._state.firing

    def onset(self, subject: int) -> int:
        """Event time at which what it fires for began."""
        return int(self._state.onset[subject])

    def reserve(self, count: int) -> None:
        """Make room for as many subjects."""
        missing = count - len(self._state.firing)
        if missing > 0:
            self._state = grown(self._state, _State(max(missing, len(self._state.firing))))

    def forget(self, subjects: Ints) -> None:
        """Let subjects be new."""
        assign(self._state, subjects, _State(1))

    def suspect(self, subjects: Ints, time: Ints, begun: Flags) -> None:
        """Note when what may become a firing began: at the first of the looks in a row that are `begun`."""
        _suspect(subjects, time, begun, _Columns(**vars(self._state)))

    def change(
        self, subjects: Ints, tick: int, *, fires: Flags, calm: Flags, adapt_ticks: int
    ) -> Iterator[tuple[int, Change]]:
        """Move subjects on by one look each.

        Args:
            subjects: `[n]` distinct.
            tick: the tick of this look.
            fires: `[n]` whether the evidence suffices; without meaning for those that fire already.
            calm: `[n]` whether it is as usual.
            adapt_ticks: who has fired for so long has a new normal.

        Yields:
            Position in `subjects` and what became of it.

        """
        became = _change(subjects, fires, calm, _Look(tick, adapt_ticks), _Columns(**vars(self._state)))
        changed = np.flatnonzero(became)
        for position in changed[np.argsort(became[changed], kind="stable")].tolist():
            yield position, Change(int(became[position]) - FIRES)

    def freeze(self) -> bytes:
        """Everything it knows."""
        return freeze_rows(self._state)

    @classmethod
    def thaw(cls, state: bytes) -> Standing:
        """Make what `freeze` was called on."""
        made = cls()
        thaw_rows(made._state, state)
        return made
