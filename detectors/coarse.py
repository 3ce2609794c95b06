"""Coarse series of a bank: those that bring a sample every 150 seconds or less often, judged by `UnivariateDetector`.

Called by `detectors.bank` once per closed tick with the rows that had samples in it. 64 ticks of baseline are a minute
of a fine series and five hours of one that is sampled every five minutes: there every morning is an excursion. Such
series are few per second by nature, so each can have the detector that knows hours of the day, old levels and spreads
(`detectors.univariate`, 3.3 kB a series). Its score becomes a p-value by the series' own record: how often calm scores
went beyond `SCORE_FROM`, and how far, as in `evidence.calibrate`.

What is coarse is learned from the gaps between samples: `STREAK` long ones in a row make a series coarse, as many short
ones make it fine again. A series that is coarse abstains until its detector has warmed up.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from detectors import evidence
from detectors.bank_rows import assign, freeze_rows, grown, thaw_rows
from detectors.univariate import LOOKS, UnivariateDetector

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]
Rows = NDArray[np.intp]

# Usual intervals are up to a minute, then five. A minute is fine: with 45 s here no fault of Nezha A was found any more
# (15 of 52 by the baseline of fine series): its faults last few minutes, and the detector abstains for its first hour.
COARSE_SECONDS = 150.0
# One long gap is an outage; three in a row are a habit.
STREAK = 3
# A tick over 20 thousand series costs 0.1 s of one core and 70 MB; more coarse series than that stay with the baseline
# of the fine ones, so that a tick keeps within its 0.2 s.
MOST = 20_000
# The interval moves to the newest one by an eighth: one outage does not change the number of looks a day for long.
INTERVAL_RATE = 0.125

# p = 0.001 exp(-(score - 1.5) / 0.35). On calm telemetry (NAB outside of its windows, petshop without issue, part A) a
# look begins an excursion beyond 1.5 with a probability of 0.0007 and 0.0011, beyond 2 of 0.00026 and 0.00037, where
# this says 0.001 and 0.00024. Further out it is too sure (at 3 by a factor of 4 and 6): there the series' own record
# corrects it, which weighs as much as this after 2400 looks.
SCORE_FROM = 1.0
SHARE = 0.001 * float(np.exp(0.5 / 0.35))
MEAN_EXCESS = 0.35
PRIOR_LOOKS = 2400.0
# Looks fade with the memory of the detector's own tails: ten thousand, five weeks of five-minute ticks.
FADE = 1.0 - 1.0 / 10_000
# An excess teaches no more than this: one real fault must not make the series deaf.
MAX_EXCESS = 1.0


def p_value(score: Floats, looks: Floats, entered: Floats, excess: Floats) -> Floats:
    """Probability that a calm look at each of `[n]` series scores as high, by its own record; never below the pooled.

    Args:
        score: `[n]` scores of `UnivariateDetector`.
        looks: `[n]` faded number of calm looks.
        entered: `[n]` how many of them went beyond `SCORE_FROM`.
        excess: `[n]` sum of how far.

    """
    prior = PRIOR_LOOKS * SHARE
    share = np.maximum(SHARE, (prior + entered) / (PRIOR_LOOKS + looks))
    mean = np.maximum(MEAN_EXCESS, (prior * MEAN_EXCESS + excess) / (prior + entered))
    # Below the entry there is no tail to speak of: it is as good as certain.
    return np.where(score > SCORE_FROM, share * np.exp(-(score - SCORE_FROM) / mean), 1.0)


class _State:
    """What is known of each slot."""

    def __init__(self, slots: int) -> None:
        self.detector = UnivariateDetector(slots)
        self.calm_looks = np.zeros(slots)
        self.entered = np.zeros(slots)
        self.excess = np.zeros(slots)


@dataclass(slots=True)
class CoarseSeries:
    """Slots of detector state, given to rows of the bank on demand."""

    used: Ints = field(default_factory=lambda: np.zeros(0, np.int64))
    """One where a slot is taken."""
    state: _State = field(default_factory=lambda: _State(0))

    def admit(self, count: int) -> Ints:
        """Slots for as many new coarse series as there is room for, blank."""
        free = np.flatnonzero(self.used == 0)
        have, missing = len(self.used), min(count - len(free), MOST - len(self.used))
        if missing > 0:
            size = min(MOST, max(have + missing, 2 * have, 16))
            self.state = grown(self.state, _State(size - have))
            self.used = np.concatenate((self.used, np.zeros(size - have, np.int64)))
            free = np.flatnonzero(self.used == 0)
        slots = free[:count]
        self.used[slots] = 1
        return slots

    def forget(self, slots: Ints) -> None:
        """Take slots back."""
        if not len(slots):  # nearly every tick
            return
        self.used[slots] = 0
        assign(self.state, slots, _State(1))

    def height(self, slots: Ints, time_unix_nano: Ints, value: Floats) -> tuple[Floats, Floats]:
        """Judge one value of each: its p-value as the height of an excursion of that probability, and its score.

        Both are NaN while the detector warms up. What was judged is the past of the next value.
        """
        s = self.state
        score = s.detector.step(slots, time_unix_nano, value).score
        p = p_value(np.nan_to_num(score), s.calm_looks[slots], s.entered[slots], s.excess[slots])
        return np.where(np.isfinite(score), -np.log(p) / evidence.LUNDBERG, np.nan), score

    def learn(self, slots: Ints, score: Floats) -> None:
        """Put calm scores on record."""
        beyond = np.clip(np.nan_to_num(score) - SCORE_FROM, 0.0, MAX_EXCESS)
        s, known = self.state, np.isfinite(score)
        for record, news in ((s.calm_looks, known), (s.entered, beyond > 0), (s.excess, beyond)):
            record[slots] = record[slots] * FADE + news

    @property
    def abstaining(self) -> int:
        """How many have not been judged yet."""
        return int(np.count_nonzero((self.used == 1) & (self.state.calm_looks == 0)))

    def looks(self, slot: int) -> tuple[tuple[str, float], ...]:
        """Return what the looks at one series found surprising, most surprising first, in decades."""
        found = self.state.detector.surprises(slot)
        return tuple((LOOKS[at], float(found[at])) for at in np.argsort(-found, kind="stable") if found[at] >= 1.0)

    def freeze(self) -> tuple[bytes, bytes]:
        """Return which slots are taken, and everything known of them."""
        return self.used.astype("<i8").tobytes(), freeze_rows(self.state)

    @classmethod
    def thaw(cls, used: bytes, state: bytes) -> CoarseSeries:
        """Make what `freeze` was called on."""
        made = cls(np.frombuffer(used, "<i8").astype(np.int64))
        thaw_rows(made.state, state)
        return made
