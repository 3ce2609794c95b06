"""Memory of labelled incidents: what a new incident resembles, and whether it resembles anything at all.

Folded by the decide stage from incidents and from what people say of them; `detectors.classify.recall` joins it with
the rules. The feature space is documented in `docs/classes.md`. A class is known from its first example on: neighbours
are cited at once. The guarantee of the prediction set needs enough examples, and is not claimed before.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, inf, log10, sqrt

from detectors.rules import Evidence, family
from schemas.control import Example
from schemas.envelope import content_id
from schemas.incident import Neighbour
from schemas.signal import Signal

Features = Mapping[str, float]

# The prediction set misses the true class at most this often, over all incidents that are like the examples.
SIGNIFICANCE = 0.05
# A p-value of n examples is at least about 1 / (n + 1): with fewer than 19 none can be below 5 %.
ENOUGH = 19
# Neighbours that are cited: they fit one screen, and a majority of five is one.
CITED = 5
# Two incidents this near share at least 90 % of their mix: of unit vectors, 1 - d^2 * (2 + CONTEXT) / 2 with d = 0.25.
CLOSE = 0.25
# Per class and over all: 64 examples bound the standard error of a class's p-values to 3 points at 5 %.
MAX_PER_CLASS = 64
MAX_EXAMPLES = 1024

# Surprise of one signal counts from 1 to 18 decades (`detectors.evidence.MAX_DECADES`); without a p-value it counts 1.
_MAX_DECADES = 18.0
# Facts that are no signals (a rollout before, one instance only, an intruder reported) weigh together as much as a mix.
_CONTEXT = ("rollout", "lone_instance", "intruder")
_CONTEXT_WEIGHT = sqrt(2.0 / len(_CONTEXT))
_FARTHEST = sqrt(2.0 + len(_CONTEXT) * _CONTEXT_WEIGHT**2)


def features(signals: Sequence[Signal], changes: Sequence[Signal]) -> dict[str, float]:
    """Describe an incident: the root of each kind of signal's share (Hellinger), and three facts around them.

    No name of a service, instance or time is in it, so that what one service taught serves all of them.
    """
    weights: defaultdict[str, float] = defaultdict(float)
    for signal in signals:
        weights[_kind(signal)] += _weight(signal)
    total = fsum(weights.values()) or 1.0
    vector = {kind: sqrt(weights[kind] / total) for kind in sorted(weights)}
    return vector | {f"context:{name}": _CONTEXT_WEIGHT for name in _facts(Evidence(signals, changes))}


def distance(one: Features, other: Features) -> float:
    """Euclidean distance over the greatest there can be: 0 is the same mix, 1 has nothing in common."""
    both = [(value - other.get(key, 0.0)) ** 2 for key, value in one.items()]
    # Summed exactly, so that neither the order of keys nor that of the two matters.
    squares = fsum(both + [value**2 for key, value in other.items() if key not in one])
    return min(1.0, sqrt(squares) / _FARTHEST)


@dataclass(frozen=True, slots=True)
class Resemblance:
    """What the memory says of one incident."""

    neighbours: tuple[Neighbour, ...]
    p_values: Mapping[str, float]
    calibrated: bool
    people: Mapping[str, int]
    """How many people gave the labels of the neighbours, by label."""

    @property
    def prediction_set(self) -> tuple[str, ...]:
        """Classes that cannot be ruled out: by p-value, or by closeness where examples are too few for one."""
        if self.calibrated:
            return tuple(sorted(label for label, p in self.p_values.items() if p > SIGNIFICANCE))
        return tuple(sorted({near.label for near in self.neighbours if near.distance <= CLOSE}))

    @property
    def label(self) -> str | None:
        """The class it resembles most; None where it resembles none."""
        possible = self.prediction_set
        return min(possible, key=lambda label: (-self.p_values[label], label), default=None)

    @property
    def credibility(self) -> float:
        """How familiar: the largest p-value of any class."""
        return max(self.p_values.values(), default=0.0)

    @property
    def confidence(self) -> float:
        """One less the second largest p-value: how far every other class is ruled out."""
        return 1.0 - (sorted(self.p_values.values())[-2] if len(self.p_values) > 1 else 0.0)


class IncidentMemory:
    """Labelled incidents, the newest of each class. Size bounded; depends on nothing but what was added, in order."""

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        self._classes: dict[str, deque[Example]] = {}
        self._alone: dict[str, float] = {}  # incident -> distance to the nearest other of its class
        for example in examples:
            self.add(example)

    @property
    def examples(self) -> tuple[Example, ...]:
        """All that is remembered, so that it can be kept: a memory made of them says the same."""
        return tuple(example for label in sorted(self._classes) for example in self._classes[label])

    def add(self, example: Example) -> None:
        """Remember an incident; a label that corrects an earlier one takes its place."""
        self.forget(example.incident_id)
        mine = self._classes.setdefault(example.label, deque())
        if len(mine) == MAX_PER_CLASS:
            self.forget(mine[0].incident_id)
            mine = self._classes[example.label]
        away = [(distance(example.features, other.features), other.incident_id) for other in mine]
        for far, identity in away:
            self._alone[identity] = min(self._alone[identity], far)
        self._alone[example.incident_id] = min((far for far, _ in away), default=inf)
        mine.append(example)
        if len(self._alone) > MAX_EXAMPLES:
            crowded = max(sorted(self._classes), key=lambda label: len(self._classes[label]))
            self.forget(self._classes[crowded][0].incident_id)

    def forget(self, incident_id: str) -> None:
        """Take an incident out: its label was wrong, or it was no incident."""
        if self._alone.pop(incident_id, None) is None:
            return
        for label, mine in list(self._classes.items()):
            left = [example for example in mine if example.incident_id != incident_id]
            if len(left) == len(mine):
                continue
            if left:
                self._classes[label] = deque(left)
                self._measure(label)
            else:
                del self._classes[label]

    def resemblance(self, found: Features, incident_id: str) -> Resemblance:
        """Compare an incident with all that are remembered, except itself.

        Each class in turn is supposed to be the true one. The p-value is the share of examples that lie at least as far
        from the nearest of their own class as this one would (transductive conformal prediction: Vovk et al., 2005).
        Ties are broken by a number made from the incident's id, which makes the guarantee exact and a replay the same.
        """
        away = {e.incident_id: distance(found, e.features) for e in self.examples if e.incident_id != incident_id}
        near = sorted((away[e.incident_id], e.incident_id, e.label) for e in self.examples if e.incident_id in away)
        tie = int(content_id("tie", incident_id)[:12], 16) / 16**12
        labels = sorted({label for _, _, label in near})
        cited = {identity for _, identity, _ in near[:CITED]}
        said = {(e.label, e.by) for e in self.examples if e.incident_id in cited}
        return Resemblance(
            neighbours=tuple(
                Neighbour(incident_id=i, label=label, distance=round(d, 6)) for d, i, label in near[:CITED]
            ),
            p_values={label: self._p_value(label, away, tie) for label in labels},
            calibrated=len(away) >= ENOUGH,
            people=Counter(label for label, _ in said),
        )

    def _p_value(self, supposed: str, away: Mapping[str, float], tie: float) -> float:
        mine = min(away[e.incident_id] for e in self._classes[supposed] if e.incident_id in away)
        others = [
            min(self._alone[e.incident_id], away[e.incident_id]) if label == supposed else self._alone[e.incident_id]
            for label, examples in self._classes.items()
            for e in examples
            if e.incident_id in away
        ]
        # The only example of its class has nothing to be far from, and tells nothing of how far is far.
        scored = [score for score in others if score < inf]
        farther, equal = sum(score > mine for score in scored), 1 + sum(score == mine for score in scored)
        return (farther + tie * equal) / (len(scored) + 1)

    def _measure(self, label: str) -> None:
        mine = self._classes[label]
        for one in mine:
            rest = (distance(one.features, other.features) for other in mine if other is not one)
            self._alone[one.incident_id] = min(rest, default=inf)


def _kind(signal: Signal) -> str:
    of = family(signal)
    rises = (signal.observed or 0.0) >= (signal.expected or 0.0)
    # What no family is known of keeps its name: a new class is told by it.
    return f"{signal.kind}:{signal.name if of == 'other' else of}:{'up' if rises else 'down'}"


def _weight(signal: Signal) -> float:
    if signal.p_value is None:
        return 1.0
    return min(_MAX_DECADES, max(1.0, -log10(max(signal.p_value, 1e-300))))


def _facts(evidence: Evidence) -> Iterable[str]:
    if any(change.name.startswith("deployment.") for change in evidence.changes):
        yield "rollout"
    if evidence.lone_instance is not None:
        yield "lone_instance"
    if evidence.alarms:
        yield "intruder"
