"""Watermarks and order: how far every source has been read, and signals released in event-time order.

Used by the correlate kernel. The rule: the watermark is the minimum over all known sources that are not idle; what
lies at or before it is complete and is released, ordered by event time and then by id, however it arrived.

A source is known from its first progress on. It is idle when it says so, or when whoever feeds the kernel got tired
of waiting for it (`excuse`); it counts again as soon as it speaks.
"""

from __future__ import annotations

from heapq import heappop, heappush
from typing import Generic, TypeVar

Item = TypeVar("Item")


class Watermarks:
    """Minimum of the event times that the sources have reached."""

    def __init__(self, reached: dict[str, int] | None = None, idle: set[str] | None = None) -> None:
        self.reached: dict[str, int] = dict(reached or {})
        self.idle: set[str] = set(idle or ())
        self.current = 0
        self._update()

    def observe(self, source: str, time: int, *, idle: bool = False) -> None:
        """Note how far `source` has come. A source never goes back: repeats after a crash change nothing."""
        self.reached[source] = max(time, self.reached.get(source, 0))
        if idle:
            self.idle.add(source)
        else:
            self.idle.discard(source)
        self._update()

    def excuse(self, until: int) -> list[str]:
        """Stop waiting for the sources that are behind `until`; returns them."""
        behind = [s for s, time in self.reached.items() if time < until and s not in self.idle]
        self.idle.update(behind)
        self._update()
        return behind

    def _update(self) -> None:
        waited_for = [time for source, time in self.reached.items() if source not in self.idle]
        # All idle: nothing more is coming for now, so what is here is complete.
        reached = min(waited_for) if waited_for else max(self.reached.values(), default=0)
        self.current = max(self.current, reached)


class EventTimeBuffer(Generic[Item]):
    """Items that wait for the watermark, released by event time, ties by id."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, str, Item]] = []

    def __len__(self) -> int:
        return len(self._heap)

    def add(self, time: int, identity: str, item: Item) -> None:
        heappush(self._heap, (time, identity, item))

    def next_time(self) -> int | None:
        """Event time of the next item, None when there is none."""
        return self._heap[0][0] if self._heap else None

    def pop(self) -> Item:
        return heappop(self._heap)[2]

    def items(self) -> list[Item]:
        """Everything that waits, in order: for a snapshot."""
        return [item for _, _, item in sorted(self._heap, key=lambda entry: entry[:2])]
