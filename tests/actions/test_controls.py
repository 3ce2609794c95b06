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


def folded(*controls: Control) -> Controls:
    found = Controls()
    for item in controls:
        found.add(item)
    return found


def test_the_narrowest_pin_holds_until_it_is_taken_out() -> None:
    everywhere, here = control("pin", 3, tier="observe"), control("pin", 1, service="checkout", tier="approve")
    assert folded().pin(HERE) is None
    assert folded(everywhere).pin(HERE) == "observe"
    assert folded(here, everywhere).pin(HERE) == "approve"
    assert folded(here, everywhere, control("unpin", 2, service="checkout")).pin(HERE) == "observe"
    assert folded(here, everywhere, control("unpin", 4)).pin(HERE) is None
    assert folded(control("pin", 1, service="payment", tier="approve")).pin(HERE) is None


def test_of_two_pins_in_one_scope_the_later_holds() -> None:
    first, second = control("pin", 1, tier="autonomous"), control("pin", 2, tier="observe")
    assert folded(second, first).pin(HERE) == "observe"


def test_a_wish_to_revert_is_about_what_was_done_before_it() -> None:
    wish = control("revert", 5, service="checkout")
    assert folded(wish).revert(HERE, "action-1", T0 + 4) == wish
    assert folded(wish).revert(HERE, "action-1", T0 + 5) is None
    named = control("revert", 5, action_id="action-1")
    assert folded(named).revert(HERE, "action-1", T0) == named
    assert folded(named).revert(HERE, "action-2", T0) is None
    assert folded(wish).wishes_since(T0)
    assert not folded(wish).wishes_since(T0 + 5)


def test_renewals_and_forgiveness_are_dated() -> None:
    found = folded(control("renew", 5, action_id="action-1"), control("lift", 7, playbook="rollback-deployment"))
    assert (found.renewed(HERE, "action-1"), found.renewed(HERE, "action-2")) == (T0 + 5, 0)
    assert found.lifted(HERE) == T0 + 7
    assert folded().lifted(HERE) == 0


def test_approvals_and_feedback_stop_nothing() -> None:
    assert not stopped(control("approve", 1), control("reject", 2), control("feedback", 3))
