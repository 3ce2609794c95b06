"""A run of consecutive records of one partition: what the transport hands to a stage at a time.

Made by `streams.fetcher`, folded by the kernels behind `streams.stage`. Columns, not records: the decoders want all
values at once, and a Python object per record is what makes a stream processor slow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one partition, by position. `timestamps` are the broker's, in milliseconds."""

    topic: str
    partition: int
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    offsets: Sequence[int]
    timestamps: Sequence[int]

    def __len__(self) -> int:
        return len(self.offsets)

    def since(self, offset: int) -> Batch:
        """Return the part from this offset on."""
        if self.offsets[0] >= offset:
            return self
        cut = bisect_left(self.offsets, offset)
        return Batch(
            self.topic,
            self.partition,
            self.values[cut:],
            self.keys[cut:],
            self.offsets[cut:],
            self.timestamps[cut:],
        )
