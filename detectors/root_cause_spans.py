"""Where time is lost: span times of a window compared with earlier windows, and blamed on entities through the calls.

Called with each window of spans by `detectors.root_cause_watch`. A span's own time is its duration less that of its
children; for a call that crosses from one entity to another this is the time on the way. A slow machine is slow in its
own spans and in all its calls, a slow network in all calls of one entity: so a call's loss is blamed on both ends, on
each in proportion to how many of its calls are slow. What only suffers has many calls that are well.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

# Windows remembered of each place; fewer than the least give no baseline.
WINDOWS, FEWEST_WINDOWS = 60, 2
# Spans of a place in a window below which a median is chance.
FEWEST_SPANS = 5
# Slow is beyond this many robust spreads, where a spread is at least a fifth of the usual time and a millisecond:
# three times the usual time, that is, or more where it varies.
SLOW_SPREADS = 10.0
SMALLEST_SHARE, SMALLEST_MICROSECONDS = 0.2, 1000.0

Place = tuple[str, str, str]
"""Entity, the entity it calls ("" for own time), operation."""


@dataclass(frozen=True, slots=True)
class Spans:
    """Spans of a window as columns. `parent` is the row of the parent, or -1."""

    entity: NDArray[np.str_]
    operation: NDArray[np.str_]
    parent: Ints
    microseconds: Floats


@dataclass(frozen=True, slots=True)
class Slow:
    """Time lost at a place in a window: total in microseconds, and how far beyond the usual, in spreads."""

    place: Place
    lost: float
    spreads: float


def own_times(spans: Spans) -> dict[Place, tuple[int, float]]:
    """Count the spans of each place, with their median own time."""
    children = np.zeros(len(spans.parent))
    callee = np.full(len(spans.parent), "", dtype=object)
    has_parent = np.flatnonzero(spans.parent >= 0)
    np.add.at(children, spans.parent[has_parent], spans.microseconds[has_parent])
    crossing = has_parent[spans.entity[has_parent] != spans.entity[spans.parent[has_parent]]]
    callee[spans.parent[crossing]] = spans.entity[crossing]
    own = np.maximum(spans.microseconds - children, 0.0)
    sums: dict[Place, list[float]] = defaultdict(list)
    for place, value in zip(zip(spans.entity, callee, spans.operation, strict=True), own, strict=True):
        sums[place].append(value)
    return {
        (str(entity), str(called), str(operation)): (len(values), float(np.median(values)))
        for (entity, called, operation), values in sums.items()
    }


class SpanMemory:
    """Median own time of each place in the last windows that were calm for it."""

    def __init__(self) -> None:
        self._usual: dict[Place, deque[float]] = defaultdict(lambda: deque(maxlen=WINDOWS))

    def learn(self, window: Mapping[Place, tuple[int, float]], but_not: Iterable[Place] = ()) -> None:
        """Take a window in as the way things are, except for places that are slow."""
        slow = set(but_not)
        for place, (count, typical) in window.items():
            if place not in slow and count >= FEWEST_SPANS:
                self._usual[place].append(typical)

    def compare(self, window: Mapping[Place, tuple[int, float]]) -> list[Slow]:
        """Places that are slow in this window."""
        found = []
        for place, (count, typical) in window.items():
            past = self._usual.get(place, ())
            if len(past) < FEWEST_WINDOWS or count < FEWEST_SPANS:
                continue
            usual = float(np.median(past))
            deviation = 1.4826 * float(np.median(np.abs(np.array(past) - usual)))
            spread = max(deviation, SMALLEST_SHARE * usual, SMALLEST_MICROSECONDS)
            spreads = (typical - usual) / spread
            if spreads >= SLOW_SPREADS:
                found.append(Slow(place, (typical - usual) * count, spreads))
        return found


def blame(slow: Iterable[Slow], window: Mapping[Place, tuple[int, float]]) -> dict[str, float]:
    """Time lost through each entity: its own, and that of its calls in proportion to how many of them are slow."""
    calls: dict[str, set[tuple[str, str]]] = defaultdict(set)
    slow_calls: dict[str, set[tuple[str, str]]] = defaultdict(set)
    lost: dict[str, float] = defaultdict(float)
    for entity, called, _ in window:
        if called:
            calls[entity].add((entity, called))
            calls[called].add((entity, called))
    on_the_way = []
    for one in slow:
        entity, called, _ = one.place
        if not called:
            lost[entity] += one.lost
            continue
        on_the_way.append(one)
        slow_calls[entity].add((entity, called))
        slow_calls[called].add((entity, called))
    for one in on_the_way:
        for end in one.place[:2]:
            lost[end] += one.lost * len(slow_calls[end]) / len(calls[end])
    return dict(lost)
