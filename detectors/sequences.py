"""Sequences of events judged as a whole: which events, how many of each, and which after which.

Called by `streams.kernel.detect_sessions` with the log lines of a session, and by the scoreboard. An event is a number:
a log template, a system call. What is counted is in how many sequences something was so; surprise is -log10 of that
share, and the score is the sum of the three strongest surprises about counts (an event that never was, one that is
missing, one too many times) and of the three strongest about successors (an order that never was). The sum of a few,
because one oddity is an everyday matter and several at once are not; not of all, because a long sequence is no fault.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from hashlib import blake2b

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.base import Contribution

Floats = NDArray[np.float64]
Events = Sequence[int]

PAPER = "Forrest et al., A Sense of Self for Unix Processes, S&P 1996; counts: Xu et al., SOSP 2009"

# Below this many sequences, nothing is known to be rare.
WARM_SEQUENCES = 32
# The strongest surprises of each kind that count.
STRONGEST = 3
# What is rarer than once in a thousand is simply new. Without a limit the scale grows with the history, and a threshold
# fitted on 3000 sequences means something else after 6000.
MOST_DECADES = 3.0
# Exact up to here, then by powers of two: one more of two hundred is the same.
EXACT_COUNTS = 16
# Events and pairs kept: ten times what a service has templates, and their usual successors.
MAX_EVENTS = 2048
MAX_PAIRS = 32_768

# What an event follows that is the first, and what follows the last.
START, END = -1, -2


class SequenceNovelty:
    """What sequences were like so far.

    >>> novelty = SequenceNovelty().fit([[1, 2, 3], [1, 3, 2]] * 40)
    >>> usual, missing, new = novelty.score([[1, 2, 3], [1, 2], [1, 2, 9, 3]])
    >>> bool(usual < missing), bool(usual < new), novelty.explain([1, 2, 9, 3])[0].name
    (True, True, 'event 3 after 9')
    """

    def __init__(self) -> None:
        self._sequences = 0
        self._counts: dict[int, dict[int, int]] = {}  # event -> how many of it -> in how many sequences
        self._pairs: dict[tuple[int, int], int] = {}  # event, successor -> in how many sequences

    @property
    def abstaining(self) -> str | None:
        """Why it says nothing, in words; None when it is ready."""
        if self._sequences >= WARM_SEQUENCES:
            return None
        return f"warming up: {self._sequences} of {WARM_SEQUENCES} sequences seen"

    @property
    def version(self) -> str:
        """Which model this is: equal for equal history."""
        return blake2b(self.freeze(), digest_size=4).hexdigest()

    def fit(self, sequences: Iterable[Events]) -> SequenceNovelty:
        """Forget, and learn these."""
        self._sequences, self._counts, self._pairs = 0, {}, {}
        for events in sequences:
            self.learn(events)
        return self

    def learn(self, events: Events) -> None:
        """Count one sequence."""
        self._sequences += 1
        for event, count in Counter(events).items():
            counts = self._counts.setdefault(event, {})
            counts[_bucket(count)] = counts.get(_bucket(count), 0) + 1
        for pair in _successions(events):
            self._pairs[pair] = self._pairs.get(pair, 0) + 1
        if len(self._counts) > MAX_EVENTS:
            common = sorted(self._counts, key=lambda event: (-sum(self._counts[event].values()), event))
            self._counts = {event: self._counts[event] for event in common[: MAX_EVENTS // 2]}
        if len(self._pairs) > MAX_PAIRS:
            kept = sorted(self._pairs, key=lambda pair: (-self._pairs[pair], pair))[: MAX_PAIRS // 2]
            self._pairs = {pair: self._pairs[pair] for pair in kept}

    def score(self, sequences: Iterable[Events]) -> Floats:
        """Decades of surprise of each; NaN while it abstains. Sequences do not see each other, and none is learned."""
        if self.abstaining is not None:
            return np.array([math.nan for _ in sequences])
        return np.array([sum(_top(self._composition(e))) + sum(_top(self._order(e))) for e in sequences])

    def usual_so_far(self, events: Events) -> bool:
        """Whether the newest event has been seen after the one before it, or nothing can be said."""
        pair = (events[-2] if len(events) > 1 else START, events[-1])
        return self.abstaining is not None or pair in self._pairs

    def settled(self, events: Events) -> float:
        """Decades of surprise that nothing to come can take back: new events, and orders; 0 while it abstains."""
        if self.abstaining is not None:
            return 0.0
        never = {event: self._surprise(0) for event in events if event not in self._counts}
        ordered = {
            pair: self._surprise(self._pairs.get(pair, 0)) for pair in zip((START, *events), events, strict=False)
        }
        return sum(_top(never)) + sum(_top(ordered))

    def explain(self, events: Events, name: Callable[[int], str] = str) -> tuple[Contribution, ...]:
        """Say what the score of a sequence came from, strongest first; events by `name`, -1 the start, -2 the end."""
        if self.abstaining is not None:
            return ()
        counted, ordered = Counter(events), self._order(events)
        said = [Contribution(f"event {name(e)}: {counted[e]} times", s) for e, s in self._composition(events).items()]
        said += [Contribution(f"event {name(b)} after {name(a)}", s) for (a, b), s in ordered.items()]
        return tuple(sorted((one for one in said if one.weight > 0.0), key=lambda one: (-one.weight, one.name)))

    def freeze(self) -> bytes:
        """Everything it knows, as bytes that hold no code."""
        return msgspec.msgpack.encode((self._sequences, self._counts, list(self._pairs.items())))

    def thaw(self, state: bytes) -> SequenceNovelty:
        """Become what `freeze` was called on."""
        saved = tuple[int, dict[int, dict[int, int]], list[tuple[tuple[int, int], int]]]
        self._sequences, self._counts, pairs = msgspec.msgpack.decode(state, type=saved)
        self._pairs = dict(pairs)
        return self

    def _composition(self, events: Events) -> dict[int, float]:
        found = Counter(events)
        surprises = {}
        for event in self._counts.keys() | found.keys():
            counts, count = self._counts.get(event, {}), found.get(event, 0)
            same = counts.get(_bucket(count), 0) if count else self._sequences - sum(counts.values())
            surprises[event] = self._surprise(same)
        return surprises

    def _order(self, events: Events) -> dict[tuple[int, int], float]:
        return {pair: self._surprise(self._pairs.get(pair, 0)) for pair in _successions(events)}

    def _surprise(self, times: int) -> float:
        return min(MOST_DECADES, -math.log10((times + 1) / (self._sequences + 2)))


def _successions(events: Events) -> set[tuple[int, int]]:
    return set(zip((START, *events), (*events, END), strict=True))


def _top(surprises: dict[int, float] | dict[tuple[int, int], float]) -> list[float]:
    return sorted(surprises.values(), reverse=True)[:STRONGEST]


def _bucket(count: int) -> int:
    return count if count < EXACT_COUNTS else 1 << (count.bit_length() - 1)
