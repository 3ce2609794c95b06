"""One system of services watched for incidents and what began them: metrics, logs and traces together, tick by tick.

Called by row 4 of the scoreboard. `RootCauseWatch.step` takes a tick (a minute, say) of whatever telemetry there is and
returns an `Incident`'s ranked causes at its own time of detection; nothing later is looked at. Three kinds of evidence:

* resource use of an entity beyond all of its own last hours (`Usage`);
* time lost in its spans and calls (`detectors.root_cause_spans`);
* what it does that it never did in this place (`detectors.root_cause_patterns`).

Each is scaled so that one is what calm telemetry hardly reaches, and counts by its logarithm: evidence of another kind
says more than more of the same. A caller's errors are discounted where what it calls shows new ones, too, and where
they name another entity. Use alone opens an incident only when somebody feels it.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import log, log1p

import numpy as np

from detectors.root_cause_patterns import DOUBTED, PatternMemory, Transition
from detectors.root_cause_spans import Place, Slow, SpanMemory, Spans, blame, own_times

# Ticks of usage remembered, and the fewest that make a baseline.
USAGE_TICKS, FEWEST_USAGE_TICKS = 240, 20
# Usage is abnormal at this many times the distance from the median to the 95th percentile, which is at least a fifth
# of the median: a service that doubles its use now and then does not stand out by doing so. It must also rise by what
# the busiest service usually uses: what is lost among the others harms nobody. And it must last for three ticks:
# compilation and garbage collection take two.
USAGE_REACH, USAGE_SHARE, USAGE_LASTS_TICKS = 6.0, 0.2, 3
# And somebody must feel it: in one of those ticks callers wait for the entity longer than in 99 of 100. What harms
# nobody opens nothing.
FELT_PERCENTILE = 99.0
# A change of patterns must be so improbable that all contexts together reach it by chance once a day of minutes.
TICKS_A_DAY, FALSE_A_DAY = 1440, 1.0
# Spreads and microseconds of lost time that calm windows of part A hardly reach.
SLOW_SPREADS, LOST_MICROSECONDS = 20.0, 800_000.0
# Of a caller's new errors, what is left when something that it calls has new ones, or when they name another entity:
# they came up from there.
PASSED_ON = 0.4
# An incident is decided two ticks after it was found, for evidence comes in at different speeds, and is over after two
# ticks without any.
GROUP_WAIT_TICKS = 2
CALM_TICKS = 2
# Kinds of evidence.
USAGE, TIME, PATTERN = "usage", "time", "pattern"


@dataclass(frozen=True, slots=True)
class Tick:
    """Telemetry of one tick; what there is none of is left empty.

    `latency` is what callers of an entity wait for it, in any unit; `accusing` are entities whose errors name others.
    """

    usage: Mapping[str, float] = field(default_factory=dict)
    latency: Mapping[str, float] = field(default_factory=dict)
    spans: Spans | None = None
    patterns: Mapping[Transition, int] = field(default_factory=dict)
    accusing: frozenset[str] = frozenset()


@dataclass(frozen=True, slots=True)
class Evidence:
    """Why an entity is under suspicion; a strength of one is what calm telemetry hardly reaches."""

    kind: str
    entity: str
    strength: float
    because: str


@dataclass(frozen=True, slots=True)
class Suspect:
    """An entity under suspicion: by how much, and the strongest evidence in words."""

    entity: str
    score: float
    because: str


@dataclass(frozen=True, slots=True)
class Found:
    """An incident at its decision: suspects, strongest first; ticks counted from the start of the watch."""

    opened: int
    decided: int
    suspects: tuple[Suspect, ...]


class Waits:
    """How long callers wait for each entity, against its own past."""

    def __init__(self) -> None:
        self._past: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=USAGE_TICKS))

    def step(self, latency: Mapping[str, float]) -> set[str]:
        """Entities whose callers wait for longer than in 99 of 100 ticks; of those that nobody calls there is none."""
        felt = set()
        for entity, value in latency.items():
            past = self._past[entity]
            if len(past) >= FEWEST_USAGE_TICKS and value > np.percentile(past, FELT_PERCENTILE):
                felt.add(entity)
            past.append(value)
        return felt


class Usage:
    """Resource use of each entity against its own past."""

    def __init__(self) -> None:
        self._past: dict[str, deque[float]] = defaultdict(lambda: deque(maxlen=USAGE_TICKS))
        self._rising: dict[str, int] = {}
        self._waited_for: dict[str, int] = {}
        self._waits = Waits()

    def step(self, usage: Mapping[str, float], latency: Mapping[str, float]) -> dict[str, float]:
        """Strength of each entity's use; what stands out is not learnt."""
        waited_for = self._waits.step(latency)
        past = {entity: np.percentile(self._past[entity], [50, 95]) for entity in usage if self._is_known(entity)}
        busiest = max((float(middle) for middle, _ in past.values()), default=0.0)
        found = {}
        for entity, value in usage.items():
            if entity in past:
                middle, high = past[entity]
                reach = max(USAGE_REACH * max(float(high - middle), USAGE_SHARE * float(middle)), busiest)
                if reach > 0 and value - middle >= reach:
                    found[entity] = float(value - middle) / reach
                    continue
            self._past[entity].append(value)
        self._rising = {entity: self._rising.get(entity, 0) + 1 for entity in found}
        left = {entity: ticks - 1 for entity, ticks in self._waited_for.items() if ticks > 1}
        self._waited_for = left | dict.fromkeys(waited_for, USAGE_LASTS_TICKS)
        return {entity: by for entity, by in found.items() if self._rising[entity] >= USAGE_LASTS_TICKS}

    def is_felt(self, entity: str) -> bool:
        """Whether callers waited longer for an entity than usual in one of the last few ticks."""
        return entity in self._waited_for

    def _is_known(self, entity: str) -> bool:
        return len(self._past[entity]) >= FEWEST_USAGE_TICKS


class RootCauseWatch:
    """Watches one system. Says once for each incident what most likely began it."""

    def __init__(self) -> None:
        self._usage = Usage()
        self._spans = SpanMemory()
        self._patterns = PatternMemory()
        self._callees: dict[str, set[str]] = defaultdict(set)
        self._tick = -1
        self._opened: int | None = None
        self._last = 0
        self._decided = False
        self._evidence: dict[tuple[str, str], Evidence] = {}

    def step(self, tick: Tick) -> Found | None:
        """Take one tick; returns the incident at the tick at which it is decided."""
        self._tick += 1
        evidence = [*self._by_usage(tick), *self._by_spans(tick), *self._by_patterns(tick)]
        if evidence:
            self._last = self._tick
        if self._opened is None and any(one.kind != USAGE or self._usage.is_felt(one.entity) for one in evidence):
            self._opened, self._decided, self._evidence = self._tick, False, {}
        for one in evidence if self._opened is not None else ():
            known = self._evidence.get((one.kind, one.entity))
            if known is None or one.strength > known.strength:
                self._evidence[one.kind, one.entity] = one
        found = self._decide()
        if self._decided and self._tick - self._last >= CALM_TICKS:
            self._opened = None
        return found

    def _decide(self) -> Found | None:
        if self._opened is None or self._decided or self._tick - self._opened < GROUP_WAIT_TICKS:
            return None
        self._decided = True
        return Found(self._opened, self._tick, self._suspects())

    def _suspects(self) -> tuple[Suspect, ...]:
        """Rank by the sum over kinds of evidence; cite the strongest."""
        scores: dict[str, list[tuple[float, str]]] = defaultdict(list)
        for one in self._evidence.values():
            passed_on = one.kind == PATTERN and any(
                (PATTERN, called) in self._evidence for called in self._reached_from(one.entity)
            )
            scores[one.entity].append((log1p(one.strength * (PASSED_ON if passed_on else 1.0)), one.because))
        ranked = [Suspect(entity, sum(by for by, _ in said), max(said)[1]) for entity, said in scores.items()]
        return tuple(sorted(ranked, key=lambda suspect: (-suspect.score, suspect.entity)))

    def _reached_from(self, entity: str) -> set[str]:
        """Everything that an entity calls, and what that calls in turn."""
        reached: set[str] = set()
        ahead = [entity]
        while ahead:
            new = self._callees[ahead.pop()] - reached
            reached |= new
            ahead += new
        return reached - {entity}

    def _by_usage(self, tick: Tick) -> list[Evidence]:
        found = self._usage.step(tick.usage, tick.latency)
        return [Evidence(USAGE, entity, by, "uses more than in all its last hours") for entity, by in found.items()]

    def _by_spans(self, tick: Tick) -> list[Evidence]:
        if tick.spans is None:
            return []
        window = own_times(tick.spans)
        for entity, called, _ in window:
            if called:
                self._callees[entity].add(called)
        slow = self._spans.compare(window)
        self._spans.learn(window, [one.place for one in slow])
        return _evidence_of_slow([one for one in slow if one.spreads >= SLOW_SPREADS], window)

    def _by_patterns(self, tick: Tick) -> list[Evidence]:
        found = self._patterns.compare(tick.patterns)
        self._patterns.learn(tick.patterns, [entity for entity, by in found.items() if by.nats >= DOUBTED])
        enough = log(max(self._patterns.places, 1) * TICKS_A_DAY / FALSE_A_DAY)
        evidence = []
        for entity, by in found.items():
            strength = by.nats / enough * (PASSED_ON if entity in tick.accusing else 1.0)
            if strength >= 1.0:
                because = f"{by.before!r} is followed by {by.after!r}, which is new"
                evidence.append(Evidence(PATTERN, entity, strength, because))
        return evidence


def _evidence_of_slow(slow: list[Slow], window: Mapping[Place, tuple[int, float]]) -> list[Evidence]:
    return [
        Evidence(TIME, entity, lost / LOST_MICROSECONDS, "time is lost in it and in calls to and from it")
        for entity, lost in blame(slow, window).items()
        if lost >= LOST_MICROSECONDS
    ]
