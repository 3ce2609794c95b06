"""Has the world moved since it was learnt: drift of inputs and of calibration.

Used by `learning.measures` and `reflexarc learn`. Pure.

* Inputs: the population stability index between an older and a newer sample (Siddiqi, Credit Risk Scorecards, 2006).
  By its own rule of thumb below 0.10 is stable and above 0.25 a shift.
* Calibration: a test martingale that bets against the claim "what is said with p happens in p of the cases" (Vovk,
  Gammerman and Shafer, Algorithmic Learning in a Random World, 2005; bets as in Waudby-Smith and Ramdas, 2024). By
  Ville's inequality it ever exceeds 20 with probability at most 0.05 while the claim holds, however often one looks.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Hashable, Mapping, Sequence

import numpy as np

from learning.calibration import Claim
from schemas.envelope import Model

SHIFT = 0.25
ALARM = 20.0
BINS = 10
# Below this the index is mostly noise: its expectation without any drift is about (bins - 1) (1/n + 1/m).
LEAST_CASES = 50
# An empty bin counts as half a case, or the index would be infinite.
_HALF = 0.5
# Fractions of the stake that is bet, both ways; the mixture of martingales is one. 1/2 keeps every factor above 0.
_BETS = (-0.5, -0.25, -0.1, 0.1, 0.25, 0.5)


class Drift(Model):
    """What moved."""

    stability: dict[str, float | None]
    """Index by input; None where there were too few cases."""
    shifted: tuple[str, ...]
    calibration_martingale: float
    """Capital of the bet against calibration: begins at 1, alarms at 20."""
    calibration_alarm_at: int | None
    """Claim at which it first alarmed."""


def watch(older: Mapping[str, Sequence[float]], newer: Mapping[str, Sequence[float]], claims: Sequence[Claim]) -> Drift:
    """Compare two samples of each input, and test claims in their order."""
    stability = {name: stability_index(values, newer.get(name, ())) for name, values in older.items()}
    capital, alarm = martingale(claims)
    return Drift(
        stability=stability,
        shifted=tuple(name for name, value in stability.items() if value is not None and value > SHIFT),
        calibration_martingale=capital,
        calibration_alarm_at=alarm,
    )


def stability_index(older: Sequence[float], newer: Sequence[float]) -> float | None:
    """Compute the population stability index over deciles of the older sample."""
    if min(len(older), len(newer)) < LEAST_CASES:
        return None
    edges = np.unique(np.quantile(np.asarray(older, dtype=float), np.linspace(0, 1, BINS + 1)[1:-1]))
    return _index(
        Counter(np.searchsorted(edges, older).tolist()), Counter(np.searchsorted(edges, newer).tolist()), len(edges) + 1
    )


def _index(older: Mapping[Hashable, int], newer: Mapping[Hashable, int], bins: int) -> float:
    before, after = sum(older.values()), sum(newer.values())
    total = 0.0
    for number in range(bins):
        was = max(older.get(number, 0), _HALF) / before
        now = max(newer.get(number, 0), _HALF) / after
        total += (now - was) * math.log(now / was)
    return total


def martingale(claims: Sequence[Claim]) -> tuple[float, int | None]:
    """Bet against calibration; returns the capital at the end and where it first reached `ALARM`."""
    capitals = [1.0] * len(_BETS)
    alarm: int | None = None
    for number, claim in enumerate(claims, 1):
        surprise = claim.right - claim.confidence
        capitals = [capital * (1 + bet * surprise) for capital, bet in zip(capitals, _BETS, strict=True)]
        if alarm is None and sum(capitals) / len(_BETS) >= ALARM:
            alarm = number
    return sum(capitals) / len(_BETS), alarm
