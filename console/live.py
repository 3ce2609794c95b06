"""Who is watching, and what each of them has not been told yet.

`console.server` publishes what a fold changed; `console.api.events` streams it to browsers. A watcher holds names of
what changed, never the changes: however slow it is, it costs no memory, and it is always told the present state.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

from console.view import Changes
from schemas.errors import TemporaryError

# One per open page. A page costs one connection and a few kB; this is far above one team, far below any limit.
MAX_WATCHERS = 200


class Watcher:
    """One stream's backlog."""

    def __init__(self, known: Iterable[str]) -> None:
        # A stream begins with everything there is.
        self._pending = Changes(incidents=set(known), controls=True)
        self._woken = asyncio.Event()
        self._woken.set()
        self.closed = False

    async def changes(self) -> Changes:
        """Wait for something to tell, and take it. Take it also when nothing but the feed's state has changed."""
        await self._woken.wait()
        self._woken.clear()
        taken, self._pending = self._pending, Changes()
        return taken

    def tell(self, changes: Changes) -> None:
        self._pending.incidents |= changes.incidents
        self._pending.incidents -= changes.removed
        self._pending.removed |= changes.removed
        self._pending.removed -= changes.incidents
        self._pending.controls |= changes.controls
        self._woken.set()

    def close(self) -> None:
        self.closed = True
        self._woken.set()


class Hub:
    """All watchers."""

    def __init__(self) -> None:
        self._watchers: set[Watcher] = set()
        self._closed = False

    def __len__(self) -> int:
        return len(self._watchers)

    def publish(self, changes: Changes) -> None:
        for watcher in self._watchers:
            watcher.tell(changes)

    @contextmanager
    def watch(self, known: Iterable[str]) -> Iterator[Watcher]:
        """Join for as long as the context is open.

        Raises:
            TemporaryError: too many watch already, or the console is stopping.

        """
        if self._closed or len(self._watchers) >= MAX_WATCHERS:
            raise TemporaryError("no more event streams can be opened just now", delay=5.0)
        watcher = Watcher(known)
        self._watchers.add(watcher)
        try:
            yield watcher
        finally:
            self._watchers.discard(watcher)

    def close(self) -> None:
        """End every stream, so that the server can stop."""
        self._closed = True
        for watcher in self._watchers:
            watcher.close()
