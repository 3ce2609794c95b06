"""Playbooks without steps: they call a person, say why and what to look at, and act in no tier."""

from __future__ import annotations

import pytest

from actions.catalog import SHIPPED, Catalog, load, parse
from actions.policy import Grant, PolicySettings, decide
from actions.rails import Attempt, RailsSnapshot
from schemas.decision import Decision
from schemas.errors import ConfigurationError
from schemas.outcome import Result
from tests.actions.builders import REGRESSION, T0, incident, shipped

ALL = PolicySettings(grants=(Grant(tier="autonomous"),))
LABELS = {"dependency_failure", "network_fault", "alert_noise", "unknown"}


def decided(label: str, rails: RailsSnapshot | None = None) -> Decision:
    about = incident(classification=REGRESSION.model_copy(update={"label": label, "prediction_set": (label,)}))
    return decide(about, shipped(), ALL, now_unix_nano=T0, previous_hash="", rails=rails)


@pytest.mark.parametrize("label", sorted(LABELS))
def test_a_person_is_called_and_told_why_whatever_the_tier(label: str) -> None:
    found = decided(label)
    assert (found.verdict, found.actions) == ("escalate", ())
    assert found.playbook == f"escalate-{label.replace('_', '-')}"
    assert "checkout" in found.reason
    assert "Look at: " in found.reason
    assert "{" not in found.reason


def test_no_rail_that_waits_keeps_a_person_from_being_called() -> None:
    assert decided("network_fault", RailsSnapshot(last_success_unix_nano=T0, stops=("stopped by ada",))).verdict == (
        "escalate"
    )


def test_one_that_acts_is_chosen_before_one_that_calls() -> None:
    calls = parse(
        "name: a\nversion: 1\ndescription: d\nserves: {classes: [deployment_regression]}\n"
        "escalate: {reason: because}\n",
        "a.yaml",
    )
    both = Catalog([calls, *load()], connectors=["http.deployments"])
    chosen = both.serving(incident())
    assert chosen is not None
    assert chosen.name == "rollback-deployment"


@pytest.mark.parametrize(
    ("rest", "fault"),
    [
        ("", "it has no steps"),
        ("escalate: {reason: ''}\n", "escalate.reason"),
        ("escalate: {reason: 'see {incident.servise}'}\n", "{incident.servise} is unknown"),
    ],
)
def test_one_that_neither_acts_nor_says_why_is_a_fault(rest: str, fault: str) -> None:
    with pytest.raises(ConfigurationError, match=r"p\.yaml") as caught:
        parse(f"name: p\nversion: 1\ndescription: d\nserves: {{classes: [x]}}\n{rest}", "p.yaml")
    assert fault in str(caught.value)


def test_after_the_last_rung_the_playbook_has_the_last_word() -> None:
    text = (SHIPPED / "rollback-deployment.yaml").read_text()
    told = parse(f"{text}\nescalate: {{reason: 'Call whoever deployed {{incident.service}}.'}}\n", "p.yaml")
    attempt = Attempt(
        playbook="rollback-deployment",
        playbook_version=1,
        step="rollback",
        action_id="a",
        decision_id="d",
        until_unix_nano=T0,
        result=Result.REVERTED,
    )
    rails = RailsSnapshot(attempts=(attempt,))
    found = decide(incident(), Catalog([told]), ALL, now_unix_nano=T0 + 1, previous_hash="", rails=rails)
    assert (found.verdict, found.reason) == ("escalate", "tried: rollback reverted. Call whoever deployed checkout.")
