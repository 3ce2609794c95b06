"""A run of consecutive records of one partition: what the transport hands to a stage at a time.

Made by `streams.transport`, folded by the kernels behind `streams.stage`. Columns, not records: the decoders want all
values at once, and a Python object per record is what makes a stream processor slow.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol


class FetchedRecord(Protocol):
    """What aiokafka's parser yields."""

    @property
    def offset(self) -> int: ...
    @property
    def timestamp(self) -> int: ...
    @property
    def key(self) -> bytes | None: ...
    @property
    def value(self) -> bytes | None: ...


@dataclass(frozen=True, slots=True)
class Batch:
    """Consecutive records of one partition, by position. `timestamps` are the broker's, in milliseconds."""

    topic: str
    partition: int
    values: Sequence[bytes | None]
    keys: Sequence[bytes | None]
    offsets: Sequence[int]
    timestamps: Sequence[int]

    @classmethod
    def of(cls, topic: str, partition: int, records: Sequence[FetchedRecord]) -> Batch:
        """Columns of fetched records, of which there must be at least one."""
        return cls(
            topic,
            partition,
            [record.value for record in records],
            [record.key for record in records],
            _offsets(records),
            [record.timestamp for record in records],
        )

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


def _offsets(records: Sequence[FetchedRecord]) -> Sequence[int]:
    """Offsets of fetched records. They have holes only where records were compacted away or belong to transactions."""
    first, last = records[0].offset, records[-1].offset
    if last - first == len(records) - 1:
        return range(first, last + 1)
    return [record.offset for record in records]
