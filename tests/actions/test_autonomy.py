"""Trust is earned slowly and lost at once; the same outcome counts once."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.autonomy import EarningSettings, Reliability, fold, lift
from schemas.action import Tier
from schemas.outcome import EXPIRY, Outcome, Result, Timing
from tests.actions.builders import SERVICE, T0

EARNING = EarningSettings()
EMPTY = Reliability(environment="demo", service="checkout", playbook="rollback-deployment")


def outcome(result: Result, number: int = 0, tier: Tier = "autonomous") -> Outcome:
    plain: dict[str, Any] = {
        "id": f"outcome-{number}",
        "action_id": f"action-{number}",
        "incident_id": "incident-1",
        "decision_id": "decision-1",
        "playbook": "rollback-deployment",
        "playbook_version": 1,
        "step": "rollback",
        "target": SERVICE,
        "tier": tier,
        "result": result,
        "verification": "better",
        "reason": "because",
        "timing": Timing(received_unix_nano=T0, finished_unix_nano=T0),
        "executor": "test",
    }
    return Outcome(**plain)


def record(*results: Result) -> Reliability:
    folded = EMPTY
    for number, result in enumerate(results):
        folded = fold(folded, outcome(result, number))
    return folded


@pytest.mark.parametrize(
    ("successes", "tier"),
    [(0, "observe"), (1, "observe"), (2, "recommend"), (4, "recommend"), (5, "approve"), (13, "autonomous")],
)
def test_a_clean_record_earns_step_by_step(successes: int, tier: Tier) -> None:
    assert record(*[Result.VERIFIED] * successes).earned(EARNING) == tier


def test_one_failure_to_apply_costs_but_does_not_demote() -> None:
    found = record(*[Result.VERIFIED] * 13, Result.FAILED)
    assert (found.cap, found.earned(EARNING)) == (None, "approve")


def test_two_failures_to_apply_of_ten_demote() -> None:
    found = record(Result.FAILED, *[Result.VERIFIED] * 8, Result.FAILED)
    assert found.cap == "approve"
    assert record(Result.FAILED, *[Result.VERIFIED] * 9, Result.FAILED).cap is None


@pytest.mark.parametrize("result", [Result.REVERTED, Result.UNDONE_FAILED, Result.UNKNOWN])
def test_one_harmful_outcome_demotes_at_once(result: Result) -> None:
    found = record(*[Result.VERIFIED] * 50, result)
    assert found.cap == "approve"
    assert found.earned(EARNING) == "observe", "what was shown before no longer counts"
    assert result in found.because
    assert fold(found, outcome(result, 99)).cap == "recommend"


def test_a_demotion_starts_from_the_tier_it_was_done_at() -> None:
    assert fold(EMPTY, outcome(Result.REVERTED, tier="approve")).cap == "recommend"


@pytest.mark.parametrize("result", [Result.EXPIRED, Result.REFUSED])
def test_what_was_not_tried_says_nothing(result: Result) -> None:
    assert record(result) == EMPTY


def undone(by: str, result: Result = Result.VERIFIED) -> Outcome:
    changes = {"undoes": "action-1", "approved_by": by, "tier": "approve", "step": "rollback-undo"}
    return outcome(result, 77).model_copy(update=changes)


def test_what_a_person_took_back_was_wrong() -> None:
    found = fold(record(*[Result.VERIFIED] * 20), undone("ada"))
    assert (found.cap, found.failures) == ("recommend", 1)
    assert "action-1 ended reverted" in found.because


def test_that_an_effect_expired_or_an_undo_failed_says_nothing() -> None:
    before = record(Result.VERIFIED)
    assert fold(before, undone(EXPIRY)) == before
    assert fold(before, undone("ada", Result.UNDONE_FAILED)) == before


def test_a_person_may_forgive_a_demotion_but_not_one_to_come() -> None:
    demoted = record(Result.REVERTED)
    assert lift(demoted, T0 + 1).cap is None
    assert lift(demoted, T0) == demoted
    assert lift(EMPTY, T0) == EMPTY


@given(st.lists(st.tuples(st.sampled_from(list(Result)), st.integers(0, 5)), max_size=20))
def test_a_repeated_outcome_changes_nothing(told: list[tuple[Result, int]]) -> None:
    folded = EMPTY
    for result, number in told:
        folded = fold(folded, outcome(result, number))
    for _, number in told:
        if f"outcome-{number}" in folded.outcome_ids:
            assert fold(folded, outcome(Result.REVERTED, number)) == folded


@given(st.integers(0, 60), st.integers(0, 20))
def test_success_never_lowers_and_failure_never_raises_the_bound(successes: int, failures: int) -> None:
    here = EMPTY.model_copy(update={"successes": successes, "failures": failures})
    better = here.model_copy(update={"successes": successes + 1})
    worse = here.model_copy(update={"failures": failures + 1})
    assert worse.lower_bound(0.05) < here.lower_bound(0.05) < better.lower_bound(0.05)
