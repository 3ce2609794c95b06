"""Whose fault it is in a graph of calls: what each component adds itself to the lost time and the failed requests.

Called by row 4 of the scoreboard with summaries of connections or traces (mean latency, availability, requests of each
component a tick). A component's loss is what its requests took, or failed, beyond the usual; its own loss is that less
the losses of what it calls. A cause has a loss of its own; what suffers from it has a loss that its callees explain.
Losses are in seconds and in requests, so a slow component that is rarely called does not outweigh a busy one.
"""

from __future__ import annotations

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, log

import numpy as np

from detectors.surprise import together

# Ticks remembered, and the fewest that make a baseline: half a day of five minutes at least.
TICKS, FEWEST_TICKS = 600, 144
# Own losses that calm reaches once in a hundred ticks are no sign.
CALM_PERCENTILE = 99.0
# Nobody is called unless users feel it: a component that nobody calls loses more than in 19 of 20 calm ticks.
FELT_PERCENTILE = 95.0
# What is so rare that all components together reach it, while users feel something, by chance once a day: ticks are
# five minutes. The p-value of an own loss is its rank among the past's, and beyond the top twentieth of them that of a
# power law (Hill 1975); those of consecutive ticks are combined (Fisher 1932), three at most.
TICKS_A_DAY, FALSE_A_DAY = 288, 1.0
TAIL_SHARE, TAIL_TICKS, RUN_TICKS = 0.05, 5, 3
# A prior of the tail's index, worth one tick: light.
PRIOR_INDEX = 0.5
# Losses below this share of what all requests usually take, or of their number, are no sign either.
SMALLEST_SHARE = 0.01
# An incident is over after this many ticks without a sign.
CALM_TICKS = 3
LATENCY, AVAILABILITY = "latency", "availability"
TINY = 1e-9

Key = tuple[str, str]
"""Component and kind of loss."""


@dataclass(frozen=True, slots=True)
class Served:
    """What a component did in a tick: mean latency in seconds, share of requests that succeeded, requests."""

    latency: float
    availability: float
    requests: float


@dataclass(frozen=True, slots=True)
class Blamed:
    """A component by how much of the loss is its own, of the kind of loss that stood out most."""

    component: str
    kind: str
    own_loss: float


class CallGraphWatch:
    """Watches the components of one call graph tick by tick; says at the first sign of an incident who is to blame."""

    def __init__(self, calls: Mapping[str, Sequence[str]]) -> None:
        self._calls = calls
        self._served: dict[str, deque[Served]] = defaultdict(lambda: deque(maxlen=TICKS))
        self._losses: dict[Key, deque[float]] = defaultdict(lambda: deque(maxlen=TICKS))
        self._own: dict[Key, deque[float]] = defaultdict(lambda: deque(maxlen=TICKS))
        called = {name for names in calls.values() for name in names}
        self._entries = {name for name in calls if name not in called}
        self._below = {name: _below(calls, name) for name in self._entries}
        self._calm_for = CALM_TICKS
        self._runs: dict[Key, tuple[float, ...]] = {}

    def step(self, served: Mapping[str, Served]) -> tuple[Blamed, ...]:
        """Take one tick; returns those to blame, worst first, where an incident begins, and nothing otherwise."""
        served = {name: one for name, one in served.items() if one.requests > 0 and isfinite(one.latency)}
        usual = {name: self._usual(name) for name in served if len(self._served[name]) >= FEWEST_TICKS}
        losses = _losses(served, usual)
        own = {key: loss - self._passed_on(key, losses) for key, loss in losses.items()}
        floor = {
            LATENCY: SMALLEST_SHARE * max((one.latency * one.requests for one in usual.values()), default=0.0),
            AVAILABILITY: SMALLEST_SHARE * max((one.requests for one in usual.values()), default=0.0),
        }
        beyond = {key: loss / self._calm(self._own, key, CALM_PERCENTILE, floor) for key, loss in own.items()}
        felt = {key for key, loss in losses.items() if key[0] in self._entries and self._is_felt(key, loss, floor)}
        suspects = {key for key, by in beyond.items() if by > 1.0 and self._reaches(felt, key)}
        self._runs = {
            key: (*self._runs.get(key, ()), _surprise(self._own[key], own[key], floor[key[1]]))[-RUN_TICKS:]
            for key in suspects
        }
        enough = log(TICKS_A_DAY * max(len(self._own), 1) * (1 - FELT_PERCENTILE / 100) / FALSE_A_DAY)
        for key, loss in own.items():
            self._own[key].append(loss)
        if not any(together(run) >= enough for run in self._runs.values()):
            self._learn(served, losses)
            self._calm_for += 1
            return ()
        began, self._calm_for = self._calm_for >= CALM_TICKS, 0
        blamed = [Blamed(name, kind, own[name, kind] * (1.0 - 1.0 / beyond[name, kind])) for name, kind in suspects]
        worst = max(suspects, key=lambda key: (beyond[key], key))[1]
        ranked = sorted((one for one in blamed if one.kind == worst), key=lambda one: (-one.own_loss, one.component))
        return tuple(ranked) if began else ()

    def _calm(
        self, past: Mapping[Key, Sequence[float]], key: Key, percentile: float, floor: Mapping[str, float]
    ) -> float:
        """Give what calm hardly reaches; nothing is beyond it while too little is known."""
        known = past.get(key, ())
        if len(known) < FEWEST_TICKS // 2:
            return inf
        return max(float(np.percentile(known, percentile)), floor[key[1]], TINY)

    def _is_felt(self, key: Key, loss: float, floor: Mapping[str, float]) -> bool:
        return loss > self._calm(self._losses, key, FELT_PERCENTILE, floor)

    def _reaches(self, felt: set[Key], key: Key) -> bool:
        return any(kind == key[1] and (name == key[0] or key[0] in self._below[name]) for name, kind in felt)

    def _passed_on(self, key: Key, losses: Mapping[Key, float]) -> float:
        name, kind = key
        return sum(max(losses.get((called, kind), 0.0), 0.0) for called in self._calls.get(name, ()) if called != name)

    def _usual(self, name: str) -> Served:
        past = np.array([(one.latency, one.availability, one.requests) for one in self._served[name]])
        return Served(*np.median(past, axis=0).tolist())

    def _learn(self, served: Mapping[str, Served], losses: Mapping[Key, float]) -> None:
        for name, one in served.items():
            self._served[name].append(one)
        for key, loss in losses.items():
            self._losses[key].append(loss)


def _surprise(past: Iterable[float], loss: float, floor: float) -> float:
    """Nats of the p-value of a loss, which is beyond what calm reaches, among past ones.

    As conformal p-values do, it counts the loss among them: the first that is extreme makes the tail heavier.
    """
    ordered = np.sort(np.append(np.fromiter(past, float), loss))
    begins = max(float(ordered[-max(int(len(ordered) * TAIL_SHARE), TAIL_TICKS) - 1]), floor, TINY)
    tail = np.log(ordered[ordered > begins] / begins)
    index = (float(tail.sum()) + PRIOR_INDEX) / (len(tail) + 1)
    return log((len(ordered) + 1) / (len(tail) + 1)) + max(log(loss / begins), 0.0) / index


def _losses(served: Mapping[str, Served], usual: Mapping[str, Served]) -> dict[Key, float]:
    losses: dict[Key, float] = {}
    for name, was in usual.items():
        now = served[name]
        losses[name, LATENCY] = (now.latency - was.latency) * now.requests
        if isfinite(now.availability) and isfinite(was.availability):
            losses[name, AVAILABILITY] = (was.availability - now.availability) * now.requests
    return losses


def _below(calls: Mapping[str, Sequence[str]], name: str) -> set[str]:
    """Everything that a component calls, and what that calls in turn."""
    below: set[str] = set()
    ahead = [name]
    while ahead:
        new = set(calls.get(ahead.pop(), ())) - below
        below |= new
        ahead += new
    return below
