"""Which signal or change most likely began it: candidates ranked by onset, strength, distance and whom they point at.

Called by the correlate kernel at every revision. Changes before the onset come first, the later the likelier. Then
signals: the sooner they departed and the less probable they are in calm, the likelier. A fault moves against the calls,
so

* what services that depend on the broken one show weighs the less the more calls lie between;
* a signal that measures calls to another service, or an error that names one it depends on, is a witness's. It counts
  mostly for that service, and mostly for the caller when calls to several are abnormal at once: what they share is it;
* what a service shows at the same time as such calls, or after them, is explained by them in part.

One metric or template of an entity is one candidate, however many series or lines of it fire.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from math import log10

from detectors.topology import called_by
from schemas.envelope import Entity
from schemas.incident import RootCause
from schemas.signal import Signal

# Most regressions show within minutes of their change: the odds of a change halve every two minutes of distance.
CHANGE_HALF_LIFE_SECONDS = 120.0
# Of two symptoms the one that departed ten seconds later is half as likely: detectors need more or less evidence.
ONSET_SECONDS = 10.0
# Decades of evidence: more say nothing more, and what tells no p-value (an alert of another system) has some.
MOST_DECADES, UNSTATED_DECADES = 8.0, 3.0
# What counts for the called service, against the caller, of one abnormal call between them.
CALLED = 2.0
# What is left of the other symptoms of a service whose calls to another are abnormal: as in `root_cause_watch`.
EXPLAINED = 0.4
MAX_CANDIDATES = 5


@dataclass(frozen=True, slots=True)
class _Weighed:
    weight: float
    entity: Entity
    signal: Signal
    because: str


def rank_causes(
    signals: Sequence[Signal],
    changes: Sequence[Signal],
    calls: Mapping[str, int] | None = None,
    depends_on: Collection[str] = (),
) -> tuple[RootCause, ...]:
    """Rank candidate causes.

    Args:
        signals: firing signals; at least one of the service that the incident is of.
        changes: changes in the scope before now.
        calls: how many calls lie between that service and others that signals are of; none: all signals are its own.
        depends_on: services that it calls, near or far, whose names may stand in its errors.

    Returns:
        At most five candidates with shares that sum to one.

    """
    calls = calls or {}
    onset = min(signal.onset_unix_nano for signal in signals if not calls.get(signal.entity.service))
    weighed = [*_changes(changes, onset), *_symptoms(signals, onset, calls, depends_on)]
    top = _merged(weighed)[:MAX_CANDIDATES]
    total = sum(one.weight for one in top)
    return tuple(
        RootCause(
            entity=one.entity,
            what=one.signal.name,
            signal_id=one.signal.id,
            score=one.weight / total,
            because=one.because,
        )
        for one in top
    )


def _changes(changes: Sequence[Signal], onset: int) -> list[_Weighed]:
    found = []
    for change in changes:
        seconds = (onset - change.onset_unix_nano) / 1e9
        if seconds >= 0:
            # A change weighs as much as all symptoms together when it coincides with the onset: symptoms follow.
            weight = 2.0 * 0.5 ** (seconds / CHANGE_HALF_LIFE_SECONDS)
            found.append(_Weighed(weight, change.entity, change, f"change {seconds:.1f} s before the onset"))
    return found


def _symptoms(
    signals: Sequence[Signal], onset: int, calls: Mapping[str, int], depends_on: Collection[str]
) -> list[_Weighed]:
    named = _Names(depends_on)
    pointed = [(signal, _pointed_at(signal, named)) for signal in signals]
    edges = {(signal.entity.service, to) for signal, to in pointed if to is not None}
    callers, called = Counter(to for _, to in edges), Counter(by for by, _ in edges)
    explained: dict[str, int] = {}
    for signal, to in pointed:
        by = signal.entity.service
        if to is not None:
            explained[by] = min(signal.onset_unix_nano, explained.get(by, signal.onset_unix_nano))
    total = sum(_decades(signal) for signal in signals)
    found: list[_Weighed] = []
    for signal, to in pointed:
        seconds, between = (signal.onset_unix_nano - onset) / 1e9, calls.get(signal.entity.service, 0)
        weight = 0.5**between * _decades(signal) / total / (1.0 + max(seconds, 0.0) / ONSET_SECONDS)
        because = "first to depart" if seconds <= 0 else f"departed {seconds:.1f} s after the first"
        if between:
            because = f"{because}, {between} call{'s' * (between > 1)} from it"
        by = signal.entity.service
        if to is None:
            since = (signal.onset_unix_nano - explained.get(by, signal.onset_unix_nano + 1)) / 1e9
            weight *= EXPLAINED if by in explained and since > -ONSET_SECONDS else 1.0
            found.append(_Weighed(weight, signal.entity, signal, because))
            continue
        share = CALLED * callers[to] / (CALLED * callers[to] + called[by] ** 2)
        there = Entity(environment=signal.entity.environment, service=to)
        found.append(_Weighed(weight * share, there, signal, f"{because}, as {by} tells, which calls it"))
        found.append(_Weighed(weight * (1.0 - share), signal.entity, signal, because))
    return found


def _merged(weighed: Sequence[_Weighed]) -> list[_Weighed]:
    """One candidate for each entity and name, told by its strongest signal, likeliest first."""
    groups: dict[tuple[Entity, str], list[_Weighed]] = defaultdict(list)
    for one in weighed:
        groups[one.entity, one.signal.name].append(one)
    merged = []
    for group in groups.values():
        best = min(group, key=_order)
        merged.append(_Weighed(sum(one.weight for one in group), best.entity, best.signal, best.because))
    return sorted(merged, key=_order)


def _order(one: _Weighed) -> tuple[float, int, str, str]:
    return -one.weight, one.signal.onset_unix_nano, one.signal.id, str(one.entity)


def _decades(signal: Signal) -> float:
    if signal.p_value is None:
        return UNSTATED_DECADES
    return 1.0 + min(-log10(max(signal.p_value, 1e-300)), MOST_DECADES)


class _Names:
    """Names of services as they stand in text."""

    def __init__(self, services: Collection[str]) -> None:
        longest_first = sorted(services, key=lambda name: (-len(name), name))
        whole = rf"(?<![\w.-])(?:{'|'.join(map(re.escape, longest_first))})(?![\w-])"
        self._any = re.compile(whole) if longest_first else None

    def first_in(self, signal: Signal) -> str | None:
        found = None if self._any is None else self._any.search(" ".join(signal.reasons))
        return None if found is None else found[0]


def _pointed_at(signal: Signal, named: _Names) -> str | None:
    """Find the service that a signal is about, where that is another than it is of."""
    call = called_by(signal.entity.service, signal.attributes)
    if call is not None and call[0] == signal.entity.service:
        return call[1]
    found = named.first_in(signal) if signal.kind == "log" else None
    return None if found == signal.entity.service else found
