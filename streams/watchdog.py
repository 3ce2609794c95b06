"""End the process when an app no longer gets anywhere although there is work: better dead than silently deaf.

Faust and its Kafka client have been seen to stop reading after broker outages, missed heartbeats or a dead agent,
without any error. Whoever supervises the process starts it again, from its snapshots. Run by `streams.worker`, in a
thread of its own, so that a blocked event loop is noticed as well.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Mapping, Sequence
from threading import Event, Thread
from time import monotonic
from typing import Protocol, Self

from streams.transport import Partition, Progress

log = logging.getLogger(__name__)

# Four times what a rebalance, a broker's failover and the largest snapshot took together.
STALL_SECONDS = 120.0
# Stalls are told apart by minutes; looking costs microseconds per partition.
LOOK_SECONDS = 5.0


class Watched(Protocol):
    """An app."""

    @property
    def name(self) -> str: ...

    def progress(self) -> Mapping[Partition, Progress]:
        """Return how far each partition is done."""


class StallDetector:
    """Says which partitions have had work for `limit` seconds without getting on with it."""

    def __init__(self, limit: float) -> None:
        self._limit = limit
        # Per partition: how far it was, and since when.
        self._since: dict[Partition, tuple[int | None, float]] = {}

    def look(self, progress: Mapping[Partition, Progress], now: float) -> list[Partition]:
        """Take note of where the partitions are; returns the stalled ones."""
        self._since = {
            tp: self._since[tp] if tp in self._since and self._since[tp][0] == at.done else (at.done, now)
            for tp, at in progress.items()
            if at.end is not None and (at.done or 0) < at.end
        }
        return [tp for tp, (_, since) in self._since.items() if now - since >= self._limit]


class Watchdog:
    """`with Watchdog(apps):` watches them and the event loop it was made in."""

    def __init__(
        self,
        apps: Sequence[Watched],
        *,
        stall_seconds: float = STALL_SECONDS,
        look_seconds: float = LOOK_SECONDS,
        die: Callable[[int], object] = os._exit,
        clock: Callable[[], float] = monotonic,
    ) -> None:
        self._apps = [(app, StallDetector(stall_seconds)) for app in apps]
        self._limit = stall_seconds
        self._interval = look_seconds
        self._die = die
        self._clock = clock
        self._loop = asyncio.get_running_loop()
        self._answered = clock()
        self._end = Event()
        self._thread = Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._end.wait(self._interval):
            faults = self._faults(self._clock())
            if faults:
                log.critical("no progress in %.0f s: %s; ending this process", self._limit, "; ".join(faults))
                self._die(1)
                return

    def _faults(self, now: float) -> list[str]:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(self._answer)
        if now - self._answered >= self._limit:
            return ["the event loop is blocked"]
        return [
            f"{app.name} {topic}/{partition}"
            for app, detector in self._apps
            for topic, partition in detector.look(app.progress(), now)
        ]

    def _answer(self) -> None:
        self._answered = self._clock()
