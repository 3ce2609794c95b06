"""The gate: a candidate goes live only if a backtest shows it is worse in nothing that is guarded, and better in one.

Called by `reflexarc learn` and `reflexarc models judge`. Pure. Figures come from whoever runs the backtest
(`streams.replay.trial`); what is not measured on both sides was not proved, and does not pass.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from learning.registry import CONFIDENCE_CALIBRATION
from schemas.envelope import Model

Figures = Mapping[str, float]

# Of each, less is better. Shares of recorded incidents and quiet periods.
GUARDED = ("false_positive_rate", "missed_incidents", "harmful_proposals")
# Of a calibration, besides, whether confidences are worth more: the mean square of what they are off.
BRIER = "brier_score"


class Ruling(Model):
    """Whether it may go live, and why."""

    passed: bool
    reason: str


def judge(live: Figures, candidate: Figures, kind: str | None = None) -> Ruling:
    """Compare a candidate of some kind with what is live, both measured on the same records."""
    guarded = (*GUARDED, BRIER) if kind == CONFIDENCE_CALIBRATION else GUARDED
    unmeasured = [name for name in guarded if name not in live or name not in candidate]
    if unmeasured:
        return Ruling(passed=False, reason=f"not measured on both sides: {', '.join(unmeasured)}")
    worse = [name for name in guarded if not candidate[name] <= live[name]]  # NaN is worse than anything
    if worse:
        return Ruling(passed=False, reason=f"worse: {_told(worse, live, candidate)}")
    better = [name for name in guarded if candidate[name] < live[name]]
    if not better:
        return Ruling(passed=False, reason="no guarded figure is better")
    return Ruling(passed=True, reason=f"better: {_told(better, live, candidate)}; none worse")


def best(figures: Sequence[Figures]) -> int:
    """Choose of candidates that passed: least harm, then least missed, then fewest false, then the truest confidences.

    The first of equals.
    """
    names = ("harmful_proposals", "missed_incidents", "false_positive_rate", BRIER)
    ranked = [tuple(one.get(name, 1.0) for name in names) for one in figures]
    return ranked.index(min(ranked))


def _told(names: list[str], live: Figures, candidate: Figures) -> str:
    return ", ".join(f"{name} {live[name]:.4g} -> {candidate[name]:.4g}" for name in names)
