"""What rules turned out to be worth: learnt from lessons, through the gate, never above what a rule may claim."""

from __future__ import annotations

import pytest

from actions.settings import PolicySettings
from detectors.rules import RULES
from learning.confidence import MOST, RECORDS, build, by, calibration, records_of, restated
from learning.gate import judge
from learning.history import gather
from learning.lessons import Lesson
from learning.measures import measure
from learning.registry import CONFIDENCE_CALIBRATION
from learning.returns import Assumptions
from schemas.incident import Classification, RuleHit
from tests.console.records import control, incident
from tests.learning.lessons import told

POLICY = PolicySettings()
SERVED = {"deployment_regression"}
SURE = "rollout-before-symptoms"


def named(number: int, *, right: bool, rule: str | None = SURE, confidence: float = 0.9) -> Lesson:
    one = told(number, confidence, right=right, by=f"p{number % 5}")
    return one.model_copy(update={"about": one.about.model_copy(update={"rule": rule})})


def test_a_rule_that_is_right_half_of_the_time_says_so_and_passes_the_gate() -> None:
    lessons = [named(n, right=n % 2 == 0) for n in range(80)]
    built = build(lessons, POLICY, SERVED, {})
    assert not isinstance(built, str)
    assert built.parameters == {RECORDS: {SURE: [25.0, 25.0]}}, "56 lessons built it, and weigh as 50"
    assert built.figures["brier_score"] < built.live_figures["brier_score"]
    ruling = judge(built.live_figures, built.figures, CONFIDENCE_CALIBRATION)
    # Fewer false proposals is the other side of missing more of what could be mended.
    assert not ruling.passed
    assert "missed_incidents" in ruling.reason


def test_a_truer_confidence_alone_is_better() -> None:
    lessons = [named(n, right=n % 20 != 0) for n in range(200)]
    built = build(lessons, POLICY, SERVED, {SURE: (30.0, 4.0)})
    assert not isinstance(built, str)
    ruling = judge(built.live_figures, built.figures, CONFIDENCE_CALIBRATION)
    assert ruling.passed, ruling.reason
    assert ruling.reason.startswith("better: brier_score")
    assert not judge(built.live_figures, built.figures).passed, "of thresholds it is no merit"
    before, after = calibration(lessons, {}), calibration(lessons, {SURE: (47.5, 2.5)})
    assert (before.brier.value or 0) > (after.brier.value or 0)
    assert (before.calibration_error or 0) > (after.calibration_error or 0)


def test_classes_that_no_rule_named_are_left_alone() -> None:
    lesson = named(1, right=True, rule=None)
    assert restated(lesson, {SURE: (0.0, 50.0)}) == lesson
    assert records_of([lesson]) == {}
    assert build([named(n, right=True, rule=None) for n in range(60)], POLICY, SERVED, {}) == (
        "no lesson is of an incident that a rule named"
    )


def test_a_report_says_what_the_live_record_would_have_been_worth() -> None:
    hit = RuleHit(rule=SURE, label="deployment_regression", because=())
    found = Classification(label="deployment_regression", confidence=0.9, rules=(hit,))
    incidents = [incident(n, classification=found) for n in range(4)]
    said = [
        control("feedback", incident_id=one.id, verdict="true_positive" if n < 1 else "false_positive")
        for n, one in enumerate(incidents)
    ]
    report = measure(gather([*incidents, *said]), Assumptions(), None, by({SURE: (5.0, 15.0)}))
    assert report.recalibrated is not None
    assert (report.recalibrated.brier.value or 1) < (report.calibration.brier.value or 0)
    assert by({})(found) == 0.9
    assert measure(gather(incidents), Assumptions()).recalibrated is None


def test_too_few_lessons_build_nothing() -> None:
    assert (
        build([named(n, right=True) for n in range(10)], POLICY, SERVED, {}) == "10 lessons with a verdict, 40 needed"
    )


def test_a_record_is_bounded_and_keeps_its_share() -> None:
    lessons = [named(n, right=n % 4 != 0) for n in range(120)]
    assert records_of(lessons) == {SURE: (37.5, 12.5)}
    assert sum(records_of(lessons)[SURE]) == MOST
    assert records_of(lessons[:8]) == {SURE: (6.0, 2.0)}


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.name)
def test_confidence_never_exceeds_what_a_rule_may_claim(rule: object) -> None:
    one = next(found for found in RULES if found is rule)
    assert one.confidence((0.0, 0.0)) == one.precision
    assert one.confidence((MOST, 0.0)) <= one.most
    assert one.confidence((0.0, MOST)) < one.precision


def test_what_can_be_staged_never_earns_the_confidence_to_act() -> None:
    staged = [rule for rule in RULES if rule.confidence((MOST, 0.0)) < POLICY.min_confidence]
    assert {rule.name for rule in staged} == {
        "rollout-before-lone-symptom",
        "intruders-on-several-instances",
        "intruder-with-traces",
        "reported-sender",
    }
