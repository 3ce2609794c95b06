"""How rare is this, given what came before: counts of values under keys, in bounded memory, as surprise in decades.

Called by `detectors.processes` with facts of structured events. A key is what is asked ("which port does this program
connect to"), a value the answer. Surprise is -log10 of the share of earlier answers that were the same; what was never
seen counts as half a time, so that a key that was asked little can surprise little: warming up needs no special case.
"""

from __future__ import annotations

import math
from collections.abc import Iterable

import msgspec

Fact = tuple[str, str]
"""What was asked, and the answer."""

# What was never seen counts as this many times.
NEVER = 0.5
# A megabyte or two: programs of a fleet times questions about each, and answers to one question.
MAX_KEYS = 8192
MAX_VALUES = 512


class Rarity:
    """Counts of answers.

    >>> rarity = Rarity()
    >>> for _ in range(99):
    ...     rarity.learn([("port", "443")])
    >>> rarity.surprise(("port", "443")) < 0.01, round(rarity.surprise(("port", "4444")), 1)
    (True, 2.3)
    """

    def __init__(self, *, max_keys: int = MAX_KEYS, max_values: int = MAX_VALUES) -> None:
        self._max_keys = max_keys
        self._max_values = max_values
        self._counts: dict[str, dict[str, int]] = {}
        self._totals: dict[str, int] = {}

    def learn(self, facts: Iterable[Fact]) -> None:
        """Count each fact once."""
        for key, value in facts:
            counts = self._counts.setdefault(key, {})
            counts[value] = counts.get(value, 0) + 1
            self._totals[key] = self._totals.get(key, 0) + 1
            if len(counts) > self._max_values:
                self._counts[key] = _rarer_half_dropped(counts)
            if len(self._counts) > self._max_keys:
                self._totals = _rarer_half_dropped(self._totals)
                self._counts = {kept: self._counts[kept] for kept in self._totals}

    def seen(self, key: str) -> int:
        """How often this was asked."""
        return self._totals.get(key, 0)

    def times(self, fact: Fact) -> int:
        """How often this was the answer."""
        return self._counts.get(fact[0], {}).get(fact[1], 0)

    def surprise(self, fact: Fact) -> float:
        """Decades of rarity; near zero for what is usual and for what nothing is known about."""
        return -math.log10((self.times(fact) or NEVER) / (self.seen(fact[0]) + 1))

    def freeze(self) -> bytes:
        """Everything it knows, as bytes that hold no code."""
        return msgspec.msgpack.encode((self._counts, self._totals))

    def thaw(self, state: bytes) -> None:
        """Become what `freeze` was called on."""
        self._counts, self._totals = msgspec.msgpack.decode(state, type=_Saved)


_Saved = tuple[dict[str, dict[str, int]], dict[str, int]]


def _rarer_half_dropped(counts: dict[str, int]) -> dict[str, int]:
    """Keep the commoner half, in the order they had; ties by spelling, so that it does not matter who came first."""
    common = set(sorted(counts, key=lambda value: (-counts[value], value))[: len(counts) // 2])
    return {value: count for value, count in counts.items() if value in common}
