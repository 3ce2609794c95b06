"""Which offsets may be committed: for each partition, everything up to the lowest record not yet done.

Used by the executor, which finishes records in any order. The consumer's own thread takes the committable offsets
during a rebalance, hence the lock.
"""

from __future__ import annotations

from threading import Lock


class OffsetTracker:
    """Offsets received and done, by partition."""

    def __init__(self) -> None:
        self._lock = Lock()
        self._open: dict[int, set[int]] = {}
        self._next: dict[int, int] = {}
        self._taken: dict[int, int] = {}

    def received(self, partition: int, offset: int) -> None:
        """Note a record that must be done before anything from it on is committed."""
        with self._lock:
            self._open.setdefault(partition, set()).add(offset)
            self._next[partition] = max(offset + 1, self._next.get(partition, 0))
            # The first record of a partition is where it was read from: committing that says nothing new.
            self._taken.setdefault(partition, offset)

    def done(self, partition: int, offset: int) -> None:
        """Note that nothing remains to be done for a record. One of a partition since given up is not ours to note."""
        with self._lock:
            self._open.get(partition, set()).discard(offset)

    def take(self) -> dict[int, int]:
        """Take the offsets to commit: of each partition, where to read on; only what has moved since the last take."""
        with self._lock:
            lowest = {partition: min(self._open[partition], default=end) for partition, end in self._next.items()}
            moved = {partition: offset for partition, offset in lowest.items() if offset > self._taken[partition]}
            self._taken.update(moved)
            return moved

    def forget(self, partitions: list[int]) -> None:
        """Drop partitions that are no longer ours; what they deliver again starts afresh."""
        with self._lock:
            for partition in partitions:
                self._open.pop(partition, None)
                self._next.pop(partition, None)
                self._taken.pop(partition, None)
