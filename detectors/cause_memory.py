"""Which known cause is at work in this system, said online: a memory of labelled incidents over the same metrics.

Called by row 6 of the scoreboard, and by whoever watches one system (a database, say) with causes seen before.
`Lesson.of` reads a labelled example, `CauseMemory.learn` takes lessons, one a cause is enough; `CauseWatch.step` takes
one tick of telemetry at a time and says, once, when the evidence suffices: this cause, since this tick. It never sees a
later tick.

How it decides:

* `departures` tells how far each metric is from its own recent past, in robust spreads. Only ratios of a metric to
  itself enter, so units and scales mean nothing, and runs on machines of different size can be compared.
* Calm and each cause are Gaussians over those departures with one shrunken covariance (a linear discriminant), so a
  tick gives one log-likelihood ratio against calm for each cause.
* A CUSUM adds up the ratio of "any cause" to "calm" (Page 1954): its last zero dates the onset. A decision needs a
  sum beyond chance, an incident that lasts, and a lead of the first cause over the second.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

# Quartile-like bounds of a Gaussian: half their distance is one standard deviation.
LOW, MIDDLE, HIGH = 16, 50, 84
# The recent past: a minute of ticks, without the last few, in which an incident may have begun unnoticed.
PAST_TICKS = 60
RECENT_TICKS = 10
# Ticks before anything is judged: half of them make the first baseline, medians of fewer are noise.
WARM_UP_TICKS = 15
FIRST_BASELINE_TICKS = 8
# Ticks averaged before they are judged: metrics of a second are counts of few events.
SMOOTH_TICKS = 4
# A departure counts as its asinh (linear near calm, logarithmic far off), up to ten spreads. What never moved has no
# spread: a step of it counts like four.
MOST_DEPARTURE = 3.0
STEP_OF_A_CONSTANT = 2.0
# A metric whose past is short or flat by chance is given the spread that it usually has, as a share of its level.
SMALLEST_SHARE, LARGEST_SHARE = 1e-3, 10.0
# An incident's signature is learnt from its first half minute: decisions are made then. The ticks just before a
# labelled onset are nobody's: labels are some seconds late.
SIGNATURE_TICKS = 30
UNCLEAR_TICKS = 5
# Share of the covariance given to "independent": a few hundred calm ticks do not determine 94 x 94 correlations.
SHRINKAGE = 0.1
# One tick counts at most e^8, one cause is ruled out by no single tick; a tick must be worth e^2.
MOST_PER_TICK = 8.0
DRIFT = 2.0
# A decision needs odds of e^40 summed (ticks are not independent: calm reaches e^25), eleven ticks of incident (labels
# and load have waves of five to nine), and odds of e^24 between the two best causes over the last six ticks, for
# which it waits eight ticks at most.
ENOUGH = 40.0
LASTING_TICKS = 11
LEAD = 24.0
LEAD_TICKS = 6
WAIT_FOR_LEAD_TICKS = 8


@dataclass(frozen=True, slots=True)
class Example:
    """One labelled incident: ticks x metrics, calm up to `onset`, `cause` at work until `end` (not included)."""

    cause: str
    values: Floats
    onset: int
    end: int


@dataclass(frozen=True, slots=True)
class CauseDecision:
    """What is at work: causes by evidence, best first, with shares that sum to one; ticks counted from the start."""

    causes: tuple[tuple[str, float], ...]
    onset: int
    decided: int

    @property
    def cause(self) -> str:
        """The cause with most evidence."""
        return self.causes[0][0]


class Baseline:
    """Each metric of one system beside its own recent past, one tick at a time."""

    def __init__(self, metrics: int) -> None:
        self._past: deque[Floats] = deque(maxlen=PAST_TICKS + RECENT_TICKS + 1)
        self._last = np.zeros(metrics)
        self._ticks = 0

    def step(self, values: Floats) -> Floats | None:
        """Offset from the past, spread and level of the past: 3 x metrics; None while there is too little past.

        What is missing is taken as unchanged.
        """
        self._last = np.where(np.isnan(values), self._last, values)
        self._past.append(self._last)
        self._ticks += 1
        if self._ticks <= WARM_UP_TICKS:
            return None
        past = np.array(self._past)
        baseline = past[: max(FIRST_BASELINE_TICKS, len(past) - 1 - RECENT_TICKS)]
        low, middle, high = np.percentile(baseline, [LOW, MIDDLE, HIGH], axis=0)
        return np.array([past[-SMOOTH_TICKS:].mean(axis=0) - middle, (high - low) / 2, np.abs(middle)])


def departures(compared: Floats, usual_share: Floats) -> Floats:
    """How far metrics are from their past, of what `Baseline` says (any number of ticks x 3 x metrics)."""
    off, own_spread, level = np.moveaxis(compared, -2, 0)
    spread = np.maximum(own_spread, usual_share * level)
    with np.errstate(divide="ignore", invalid="ignore"):
        scaled = np.where(spread > 0, np.arcsinh(off / spread), np.sign(off) * STEP_OF_A_CONSTANT)
    bounded: Floats = np.clip(scaled, -MOST_DEPARTURE, MOST_DEPARTURE)
    return bounded


@dataclass(frozen=True, slots=True)
class Lesson:
    """What one example teaches: how its metrics compared with their past in calm, and while the cause was at work."""

    cause: str
    calm: Floats
    signature: Floats
    spread_share: Floats

    @classmethod
    def of(cls, example: Example) -> Lesson:
        """Go through an example tick by tick, as it would have been seen then."""
        baseline = Baseline(example.values.shape[1])
        seen = [(at, baseline.step(row)) for at, row in enumerate(example.values[: example.end])]
        calm = [one for at, one in seen if one is not None and at < example.onset - UNCLEAR_TICKS]
        until = example.onset + SIGNATURE_TICKS
        signature = [one for at, one in seen if one is not None and example.onset <= at < until]
        shape = (-1, 3, example.values.shape[1])
        return cls(
            example.cause,
            np.array(calm).reshape(shape),
            np.array(signature).reshape(shape),
            _spread_share(np.nan_to_num(example.values[: example.onset])),
        )


class CauseMemory:
    """What calm and each known cause look like, in departures."""

    def __init__(self, usual_share: Floats, causes: Sequence[str], weights: Floats, offsets: Floats) -> None:
        self.usual_share = usual_share
        self.causes = tuple(causes)
        self._weights = weights
        self._offsets = offsets

    @classmethod
    def learn(cls, lessons: Sequence[Lesson]) -> CauseMemory:
        """Learn from labelled examples over the same metrics: at least one."""
        usual_share = np.clip(np.median([one.spread_share for one in lessons], axis=0), SMALLEST_SHARE, LARGEST_SHARE)
        causes = sorted({one.cause for one in lessons if len(one.signature)})
        groups = [[one.calm for one in lessons]]
        groups += [[one.signature for one in lessons if one.cause == cause] for cause in causes]
        weights, offsets = _discriminant([departures(np.concatenate(group), usual_share) for group in groups])
        return cls(usual_share, causes, weights, offsets)

    def against_calm(self, departed: Floats) -> Floats:
        """Log-likelihood ratio of each cause against calm for one tick."""
        said: Floats = self._weights @ departed + self._offsets
        return said


class CauseWatch:
    """Watches one system tick by tick. Decides once an incident, and is ready again when it is over."""

    def __init__(self, memory: CauseMemory) -> None:
        self._memory = memory
        self._baseline = Baseline(len(memory.usual_share))
        self._recent: deque[Floats] = deque(maxlen=LEAD_TICKS)
        self._tick = -1
        self._sum = 0.0
        self._onset: int | None = None
        self._decided = False

    def step(self, values: Floats) -> CauseDecision | None:
        """Take one tick; returns the decision at the tick at which it is made."""
        self._tick += 1
        compared = self._baseline.step(values)
        if compared is None:
            return None
        ratios = self._memory.against_calm(departures(compared, self._memory.usual_share))
        best = float(ratios.max())
        any_cause = best + float(np.log(np.mean(np.exp(ratios - best))))
        self._recent.append(np.maximum(ratios - best, -MOST_PER_TICK))
        # Bounded above, so that an incident of any length is over soon after its evidence is.
        self._sum += min(max(any_cause - DRIFT, -MOST_PER_TICK), MOST_PER_TICK)
        self._sum = min(max(self._sum, 0.0), 2 * ENOUGH)
        if self._sum == 0.0:
            self._onset, self._decided = None, False
            return None
        if self._onset is None:
            self._onset = self._tick
        return None if self._decided else self._decide(self._onset)

    def _decide(self, onset: int) -> CauseDecision | None:
        lasted = self._tick - onset + 1
        if self._sum < ENOUGH or lasted < LASTING_TICKS:
            return None
        evidence = np.sum(np.array(self._recent), axis=0)
        order = np.argsort(-evidence, kind="stable")
        lead = evidence[order[0]] - evidence[order[1]] if len(order) > 1 else np.inf
        if lead < LEAD and lasted < LASTING_TICKS + WAIT_FOR_LEAD_TICKS:
            return None
        self._decided = True
        # The mean of the ticks, not their sum: they are not independent.
        shares = np.exp((evidence - evidence[order[0]]) / len(self._recent))
        shares /= shares.sum()
        causes = tuple((self._memory.causes[i], float(shares[i])) for i in order)
        return CauseDecision(causes, onset, self._tick)


def _spread_share(calm: Floats) -> Floats:
    """Spread of each metric as a share of its level; 0 where it is flat."""
    low, middle, high = np.percentile(calm, [LOW, MIDDLE, HIGH], axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(high > low, (high - low) / 2 / np.abs(middle), 0.0)


def _discriminant(classes: Sequence[Floats]) -> tuple[Floats, Floats]:
    """Weights and offsets of the log-likelihood ratio of each class after the first against the first."""
    means = np.array([rows.mean(axis=0) for rows in classes])
    # Every class counts alike, however long it was watched.
    within = np.mean([_scatter(rows - mean) for rows, mean in zip(classes, means, strict=True)], axis=0)
    # What never varies within a class is as certain as the least certain of what does: no metric decides alone.
    deviation = np.sqrt(np.diag(within))
    deviation[deviation < 1e-9] = max(float(deviation.max()), 1.0)
    correlation = (1 - SHRINKAGE) * within / np.outer(deviation, deviation)
    np.fill_diagonal(correlation, 1.0)
    scaled = means / deviation
    solved = np.linalg.solve(correlation, scaled.T).T
    halves = 0.5 * np.sum(scaled * solved, axis=1)
    return (solved[1:] - solved[0]) / deviation, halves[0] - halves[1:]


def _scatter(centred: Floats) -> Floats:
    covariance: Floats = centred.T @ centred / len(centred)
    return covariance
