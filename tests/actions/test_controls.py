"""Stops hold for what lies within their scope, until a later resume; reading order does not matter."""

from __future__ import annotations

from itertools import permutations
from typing import Any

import pytest

from actions.controls import Controls, Scope
from schemas.control import Control
from tests.actions.builders import T0, command

HERE = Scope.of_command(command())


def control(kind: str, moment: int = 0, **scope: Any) -> Control:
    plain = {"id": f"{kind}-{moment}", "kind": kind, "by": "ada", "time_unix_nano": T0 + moment}
    return Control.model_validate(plain | scope)


def stopped(*controls: Control) -> bool:
    found = Controls()
    for item in controls:
        found.add(item)
    return bool(found.stops(HERE))


@pytest.mark.parametrize(
    "scope",
    [
        {},
        {"environment": "demo"},
        {"environment": "demo", "service": "checkout"},
        {"playbook": "rollback-deployment"},
        {"incident_id": "incident-1"},
    ],
)
def test_a_stop_holds_within_its_scope_until_it_is_lifted(scope: dict[str, str]) -> None:
    assert stopped(control("stop", 1, **scope))
    assert not stopped(control("stop", 1, **scope), control("resume", 2, **scope))
    assert stopped(control("stop", 3, **scope), control("resume", 2, **scope))
    assert not stopped(control("stop", 1, **scope), control("resume", 2)), "a wider resume lifts it"


@pytest.mark.parametrize("scope", [{"environment": "production"}, {"service": "payment"}, {"incident_id": "other"}])
def test_a_stop_elsewhere_does_not_hold_here(scope: dict[str, str]) -> None:
    assert not stopped(control("stop", 1, **scope))


def test_a_narrower_resume_does_not_lift_a_wider_stop() -> None:
    assert stopped(control("stop", 1), control("resume", 2, environment="demo"))


def test_the_order_of_reading_does_not_matter_and_repeats_change_nothing() -> None:
    said = (control("stop", 1), control("resume", 2), control("stop", 3, service="checkout"), control("stop", 1))
    answers = set()
    for order in permutations(said):
        found = Controls()
        for item in order:
            found.add(item)
        answers.add(found.stops(HERE))
    assert len(answers) == 1
    (words,) = answers.pop()
    assert words == "stopped by ada for service checkout"


def test_approvals_and_feedback_stop_nothing() -> None:
    assert not stopped(control("approve", 1), control("reject", 2), control("feedback", 3))
