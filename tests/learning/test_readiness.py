"""Where a playbook stands is what the policy would do there; what is missing, once done, gives the next tier."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from actions.autonomy import EarningSettings, Reliability
from actions.controls import Controls, as_people_said
from actions.settings import Grant, PolicySettings
from learning.history import Case
from learning.readiness import Standing, readiness, runs_needed
from schemas.action import Tier
from schemas.control import Control, ControlKind
from schemas.decision import Decision
from schemas.outcome import Outcome
from schemas.signal import Signal
from tests.actions.builders import LATENCY, SERVICE, T0, command, decision, incident, seconds, shipped, signal
from tests.streams.test_decide import outcome

PLAYBOOK = "rollback-deployment"
CONNECTORS = tuple({step.connector for playbook in shipped() for step in playbook.steps})


def policy(tier: Tier = "observe", earn_up_to: Tier | None = None) -> PolicySettings:
    return PolicySettings(grants=(Grant(environment="demo", tier=tier, earn_up_to=earn_up_to),))


def record(successes: int = 0, **more: Any) -> Reliability:
    return Reliability(environment="demo", service="checkout", playbook=PLAYBOOK, successes=successes, **more)


def said(kind: ControlKind, **about: Any) -> Controls:
    controls = Controls()
    controls.add(Control(id=kind, kind=kind, by="ada", time_unix_nano=T0, **about))
    return controls


def standing(record: Reliability, policy: PolicySettings, **given: Any) -> Standing:
    found = readiness(shipped(), policy, [record], **{"connectors": CONNECTORS, **given})
    return next(one for one in found if one.playbook == PLAYBOOK)


@pytest.mark.parametrize(("bound", "runs"), [(0.30, 2), (0.60, 5), (0.80, 13)])
def test_runs_needed_without_a_failure_are_those_the_manual_states(bound: float, runs: int) -> None:
    assert runs_needed(record(), bound, EarningSettings()) == runs


def test_failures_make_it_longer_and_what_is_reached_needs_none() -> None:
    assert runs_needed(record(failures=2), 0.80, EarningSettings()) > 13
    assert runs_needed(record(20), 0.80, EarningSettings()) == 0


@pytest.mark.parametrize("known", [record(), record(3), record(6), record(14), record(14, failures=1, cap="approve")])
@pytest.mark.parametrize("settings", [policy(), policy("approve"), policy("observe", "autonomous")])
def test_the_tier_is_the_one_the_policy_decides_by(known: Reliability, settings: PolicySettings) -> None:
    decided: Decision = decision(settings=settings, records={PLAYBOOK: known})
    assert standing(known, settings).tier == decided.tier


def test_what_is_missing_once_done_gives_the_next_tier() -> None:
    settings = policy("observe", "autonomous")
    before = standing(record(3), settings)
    assert (before.tier, before.next_tier) == ("recommend", "approve")
    assert before.missing == ("evidence: 2 more verified successes without a failure",)
    assert standing(record(5), settings).tier == "approve"


def test_without_a_grant_evidence_is_not_enough() -> None:
    found = standing(record(20), PolicySettings())
    assert (found.tier, found.earned) == ("observe", "autonomous")
    assert [one.partition(":")[0] for one in found.missing] == ["a grant"]


def test_a_pin_and_a_demotion_are_named_and_a_demotion_may_be_forgiven() -> None:
    demoted = record(cap="observe", because="action x ended reverted", demoted_unix_nano=T0 - 1)
    settings = policy("approve")
    assert any("demoted to observe (action x ended reverted)" in one for one in standing(demoted, settings).missing)
    assert standing(demoted, settings, controls=said("lift")).tier == "approve"
    pinned = standing(record(20), policy("observe", "autonomous"), controls=said("pin", tier="observe"))
    assert pinned.missing == ("pinned to observe by a person: `reflexarc unpin`",)


def test_connectors_that_are_not_enabled_are_named() -> None:
    found = standing(record(20), policy("observe", "approve"), connectors=())
    assert found.next_tier == "autonomous"
    assert any(one.startswith("connectors that are configured and enabled: ") for one in found.missing)


def test_at_the_top_nothing_is_missing() -> None:
    found = standing(record(20), policy("autonomous"))
    assert (found.next_tier, found.needed_bound, found.missing) == (None, None, ())


def test_places_without_a_record_are_listed_when_asked_for() -> None:
    found = readiness(shipped(), PolicySettings(), [], places=[("prod", "search")])
    assert {(one.environment, one.service) for one in found} == {("prod", "search")}
    assert {one.playbook for one in found} == {playbook.name for playbook in shipped() if playbook.steps}
    assert readiness(shipped(), PolicySettings(), []) == ()


def test_a_person_confirms_what_was_earned_and_a_demotion_undoes_it() -> None:
    ratified = said("ratify", environment="demo", service="checkout", playbook=PLAYBOOK, tier="autonomous")
    assert standing(record(13), PolicySettings(), controls=ratified).tier == "autonomous"
    # Beyond `approve` the word of a person goes as far as the record.
    assert standing(record(5), PolicySettings(), controls=ratified).tier == "approve"
    assert standing(record(), PolicySettings(), controls=ratified).tier == "approve"
    demoted = record(cap="recommend", because="action x ended reverted", demoted_unix_nano=T0 + 1)
    assert standing(demoted, PolicySettings(), controls=ratified).tier == "observe"


def test_the_same_word_is_the_policys_too() -> None:
    ratified = said("ratify", environment="demo", service="checkout", playbook=PLAYBOOK, tier="approve")
    known = as_people_said(record(), ratified)
    decided = decision(settings=PolicySettings(), records={PLAYBOOK: known})
    assert (decided.tier, decided.verdict) == ("approve", "ask")
    elsewhere = as_people_said(record().model_copy(update={"service": "payment"}), ratified)
    assert elsewhere.ratified is None


def case(number: int, verdict: str, playbook: str | None = None) -> Case:
    about = incident(id=f"incident-{number}")
    shadow = decision(about, settings=PolicySettings())
    told = {"id": f"said-{number}", "kind": "feedback", "by": "ada", "time_unix_nano": T0, "incident_id": about.id}
    word = Control.model_validate(told | ({"verdict": verdict} if playbook is None else {"playbook": playbook}))
    return Case(about, (shadow,), (), (word,))


def test_shadow_proposals_are_counted_against_what_people_did() -> None:
    agreed = [case(number, "true_positive") for number in range(4)]
    others = [case(10, "false_positive"), case(11, "", "scale-out"), case(12, "", PLAYBOOK)]
    unjudged = Case(incident(id="silent"), (decision(settings=PolicySettings()),))
    found = standing(record(), PolicySettings(), cases=[*agreed, *others, unjudged])
    assert (found.agreed, found.disagreed) == (5, 2)
    assert found.supported == "recommend"
    assert standing(record(), PolicySettings(), cases=[case(n, "true_positive") for n in range(50)]).supported == (
        "approve"
    ), "agreement never justifies acting without a person"
    assert standing(record(13), PolicySettings()).supported == "autonomous"


BAD, GOOD = {"service.version": "2", "service.version.previous": "1"}, {"service.version": "1"}


def change(at: int, service: str = "checkout", **attributes: str) -> Signal:
    about = SERVICE.model_copy(update={"service": service})
    made = signal(f"change-{at}-{service}", "noted", at, kind="change", entity=about)
    return made.model_copy(update={"attributes": {k.replace("_", "."): v for k, v in attributes.items()}})


def mended(*changes: Signal, status: str = "resolved", outcomes: tuple[Outcome, ...] = (), **told: Any) -> Case:
    """One that was proposed to be rolled back at `T0`, then again when it had calmed down, and was not acted on."""
    rollout = change(T0 - seconds(30), **{name.replace(".", "_"): value for name, value in BAD.items()})
    over = {"status": status, "resolved_unix_nano": T0 + seconds(90) if status == "resolved" else None, **told}
    about = incident(signals=(rollout, signal(LATENCY), *changes), **over)
    shadow = decision(incident(), settings=PolicySettings())
    calm = decision(incident(active_subjects=(), updated_unix_nano=T0 + seconds(80)), settings=PolicySettings())
    return Case(about, (shadow, calm), outcomes)


OBSERVED: dict[str, tuple[Case, tuple[int, int]]] = {
    "rolled back to what ran before": (mended(change(T0 + seconds(60), service_version="1")), (1, 0)),
    "said to be a rollback": (mended(change(T0 + seconds(60), deployment_kind="rollback")), (1, 0)),
    "another version": (mended(change(T0 + seconds(60), service_version="3")), (0, 1)),
    "rolled back at last": (
        mended(change(T0 + seconds(50), service_version="3"), change(T0 + seconds(60), service_version="1")),
        (1, 0),
    ),
    "nothing was seen": (mended(), (0, 0)),
    "elsewhere": (mended(change(T0 + seconds(60), service="payment", deployment_kind="rollback")), (0, 0)),
    "before it was proposed": (mended(change(T0 - seconds(1), deployment_kind="rollback")), (0, 0)),
    "not over": (mended(change(T0 + seconds(60), deployment_kind="rollback"), status="open"), (0, 0)),
    "done by us": (
        mended(change(T0 + seconds(60), deployment_kind="rollback"), outcomes=(outcome(command()),)),
        (0, 0),
    ),
}


@pytest.mark.parametrize("name", OBSERVED)
def test_what_people_did_by_themselves_is_counted_as_telemetry_shows_it(name: str) -> None:
    done, (agreed, disagreed) = OBSERVED[name]
    found = standing(record(), PolicySettings(), cases=[done])
    assert (found.agreed, found.disagreed) == (agreed, disagreed)


def test_what_people_say_comes_before_what_they_are_seen_to_have_done() -> None:
    done, _ = OBSERVED["another version"]
    right = case(1, "true_positive").said
    found = standing(record(), PolicySettings(), cases=[replace(done, said=right)])
    assert (found.agreed, found.disagreed) == (1, 0)


def test_a_place_where_only_proposals_were_made_is_listed() -> None:
    found = readiness(shipped(), PolicySettings(), [], cases=[case(1, "true_positive")])
    assert {(one.environment, one.service) for one in found} == {("demo", "checkout")}
