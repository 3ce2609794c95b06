"""Each rail alone stops the action, and the decision names it."""

from __future__ import annotations

from datetime import UTC, datetime, time, timedelta
from typing import Any

import pytest

from actions.policy import PolicySettings
from actions.rails import MaintenanceWindow, RailsSettings, RailsSnapshot, Upstream, evaluate, redundancy_kept
from schemas.decision import Decision, Verdict
from schemas.envelope import Entity
from tests.actions.builders import AUTONOMOUS, SERVICE, T0, decision, incident, seconds

NOW = datetime.fromtimestamp(T0 / 1e9, UTC)


def limited(**limits: Any) -> PolicySettings:
    return AUTONOMOUS.model_copy(update={"rails": RailsSettings(**limits)})


def failed(of: Decision) -> set[str]:
    return {check.name for check in of.checks if not check.passed}


TODAY = MaintenanceWindow(begins=NOW, ends=NOW + timedelta(1))

AT_WORK = Upstream(service="orders-db", onset_unix_nano=None, at_work=True)
BEGAN = Upstream(service="orders-db", onset_unix_nano=T0)

CASES: list[tuple[str, RailsSnapshot, dict[str, Any], Verdict]] = [
    ("not_stopped", RailsSnapshot(stops=("stopped by ada",)), {}, "observe"),
    ("not_frozen", RailsSnapshot(), {"freeze": True}, "observe"),
    ("not_protected", RailsSnapshot(), {"protected": ("demo/check*",)}, "escalate"),
    ("no_maintenance", RailsSnapshot(), {"maintenance": (TODAY,)}, "observe"),
    ("not_too_much_broken", RailsSnapshot(broken_services=11), {}, "escalate"),
    ("not_too_much_broken", RailsSnapshot(broken_services=3, known_services=5), {}, "escalate"),
    ("no_storm", RailsSnapshot(storm_until_unix_nano=T0 + 1), {}, "observe"),
    ("global_rate", RailsSnapshot(actions_last_hour=20), {}, "escalate"),
    ("target_rate", RailsSnapshot(target_actions_last_hour=3), {}, "escalate"),
    ("cooled_down", RailsSnapshot(last_success_unix_nano=T0 - seconds(299)), {}, "observe"),
    ("backed_off", RailsSnapshot(consecutive_failures=1, last_failure_unix_nano=T0 - seconds(59)), {}, "observe"),
    ("backed_off", RailsSnapshot(consecutive_failures=2, last_failure_unix_nano=T0 - seconds(119)), {}, "observe"),
    ("backed_off", RailsSnapshot(consecutive_failures=99, last_failure_unix_nano=T0 - seconds(599)), {}, "observe"),
    ("within_failure_budget", RailsSnapshot(failures_in_window=3), {}, "escalate"),
    ("within_playbook_budget", RailsSnapshot(playbook_failures_in_window=5), {}, "escalate"),
    ("not_recurring", RailsSnapshot(successes_in_window=5), {}, "escalate"),
    ("target_free", RailsSnapshot(locked_by="another action"), {}, "observe"),
    ("dependency_order", RailsSnapshot(upstream=(AT_WORK,)), {}, "observe"),
    ("dependency_order", RailsSnapshot(upstream=(BEGAN,), onset_unix_nano=T0 - seconds(300)), {}, "observe"),
    ("dependency_order", RailsSnapshot(upstream=(BEGAN,), onset_unix_nano=T0 + seconds(600)), {}, "observe"),
    ("not_refused", RailsSnapshot(refused="global_rate: used up"), {}, "escalate"),
]  # fmt: skip


@pytest.mark.parametrize(("rail", "rails", "limits", "verdict"), CASES)
def test_a_rail_alone_stops_the_action_and_is_named(
    rail: str, rails: RailsSnapshot, limits: dict[str, Any], verdict: Verdict
) -> None:
    found = decision(settings=limited(**limits), rails=rails)
    assert found.verdict == verdict
    assert failed(found) == {rail}
    assert rail in found.reason


def test_every_rail_has_its_case() -> None:
    names = {rail.check.name for rail in evaluate(SERVICE, RailsSnapshot(), RailsSettings(), T0)}
    assert names == {name for name, *_ in CASES}


@pytest.mark.parametrize(
    "rails",
    [
        RailsSnapshot(broken_services=10),
        RailsSnapshot(broken_services=2, known_services=5),
        RailsSnapshot(broken_services=4, known_services=4),
        RailsSnapshot(storm_until_unix_nano=T0),
        RailsSnapshot(actions_last_hour=19, target_actions_last_hour=2),
        RailsSnapshot(last_success_unix_nano=T0 - seconds(300)),
        RailsSnapshot(consecutive_failures=1, last_failure_unix_nano=T0 - seconds(60)),
        RailsSnapshot(consecutive_failures=99, last_failure_unix_nano=T0 - seconds(600), failures_in_window=2),
        RailsSnapshot(successes_in_window=4, playbook_failures_in_window=4),
    ],
)
def test_within_its_limit_a_rail_lets_the_action_pass(rails: RailsSnapshot) -> None:
    assert decision(rails=rails).verdict == "act"


def test_a_protected_instance_does_not_protect_its_service() -> None:
    rails = evaluate(SERVICE, RailsSnapshot(), RailsSettings(protected=("demo/checkout/i1",)), T0)
    assert all(rail.check.passed for rail in rails)
    instance = SERVICE.model_copy(update={"instance": "i1"})
    rails = evaluate(instance, RailsSnapshot(), RailsSettings(protected=("demo/checkout/i1",)), T0)
    assert [rail.check.name for rail in rails if not rail.check.passed] == ["not_protected"]


# T0 is Friday 2027-01-15 08:00:00 UTC.
@pytest.mark.parametrize(
    ("window", "covered"),
    [
        (MaintenanceWindow(days=("friday",), at=time(8), hours=1), True),
        (MaintenanceWindow(days=("friday",), at=time(7), hours=1), False),
        (MaintenanceWindow(days=("saturday",), at=time(8), hours=1), False),
        (MaintenanceWindow(days=("thursday",), at=time(22), hours=12), True),
        (MaintenanceWindow(days=("thursday",), at=time(22), hours=10), False),
        (MaintenanceWindow(days=("friday",), service="payment"), False),
        (MaintenanceWindow(days=("friday",), environment="d*"), True),
        (MaintenanceWindow(begins=NOW - timedelta(1), ends=NOW), False),
        (MaintenanceWindow(begins=NOW), False),
    ],
)
def test_maintenance_windows(window: MaintenanceWindow, *, covered: bool) -> None:
    assert window.covers(Entity(environment="demo", service="checkout"), NOW) is covered


@pytest.mark.parametrize(
    ("healthy", "total", "others", "kept"),
    [
        (3, 3, 0, True),
        (3, 3, 1, False),
        (2, 3, 0, False),
        (2, 2, 0, False),
        (1, 1, 0, False),
        (10, 10, 2, True),
        (10, 10, 3, False),
        (0, 0, 0, False),
    ],
)
def test_a_service_keeps_its_redundancy(healthy: int, total: int, others: int, *, kept: bool) -> None:
    assert redundancy_kept(healthy, total, others, RailsSettings()).check.passed is kept


def test_the_floor_holds_whatever_the_share() -> None:
    lax = RailsSettings(max_unavailable_share=1, redundancy_floor=2)
    assert redundancy_kept(3, 3, 0, lax).check.passed
    assert not redundancy_kept(2, 3, 0, lax).check.passed


def test_a_rail_is_checked_even_where_nothing_may_be_done() -> None:
    found = decision(incident(), PolicySettings(rails=RailsSettings(freeze=True)))
    assert "not_frozen" in failed(found)
