"""Evidence of instances that somebody made up has nothing done; an instance that live state knows speaks for itself."""

from __future__ import annotations

from typing import Any

import pytest

from actions.guards import witnesses_known
from schemas.action import Witnesses, witness_id
from schemas.envelope import Entity
from schemas.incident import Incident, RuleHit
from tests.actions.builders import ERRORS, LATENCY, REGRESSION, command, incident, signal

LIVE: dict[str, Any] = {"instances": [{"id": "checkout-1"}, {"id": "checkout-2"}], "observers": ["checkout-proxy"]}


def told_by(*instances: str | None) -> Incident:
    """An incident whose deciding rule cites one signal of each of these, and one more of a ghost that it does not."""
    entities = [Entity(environment="demo", service="checkout", instance=one) for one in instances]
    cited = [signal(f"{LATENCY}-{n}", entity=one) for n, one in enumerate(entities)]
    ghost = signal(ERRORS, entity=Entity(environment="demo", service="checkout", instance="elsewhere"))
    hit = RuleHit(rule="r", label=REGRESSION.label, because=(), signals=tuple(one.id for one in cited))
    return incident(
        classification=REGRESSION.model_copy(update={"rules": (hit,)}),
        signals=(signal("deployment-1", "noted", kind="change"), *cited, ghost),
        active_subjects=tuple(one.subject for one in cited),
    )


@pytest.mark.parametrize(
    ("instances", "goes_on"),
    [
        (("checkout-1", "checkout-2"), True),
        (("checkout-1",), True),
        (("checkout-1", "checkout-proxy"), True),
        (("checkout-1", "ghost-1"), True),
        (("checkout-1", "ghost-1", "ghost-2"), False),
        (("ghost-1", "ghost-2"), False),
        ((None, None), False),
    ],
)
def test_at_least_half_of_those_that_speak_must_be_known(instances: tuple[str | None, ...], goes_on: bool) -> None:
    (rail,) = witnesses_known(command(told_by(*instances)), LIVE)
    assert (rail.check.name, rail.check.passed, rail.on_failure) == ("witnesses_known", goes_on, "escalate")


def test_what_telemetry_calls_itself_is_not_in_the_command() -> None:
    made = command(told_by("ghost-1"))
    assert made.witnesses == Witnesses(pointers=("/instances/*/id", "/observers/*"), ids=(witness_id("ghost-1"),))
    assert "ghost-1" not in made.model_dump_json()


def test_where_live_state_names_no_instances_there_is_nothing_to_hold_evidence_against() -> None:
    (rail,) = witnesses_known(command(told_by("ghost-1")), {"version": "v2"})
    assert rail.check.passed


def test_a_person_who_approved_has_seen_whose_evidence_it_is() -> None:
    made = command(told_by("ghost-1"), {"approved_by": "ada"})
    assert witnesses_known(made, LIVE) == []
