"""How far a playbook is trusted on one service of one environment, and how that trust is earned and lost.

The learning stage folds every outcome into a `Reliability`; the policy reads it. Pure, but for `Reliabilities`, which
keeps the folds in Redis.

Verified success has a Beta posterior with a uniform prior. What counts is its lower bound (5th percentile): with no
failure it passes 0.60 after 5 successes and 0.80 after 13, so that a few lucky runs do not earn much. A rise
is confirmed by a person (`ratify`), unless the grant lets the record rise by itself (`earn_up_to`). Trust is lost
faster than it is earned: one action that had to be taken back, or whose effect is unknown, caps the tier one below
what it was, until a person lifts the cap or the lower bound, counted from there on, earns it anew.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from actions.undo import counted
from schemas.action import Tier
from schemas.envelope import Name
from schemas.outcome import Outcome, Result

TIERS: tuple[Tier, ...] = ("observe", "recommend", "approve", "autonomous")

# Repeats of an outcome arrive within a redelivery or a replay of the learning topic from its last commit: minutes.
# At the busiest rate the rails allow by default (20 actions an hour), 256 reach back half a day.
REMEMBERED_OUTCOMES = 256
# An action that could not be applied changed nothing: once is an accident, twice in ten is not.
RECENT = 10
FAILED_TOO_OFTEN = 2

HARMFUL = frozenset({Result.REVERTED, Result.UNDONE_FAILED, Result.UNKNOWN})
_EVIDENCE = HARMFUL | {Result.VERIFIED, Result.FAILED}


def lower(tier: Tier) -> Tier:
    """Step down one tier."""
    return TIERS[max(0, TIERS.index(tier) - 1)]


def at_most(tier: Tier, ceiling: Tier) -> Tier:
    return min(tier, ceiling, key=TIERS.index)


class EarningSettings(BaseModel):
    """What a playbook must have shown before a higher tier is suggested."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    percentile: Annotated[float, Field(gt=0, lt=0.5)] = 0.05
    """Of the posterior of verified success: its lower bound."""
    recommend: Annotated[float, Field(ge=0, lt=1)] = 0.30
    """Lower bound for `recommend`: with no failure, 2 successes."""
    approve: Annotated[float, Field(ge=0, lt=1)] = 0.60
    """Lower bound for `approve`: with no failure, 5 successes."""
    autonomous: Annotated[float, Field(ge=0, lt=1)] = 0.80
    """Lower bound for `autonomous`: with no failure, 13 successes."""

    def least(self, tier: Tier) -> float:
        """Lower bound that a tier asks for; none for `observe`."""
        bounds: dict[Tier, float] = {
            "observe": 0.0,
            "recommend": self.recommend,
            "approve": self.approve,
            "autonomous": self.autonomous,
        }
        return bounds[tier]


def lower_bound(successes: int, failures: int, percentile: float) -> float:
    """Compute what a rate exceeds with probability 1 - percentile, from its Beta posterior with a uniform prior."""
    from scipy.special import betaincinv  # noqa: PLC0415 - takes half a second, which no command line should wait for

    return float(betaincinv(1 + successes, 1 + failures, percentile))


class Reliability(BaseModel):
    """What became of a playbook's actions on one service of one environment."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    environment: Name
    service: Name
    playbook: Name
    successes: int = 0
    failures: int = 0
    cap: Tier | None = None
    """Highest tier it may have since it was demoted."""
    because: str = ""
    """Why it was demoted."""
    demoted_unix_nano: int = 0
    ratified: Tier | None = None
    """Tier whose promotion a person confirmed since the last demotion. Not kept: it follows from the controls."""
    recent: tuple[Result, ...] = ()
    outcome_ids: tuple[str, ...] = ()

    def lower_bound(self, percentile: float) -> float:
        """Compute what the rate of verified success exceeds with probability 1 - percentile."""
        return lower_bound(self.successes, self.failures, percentile)

    def earned(self, settings: EarningSettings) -> Tier:
        """Highest tier that the record justifies."""
        bound = self.lower_bound(settings.percentile)
        return next((tier for tier in reversed(TIERS) if bound >= settings.least(tier)), "observe")


def fold(record: Reliability, outcome: Outcome) -> Reliability:
    """Add one outcome. The same outcome again changes nothing."""
    told = counted(outcome)
    if told is None or outcome.id in record.outcome_ids or told.result not in _EVIDENCE:
        return record
    recent = (*record.recent, told.result)[-RECENT:]
    good = told.result is Result.VERIFIED
    folded = record.model_copy(
        update={
            "successes": record.successes + good,
            "failures": record.failures + (not good),
            "recent": recent,
            "outcome_ids": (*record.outcome_ids, outcome.id)[-REMEMBERED_OUTCOMES:],
        }
    )
    reason = _why_demoted(told, recent)
    if reason is None:
        return folded
    # What was learnt before the demotion does not count towards earning the tier anew.
    cap = lower(outcome.tier if record.cap is None else at_most(outcome.tier, record.cap))
    demoted = {"cap": cap, "because": reason, "demoted_unix_nano": outcome.timing.finished_unix_nano}
    return folded.model_copy(update={**demoted, "successes": 0, "recent": ()})


def risen(record: Reliability, settings: EarningSettings, earn_up_to: Tier | None) -> Tier:
    """Find the tier that the record brings about: by itself as far as the grant lets it, or because a person confirmed.

    Up to `approve` every action still has its person, so the word of one suffices; beyond, it confirms what was earned.
    """
    earned = record.earned(settings)
    by_itself = at_most(earned, earn_up_to or "observe")
    confirmed = at_most(record.ratified or "observe", max(earned, "approve", key=TIERS.index))
    return max(by_itself, confirmed, key=TIERS.index)


def lift(record: Reliability, at_unix_nano: int) -> Reliability:
    """Forgive the demotions before that time, as a person decided."""
    if record.cap is None or record.demoted_unix_nano >= at_unix_nano:
        return record
    return record.model_copy(update={"cap": None, "because": "", "demoted_unix_nano": 0})


def _why_demoted(outcome: Outcome, recent: tuple[Result, ...]) -> str | None:
    if outcome.result in HARMFUL:
        return f"action {outcome.action_id} ended {outcome.result}: {outcome.reason}"[:500]
    failed = recent.count(Result.FAILED)
    if outcome.result is Result.FAILED and failed >= FAILED_TOO_OFTEN:
        return f"{failed} of the last {len(recent)} actions could not be applied"
    return None
