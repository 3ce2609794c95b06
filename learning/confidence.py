"""Confidence calibrated by what incidents turned out to be: how often each rule of the classifier was right.

Called by `reflexarc learn`. Pure. A rule's confidence is the mean of a Beta posterior, its prior stated beside the rule
(`detectors.rules`) and its record learnt here from lessons: what people said, and where nobody did, whether the action
for its class was verified. A record only changes how sure a rule is. Classes that the memory of labelled incidents
names state a share of labels already, and are left alone.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from actions.settings import PolicySettings
from detectors.classify import decisive
from detectors.rules import RULES, RuleRecord
from learning.calibration import Calibration, Claim, calibrate
from learning.lessons import Lesson
from learning.thresholds import Built, backtest, data_range, parts
from schemas.incident import Classification

RECORDS = "correlate.rule_records"
Records = Mapping[str, RuleRecord]

# What a record weighs at most, five times a prior: a rule that has ceased to be right must be found out.
MOST = 50.0
_RULES = {rule.name: rule for rule in RULES}


def build(lessons: Sequence[Lesson], policy: PolicySettings, served: Collection[str], live: Records) -> Built | str:
    """Build records from the older lessons and measure them on the newer; a text says why there are none.

    Args:
        lessons: what incidents turned out to be, oldest first.
        policy: what is live.
        served: classes that a playbook serves.
        live: the records that are live.

    """
    split = parts(lessons)
    if isinstance(split, str):
        return split
    older, newer = split
    found = records_of(older)
    if not found:
        return "no lesson is of an incident that a rule named"
    if found == dict(live):
        return "the rules' records are what is live"
    return Built(
        parameters={RECORDS: {name: list(record) for name, record in found.items()}},
        data=data_range(older),
        live_figures=_figures(newer, policy, served, live),
        figures=_figures(newer, policy, served, found),
    )


def records_of(lessons: Iterable[Lesson]) -> dict[str, RuleRecord]:
    """Count how often each rule's class was right, and how often wrong."""
    counts: Counter[tuple[str, bool]] = Counter()
    for one in lessons:
        if one.about.rule in _RULES and one.right is not None:
            counts[str(one.about.rule), one.right] += 1
    return {name: _bounded(counts[name, True], counts[name, False]) for name in sorted({name for name, _ in counts})}


def restated(lesson: Lesson, records: Records) -> Lesson:
    """Give a lesson as it would be, had its rule stated its confidence by these records."""
    rule, found = _RULES.get(lesson.about.rule or ""), lesson.about.classification
    if rule is None:
        return lesson
    confidence = rule.confidence(records.get(rule.name, (0.0, 0.0)))
    about = lesson.about.model_copy(update={"classification": found.model_copy(update={"confidence": confidence})})
    return lesson.model_copy(update={"about": about})


def by(records: Records) -> Callable[[Classification], float]:
    """Give how sure the classifier would be of an incident by these records."""

    def confidence(found: Classification) -> float:
        rule = decisive(found)
        return found.confidence if rule is None else rule.confidence(records.get(rule.name, (0.0, 0.0)))

    return confidence


def calibration(lessons: Iterable[Lesson], records: Records) -> Calibration:
    """Say what confidences would be worth by these records."""
    held = [restated(one, records) for one in lessons if one.right is not None]
    return calibrate([Claim(one.about.classification.confidence, bool(one.right)) for one in held])


def _bounded(right: float, wrong: float) -> RuleRecord:
    scale = min(1.0, MOST / (right + wrong))
    return round(right * scale, 2), round(wrong * scale, 2)


def _figures(
    lessons: Sequence[Lesson], policy: PolicySettings, served: Collection[str], records: Records
) -> dict[str, float]:
    brier = calibration(lessons, records).brier.value
    guarded = dict(backtest([restated(one, records) for one in lessons], policy, served))
    return guarded if brier is None else {**guarded, "brier_score": brier}
