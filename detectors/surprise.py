"""Surprise: how improbable evidence is in calm, in nats (minus the natural logarithm of a p-value).

Nats of independent evidence say how often all of it together comes by chance, and so what false alarms a threshold
costs: what is looked at n times a day reaches log(n) nats once a day. Used by the detectors of root causes.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import log

from scipy.special import gammaincc

# More says nothing more; the logarithm needs a number.
SMALLEST_P = 1e-300


def together(run: Sequence[float]) -> float:
    """Nats of the last few of consecutive evidence, as many as say most (Fisher 1932).

    What lasts need not be so strong: minus logarithms of p-values add up to a gamma distribution.

    >>> round(together([5.0]), 1), round(together([5.0, 5.0]), 1)
    (5.0, 7.6)

    """
    return max((gamma_nats(count, sum(run[-count:])) for count in range(1, len(run) + 1)), default=0.0)


def gamma_nats(shape: float, value: float) -> float:
    """Nats of a value of a gamma distribution of scale one: of half a chi-squared value, with half its freedom."""
    return -log(max(float(gammaincc(shape, max(value, 0.0))), SMALLEST_P))
