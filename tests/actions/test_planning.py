"""A plan says what the executor would do, and which guard would stop it, and leaves everything as it is."""

from __future__ import annotations

from collections.abc import Mapping
from time import time_ns
from typing import Any

import pytest

from actions.action_to_outcome import equipped
from actions.connectors.settings import ConnectorsSettings
from actions.planning import PlannedAction, as_of_now, plan
from actions.policy import Grant, PolicySettings
from actions.rails import RailsSettings
from actions.run import carry_out
from schemas.action import ActionCommand
from schemas.outcome import Result
from schemas.topics import ACTIONS, LEARNING
from streams.embedded import EmbeddedValkey
from tests.actions.builders import T0, decision, seconds
from tests.actions.target import DeploymentTarget
from tests.actions.test_undo import isolation
from tests.actions.world import World, now_command, of_now
from tests.parts import Broker


@pytest.fixture
def world(tansu: Broker, valkey: EmbeddedValkey, topic_prefix: str, target: DeploymentTarget) -> World:
    return World(tansu.bootstrap_servers, valkey.url, topic_prefix, target)


async def planned(world: World, command: ActionCommand, **changes: Any) -> PlannedAction:
    async with equipped(world.config("planner", **changes)) as tools:
        return await plan(command, tools)


@pytest.mark.integration
async def test_a_plan_shows_the_change_and_its_undo_and_changes_nothing(world: World) -> None:
    world.show("firing")
    wanted = now_command()
    found = await planned(world, wanted)
    assert found.failed == ()
    assert found.change is not None
    assert found.undo is not None
    assert (found.change.connector, found.change.params["body"]["version"]) == ("http.deployments", "1")
    assert found.undo.params["body"]["version"] == "2"
    assert found.before["version"] == "2"
    async with world.ledger() as ledger:
        assert await ledger.state(wanted.id) is None
        assert await ledger.locked_by(wanted.target) is None
    assert world.target.effects == []
    assert world.target.puts == 0
    assert await world.records(ACTIONS, 1, within=0.5) == await world.records(LEARNING, 1, within=0.5) == []


STOPPED: list[tuple[str, Mapping[str, Any], Mapping[str, Any]]] = [
    ("permitted", {"tier": "observe"}, {}),
    ("reversible", {"revert": None}, {}),
    ("in_time", {"expires_unix_nano": 1}, {}),
    ("connector_configured", {}, {"connectors": ConnectorsSettings()}),
    ("not_protected", {}, {"rails": RailsSettings(protected=("demo/*",))}),
    ("not_frozen", {}, {"rails": RailsSettings(freeze=True)}),
]


@pytest.mark.integration
@pytest.mark.parametrize(("named", "changes", "configured"), STOPPED, ids=[name for name, _, _ in STOPPED])
async def test_what_the_plan_says_stops_it_stops_the_executor(
    world: World, named: str, changes: Mapping[str, Any], configured: Mapping[str, Any]
) -> None:
    wanted = now_command(**changes)
    found = await planned(world, wanted, **configured)
    assert named in {check.name for check in found.failed}
    async with equipped(world.config("executor-1", **configured)) as tools:
        outcome = (await carry_out(wanted, tools, lambda: False)).outcome
    assert outcome.result in {Result.REFUSED, Result.EXPIRED}
    assert outcome.reason.startswith(f"{named}: ")
    assert world.target.effects == []


@pytest.mark.integration
async def test_a_stop_and_a_changed_target_show_in_the_plan(world: World) -> None:
    world.say("stop", note="I am on it")
    world.target._set("someone-else", "1")
    failed = {check.name: check.detail for check in (await planned(world, now_command())).failed}
    assert "stopped by ada for everything: I am on it" in failed["not_stopped"]
    assert "/version is '1'" in failed["precondition"]
    assert "as desired already" in failed["change_needed"]


@pytest.mark.integration
async def test_who_holds_the_target_shows_and_so_does_what_was_done_already(world: World) -> None:
    other = now_command(2, playbook="other")
    async with world.ledger() as ledger:
        lease = await ledger.claim(other, "executor-0")
        await lease.lock(other, 60)  # type: ignore[union-attr]  # nobody else has asked for it
        failed = {check.name: check.detail for check in (await planned(world, now_command())).failed}
        mine = {check.name: check.detail for check in (await planned(world, other)).failed}
    assert f"other (action {other.id}, executor-0) holds the target" in failed["target_free"]
    assert mine == {"not_done": "the ledger says: running"}


@pytest.mark.integration
async def test_instances_that_other_actions_hold_count_as_gone(world: World) -> None:
    world.target.running = ["2", "2", "2"]
    wanted = isolation().model_copy(update=of_now())
    assert (await planned(world, wanted)).failed == ()
    other = now_command(2, target=wanted.target.model_copy(update={"instance": "i2"}))
    async with world.ledger() as ledger:
        await (await ledger.claim(other, "executor-0")).lock(other, 60)  # type: ignore[union-attr]  # as above
        (failed,) = (await planned(world, wanted)).failed
    assert failed.name == "redundancy_kept"
    assert "1 of 3 instances would stay" in failed.detail


def test_commands_are_planned_as_they_would_be_issued_now() -> None:
    def granted(tier: Any) -> PolicySettings:
        return PolicySettings(grants=(Grant(tier=tier),))

    acting, late = decision(settings=granted("autonomous")), T0 + seconds(300)
    assert as_of_now(acting, granted("autonomous"), "ada", late) == acting.actions
    (asked,) = as_of_now(decision(settings=granted("approve")), granted("approve"), "ada", late)
    assert (asked.approved_by, asked.expires_unix_nano > late) == ("ada", True)
    (shadow,) = as_of_now(decision(settings=granted("observe")), granted("observe"), "ada", late)
    assert (shadow.tier, shadow.approved_by, shadow.expires_unix_nano > late) == ("observe", None, True)
    too_late = time_ns()
    (missed,) = as_of_now(decision(settings=granted("approve")), granted("approve"), "ada", too_late + seconds(10**9))
    assert missed.approved_by is None
