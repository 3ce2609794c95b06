"""When to look at what again, the earliest first: cost grows with what is due, not with what waits."""

from __future__ import annotations

from collections.abc import Iterator
from heapq import heapify, heappop, heappush

# Moments that were put off stay in the heap until they come up; beyond twice what waits, and this, it is made anew.
_STALE = 64


class Agenda:
    """Names, each with the moment at which it is due. A later moment for a name takes the place of the earlier one."""

    def __init__(self) -> None:
        self._due: dict[str, int] = {}
        self._heap: list[tuple[int, str]] = []

    def __len__(self) -> int:
        return len(self._due)

    def put(self, name: str, at_unix_nano: int | None) -> None:
        """Note when a name is due; None takes it off."""
        if at_unix_nano is None:
            self._due.pop(name, None)
        elif self._due.get(name) != at_unix_nano:
            self._due[name] = at_unix_nano
            heappush(self._heap, (at_unix_nano, name))
        if len(self._heap) > 2 * len(self._due) + _STALE:
            self._heap = [(at, waiting) for waiting, at in self._due.items()]
            heapify(self._heap)

    def until(self, unix_nano: int) -> Iterator[tuple[int, str]]:
        """Take off what is due by then, with its moment, in order of time and name; what is put meanwhile, too."""
        while self._heap and self._heap[0][0] <= unix_nano:
            at, name = heappop(self._heap)
            if self._due.get(name) == at:
                del self._due[name]
                yield at, name
