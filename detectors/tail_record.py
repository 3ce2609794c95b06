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

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Prior:
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
        prior, s = self._prior, self._state
        expected = prior.looks * prior.share
        entered = expected + s.entered[subjects]
        share = entered / (prior.looks + s.looks[subjects])
        mean = (expected * prior.mean_excess + s.excess[subjects]) / entered
        beyond = score - s.point[subjects]
        return np.where(beyond > 0, share * np.exp(-beyond / mean), 1.0)

    def learn(self, subjects: Ints, score: Floats) -> None:
        """Put scores on record."""
        s, prior = self._state, self._prior
        fade = 1.0 - 1.0 / prior.memory
        beyond = np.clip(score - s.point[subjects], 0.0, prior.max_excess)
        begins = (beyond > 0) & (s.peak[subjects] <= 0)
        ended = np.where(beyond > 0, 0.0, s.peak[subjects])
        for record, news in ((s.looks, 1.0), (s.entered, ended > 0), (s.excess, ended)):
            record[subjects] = record[subjects] * fade + news
        s.peak[subjects] = np.where(beyond > 0, np.maximum(beyond, s.peak[subjects]), 0.0)
        s.point[subjects] += prior.rate * (begins - prior.wanted)

    def freeze(self) -> bytes:
        """Everything it knows."""
        return freeze_rows(self._state)

    def thaw(self, state: bytes) -> None:
        """Become what `freeze` was called on."""
        thaw_rows(self._state, state)
