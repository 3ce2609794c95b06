"""The clock of a replay: recorded time cut into slices, each played whole before the next.

Live, batches of all partitions come side by side and clocks run beside them. A replay puts them in one order that
depends on nothing but the records: a slice of broker time after the other, and within it what can only be early before
what may release it. A slice also ends with each record of a person or an executor, so that these meet what the arc had
made of everything before them.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

# As long as a tick of detection is by default. Shorter makes batches small and a replay slow; longer than the seconds
# that correlation waits for a silent source would look like silence.
STEP_MILLIS = 1000

Millis = NDArray[np.int64]
_NEVER = np.int64(2**62)


class Slices:
    """Slices by their ends, in milliseconds and inclusive.

    >>> slices = Slices([1300])
    >>> slices.ends(np.array([999, 1000, 1300, 1301])).tolist()
    [999, 1300, 1300, 1999]
    >>> slices.after(1300)
    1999
    """

    def __init__(self, cuts: Iterable[int], step_millis: int = STEP_MILLIS) -> None:
        self._cuts = np.array([*sorted(set(cuts)), _NEVER], np.int64)
        self._step = step_millis

    def ends(self, millis: Millis) -> Millis:
        """Return the end of the slice that each time lies in."""
        grid = (millis // self._step + 1) * self._step - 1
        return np.minimum(grid, self._cuts[np.searchsorted(self._cuts, millis)])

    def after(self, end: int) -> int:
        """Return the end of the slice after the one that ends here."""
        return int(self.ends(np.array([end + 1], np.int64))[0])
