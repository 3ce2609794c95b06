"""Evidence against "this series behaves as it always did": tail probabilities and their accumulation over time.

Called by `detectors.bank` for all series of a tick at once. What comes out is the strength of an excursion and the
threshold it must pass, both in decades (powers of ten of probability), so that they can be read aloud.
"""

from __future__ import annotations

from math import exp, log, log10, sqrt
from typing import Any

import numpy as np
from numpy.typing import NDArray

from detectors.compiled import loop

Floats = NDArray[np.float64]
Integers = NDArray[np.integer[Any]]

# Degrees of freedom of the Student tail. Window means of latencies and rates have tails far heavier than the normal;
# four degrees keep the variance finite and ask for about 20 robust standard deviations where the normal asks for 5.
TAIL_DEGREES = 4.0
# The scale of fewer values than this is uncertain, the more so as neighbours in time are alike: two degrees.
YOUNG = 40
YOUNG_DEGREES = 2.0
# What a single tick may contribute: probabilities below 1e-18 say more about the tail model than about the series.
MAX_DECADES = 18.0
# The least that has a logarithm worth taking: its decades are many times the most that counts.
SMALLEST = 1e-300
# A history without any spread has no scale, only the fact that this never happened in it. 3.5 decades make three
# ticks in a row enough, and one lone blip never enough.
MAX_DECADES_WITHOUT_SPREAD = 3.5
# The tail beyond one decade is learned per series (peaks over threshold): how often it is entered, and how far in.
# Under the Student model one look in ten enters it, by 1 / ln 10 decades on average. That counts as much as a
# hundred looks of the series itself.
TAIL_FROM = 1.0
TAIL_SHARE = 0.1
TAIL_MEAN = 0.4343
TAIL_PRIOR_LOOKS = 100.0
# Looks fade with a memory of 512 ticks, so that the tail follows a series that changes its character.
TAIL_FADE = 1.0 - 1.0 / 512.0
# An excess teaches no more than this: one real fault must not make the series deaf.
TAIL_MAX_EXCESS = 5.0
# Evidence below one decade is chance: it drains the sum instead of feeding it (the reference value of the CUSUM).
ALLOWANCE = 1.0
# Lundberg exponent of the sum: the root r of E[exp(r (X - 1))] = 1 for X = -log10(uniform), i.e. of
# L / (L - r) = exp(r) with L = ln 10. Under the null an excursion reaches height h with probability < exp(-r h).
LUNDBERG = 1.9868


def decades(deviation: float, samples: int) -> float:
    """Surprise of a robust deviation, -log10 of the two-sided Student tail probability, at most `MAX_DECADES`.

    Args:
        deviation: distance from the centre in units of robust scale.
        samples: how many values centre and scale were taken from.

    """
    # Both in closed form: of four degrees of freedom (1 - y)^2 (2 + y) / 2 with y = x / sqrt(4 + x^2), of two 1 - y
    # with y = x / sqrt(2 + x^2); and 1 - y written so that it does not cancel far out.
    far = abs(deviation)
    degrees = YOUNG_DEGREES if samples < YOUNG else TAIL_DEGREES
    root = sqrt(degrees + far * far)
    rest = degrees / (root * (root + far))
    if rest <= SMALLEST:
        return MAX_DECADES
    if samples < YOUNG:
        return min(-log10(rest), MAX_DECADES)
    return min(-2.0 * log10(rest) - log10((3.0 - rest) / 2.0), MAX_DECADES)


def calibrate(surprise: float, looks: float, entered: float, excess: float) -> float:
    """Turn model surprise into surprise against the series' own tail (peaks over threshold; Siffer et al., 2017).

    The log of a power-law tail is exponential, so the mean excess is Hill's (1975) estimate of the tail index.

    Args:
        surprise: decades under the Student model.
        looks: faded number of calm looks at the series.
        entered: how many of them went beyond `TAIL_FROM`.
        excess: sum of how far they went beyond it, decades.

    """
    prior = TAIL_PRIOR_LOOKS * TAIL_SHARE
    rare = -log10((prior + entered) / (TAIL_PRIOR_LOOKS + looks))
    if surprise <= TAIL_FROM:
        return min(surprise, rare)
    mean = (prior * TAIL_MEAN + excess) / (prior + entered)
    return min((surprise - TAIL_FROM) * min(1.0, TAIL_MEAN / mean) + rare, surprise)


def tail_taught(looks: float, entered: float, excess: float, surprise: float) -> tuple[float, float, float]:
    """Return a tail record, as `calibrate` takes it, with one more calm look, of so many decades, in it."""
    beyond = min(max(surprise - TAIL_FROM, 0.0), TAIL_MAX_EXCESS)
    return looks * TAIL_FADE + 1.0, entered * TAIL_FADE + (1.0 if beyond > 0.0 else 0.0), excess * TAIL_FADE + beyond


def accumulate(height: float, surprise: float) -> float:
    """One step of the one-sided CUSUM (Page, 1954)."""
    return max(0.0, height + surprise - ALLOWANCE)


@loop(decades)
def decades_of(deviation: Floats, samples: Integers) -> Floats:
    """Return `decades` of each of `[n]`."""
    found = np.empty(len(deviation))
    for i in range(len(deviation)):
        found[i] = decades(float(deviation[i]), int(samples[i]))
    return found


def threshold_of(level: float) -> float:
    """Height that calm telemetry reaches in one tick with at most this probability, by Lundberg's inequality."""
    return -log(min(level, 1.0)) / LUNDBERG


def excursion_p_value(height: float) -> float:
    """Upper bound of the probability of an excursion this high in calm telemetry."""
    return min(1.0, exp(-LUNDBERG * height))
