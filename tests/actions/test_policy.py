"""What the policy decides, over tiers, doubts, rails and attempts."""

from __future__ import annotations

import pytest
import yaml

from actions.autonomy import Reliability
from actions.catalog import Catalog, load, parse
from actions.policy import Grant, PolicySettings, approve, decide
from actions.rails import Attempt, RailsSnapshot
from schemas.action import Tier, action_id
from schemas.control import Control
from schemas.decision import Decision, Verdict
from schemas.envelope import Entity
from schemas.errors import RefusedError
from schemas.incident import Classification, RootCause
from schemas.outcome import Result
from tests.actions.builders import AUTONOMOUS, LATENCY, REGRESSION, SERVICE, T0, decision, incident, seconds, signal


def granted(tier: Tier, **more: Tier) -> PolicySettings:
    return PolicySettings(grants=(Grant(environment="demo", playbook="rollback-*", tier=tier, **more),))


def failed(of: Decision) -> set[str]:
    return {check.name for check in of.checks if not check.passed}


@pytest.mark.parametrize(
    ("tier", "verdict"),
    [("observe", "observe"), ("recommend", "recommend"), ("approve", "ask"), ("autonomous", "act")],
)
def test_the_tier_gives_the_verdict(tier: Tier, verdict: Verdict) -> None:
    assert decision(settings=granted(tier)).verdict == verdict


def test_as_shipped_nothing_is_granted() -> None:
    found = decision(settings=PolicySettings())
    assert (found.verdict, found.tier) == ("observe", "observe")
    assert found.actions, "what would have been done is recorded in shadow"


def test_the_first_grant_that_matches_counts() -> None:
    settings = PolicySettings(
        grants=(Grant(service="checkout", tier="recommend"), Grant(environment="demo", tier="autonomous"))
    )
    assert decision(settings=settings).tier == "recommend"
    assert decision(incident(service="payment"), settings).tier == "autonomous"
    assert decision(incident(environment="production"), settings).tier == "recommend"


def test_a_class_whose_wrong_action_costs_more_needs_a_higher_confidence() -> None:
    settings = granted("autonomous")
    sure = REGRESSION.model_copy(update={"confidence": 0.85})
    assert decision(incident(classification=sure), settings).verdict == "act"
    dear = settings.model_copy(update={"cost_ratios": {sure.label: 9.0}})
    found = decision(incident(classification=sure), dear)
    assert (found.verdict, failed(found)) == ("ask", {"confident"})
    assert "0.9 needed" in next(check.detail for check in found.checks if check.name == "confident")
    cheap = settings.model_copy(update={"cost_ratios": {sure.label: 1.0}})
    assert decision(incident(classification=sure.model_copy(update={"confidence": 0.5})), cheap).verdict == "act"


def test_as_shipped_what_cuts_off_needs_more_than_what_mends() -> None:
    needed = PolicySettings().confidence_needed
    assert needed("segment_compromised") == pytest.approx(0.95)
    assert needed("instance_compromised") == pytest.approx(0.9)
    assert needed("deployment_regression") == PolicySettings().min_confidence


def test_the_command_carries_what_was_decided() -> None:
    (command,) = decision().actions
    assert command.id == action_id("incident-1", "rollback-deployment", 2, "rollback", SERVICE)
    assert command.apply.params["read"] == ["v1", "services", "checkout"]
    assert command.verification.subjects == incident().active_subjects
    assert command.expires_unix_nano == T0 + seconds(120), "expiry counts from event time"
    assert command.revert is not None


def test_a_decision_is_reproduced_byte_for_byte_and_sealed() -> None:
    first, second = decision(), decision()
    assert first.model_dump_json() == second.model_dump_json()
    assert first.recomputed_hash() == first.hash
    assert first.model_copy(update={"reason": "altered"}).recomputed_hash() != first.hash
    assert decision(previous_hash=first.hash).hash != first.hash


def test_a_replay_marks_its_commands() -> None:
    assert [command.replay for command in decision(replay=True).actions] == [True]


@pytest.mark.parametrize(
    ("changes", "check"),
    [
        ({"status": "resolved", "resolved_unix_nano": T0}, "incident_open"),
        ({"active_subjects": ()}, "still_firing"),
    ],
)
def test_nothing_is_done_about_what_is_over(changes: dict[str, object], check: str) -> None:
    found = decision(incident(**changes))
    assert found.verdict == "observe"
    assert check in failed(found)


DOUBTS = [
    (REGRESSION.model_copy(update={"confidence": 0.79}), "confident"),
    (REGRESSION.model_copy(update={"credibility": 0.05}), "familiar"),
    (REGRESSION.model_copy(update={"prediction_set": ("deployment_regression", "overload")}), "unambiguous"),
    (REGRESSION.model_copy(update={"prediction_set": ()}), "unambiguous"),
]


@pytest.mark.parametrize(("doubtful", "check"), DOUBTS)
@pytest.mark.parametrize(
    ("tier", "verdict"),
    [("observe", "escalate"), ("recommend", "escalate"), ("approve", "ask"), ("autonomous", "ask")],
)
def test_doubt_goes_to_a_person_in_every_tier(
    doubtful: Classification, check: str, tier: Tier, verdict: Verdict
) -> None:
    found = decision(incident(classification=doubtful), granted(tier))
    assert found.verdict == verdict
    assert failed(found) - {"tier"} == {check}
    assert "in doubt" in found.reason


@pytest.mark.parametrize("tier", ["observe", "autonomous"])
def test_what_nobody_knows_is_escalated(tier: Tier) -> None:
    unknown = decision(incident(classification=Classification()), granted(tier))
    assert unknown.verdict == "escalate"
    overload = REGRESSION.model_copy(update={"label": "overload", "prediction_set": ("overload",)})
    unserved = decision(incident(classification=overload), granted(tier))
    assert (unserved.verdict, unserved.playbook) == ("escalate", None)


def test_a_deployment_regression_without_a_deployment_is_escalated() -> None:
    found = decision(incident(signals=(signal(),)))
    assert (found.verdict, found.actions) == ("escalate", ())


def test_a_cause_elsewhere_is_not_mended_here() -> None:
    elsewhere = Entity(environment="demo", service="database")
    cause = RootCause(entity=elsewhere, what="queries", signal_id="s", score=0.9, because="it began there")
    found = decision(incident(root_causes=(cause,)))
    assert found.verdict == "escalate"
    assert "demo/database" in found.reason


def irreversible() -> Catalog:
    shipped = next(playbook for playbook in load() if playbook.name == "rollback-deployment").model_dump(mode="json")
    step = shipped["steps"][0]
    step["revert"], step["risk"]["reversible"] = None, False
    return Catalog([parse(yaml.safe_dump(shipped), "irreversible.yaml")])


def test_what_cannot_be_taken_back_is_never_autonomous() -> None:
    about = incident()
    for rails in (RailsSnapshot(), RailsSnapshot(pin="autonomous")):
        found = decide(about, irreversible(), AUTONOMOUS, now_unix_nano=T0, previous_hash="", rails=rails)
        assert (found.verdict, found.tier) == ("ask", "autonomous")


def test_only_what_the_playbook_names_must_recover() -> None:
    surge = REGRESSION.model_copy(update={"label": "traffic_surge", "prediction_set": ("traffic_surge",)})
    traffic = signal("requests-of-checkout")
    about = incident(
        classification=surge,
        signals=(traffic, signal(LATENCY)),
        active_subjects=(traffic.subject, LATENCY),
    )
    grants = PolicySettings(grants=(Grant(tier="autonomous"),))
    (command,) = decision(about, grants).actions
    assert command.verification.subjects == (LATENCY,)
    unfelt = decision(incident(classification=surge, signals=(traffic,), active_subjects=(traffic.subject,)), grants)
    assert (unfelt.verdict, unfelt.actions) == ("escalate", ())
    assert "nothing of what fires now could show that it helped" in unfelt.reason


def attempt(result: Result | None, until: int = T0 + seconds(600), step: str = "rollback") -> RailsSnapshot:
    tried = Attempt(
        playbook="rollback-deployment",
        playbook_version=1,
        step=step,
        action_id="a",
        decision_id="d",
        until_unix_nano=until,
        result=result,
    )
    return RailsSnapshot(attempts=(tried,))


@pytest.mark.parametrize(
    ("rails", "verdict"),
    [
        (attempt(None), "observe"),  # at work: its outcome is awaited
        (attempt(None, until=T0 - 1), "act"),  # lost on the way: asked for again
        (attempt(Result.EXPIRED), "act"),  # never tried
        (attempt(Result.REFUSED), "act"),
        (attempt(Result.REVERTED), "escalate"),  # the only rung is used up
        (attempt(Result.FAILED), "escalate"),
        (attempt(Result.UNKNOWN), "escalate"),
        (attempt(Result.VERIFIED), "escalate"),  # it was mended, and fires again
    ],
)
def test_the_ladder_is_climbed_by_what_was_tried(rails: RailsSnapshot, verdict: Verdict) -> None:
    assert decision(rails=rails).verdict == verdict


def reliability(**facts: object) -> dict[str, Reliability]:
    record = Reliability(environment="demo", service="checkout", playbook="rollback-deployment", **facts)
    return {record.playbook: record}


def test_a_demotion_caps_the_granted_tier() -> None:
    found = decision(records=reliability(cap="approve", because="reverted"))
    assert (found.verdict, found.tier) == ("ask", "approve")


def test_earning_raises_the_tier_only_where_policy_lets_it() -> None:
    record = reliability(successes=13)
    assert decision(settings=granted("observe"), records=record).tier == "observe"
    assert decision(settings=granted("observe", earn_up_to="approve"), records=record).tier == "approve"
    assert decision(settings=granted("observe", earn_up_to="autonomous"), records=record).tier == "autonomous"
    assert decision(settings=granted("observe", earn_up_to="autonomous"), records=reliability(successes=12)).tier == (
        "approve"
    )


def test_what_was_lost_is_earned_anew_only_where_policy_lets_it() -> None:
    again = reliability(cap="observe", because="reverted", failures=1, successes=40)
    assert decision(settings=granted("autonomous"), records=again).tier == "observe"
    assert decision(settings=granted("autonomous", earn_up_to="autonomous"), records=again).tier == "autonomous"


def test_a_pin_wins_over_grant_and_record() -> None:
    pinned = RailsSnapshot(pin="recommend")
    assert decision(rails=pinned).verdict == "recommend"
    raised = decision(settings=PolicySettings(), records=reliability(cap="observe"), rails=RailsSnapshot(pin="approve"))
    assert raised.verdict == "ask"


def approval(of: Decision, **changes: object) -> Control:
    plain: dict[str, object] = {
        "id": "c",
        "kind": "approve",
        "by": "ada",
        "time_unix_nano": of.time_unix_nano + seconds(60),
        "decision_id": of.id,
    }
    return Control(**(plain | changes))


def test_an_approval_makes_the_commands_valid_from_then_on() -> None:
    settings = granted("approve")
    asked = decision(settings=settings)
    (command,) = approve(asked, approval(asked), settings)
    assert (command.approved_by, command.tier, command.id) == ("ada", "approve", asked.actions[0].id)
    assert command.expires_unix_nano == asked.time_unix_nano + seconds(60 + 120)


@pytest.mark.parametrize(
    "changes",
    [{"kind": "reject"}, {"decision_id": "another"}, {"time_unix_nano": T0 + seconds(901)}],
)
def test_an_approval_that_does_not_fit_is_refused(changes: dict[str, object]) -> None:
    settings = granted("approve")
    asked = decision(settings=settings)
    with pytest.raises(RefusedError):
        approve(asked, approval(asked, **changes), settings)


def test_only_what_asks_can_be_approved() -> None:
    acted = decision()
    with pytest.raises(RefusedError):
        approve(acted, approval(acted), AUTONOMOUS)
