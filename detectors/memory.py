"""Memory of labelled incidents: what a new incident resembles, and whether it resembles anything at all.

Folded by the decide stage from incidents and from what people say of them; `detectors.classify.recall` joins it with
the rules. The feature space is documented in `docs/classes.md`. A class is known from its first example on: neighbours
are cited at once. The guarantee of the prediction set needs enough examples, and is not claimed before.
"""

from __future__ import annotations

from collections import Counter, defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import fsum, hypot, inf, log10, sqrt
from typing import NamedTuple, Protocol

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

# Where both incidents have one, the profile counts for half: what fired is a few of the metrics that moved, and chance
# has its part in which; but what logs and alerts say is in the mix alone.
_PROFILE_WEIGHT = 0.5
_FEWEST_METRICS = 3


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


def profile_of(departures: Mapping[str, float]) -> dict[str, float]:
    """Describe an incident by how far each metric was from its level before: the direction alone, so of length 1."""
    length = hypot(*departures.values())
    # Two metrics always look alike or opposite.
    if len(departures) < _FEWEST_METRICS or length == 0.0:
        return {}
    return {name: round(departures[name] / length, 4) for name in sorted(departures)}


class Described(Protocol):
    """An incident, as far as it can be compared: an example of the past, or the one at hand."""

    @property
    def features(self) -> Features: ...
    @property
    def profile(self) -> Features: ...


class _Asked(NamedTuple):
    features: Features
    profile: Features


def apart(one: Described, other: Described) -> float:
    """Distance of two incidents: of their mixes, and of their profiles where those are of mostly the same metrics."""
    mix = distance(one.features, other.features)
    few, many = sorted((one.profile, other.profile), key=len)
    shared = [value * many[name] for name, value in few.items() if name in many]
    if len(shared) < _FEWEST_METRICS or 2 * len(shared) < len(few):
        return mix
    # Half of one less the cosine: 0 is the same direction, 1 the opposite one.
    opposed = min(1.0, max(0.0, (1.0 - fsum(shared)) / 2.0))
    return sqrt((1.0 - _PROFILE_WEIGHT) * mix**2 + _PROFILE_WEIGHT * opposed)


@dataclass(frozen=True, slots=True)
class Resemblance:
    """What the memory says of one incident."""

    neighbours: tuple[Neighbour, ...]
    p_values: Mapping[str, float]
    familiarity: float
    """Share of the examples that lie at least as far from every other as this incident does from every example."""
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
    def familiar(self) -> bool:
        """Whether it is as near to what is remembered as that is to itself; said of all where examples are too few."""
        return not self.calibrated or self.familiarity > SIGNIFICANCE

    @property
    def label(self) -> str | None:
        """The class it resembles most; None where it resembles none."""
        possible = self.prediction_set if self.familiar else ()
        return min(possible, key=lambda label: (-self.p_values[label], label), default=None)

    @property
    def confidence(self) -> float:
        """One less the second largest p-value: how far every other class is ruled out."""
        return 1.0 - (sorted(self.p_values.values())[-2] if len(self.p_values) > 1 else 0.0)


class _Held:
    """An example, and how far the nearest others are: of its own class, and of any other."""

    __slots__ = ("example", "own", "rival")

    def __init__(self, example: Example) -> None:
        self.example = example
        self.own = inf
        self.rival = inf

    def see(self, other: Example) -> float:
        """Take account of another example; returns its distance."""
        far = apart(self.example, other)
        if other.label == self.example.label:
            self.own = min(self.own, far)
        else:
            self.rival = min(self.rival, far)
        return far


class IncidentMemory:
    """Labelled incidents, the newest of each class. Size bounded; depends on nothing but what was added, in order."""

    def __init__(self, examples: Iterable[Example] = ()) -> None:
        self._classes: dict[str, deque[str]] = {}  # the oldest first
        self._held: dict[str, _Held] = {}
        for example in examples:
            self.add(example)

    @property
    def examples(self) -> tuple[Example, ...]:
        """All that is remembered, so that it can be kept: a memory made of them says the same."""
        return tuple(self._held[i].example for label in sorted(self._classes) for i in self._classes[label])

    def add(self, example: Example) -> None:
        """Remember an incident; a label that corrects an earlier one takes its place."""
        self.forget(example.incident_id)
        if len(self._classes.get(example.label, ())) == MAX_PER_CLASS:
            self.forget(self._classes[example.label][0])
        new = _Held(example)
        for held in self._held.values():
            held.see(example)
            new.see(held.example)
        self._held[example.incident_id] = new
        self._classes.setdefault(example.label, deque()).append(example.incident_id)
        if len(self._held) > MAX_EXAMPLES:
            crowded = max(sorted(self._classes), key=lambda label: len(self._classes[label]))
            self.forget(self._classes[crowded][0])

    def forget(self, incident_id: str) -> None:
        """Take an incident out: its label was wrong, or it was no incident."""
        gone = self._held.pop(incident_id, None)
        if gone is None:
            return
        label = gone.example.label
        self._classes[label].remove(incident_id)
        if not self._classes[label]:
            del self._classes[label]
        for held in self._held.values():
            far = apart(held.example, gone.example)
            if far == (held.own if held.example.label == label else held.rival):
                self._measure(held)

    def resemblance(self, found: Features, incident_id: str, profile: Features | None = None) -> Resemblance:
        """Compare an incident with all that are remembered, except itself.

        Each class in turn is supposed to be the true one. How odd an incident is in its class is the ratio of its
        distances to the nearest of that class and to the nearest of any other; the p-value is the share of examples
        that are at least as odd as this one would be (transductive conformal prediction by nearest neighbours: Vovk et
        al., 2005, 3.1). Whether it is like anything at all is another question, with a p-value of its own: the
        distance to the nearest example of whatever class.
        Ties are broken by a number made from the incident's id, which makes the guarantee exact and a replay the same.
        """
        asked = _Asked(found, profile or {})
        away = {i: apart(asked, one.example) for i, one in self._held.items() if i != incident_id}
        others = [(away[i], one) for i, one in self._held.items() if i in away]
        near = sorted((far, one.example.incident_id, one.example.label) for far, one in others)[:CITED]
        said = {(self._held[i].example.label, self._held[i].example.by) for _, i, _ in near}
        tie = int(content_id("tie", incident_id)[:12], 16) / 16**12
        labels = sorted({one.example.label for _, one in others})
        mine = min(away.values(), default=inf)
        return Resemblance(
            neighbours=tuple(Neighbour(incident_id=i, label=label, distance=round(d, 6)) for d, i, label in near),
            p_values={label: _p_value_of(label, others, tie) for label in labels},
            familiarity=_p_value(mine, [min(far, one.own, one.rival) for far, one in others], tie),
            calibrated=len(away) >= ENOUGH,
            people=Counter(label for label, _ in said),
        )

    def _measure(self, held: _Held) -> None:
        held.own = held.rival = inf
        for other in self._held.values():
            if other is not held:
                held.see(other.example)


def _p_value_of(supposed: str, others: Sequence[tuple[float, _Held]], tie: float) -> float:
    """P-value of an incident at these distances from the others, if it were of a class."""
    own = min(far for far, one in others if one.example.label == supposed)
    rival = min((far for far, one in others if one.example.label != supposed), default=inf)
    # The only example of its class has nothing to be far from, and tells nothing of how far is far.
    scored = [
        _oddity(min(one.own, far), one.rival)
        if one.example.label == supposed
        else _oddity(one.own, min(one.rival, far))
        for far, one in others
        if one.own < inf or one.example.label == supposed
    ]
    return _p_value(_oddity(own, rival), scored, tie)


def _oddity(own: float, rival: float) -> float:
    """How much farther the nearest of its own class is than the nearest of another; where there is none, how far."""
    if rival == inf:
        return own
    return own / (own + rival) if own + rival > 0.0 else 0.5


def _p_value(mine: float, others: Sequence[float], tie: float) -> float:
    farther, equal = sum(one > mine for one in others), 1 + sum(one == mine for one in others)
    return (farther + tie * equal) / (len(others) + 1)


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
