"""Which service does something that it never did in this place: event sequences within traces, compared with the past.

Called with each window of logs and spans by `detectors.root_cause_watch`. An event is a log template or the operation
of a span. What matters is not how often an event comes (traffic does that) but what follows what on one entity within
one trace: an exception, an early return or a retry changes it at once, in the entity that has the fault, and mostly
only there. The idea is Nezha's (FSE 2023); this is a streaming form of it with a likelihood ratio in place of
supports.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log

# Begin and end of what one entity does in one trace.
BEGIN, END = "^", "$"
# A context seen less often says nothing about what may follow it.
FEWEST_SEEN = 5
# Templates keep this many words: what follows in a long message is its parameters.
TEMPLATE_WORDS = 14
# An error never seen before counts this much a line, in nats: as much as a follower of a context seen 50 times.
NEW_ERROR = 4.0

Transition = tuple[str, str, str]
"""Entity, event, the event that follows it."""

_ERROR = re.compile(r"\b(ERROR|error|FATAL|panic)\b|[a-z]Exception\b")
_PARAMETERS = (
    (re.compile(r"\([^()]*\)"), "()"),
    (re.compile(r"\([^()]*\)"), "()"),
    (re.compile(r"\[[^\[\]]*[:=][^\[\]]*\]"), "[*]"),
    (re.compile(r"[0-9a-fA-F]{8}-[0-9a-fA-F-]{27}|\b\w*\d\w*\b"), "#"),
    # From the first value on, a message is values.
    (re.compile(r"(\w+\()?\S*[^\s:]=.*|: *[\[{\"#].*"), "*"),
)


@dataclass(frozen=True, slots=True)
class Changed:
    """How strongly an entity's sequences departed from the past, in nats, and the transition that shows it best."""

    strength: float
    before: str
    after: str


def template(message: str) -> str:
    """Strip a log message of its parameters: what is in brackets with a colon or equals sign, and what has digits."""
    for pattern, stands_for in _PARAMETERS:
        message = pattern.sub(stands_for, message)
    return " ".join(message.split()[:TEMPLATE_WORDS])


def transitions(sequences: Iterable[tuple[str, Iterable[str]]]) -> Counter[Transition]:
    """Count what followed what in a window: (entity, its events in order) once for each trace."""
    counts: Counter[Transition] = Counter()
    for entity, events in sequences:
        before = BEGIN
        for event in events:
            counts[entity, before, event] += 1
            before = event
        counts[entity, before, END] += 1
    return counts


class PatternMemory:
    """What followed what so far, on each entity."""

    def __init__(self) -> None:
        self._seen: Counter[Transition] = Counter()
        self._contexts: Counter[tuple[str, str]] = Counter()

    def learn(self, window: Mapping[Transition, int], but_not: Iterable[str] = ()) -> None:
        """Take a window in as the way things are, except for entities that are under suspicion."""
        suspects = set(but_not)
        for transition, count in window.items():
            if transition[0] not in suspects:
                self._seen[transition] += count
                self._contexts[transition[:2]] += count

    def compare(self, window: Mapping[Transition, int]) -> dict[str, Changed]:
        """Strongest change of each entity in a window: log-likelihood ratio of its new frequency against the past's."""
        now: Counter[tuple[str, str]] = Counter()
        for transition, count in window.items():
            now[transition[:2]] += count
        found: dict[str, Changed] = {}
        for (entity, before, after), count in window.items():
            strength = self._strength((entity, before, after), count, now[entity, before])
            if entity not in found or strength > found[entity].strength:
                found[entity] = Changed(strength, before, after)
        return found

    def _strength(self, transition: Transition, count: int, of: int) -> float:
        entity, before, after = transition
        past = self._contexts[entity, before]
        known = self._contexts[entity, after]
        novelty = NEW_ERROR * count if past and not known and _ERROR.search(after) else 0.0
        if past < FEWEST_SEEN:
            return novelty
        expected, share = (self._seen[transition] + 0.5) / (past + 1), count / of
        if share <= expected:
            return novelty
        # Seen more often than the past's contexts, it says no more than they can deny.
        of = min(of, past)
        rest = (1 - share) * log((1 - share) / (1 - expected)) if share < 1 else 0.0
        return max(novelty, of * (share * log(share / expected) + rest))
