"""Who fires: the state machine that all witnesses beside the bank's own judgement share.

Used by `detectors.entity_watch`, `detectors.peers` and `detectors.objectives`. A subject fires when its witness says
so, clears when it has been calm `CALM_TICKS` looks in a row, and has adapted when it fires for too long. Subjects are
rows; each is looked at once a tick at most.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from detectors.bank import CALM_TICKS, Change
from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows

Ints = NDArray[np.int64]
Flags = NDArray[np.bool_]


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
        s = self._state
        begins = begun & ~s.suspect[subjects] & ~s.firing[subjects]
        s.onset[subjects[begins]] = time[begins]
        s.suspect[subjects] = begun

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
        s = self._state
        firing = s.firing[subjects]
        s.calm[subjects] = np.where(calm & firing, s.calm[subjects] + 1, 0)
        clears = firing & (s.calm[subjects] >= CALM_TICKS)
        adapts = firing & ~clears & (tick - s.since[subjects] >= adapt_ticks)
        fires = fires & ~firing
        s.firing[subjects[fires]], s.since[subjects[fires]] = True, tick
        s.firing[subjects[clears | adapts]] = False
        for change, which in ((Change.FIRING, fires), (Change.CLEARED, clears), (Change.ADAPTED, adapts)):
            for position in np.flatnonzero(which).tolist():
                yield position, change

    def freeze(self) -> bytes:
        """Everything it knows."""
        return freeze_rows(self._state)

    @classmethod
    def thaw(cls, state: bytes) -> Standing:
        """Make what `freeze` was called on."""
        made = cls()
        thaw_rows(made._state, state)
        return made
