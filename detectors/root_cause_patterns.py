"""Which service does something that it never did in this place: event sequences within traces, compared with the past.

Called with each window of logs and spans by `detectors.root_cause_watch`. An event is a log template or the operation
of a span. What matters is not how often an event comes (traffic does that) but what follows what on one entity within
one trace: an exception, an early return or a retry changes it at once, in the entity that has the fault, and mostly
only there. The idea is Nezha's (FSE 2023); this is a streaming form of it with p-values of a likelihood-ratio test in
place of supports. How records of one trace interleave varies by chance, in some places more than in others: each
context is compared in units of how much it varied before.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from math import log

from detectors.surprise import gamma_nats, together

# Begin and end of what one entity does in one trace.
BEGIN, END = "^", "$"
# A context seen less often says nothing about what may follow it.
FEWEST_SEEN = 5
# Templates keep this many words: what follows in a long message is its parameters.
TEMPLATE_WORDS = 14
# An error never seen before counts this much a line, in nats: as much as a follower of a context seen 50 times.
NEW_ERROR = 4.0
# Added to the count of each follower (Jeffreys).
PRIOR = 0.5
# Overdispersion of a context (McCullagh and Nelder 1989) is the mean over windows, of the last twenty at most, and
# begins with two as chance would have them. One window counts little more than twice the usual.
FIRST_WINDOWS, LAST_WINDOWS = 2, 20
MOST_TIMES_USUAL, MOST_BEYOND_USUAL = 2.0, 3.0
# A context so much out of the usual is not learnt from, in nats.
DOUBTED = 8.0
# What is improbable (p < 0.05) in consecutive windows, three at most, is evidence together.
RUN, RUN_WINDOWS = 3.0, 3

Transition = tuple[str, str, str]
"""Entity, event, the event that follows it."""

Context = tuple[str, str]
"""Entity and event: what may follow it is compared."""

_ERROR = re.compile(r"\b(ERROR|error|FATAL|panic)\b|[a-z]Exception\b")
_HASH = re.compile(r"(-[0-9a-f]{8,10})?-[a-z0-9]{5}$")
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
    """How improbable an entity's sequences are after the past, in nats, and the transition that shows it best."""

    nats: float
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


def workload(entity: str) -> str:
    """Strip the name of a pod of the hash that Kubernetes gave it.

    >>> workload("cart-866bd68c97-xcqfx"), workload("cart-db-0")
    ('cart', 'cart-db-0')

    """
    return _HASH.sub("", entity)


class Blame:
    """Whose errors name others: what calls a broken service reports errors, too, and often says of whom."""

    def __init__(self, entities: Iterable[str]) -> None:
        """Know the names of all entities, with or without the hash that Kubernetes gave them."""
        self._name = {entity: workload(entity) for entity in entities}
        longest_first = sorted(set(self._name.values()), key=lambda name: (-len(name), name))
        self._names = re.compile(rf"\b(?:{'|'.join(map(re.escape, longest_first))})\b")

    def accusing(self, lines: Iterable[tuple[str, str]]) -> frozenset[str]:
        """Entities of whose errors more than half name another; `lines` are entities and messages."""
        errors: Counter[str] = Counter()
        others: Counter[str] = Counter()
        for entity, message in lines:
            if _ERROR.search(message):
                errors[entity] += 1
                others[entity] += any(name != self._name[entity] for name in self._names.findall(message))
        return frozenset(entity for entity, count in others.items() if 2 * count > errors[entity])


class PatternMemory:
    """What followed what so far, on each entity."""

    def __init__(self) -> None:
        self._followers: dict[Context, Counter[str]] = defaultdict(Counter)
        self._contexts: Counter[Context] = Counter()
        self._dispersion: dict[Context, tuple[float, int]] = {}
        self._doubted: set[Context] = set()
        self._runs: dict[Context, tuple[float, ...]] = {}
        self._before: dict[Context, tuple[float, ...]] = {}

    @property
    def places(self) -> int:
        """How many contexts are compared: so many chances of a false alarm a window."""
        return len(self._contexts)

    def learn(self, window: Mapping[Transition, int], but_not: Iterable[str] = ()) -> None:
        """Take a window in as the way things are, except for entities that are under suspicion."""
        suspects = set(but_not)
        for (entity, before, after), count in window.items():
            if entity not in suspects and (entity, before) not in self._doubted:
                self._followers[entity, before][after] += count
                self._contexts[entity, before] += count

    def compare(self, window: Mapping[Transition, int]) -> dict[str, Changed]:
        """Strongest change of each entity in a window; looked at once a window, for it also learns what varies."""
        now: dict[Context, Counter[str]] = defaultdict(Counter)
        for (entity, before, after), count in window.items():
            now[entity, before][after] += count
        found: dict[str, Changed] = {}
        self._doubted = set()
        self._before, self._runs = self._runs, {}
        for (entity, before), followers in now.items():
            for change in (self._novelty(entity, before, followers), self._shift((entity, before), followers)):
                if change is not None and (entity not in found or change.nats > found[entity].nats):
                    found[entity] = change
        return found

    def _novelty(self, entity: str, before: str, followers: Counter[str]) -> Changed | None:
        """Errors that the entity never reported before, where it has been before."""
        if not self._contexts[entity, before]:
            return None
        new = {after: count for after, count in followers.items() if not self._contexts[entity, after]}
        errors = {after: count for after, count in new.items() if _ERROR.search(after)}
        if not errors:
            return None
        after = max(errors, key=lambda event: (errors[event], event))
        return Changed(NEW_ERROR * errors[after], before, after)

    def _shift(self, context: Context, followers: Counter[str]) -> Changed | None:
        """Followers of a context that are others than usual: the p-value of a G-test, freed of overdispersion."""
        past, known = self._contexts[context], self._followers[context]
        if past < FEWEST_SEEN or context[1] == BEGIN:
            return None
        of, events = followers.total(), len(known.keys() | followers.keys())
        terms = {
            after: count * log(count / of * (past + PRIOR * events) / (known[after] + PRIOR))
            for after, count in followers.items()
        }
        freedom = max(events - 1, 1)
        # Seen more often than the past's contexts, it says no more than they can deny.
        ratio = max(sum(terms.values()), 0.0) * min(1.0, past / of)
        usual, windows = self._dispersion.get(context, (1.0, FIRST_WINDOWS))
        seen = min(2.0 * ratio / freedom, MOST_TIMES_USUAL * usual + MOST_BEYOND_USUAL)
        self._dispersion[context] = usual + (seen - usual) / (windows + 1), min(windows + 1, LAST_WINDOWS)
        surprise = gamma_nats(freedom / 2, ratio / max(usual, 1.0))
        if surprise >= DOUBTED:
            self._doubted.add(context)
        if surprise >= RUN:
            self._runs[context] = (*self._before.get(context, ()), surprise)[-RUN_WINDOWS:]
            surprise = together(self._runs[context])
        return Changed(surprise, context[1], max(terms, key=lambda after: (terms[after], after)))
