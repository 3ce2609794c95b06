"""Figures with what they are worth: every rate and every mean comes with an interval and its number of cases.

Used by `learning.measures`. A rate gets the Jeffreys interval (equal tails of Beta(k + 1/2, n - k + 1/2), good for few
cases; Brown, Cai and DasGupta 2001), a mean the percentile bootstrap with a fixed seed: same input, same figures.
"""

from __future__ import annotations

from collections.abc import Sequence

from schemas.envelope import Model

LEVEL = 0.95
# The ends of a 95 % interval are the 50th of 2000 from either end: their own noise is about a tenth of its width.
RESAMPLES = 2000
# One draw takes 8 bytes: 16 MB at most at a time, however long the history.
_DRAWN_AT_ONCE = 2_000_000
_SEED = 20170


class Estimate(Model):
    """A figure, its 95 % interval, and how many cases it rests on. None: there is no such case."""

    value: float | None
    lower: float | None = None
    upper: float | None = None
    n: int

    def __str__(self) -> str:
        if self.value is None:
            return "-"
        if self.lower is None or self.upper is None:
            return f"{short(self.value)} (n={self.n})"
        return f"{short(self.value)} [{short(self.lower)}, {short(self.upper)}] (n={self.n})"


def short(value: float) -> str:
    """Write a figure with three digits, or all those before the point.

    >>> short(0.12345), short(1800.0)
    ('0.123', '1800')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def rate(count: int, of: int) -> Estimate:
    """Estimate a share.

    >>> str(rate(0, 20))
    '0 [0, 0.117] (n=20)'
    """
    if not of:
        return Estimate(value=None, n=0)
    from scipy.special import betaincinv  # noqa: PLC0415 - half a second, which only those who compute should wait for

    tail = (1 - LEVEL) / 2
    lower = 0.0 if count == 0 else float(betaincinv(count + 0.5, of - count + 0.5, tail))
    upper = 1.0 if count == of else float(betaincinv(count + 0.5, of - count + 0.5, 1 - tail))
    return Estimate(value=count / of, lower=lower, upper=upper, n=of)


def mean(values: Sequence[float]) -> Estimate:
    """Estimate a mean. One case alone has no interval."""
    if not values:
        return Estimate(value=None, n=0)
    if len(values) == 1:
        return Estimate(value=values[0], n=1)
    import numpy as np  # noqa: PLC0415 - as SciPy: `reflexarc --help` imports this module, and computes nothing

    sample = np.sort(np.asarray(values, dtype=float))  # in one order, so that the history's order changes nothing
    generator = np.random.default_rng(_SEED)
    at_once = max(1, _DRAWN_AT_ONCE // len(sample))
    means = np.concatenate(
        [
            sample[generator.integers(0, len(sample), (min(at_once, RESAMPLES - done), len(sample)))].mean(axis=1)
            for done in range(0, RESAMPLES, at_once)
        ]
    )
    lower, upper = np.quantile(means, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Estimate(value=float(sample.mean()), lower=float(lower), upper=float(upper), n=len(sample))
