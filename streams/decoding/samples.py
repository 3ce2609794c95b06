"""Samples on their way to the series bank: columns whose series are known by an entry of their batch only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Samples:
    """Columns of samples, each `[n]`."""

    entry: Ints  # index into the batch's entries
    time: Ints  # event time, nanoseconds
    value: Floats
    record: Ints  # position in the batch

    @classmethod
    def joined(cls, parts: Sequence[Samples]) -> Samples:
        """Return the samples of all parts, of which there is one at least."""
        if len(parts) == 1:
            return parts[0]
        return cls(
            np.concatenate([part.entry for part in parts]),
            np.concatenate([part.time for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.record for part in parts]),
        )

    def take(self, which: Ints | NDArray[np.bool_]) -> Samples:
        """Return some of them."""
        return Samples(self.entry[which], self.time[which], self.value[which], self.record[which])

    def in_order(self) -> Samples:
        """Return them by record and, within a record, by time; what is equal stays as it is."""
        step = np.diff(self.record)
        # Mostly they are: looking costs a tenth of sorting.
        if not (step < 0).any() and not ((step == 0) & (np.diff(self.time) < 0)).any():
            return self
        return self.take(np.lexsort((self.time, self.record)))
