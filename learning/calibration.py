"""Is a stated confidence worth what it says: reliability curve, Brier score, calibration error, coverage.

Used by `learning.measures` and by the watch on drift. Pure. Brier, G. W. (1950); reliability curve and expected
calibration error as in Guo et al. (2017), ten bins of equal width; coverage is that of the conformal prediction set.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from learning.statistics import Estimate, mean, rate
from schemas.envelope import Model

BINS = 10


class Claim(NamedTuple):
    """What was claimed of one case, and what turned out."""

    confidence: float
    right: bool
    covered: bool | None = None
    """Whether the true class was in the prediction set; None where there was no set."""


class Bin(Model):
    """Cases whose confidence lay in one tenth."""

    lower: float
    upper: float
    claimed: float
    found: Estimate


class Calibration(Model):
    """How far claims can be taken at their word."""

    claims: int
    brier: Estimate
    calibration_error: float | None
    """Mean distance of what was found from what was claimed, weighted by the cases of each bin."""
    coverage: Estimate
    curve: tuple[Bin, ...]


def calibrate(claims: Sequence[Claim]) -> Calibration:
    """Compare claims with what turned out."""
    curve = tuple(filter(None, (_bin(claims, number) for number in range(BINS))))
    error = sum(abs((one.found.value or 0.0) - one.claimed) * one.found.n for one in curve)
    sets = [claim.covered for claim in claims if claim.covered is not None]
    return Calibration(
        claims=len(claims),
        brier=mean([(claim.confidence - claim.right) ** 2 for claim in claims]),
        calibration_error=error / len(claims) if claims else None,
        coverage=rate(sum(sets), len(sets)),
        curve=curve,
    )


def _bin(claims: Sequence[Claim], number: int) -> Bin | None:
    within = [claim for claim in claims if min(int(claim.confidence * BINS), BINS - 1) == number]
    if not within:
        return None
    return Bin(
        lower=number / BINS,
        upper=(number + 1) / BINS,
        claimed=sum(claim.confidence for claim in within) / len(within),
        found=rate(sum(claim.right for claim in within), len(within)),
    )
