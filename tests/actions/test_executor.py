"""The executor on a real broker, a real ledger and a real HTTP target."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from time import time_ns
from typing import Any

import pytest

from actions.connectors.settings import ConnectorsSettings
from actions.ledger import Lease
from actions.rails import RailsSettings
from schemas.action import ActionCommand
from schemas.codec import encode
from schemas.dead_letter import DeadLetter
from schemas.errors import Rejection
from schemas.outcome import Outcome, Result
from schemas.topics import ACTIONS, CONTROLS, DEAD_LETTERS
from streams.embedded import EmbeddedValkey
from streams.server_process import free_port
from tests.actions.builders import seconds
from tests.actions.target import DeploymentTarget
from tests.actions.test_undo import isolation
from tests.actions.world import IMPATIENT, World, now_command, of_now, until
from tests.parts import Broker


@pytest.fixture
def world(broker: Broker, valkey: EmbeddedValkey, topic_prefix: str, target: DeploymentTarget) -> World:
    return World(broker.bootstrap_servers, valkey.url, topic_prefix, target)


async def recovered(world: World) -> Outcome:
    """Let the target recover once it has been acted on; give the outcome."""
    (outcome,) = await outcomes_of_recovery(world, 1)
    return outcome


async def outcomes_of_recovery(world: World, count: int) -> list[Outcome]:
    """Let the target recover once it has been acted on, while telemetry goes on; give this many outcomes."""
    await until(lambda: world.target.effects)
    world.show("cleared")
    async with world.telemetry():
        return await world.outcomes(count)


async def refused(world: World) -> str:
    (outcome,) = await world.outcomes()
    assert (outcome.result, world.target.effects) == (Result.REFUSED, [])
    assert outcome.verification == "not_run"
    return outcome.reason


async def test_a_recovery_is_verified_and_then_committed(world: World) -> None:
    world.show("firing")
    async with world.executor():
        world.ask(now_command())
        outcome = await recovered(world)
    assert (outcome.result, outcome.verification) == (Result.VERIFIED, "better"), outcome.reason
    assert (outcome.before["version"], outcome.after["version"]) == ("2", "1")
    assert outcome.evidence
    timing = outcome.timing
    assert timing.applied_unix_nano is not None
    assert timing.judged_unix_nano is not None
    assert timing.received_unix_nano < timing.applied_unix_nano < timing.judged_unix_nano < timing.finished_unix_nano
    assert world.target.effects == ["1"]
    assert world.committed() == 1


async def test_without_evidence_of_recovery_it_is_taken_back(world: World) -> None:
    async with world.executor():
        world.ask(now_command(verification=IMPATIENT))
        (outcome,) = await world.outcomes()
    assert (outcome.result, outcome.verification) == (Result.REVERTED, "inconclusive")
    assert outcome.escalate
    assert world.target.effects == ["1", "2"]
    assert outcome.after["version"] == "2"


async def test_worse_is_taken_back_at_once(world: World) -> None:
    async with world.executor():
        world.ask(now_command())
        await until(lambda: world.target.effects)
        await asyncio.sleep(0.5)
        world.show("firing")
        (outcome,) = await world.outcomes()
    assert (outcome.result, outcome.verification) == (Result.REVERTED, "worse")
    applied = outcome.timing.applied_unix_nano or 0
    assert outcome.timing.finished_unix_nano - applied < seconds(2.5), "the deadline was not waited for"


async def test_a_change_that_does_not_take_hold_is_taken_back(world: World) -> None:
    world.target.converges = False
    quick = now_command()
    params = {**quick.apply.params, "converge_seconds": 0.5}
    revert = quick.revert or pytest.fail("a rollback states its revert")
    undo = {**revert.params, "converge_seconds": 0.5}
    async with world.executor():
        world.ask(
            quick.model_copy(
                update={
                    "apply": quick.apply.model_copy(update={"params": params}),
                    "revert": revert.model_copy(update={"params": undo}),
                }
            )
        )
        (outcome,) = await world.outcomes()
    assert (outcome.result, outcome.verification) == (Result.REVERTED, "worse")
    assert "did not take hold" in outcome.reason


async def test_a_redelivered_command_is_done_once(world: World) -> None:
    wanted = now_command()
    async with world.executor():
        world.ask(wanted, wanted, wanted)
        outcome = await recovered(world)
        await until(lambda: world.committed() == 3)
    assert world.target.effects == ["1"]
    repeats = await world.outcomes(count=3, within=2)
    assert {item.model_dump_json() for item in repeats} == {outcome.model_dump_json()}


async def crash_after(world: World, wanted: Any, **facts: Any) -> None:
    """Leave the ledger as an executor does that was killed: running, under a lease that nobody renews."""
    async with world.ledger(lease_seconds=1) as ledger:
        lease = await ledger.claim(wanted, "executor-0")
        assert isinstance(lease, Lease)
        await lease.lock(wanted, 60)
        await lease.record(before=world.target.state(), **facts)


async def test_killed_before_the_change_the_next_executor_makes_it(world: World) -> None:
    wanted = now_command()
    await crash_after(world, wanted, applying_unix_nano=time_ns())
    async with world.executor():
        world.ask(wanted)
        outcome = await recovered(world)
    assert outcome.result is Result.VERIFIED
    assert world.target.effects == ["1"]


async def test_killed_after_the_change_the_next_executor_only_verifies(world: World) -> None:
    wanted = now_command()
    await crash_after(world, wanted, applying_unix_nano=time_ns())
    world.target._set(wanted.id, "1")
    async with world.executor():
        world.ask(wanted)
        outcome = await recovered(world)
    assert (outcome.result, outcome.before["version"]) == (Result.VERIFIED, "2")
    assert (world.target.effects, world.target.puts) == (["1"], 0)


async def test_killed_while_taking_back_the_next_executor_completes_it(world: World) -> None:
    wanted = now_command()
    await crash_after(
        world, wanted, applying_unix_nano=time_ns(), applied_unix_nano=time_ns(), reverting="worse: it fired anew"
    )
    world.target._set(wanted.id, "1")
    async with world.executor():
        world.ask(wanted)
        (outcome,) = await world.outcomes()
    assert (outcome.result, outcome.verification) == (Result.REVERTED, "worse")
    assert world.target.effects == ["1", "2"]


async def test_a_half_done_action_is_completed_though_its_command_has_expired(world: World) -> None:
    wanted = now_command(expires_unix_nano=time_ns() - 1)
    await crash_after(world, wanted, applying_unix_nano=time_ns())
    world.target._set(wanted.id, "1")
    async with world.executor():
        world.ask(wanted)
        assert (await recovered(world)).result is Result.VERIFIED


async def test_when_someone_else_changed_the_target_meanwhile_a_person_is_called(world: World) -> None:
    wanted = now_command()
    await crash_after(world, wanted, applying_unix_nano=time_ns())
    world.target._set("someone-else", "3")
    async with world.executor():
        world.ask(wanted)
        (outcome,) = await world.outcomes()
    assert (outcome.result, outcome.escalate) == (Result.UNKNOWN, True)
    assert "someone else" in outcome.reason
    assert world.target.effects == ["3"]


async def test_an_executor_that_dies_loses_nothing(world: World) -> None:
    """Break one off in the middle of verification, as kill -9 does: its task is gone, its lease is not."""
    wanted = now_command()
    async with asyncio.TaskGroup() as group:
        group.create_task(_killed(world))
        world.ask(wanted)
        await until(lambda: world.target.effects)
    async with world.executor("executor-2"):
        outcome = await recovered(world)
    assert (outcome.result, outcome.executor) == (Result.VERIFIED, "executor-2")
    assert world.target.effects == ["1"]


async def _killed(world: World) -> None:
    async with world.executor("executor-1", lease_seconds=2):
        await until(lambda: world.target.effects)


async def test_an_expired_command_is_not_tried(world: World) -> None:
    async with world.executor():
        world.ask(now_command(expires_unix_nano=time_ns() - seconds(5)))
        (outcome,) = await world.outcomes()
    assert (outcome.result, world.target.puts) == (Result.EXPIRED, 0)
    assert "validity ended" in outcome.reason


async def test_what_expired_may_be_asked_for_again(world: World) -> None:
    late = now_command(expires_unix_nano=time_ns() - 1)
    async with world.executor():
        world.ask(late)
        await world.outcomes()
        world.ask(now_command(decision_id="another"))
        expired, verified = await outcomes_of_recovery(world, 2)
    assert (expired.result, verified.result) == (Result.EXPIRED, Result.VERIFIED)
    assert expired.id != verified.id


async def test_a_replayed_command_is_refused_and_leaves_no_trace(world: World) -> None:
    wanted = now_command(replay=True)
    async with world.executor():
        world.ask(wanted)
        assert await refused(world) == "made by a replay"
        async with world.ledger() as ledger:
            assert await ledger.state(wanted.id) is None
        world.ask(now_command())
        await until(lambda: world.target.effects)


async def test_a_malformed_command_is_a_dead_letter_and_the_rest_goes_on(world: World) -> None:
    async with world.executor():
        world.publish(ACTIONS, "demo/checkout", b'{"half":')
        world.ask(now_command())
        assert (await recovered(world)).result is Result.VERIFIED
        (letter,) = await world.records(DEAD_LETTERS, 1)
        await until(lambda: world.committed() == 2)
    assert isinstance(letter, DeadLetter)
    assert (letter.reason, letter.value, letter.stage) == (Rejection.INVALID_JSON, b'{"half":', "execute")


GUARDS: list[tuple[str, dict[str, Any]]] = [
    ("tier observe", {"tier": "observe"}),
    ("tier recommend", {"tier": "recommend", "approved_by": "ada"}),
    ("tier approve without an approval", {"tier": "approve"}),
    ("reversible", {"revert": None}),
]


@pytest.mark.parametrize(("named", "changes"), GUARDS)
async def test_a_command_nobody_was_allowed_to_give_is_refused(
    world: World, named: str, changes: dict[str, Any]
) -> None:
    async with world.executor():
        world.ask(now_command(**changes))
        assert named in await refused(world)


async def test_a_connector_is_read_only_until_enabled(world: World) -> None:
    endpoints = world.config("x").connectors.http
    read_only = {name: item.model_copy(update={"enabled": False}) for name, item in endpoints.items()}
    async with world.executor(connectors=ConnectorsSettings(http=read_only)):
        world.ask(now_command())
        assert "read-only" in await refused(world)


async def test_an_unknown_connector_is_refused(world: World) -> None:
    async with world.executor(connectors=ConnectorsSettings()):
        world.ask(now_command())
        assert "not configured" in await refused(world)


async def test_what_recovered_by_itself_is_left_alone(world: World) -> None:
    wanted = now_command()
    world.show("firing", wanted.issued_unix_nano - 2)
    world.show("cleared", wanted.issued_unix_nano + 1)
    async with world.executor():
        world.ask(wanted)
        assert "still_firing" in await refused(world)


async def test_what_someone_mended_already_is_left_alone(world: World) -> None:
    world.target._set("someone-else", "1")
    world.target.effects.clear()
    async with world.executor():
        world.ask(now_command())
        assert "precondition: /version is '1'" in await refused(world)


async def test_a_target_that_another_action_holds_is_skipped_not_queued(world: World) -> None:
    other = now_command(2, playbook="other")
    await crash_after(world, other, applying_unix_nano=time_ns())
    async with world.executor():
        world.ask(now_command())
        reason = await refused(world)
    assert f"target_free: other (action {other.id}, executor-0) holds the target" in reason


async def test_a_rail_is_checked_again_before_acting(world: World) -> None:
    async with world.executor(rails=RailsSettings(protected=("demo/*",))):
        world.ask(now_command())
        (outcome,) = await world.outcomes()
    assert (outcome.result, outcome.escalate, world.target.effects) == (Result.REFUSED, True, [])
    assert "not_protected" in outcome.reason


async def test_the_failure_budget_is_spent_by_inconclusive_actions(world: World) -> None:
    rails = RailsSettings(failure_budget=1, backoff_seconds=0.001, cooldown_seconds=0)
    async with world.executor(rails=rails):
        world.ask(now_command(1, verification=IMPATIENT))
        await world.outcomes()
        world.ask(now_command(2))
        _, second = await world.outcomes(count=2)
    assert (second.result, second.escalate) == (Result.REFUSED, True)
    assert "within_failure_budget" in second.reason


async def test_rates_are_reserved_over_all_executors(world: World) -> None:
    rails = RailsSettings(max_target_actions_per_hour=1, backoff_seconds=0.001)
    async with world.executor(rails=rails):
        world.ask(now_command(1, verification=IMPATIENT))
        await world.outcomes()
        world.ask(now_command(2))
        _, second = await world.outcomes(count=2)
    assert second.result is Result.REFUSED
    assert "target_rate" in second.reason


async def test_a_stop_is_honoured_and_a_resume_lets_later_actions_through(world: World) -> None:
    world.say("stop", service="checkout", note="I am on it")
    async with world.executor():
        world.ask(now_command(1))
        assert "stopped by ada for service checkout: I am on it" in await refused(world)
        world.say("resume", service="checkout")
        world.ask(now_command(2))
        await until(lambda: world.target.effects)


async def test_a_tier_pinned_down_since_the_decision_holds_even_what_was_approved(world: World) -> None:
    world.say("pin", service="checkout", tier="recommend")
    async with world.executor():
        world.ask(now_command(1, tier="approve", approved_by="ada"))
        assert "tier: pinned to recommend" in await refused(world)
        world.say("pin", service="checkout", tier="approve")
        world.ask(now_command(2), now_command(3, tier="approve", approved_by="ada"))
        await until(lambda: world.target.effects)
        _, unapproved = await world.outcomes(count=2)
    assert "tier: pinned to approve" in unapproved.reason
    assert world.target.effects == ["1"]


async def test_a_stop_among_many_controls_is_not_overlooked(world: World) -> None:
    async with world.executor():
        world.ask(now_command(1, expires_unix_nano=1))
        await world.outcomes()
        world.say_many([{"kind": "resume"}] * 20 + [{"kind": "stop", "note": "the last of the batch"}])
        world.ask(now_command(2))
        _, second = await world.outcomes(count=2)
    assert (second.result, world.target.effects) == (Result.REFUSED, [])
    assert "the last of the batch" in second.reason


async def test_a_stop_in_the_middle_keeps_the_revert_from_being_made(world: World) -> None:
    async with world.executor():
        world.ask(now_command(verification=IMPATIENT))
        await until(lambda: world.target.effects)
        world.say("stop")
        (outcome,) = await world.outcomes()
    assert (outcome.result, outcome.escalate) == (Result.UNDONE_FAILED, True)
    assert "not taken back: stopped by ada" in outcome.reason
    assert world.target.effects == ["1"]


async def test_without_readable_controls_nothing_is_done(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("actions.kafka.CONTROLS", replace(CONTROLS, name="controls-that-are-not-there"))
    async with world.executor():
        world.ask(now_command())
        assert await world.outcomes(within=6) == []
    assert (world.target.puts, world.committed()) == (0, 0)


async def test_without_a_ledger_nothing_is_done_until_it_is_back(world: World) -> None:
    port = free_port()
    world.ledger_url = f"redis://127.0.0.1:{port}/0"
    async with world.executor():
        world.ask(now_command())
        assert await world.outcomes(within=6) == []
        assert (world.target.gets, world.committed()) == (0, 0)
        with EmbeddedValkey(port=port):
            outcome = await recovered(world)
            await until(lambda: world.committed() == 1)
    assert outcome.result is Result.VERIFIED


async def test_a_slow_target_costs_neither_membership_nor_other_commands(world: World) -> None:
    world.target.slow = 4
    async with world.executor(lease_seconds=1):
        world.ask(now_command(1))
        await until(lambda: world.target.puts)
        world.ask(now_command(2, replay=True))
        (refusal,) = await world.outcomes(within=3)
        assert refusal.result is Result.REFUSED
        outcomes = await outcomes_of_recovery(world, 2)
    assert [outcome.result for outcome in outcomes] == [Result.REFUSED, Result.VERIFIED]
    assert world.target.effects == ["1"], "the lease was renewed all along"


async def test_when_full_it_takes_no_more_but_stays_a_member(world: World) -> None:
    world.target.slow = 2
    async with world.executor(max_in_flight=1):
        world.ask(now_command(1))
        await until(lambda: world.target.puts)
        world.ask(now_command(2, replay=True))
        assert await world.outcomes(within=1) == []
        assert len(await outcomes_of_recovery(world, 2)) == 2


async def test_a_stopped_executor_gives_the_action_to_the_next_at_once(world: World) -> None:
    wanted = now_command()
    async with world.executor("executor-1", lease_seconds=60) as stop:
        world.ask(wanted)
        await until(lambda: world.target.effects)
        stop.set()
    assert world.committed() == 0
    async with world.executor("executor-2", lease_seconds=60):
        outcome = await recovered(world)
    assert (outcome.result, outcome.executor) == (Result.VERIFIED, "executor-2")
    assert world.target.effects == ["1"]


async def test_two_executors_share_the_work_without_doubling_it(world: World) -> None:
    services = [now_command(number, target=now_command().target) for number in range(1, 4)]
    async with world.executor("executor-1"), world.executor("executor-2"):
        world.ask(*services)
        outcomes = await outcomes_of_recovery(world, 3)
    assert sorted(outcome.result for outcome in outcomes) == ["refused", "refused", "verified"]
    assert world.target.effects == ["1"]
    assert encode(outcomes[0])


async def test_a_person_takes_an_action_back_even_while_all_is_stopped(world: World) -> None:
    async with world.executor():
        world.ask(now_command())
        assert (await recovered(world)).result is Result.VERIFIED
        world.say("stop")
        world.say("revert", service="checkout")
        _, outcome = await world.outcomes(count=2)
    assert (outcome.result, outcome.undoes, outcome.approved_by) == (Result.VERIFIED, now_command().id, "ada")
    assert world.target.effects == ["1", "2"]


async def test_what_someone_changed_since_is_not_taken_back(world: World) -> None:
    async with world.executor():
        world.ask(now_command())
        await recovered(world)
        world.target._set("someone-else", "3")
        world.say("revert")
        _, outcome = await world.outcomes(count=2)
    assert (outcome.result, outcome.escalate) == (Result.REFUSED, True)
    assert "changed by someone else" in outcome.reason
    assert world.target.effects == ["1", "3"]


def isolated(**changes: Any) -> ActionCommand:
    return isolation().model_copy(update=of_now() | changes)


async def test_an_isolation_expires_by_itself(world: World) -> None:
    world.target.running = ["2", "2", "2"]
    async with world.executor():
        world.ask(isolated(effect_seconds=2))
        assert (await recovered(world)).result is Result.VERIFIED
        _, outcome = await world.outcomes(count=2)
    assert (outcome.result, outcome.approved_by) == (Result.VERIFIED, "expiry")
    assert world.target.effects == ["isolate i0", "restore i0"]


async def test_the_last_instances_of_a_service_are_left_alone(world: World) -> None:
    async with world.executor():
        world.ask(isolated())
        (outcome,) = await world.outcomes()
    assert (outcome.result, outcome.escalate, world.target.effects) == (Result.REFUSED, True, [])
    assert "redundancy_kept: 1 of 2 instances would stay in service" in outcome.reason


async def test_an_action_that_was_taken_back_at_once_is_not_taken_back_later(world: World) -> None:
    world.target.running = ["2", "2", "2"]
    async with world.executor():
        world.ask(isolated(effect_seconds=4, verification=IMPATIENT))
        (outcome,) = await world.outcomes()
        assert outcome.result is Result.REVERTED
        assert len(await world.outcomes(count=2, within=4)) == 1
    assert world.target.effects == ["isolate i0", "restore i0"]
