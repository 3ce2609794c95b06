"""How often the score of a subject went beyond a point, and how high: its own tail, with a pooled one before it.

Used by `detectors.entity_watch`. An excursion is counted once, by its peak, when it is over: looks next to each other
are not independent (Davison & Smith, Models for exceedances over high thresholds, JRSS B 1990). The excess of a peak is
taken as exponential; where the score is a logarithm that is a power-law tail, and the mean excess is Hill's (1975)
estimate of its index. What was raised counts, too, up to a limit: who cries often has to cry louder.

Where the tail begins is each subject's own: the point moves until an excursion beyond it begins in one of so many looks
(stochastic approximation of a quantile: Robbins & Monro, Ann. Math. Statist. 1951), or the tails of quiet subjects
would never be seen.
"""

from __future__ import annotations

from math import exp
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows
from detectors.compiled import loop

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


class Prior(NamedTuple):
    """What is known before a subject has a record of its own."""

    point: float
    """Where the tail is taken to begin."""
    share: float
    """Of looks at which an excursion beyond it begins."""
    wanted: float
    """Share that the point moves to."""
    rate: float
    """By how much an excursion moves it up."""
    mean_excess: float
    """Of its peak."""
    looks: float
    """How many looks of the subject itself this weighs as much as."""
    memory: float
    """Looks after which what was seen has faded to a third."""
    max_excess: float
    """An excess teaches no more than this: one real fault must not make the subject deaf."""


class _State:
    def __init__(self, count: int, point: float) -> None:
        self.point = np.full(count, point)
        self.looks = np.zeros(count)
        self.entered = np.zeros(count)
        self.excess = np.zeros(count)
        self.peak = np.zeros(count)  # of the excursion that goes on, beyond the point


class _Columns(NamedTuple):
    """A `_State`, as loops take it."""

    point: Floats
    looks: Floats
    entered: Floats
    excess: Floats
    peak: Floats


@loop()
def _p_values(subjects: Ints, score: Floats, prior: Prior, c: _Columns) -> Floats:
    found = np.ones(len(subjects))
    expected = prior.looks * prior.share
    for i in range(len(subjects)):
        one = subjects[i]
        beyond = float(score[i]) - float(c.point[one])
        if beyond > 0.0:
            times = expected + float(c.entered[one])
            mean = (expected * prior.mean_excess + float(c.excess[one])) / times
            found[i] = times / (prior.looks + float(c.looks[one])) * exp(-beyond / mean)
    return found


@loop()
def _learn(subjects: Ints, score: Floats, prior: Prior, c: _Columns) -> None:
    fade = 1.0 - 1.0 / prior.memory
    for i in range(len(subjects)):
        one = subjects[i]
        peak = float(c.peak[one])
        beyond = min(max(float(score[i]) - float(c.point[one]), 0.0), prior.max_excess)
        # An excursion is put on record when it is over.
        ended = peak if beyond <= 0.0 else 0.0
        c.looks[one] = float(c.looks[one]) * fade + 1.0
        c.entered[one] = float(c.entered[one]) * fade + (1.0 if ended > 0.0 else 0.0)
        c.excess[one] = float(c.excess[one]) * fade + ended
        c.peak[one] = max(beyond, peak) if beyond > 0.0 else 0.0
        begins = 1.0 if beyond > 0.0 >= peak else 0.0
        c.point[one] = float(c.point[one]) + prior.rate * (begins - prior.wanted)


class TailRecord:
    """Records of subjects, as rows of arrays."""

    def __init__(self, prior: Prior) -> None:
        self._prior = prior
        self._state = _State(0, prior.point)

    def reserve(self, count: int) -> None:
        """Make room for as many subjects."""
        missing = count - len(self._state.looks)
        if missing > 0:
            self._state = grown(self._state, _State(max(missing, len(self._state.looks)), self._prior.point))

    def forget(self, subjects: Ints) -> None:
        """Let subjects be new."""
        assign(self._state, subjects, _State(1, self._prior.point))

    def p_value(self, subjects: Ints, score: Floats) -> Floats:
        """Probability that an excursion as high begins at a look; 1 below the point.

        Args:
            subjects: `[n]` rows.
            score: `[n]`.

        """
        found: Floats = _p_values(subjects, score, self._prior, _Columns(**vars(self._state)))
        return found

    def learn(self, subjects: Ints, score: Floats) -> None:
        """Put scores on record."""
        _learn(subjects, score, self._prior, _Columns(**vars(self._state)))

    def freeze(self) -> bytes:
        """Everything it knows."""
        return freeze_rows(self._state)

    def thaw(self, state: bytes) -> None:
        """Become what `freeze` was called on."""
        thaw_rows(self._state, state)
