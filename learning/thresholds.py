"""A candidate for the policy's thresholds, from lessons, and its backtest on lessons it has not seen.

Called by `reflexarc learn`. Pure. What may be acted on is judged by the policy's own checks. Bounded on purpose: one
candidate moves a threshold a little, within fixed limits, and lowers it only on evidence as strong as autonomy asks.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from actions.autonomy import lower_bound
from actions.checks import certainty
from actions.settings import PolicySettings
from learning.calibration import Claim
from learning.drift import Drift, watch
from learning.gate import Figures
from learning.lessons import Lesson
from schemas.envelope import content_id
from schemas.model import DataRange

CONFIDENCE = "policy.min_confidence"
# The older part builds, the newer judges: what comes is like what came last.
BUILT_FROM = 0.7
# Fewer in the judging part could not show one harmful proposal in ten.
LEAST_LESSONS = 40
# No lesson, true or planted, moves the threshold further than this in one version, nor out of these bounds.
STEP = 0.05
LOWEST, HIGHEST = 0.6, 0.99
# As `autonomous` asks of a playbook: the lower bound of being right.
PROVED = 0.80
PERCENTILE = 0.05


class Built(NamedTuple):
    """A candidate and what judges it."""

    parameters: dict[str, Any]
    data: DataRange
    live_figures: Figures
    figures: Figures


def build(lessons: Sequence[Lesson], policy: PolicySettings, served: Collection[str]) -> Built | str:
    """Build a candidate and measure it beside what is live; a text says why there is none.

    Args:
        lessons: what people said, oldest first.
        policy: what is live.
        served: classes that a playbook serves.

    """
    split = parts(lessons)
    if isinstance(split, str):
        return split
    older, newer = split
    best = min(_allowed(older, policy), key=lambda value: _loss(older, policy, value, served))
    if best == policy.min_confidence:
        return f"min_confidence {best:g} is the best within reach of what is live"
    return Built(
        parameters={CONFIDENCE: best},
        data=data_range(older),
        live_figures=backtest(newer, policy, served),
        figures=backtest(newer, _with(policy, best), served),
    )


def parts(lessons: Sequence[Lesson]) -> tuple[list[Lesson], list[Lesson]] | str:
    """Split lessons into those that build and those that judge; a text says why there are not enough."""
    judged = [one for one in lessons if one.right is not None]
    if len(judged) < LEAST_LESSONS:
        return f"{len(judged)} lessons with a verdict, {LEAST_LESSONS} needed"
    cut = int(len(judged) * BUILT_FROM)
    return judged[:cut], judged[cut:]


def backtest(lessons: Iterable[Lesson], policy: PolicySettings, served: Collection[str]) -> Figures:
    """Measure what would have been proposed under these thresholds, against what people said it was."""
    held = list(lessons)
    acted = [one for one in held if would_act(one, policy, served)]
    mendable = [one for one in held if one.right and one.about.classification.label in served]
    false = sum(one.verdict == "false_positive" for one in acted)
    return {
        "false_positive_rate": false / len(acted) if acted else 0.0,
        "missed_incidents": 1 - sum(bool(one.right) for one in acted) / len(mendable) if mendable else 0.0,
        "harmful_proposals": sum(not one.right for one in acted) / len(held) if held else 0.0,
        "lessons": float(len(held)),
        "proposals": float(len(acted)),
    }


def drift(lessons: Sequence[Lesson]) -> Drift:
    """Say whether what judges is still like what builds, and whether confidences are worth what they say."""
    judged = [one for one in lessons if one.right is not None]
    cut = int(len(judged) * BUILT_FROM)
    claims = [Claim(one.about.classification.confidence, bool(one.right)) for one in judged]
    confidences = [claim.confidence for claim in claims]
    return watch({"confidence": confidences[:cut]}, {"confidence": confidences[cut:]}, claims)


def would_act(lesson: Lesson, policy: PolicySettings, served: Collection[str]) -> bool:
    """Whether the policy's checks let the class be acted on without a person."""
    sure = all(check.passed for check in certainty(lesson.about, policy))
    return sure and lesson.about.classification.label in served


def data_range(lessons: Sequence[Lesson]) -> DataRange:
    """Say what something was built from."""
    return DataRange(
        first_unix_nano=lessons[0].time_unix_nano,
        last_unix_nano=lessons[-1].time_unix_nano,
        records=len(lessons),
        hash=content_id("lessons", [(one.incident_id, one.control_id) for one in lessons]),
    )


def _allowed(lessons: Sequence[Lesson], policy: PolicySettings) -> list[float]:
    """List thresholds within a step; those below the live one only where what they admit has been proved right."""
    live = policy.min_confidence
    bounds = max(min(live, LOWEST), live - STEP), min(max(live, HIGHEST), live + STEP)
    steps = [round(bounds[0] + number / 100, 4) for number in range(round((bounds[1] - bounds[0]) * 100) + 1)]
    return [live, *(value for value in steps if value > live or _proved(lessons, value, live))]


def _proved(lessons: Sequence[Lesson], value: float, live: float) -> bool:
    admitted = [bool(one.right) for one in lessons if value <= one.about.classification.confidence < live]
    right = sum(admitted)
    return lower_bound(right, len(admitted) - right, PERCENTILE) >= PROVED


def _loss(
    lessons: Sequence[Lesson], policy: PolicySettings, value: float, served: Collection[str]
) -> tuple[float, float, float]:
    """Rank thresholds: first by harm, then by what is missed, then by how far it moves."""
    figures = backtest(lessons, _with(policy, value), served)
    return figures["harmful_proposals"], figures["missed_incidents"], abs(value - policy.min_confidence)


def _with(policy: PolicySettings, min_confidence: float) -> PolicySettings:
    return policy.model_copy(update={"min_confidence": min_confidence})
