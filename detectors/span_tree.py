"""Spans of a partition that are held until those that belong to them are there: own times, and who calls whom.

Called by `streams.kernel.detect_spans`. A span ends after most of what it called, but the services of a trace export on
their own, so each tick of spans is held for a while before it is taken. What a span's children took is kept for
`TRACE_NANOS`, for they may have ended long before it did; of a span that lasted for longer no own time is known.

Everything is bounded: by the number of spans and children held, and by time.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from operator import attrgetter

import msgspec

from schemas.raw import SpanKind

TRACE_NANOS = 60 * 1_000_000_000
# Services that one span may be seen to call: more say nothing more of it.
MOST_CALLED = 16
# Who is asked gets a span of its own, so these are about the other end.
CALLING: frozenset[SpanKind] = frozenset({"client", "producer"})


class Held(msgspec.Struct, array_like=True, gc=False):
    """A finished span; times in nanoseconds."""

    key: str
    """Its trace and id."""
    parent: str
    """Its parent's trace and id; empty: none."""
    environment: str
    service: str
    instance: str
    name: str
    kind: SpanKind
    failed: bool
    peer: str
    """The service that it calls: as it says itself, until the other end is seen. Empty: none known."""
    start: int
    end: int
    inside: list[tuple[int, int]] = []
    """From when to when its children lasted."""
    called: list[str] = []
    """Other services that its children are of."""

    @property
    def own(self) -> int | None:
        """How long none of its children lasted; None where they may be forgotten."""
        lasted = self.end - self.start
        if lasted > TRACE_NANOS:
            return None
        until = self.start
        for start, end in sorted(self.inside):
            last = min(end, self.end)
            lasted -= max(last - max(start, until), 0)
            until = max(until, last)
        return lasted

    @property
    def calls(self) -> list[str]:
        """The services that it calls."""
        told = self.kind in CALLING and self.peer and self.peer != self.service and self.peer not in self.called
        return [*self.called, self.peer] if told else self.called


class _Child(msgspec.Struct, array_like=True, gc=False):
    """What is kept of a span whose parent has not come."""

    start: int
    end: int
    environment: str
    service: str


class _Saved(msgspec.Struct):
    spans: list[Held]
    orphans: dict[str, list[_Child]]
    waiting: dict[int, list[str]]
    dropped: int


class SpanTree:
    """The spans that are held.

    Args:
        tick_nanos: how long a tick is.
        most: how many spans and children are held; more are dropped, and counted.
        state: what `freeze` returned.

    """

    def __init__(self, tick_nanos: int, most: int, state: bytes | None = None) -> None:
        self._tick_nanos, self._most = tick_nanos, most
        saved = _Saved([], {}, {}, 0) if state is None else msgspec.msgpack.decode(state, type=_Saved)
        self.dropped = saved.dropped
        self._ticks: dict[int, list[Held]] = defaultdict(list)
        self._by_key: dict[str, Held] = {}
        for span in saved.spans:
            self._hold(span)
        # Children by parent, and the parents by the tick in which a child of theirs ended.
        self._orphans: dict[str, list[_Child]] = saved.orphans
        self._waiting: dict[int, list[str]] = defaultdict(list, saved.waiting)
        self._children = sum(map(len, self._orphans.values()))

    def __len__(self) -> int:
        return len(self._by_key) + self._children

    def freeze(self) -> bytes:
        """State to go on from."""
        # Each tick in the order of arrival.
        spans = [span for tick in sorted(self._ticks) for span in self._ticks[tick]]
        return msgspec.msgpack.encode(_Saved(spans, self._orphans, dict(self._waiting), self.dropped))

    def add(self, span: Held) -> None:
        """Hold a span, unless it is here already: exporters send again what they think was lost."""
        if span.key in self._by_key:
            return
        if len(self) >= self._most:
            self.dropped += 1
            return
        self._hold(span)
        for child in self._orphans.pop(span.key, ()):
            self._children -= 1
            _link(span, child)
        if span.parent:
            child = _Child(span.start, span.end, span.environment, span.service)
            parent = self._by_key.get(span.parent)
            if parent is not None:
                _link(parent, child)
            else:
                self._orphans.setdefault(span.parent, []).append(child)
                self._waiting[span.end // self._tick_nanos].append(span.parent)
                self._children += 1

    def take(self, before: int) -> Iterable[tuple[int, list[Held]]]:
        """Let go of all ticks before this one; gives each with its spans, in order of time and arrival."""
        for tick in sorted(tick for tick in self._ticks if tick < before):
            spans = self._ticks.pop(tick)
            for span in spans:
                del self._by_key[span.key]
            # Not the order of arrival alone: it may differ between two readings only where times are equal.
            yield tick, sorted(spans, key=attrgetter("end"))
        for tick in [tick for tick in self._waiting if tick < before - TRACE_NANOS // self._tick_nanos]:
            for parent in self._waiting.pop(tick):
                self._children -= len(self._orphans.pop(parent, ()))

    def _hold(self, span: Held) -> None:
        self._ticks[span.end // self._tick_nanos].append(span)
        self._by_key[span.key] = span


def _link(parent: Held, child: _Child) -> None:
    parent.inside.append((child.start, child.end))
    if child.environment != parent.environment or child.service == parent.service:
        return
    if child.service not in parent.called and len(parent.called) < MOST_CALLED:
        parent.called.append(child.service)
    if parent.kind in CALLING:
        parent.peer = parent.called[0]
