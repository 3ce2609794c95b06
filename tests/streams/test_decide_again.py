"""An incident is decided about again when what was decided came to nothing, or what held it has passed."""

from __future__ import annotations

from typing import Any

import pytest

from actions.catalog import load
from actions.settings import PolicySettings
from schemas.decision import Decision
from schemas.outcome import Result
from schemas.topics import ACTIONS, CONTROLS, INCIDENTS, LEARNING
from streams.incident_to_decision import AGAIN_NANOS, MAX_ASKED, MAX_NOT_TRIED, Decide
from tests.actions.builders import AUTONOMOUS, REGRESSION, T0, seconds
from tests.streams.test_decide import ASKING, control, decide, emitted, outcome, revision, take

AMBIGUOUS = REGRESSION.model_copy(update={"prediction_set": ("deployment_regression", "traffic_surge")})


def ended(decision: Decision, result: Result, at: int, **changes: Any) -> Any:
    told = outcome(decision.actions[0], result, finished=at)
    return told.model_copy(update={"id": f"{result}-{at}", **changes})


def acted(kernel: Decide) -> Decision:
    (found,) = take(kernel, INCIDENTS, revision(1))
    assert isinstance(found, Decision)
    assert found.verdict == "act"
    return found


def test_what_expired_is_decided_about_again_but_not_for_ever() -> None:
    kernel = decide()
    decision = acted(kernel)
    for number in range(1, MAX_NOT_TRIED + 1):
        late = T0 + seconds(150 * number)
        (decision,) = take(kernel, LEARNING, ended(decision, Result.EXPIRED, late))
        assert (decision.verdict, decision.time_unix_nano) == ("act", late)
        assert decision.actions[0].expires_unix_nano > late
    (given_up,) = take(kernel, LEARNING, ended(decision, Result.EXPIRED, T0 + seconds(900)))
    assert (given_up.verdict, given_up.reason) == ("escalate", "not_refused: an executor refused it: because")
    assert emitted(kernel.wake(3600.0)) == []


def test_a_stop_holds_it_and_the_resume_re_evaluates_what_was_missed() -> None:
    kernel = decide()
    take(kernel, CONTROLS, control("stop"))
    (held,) = take(kernel, INCIDENTS, revision(1))
    assert (held.verdict, "not_stopped" in held.reason) == ("observe", True)
    kernel = decide(state=kernel.snapshot())
    (going_on,) = take(kernel, CONTROLS, control("resume", T0 + seconds(600)))
    assert (going_on.verdict, going_on.time_unix_nano) == ("act", T0 + seconds(600))
    assert going_on.previous_hash == held.hash
    assert take(kernel, CONTROLS, control("resume", T0 + seconds(601))) == [], "it is at work"


def test_a_resume_elsewhere_changes_nothing() -> None:
    kernel = decide()
    take(kernel, CONTROLS, control("stop", service="checkout", environment="demo"))
    take(kernel, INCIDENTS, revision(1))
    assert take(kernel, CONTROLS, control("resume", T0 + seconds(60), service="payment", environment="demo")) == []


def test_an_expired_command_that_was_held_is_wanted_again_only_once_it_may_be() -> None:
    kernel = decide()
    decision = acted(kernel)
    take(kernel, CONTROLS, control("stop", T0 + seconds(2)))
    (waits,) = take(kernel, LEARNING, ended(decision, Result.EXPIRED, T0 + seconds(150)))
    assert waits.verdict == "observe"
    (again,) = take(kernel, CONTROLS, control("resume", T0 + seconds(200)))
    assert again.verdict == "act"


def test_what_was_taken_back_is_looked_at_again_when_the_back_off_is_over() -> None:
    kernel = decide()
    decision = acted(kernel)
    reverted = T0 + seconds(70)
    (waits,) = take(kernel, LEARNING, ended(decision, Result.REVERTED, reverted))
    assert waits.verdict in {"observe", "escalate"}
    assert "backed_off" in waits.reason
    assert emitted(kernel.wake(59.0)) == [], "back-off lasts 60 s"
    (after,) = emitted(kernel.wake(60.0))
    assert isinstance(after, Decision)
    assert after.time_unix_nano == reverted + 2 * AGAIN_NANOS
    # The only rung was tried: now a person is needed.
    assert (after.verdict, "tried: rollback reverted" in after.reason) == ("escalate", True)
    assert emitted(kernel.wake(600.0)) == []


def test_a_wait_is_over_at_the_same_time_whether_records_or_quiet_tell() -> None:
    def waiting() -> Decide:
        kernel = decide()
        take(kernel, CONTROLS, control("stop"))
        take(kernel, LEARNING, ended(acted(decide()), Result.VERIFIED, T0, incident_id="earlier"))
        take(kernel, CONTROLS, control("resume", T0 + 1))
        (cooling,) = take(kernel, INCIDENTS, revision(1))
        assert "cooled_down" in cooling.reason
        return kernel

    quiet = emitted(waiting().wake(400.0))
    told = take(waiting(), INCIDENTS, revision(400, id="other", service="payment", active_subjects=()))[:1]
    assert quiet == told
    assert [decision.verdict for decision in told if isinstance(decision, Decision)] == ["act"]


def test_what_was_skipped_is_tried_again_later_and_later() -> None:
    kernel = decide()
    decision = acted(kernel)
    for pause in (30, 90, 270):
        skipped = ended(decision, Result.REFUSED, T0 + seconds(5), decision_id=decision.id, reason=f"{pause}")
        assert take(kernel, LEARNING, skipped.model_copy(update={"id": f"skipped-{pause}"})) == []
        assert emitted(kernel.wake(pause - 1)) == []
        (decision,) = emitted(kernel.wake(pause))
        assert isinstance(decision, Decision)
        assert decision.verdict == "act"
    (told,) = take(kernel, LEARNING, ended(decision, Result.REFUSED, T0 + seconds(9), reason="no_storm: a storm"))
    assert (told.verdict, told.reason) == ("escalate", "not_refused: an executor refused it: no_storm: a storm")


def test_a_refusal_that_calls_a_person_is_named_in_the_trace_and_not_tried_again_as_it_looks() -> None:
    kernel = decide()
    (told,) = take(kernel, LEARNING, ended(acted(kernel), Result.REFUSED, T0 + seconds(5), escalate=True))
    assert (told.verdict, told.reason) == ("escalate", "not_refused: an executor refused it: because")
    assert emitted(kernel.wake(3600.0)) == []
    assert take(kernel, INCIDENTS, revision(2)) == []
    (other,) = take(kernel, INCIDENTS, revision(3, classification=AMBIGUOUS))
    assert "not_refused" not in {check.name for check in other.checks if not check.passed}


def test_the_end_of_another_incidents_action_says_nothing_about_this_one() -> None:
    kernel = decide()
    decision = acted(kernel)
    take(kernel, INCIDENTS, revision(2, id="incident-2"))
    assert take(kernel, LEARNING, ended(decision, Result.EXPIRED, T0 + seconds(150))) == []


def test_nothing_is_looked_at_again_once_it_is_resolved() -> None:
    kernel = Decide(decide()._catalog, AUTONOMOUS, 0)
    take(kernel, CONTROLS, control("stop"))
    take(kernel, INCIDENTS, revision(1))
    resolved = revision(2, status="resolved", resolved_unix_nano=T0 + seconds(2), active_subjects=())
    take(kernel, INCIDENTS, resolved)
    assert take(kernel, CONTROLS, control("resume", T0 + seconds(60))) == []
    assert kernel.wake(600.0) == []


def test_a_promotion_that_a_person_confirms_lets_a_shadow_ask() -> None:
    kernel = decide(PolicySettings())
    (shadow,) = take(kernel, INCIDENTS, revision(1))
    assert (shadow.verdict, shadow.tier) == ("observe", "observe")
    about = {"environment": "demo", "service": "checkout", "playbook": "rollback-deployment"}
    (asks,) = take(kernel, CONTROLS, control("ratify", T0 + seconds(5), tier="approve", **about))
    assert (asks.verdict, asks.tier) == ("ask", "approve")
    assert take(kernel, CONTROLS, control("ratify", T0 + seconds(6), tier="approve", **about)) == []


def test_a_question_nobody_answers_is_asked_again_but_not_for_ever() -> None:
    kernel = decide(ASKING)
    (asked,) = take(kernel, INCIDENTS, revision(1))
    assert emitted(kernel.wake(890.0)) == []
    second, third = emitted(kernel.wake(3600.0))
    assert isinstance(second, Decision)
    assert isinstance(third, Decision)
    times = [decision.time_unix_nano - asked.time_unix_nano for decision in (second, third)]
    assert times == [seconds(900), seconds(1800)]
    assert {asked.verdict, second.verdict, third.verdict} == {"ask"}
    (other,) = take(kernel, INCIDENTS, revision(4000, classification=AMBIGUOUS))
    assert len(emitted(kernel.wake(3600.0))) == MAX_ASKED - 1, "as it looks now it is another question"
    assert other.verdict == "ask"


@pytest.mark.parametrize("answer", ["approved", "rejected", "acknowledged"])
def test_a_question_that_was_answered_is_not_asked_again(answer: str) -> None:
    kernel = decide(ASKING)
    (asked,) = take(kernel, INCIDENTS, revision(1))
    if answer == "approved":
        take(kernel, ACTIONS, asked.actions[0].model_copy(update={"approved_by": "ada"}))
    elif answer == "rejected":
        take(kernel, CONTROLS, control("reject", T0 + seconds(9), decision_id=asked.id, incident_id="incident-1"))
    else:
        take(kernel, CONTROLS, control("acknowledge", T0 + seconds(9), incident_id="incident-1"))
        kernel = decide(ASKING, kernel.snapshot())
    assert emitted(kernel.wake(3600.0)) == []


def test_what_looks_another_after_it_was_acknowledged_is_asked_about() -> None:
    kernel = decide(ASKING)
    take(kernel, INCIDENTS, revision(1))
    take(kernel, CONTROLS, control("acknowledge", T0 + seconds(9), incident_id="incident-1"))
    (other,) = take(kernel, INCIDENTS, revision(20, classification=AMBIGUOUS))
    assert other.verdict == "ask"
    assert len(emitted(kernel.wake(3600.0))) == MAX_ASKED - 1


def test_an_acknowledgement_of_another_incident_silences_nothing() -> None:
    kernel = decide(ASKING)
    take(kernel, INCIDENTS, revision(1))
    take(kernel, CONTROLS, control("acknowledge", T0 + seconds(9), incident_id="incident-2"))
    assert len(emitted(kernel.wake(3600.0))) == MAX_ASKED - 1


def test_what_a_system_does_not_know_goes_to_the_next_playbook_and_that_is_remembered() -> None:
    def kernel(state: bytes | None = None) -> Decide:
        return Decide(load(connectors=("argo.cluster", "kubernetes.cluster")), AUTONOMOUS, 0, state)

    first, at = kernel(), T0 + seconds(5)
    asked = acted(first)
    assert asked.playbook == "rollback-deployment-kubernetes"
    (next_one,) = take(first, LEARNING, ended(asked, Result.NOT_SERVED, at))
    assert (next_one.verdict, next_one.playbook) == ("act", "rollback-rollout-argo")
    repeated = kernel()
    acted(repeated)
    again = take(kernel(repeated.snapshot()), LEARNING, ended(asked, Result.NOT_SERVED, at))
    assert again == [next_one], "a replay takes the same"

    verified = ended(next_one, Result.VERIFIED, at + seconds(60))
    take(first, LEARNING, verified)
    restarted = kernel(first.snapshot())
    (later,) = take(restarted, INCIDENTS, revision(3600, id="another"))
    assert (later.verdict, later.playbook) == ("act", "rollback-rollout-argo")
    assert {check.name for check in later.checks if not check.passed} == set(), "what was not tried spends nothing"

    # When neither knows it, each is asked once, and then a person.
    (other,) = take(restarted, LEARNING, ended(later, Result.NOT_SERVED, T0 + seconds(3605)))
    assert (other.verdict, other.playbook) == ("act", "rollback-deployment-kubernetes")
    (person,) = take(restarted, LEARNING, ended(other, Result.NOT_SERVED, T0 + seconds(3610)))
    assert (person.verdict, "not_served" in person.reason) == ("escalate", True)
