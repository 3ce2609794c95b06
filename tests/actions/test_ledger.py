"""The ledger on a real Valkey: one holder at a time, fenced; locks across playbooks; repeats that change nothing."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from actions.ledger import Blocked, Final, Held, Lease, Ledger, connect
from actions.rails import RailsSettings
from actions.rails_store import RailsStore
from schemas.action import ActionCommand
from schemas.envelope import Entity
from schemas.errors import LeaseLostError, TemporaryError
from schemas.outcome import Outcome, Result, Timing, outcome_id
from streams.embedded import EmbeddedValkey
from streams.server_process import free_port
from tests.actions.builders import SERVICE, T0, command, incident

pytestmark = pytest.mark.integration


def asked(number: int = 1, **changes: Any) -> ActionCommand:
    return command(incident(id=f"incident-{number}"), changes)


def ended(wanted: ActionCommand, result: Result = Result.VERIFIED) -> Outcome:
    skipped = result in {Result.EXPIRED, Result.REFUSED}
    return Outcome(
        id=outcome_id(wanted.id, wanted.decision_id if skipped else None),
        action_id=wanted.id,
        incident_id=wanted.incident_id,
        decision_id=wanted.decision_id,
        playbook=wanted.playbook,
        playbook_version=wanted.playbook_version,
        step=wanted.step,
        target=wanted.target,
        tier=wanted.tier,
        result=result,
        verification="not_run",
        reason="because",
        timing=Timing(received_unix_nano=T0, finished_unix_nano=T0),
        executor="test",
    )


async def leased(ledger: Ledger, wanted: ActionCommand, holder: str = "executor-1") -> Lease:
    claimed = await ledger.claim(wanted, holder)
    assert isinstance(claimed, Lease), claimed
    return claimed


@asynccontextmanager
async def brief(valkey: EmbeddedValkey, prefix: str) -> AsyncIterator[Ledger]:
    """A ledger whose leases lapse at once."""
    redis = connect(valkey.url)
    yield Ledger(redis, prefix=prefix, lease_seconds=0.001)
    await redis.aclose()


async def test_an_action_has_one_holder(ledger: Ledger) -> None:
    claims = await asyncio.gather(*(ledger.claim(asked(), f"executor-{number}") for number in range(20)))
    assert sum(isinstance(claimed, Lease) for claimed in claims) == 1
    held = next(claimed for claimed in claims if isinstance(claimed, Held))
    assert held.holder.startswith("executor-")
    assert 0 < held.seconds <= 5


async def test_its_end_is_remembered_with_its_outcome(ledger: Ledger) -> None:
    lease = await leased(ledger, asked())
    outcome = ended(asked())
    await lease.finish(outcome)
    await lease.finish(outcome)  # its first answer was lost
    assert await ledger.claim(asked(decision_id="another"), "executor-2") == Final(outcome, published=False)
    await ledger.published(asked().id, outcome.id)
    assert await ledger.claim(asked(), "executor-2") == Final(outcome, published=True)
    assert await ledger.state(asked().id) == "done"


@pytest.mark.parametrize(
    ("result", "state"),
    [
        (Result.VERIFIED, "done"),
        (Result.FAILED, "failed"),
        (Result.REVERTED, "reverted"),
        (Result.UNKNOWN, "unknown"),
        (Result.UNDONE_FAILED, "unknown"),
        (Result.EXPIRED, "skipped"),
    ],
)
async def test_every_result_has_its_state(ledger: Ledger, result: Result, state: str) -> None:
    await (await leased(ledger, asked())).finish(ended(asked(), result))
    assert await ledger.state(asked().id) == state


async def test_what_was_skipped_may_be_claimed_by_another_decision_only(ledger: Ledger) -> None:
    skipped = ended(asked(), Result.REFUSED)
    await (await leased(ledger, asked())).finish(skipped)
    assert isinstance(await ledger.claim(asked(), "executor-1"), Final)
    await leased(ledger, asked(decision_id="another"))
    await ledger.published(asked().id, skipped.id)
    assert isinstance(await ledger.claim(asked(decision_id="another"), "executor-1"), Held)


async def test_a_lapsed_lease_is_taken_over_with_its_progress(
    valkey: EmbeddedValkey, ledger: Ledger, topic_prefix: str
) -> None:
    async with brief(valkey, topic_prefix) as dying:
        first = await leased(dying, asked())
        await first.record(before={"version": "2"}, applying_unix_nano=T0)
    await asyncio.sleep(0.01)
    second = await leased(ledger, asked(), "executor-2")
    assert second.fence > first.fence
    assert second.progress.before == {"version": "2"}
    assert (second.progress.applying_unix_nano, second.progress.applied_unix_nano) == (T0, None)
    assert second.progress.touched


async def test_who_lost_the_lease_can_write_nothing_more(
    valkey: EmbeddedValkey, ledger: Ledger, topic_prefix: str
) -> None:
    async with brief(valkey, topic_prefix) as dying:
        first = await leased(dying, asked())
        await asyncio.sleep(0.01)
        second = await leased(ledger, asked(), "executor-2")
        for attempt in (
            first.renew(),
            first.record(applied_unix_nano=T0),
            first.lock(asked(), 60),
            first.finish(ended(asked())),
            first.release(),
        ):
            with pytest.raises(LeaseLostError):
                await attempt
    await second.finish(ended(asked(), Result.REVERTED))
    assert await ledger.state(asked().id) == "reverted"


async def test_renewing_keeps_the_action(valkey: EmbeddedValkey, topic_prefix: str) -> None:
    redis = connect(valkey.url)
    ledger = Ledger(redis, prefix=topic_prefix, lease_seconds=0.2)
    lease = await leased(ledger, asked())
    for _ in range(4):
        await asyncio.sleep(0.1)
        await lease.renew()
    assert isinstance(await ledger.claim(asked(), "executor-2"), Held)
    assert lease.remaining_seconds > 0.1
    await redis.aclose()


async def test_a_release_lets_the_next_one_in_at_once(ledger: Ledger) -> None:
    lease = await leased(ledger, asked())
    await lease.lock(asked(), 60)
    await lease.release()
    assert await ledger.state(asked().id) == "pending"
    assert await ledger.locked_by(SERVICE) is None
    await leased(ledger, asked(), "executor-2")


async def test_a_half_done_action_keeps_its_target_when_released(ledger: Ledger) -> None:
    lease = await leased(ledger, asked())
    await lease.lock(asked(), 60)
    await lease.record(before={}, applying_unix_nano=T0)
    await lease.release()
    assert "rollback-deployment" in str(await ledger.locked_by(SERVICE))
    other = await leased(ledger, asked(2))
    assert isinstance(await other.lock(asked(2), 60), Blocked)
    again = await leased(ledger, asked(), "executor-2")
    assert await again.lock(asked(), 60) is None


async def test_a_target_is_held_across_playbooks_with_a_visible_holder(ledger: Ledger) -> None:
    assert await (await leased(ledger, asked())).lock(asked(), 60) is None
    blocked = await (await leased(ledger, asked(2), "executor-2")).lock(asked(2), 60)
    assert isinstance(blocked, Blocked)
    assert (blocked.action_id, blocked.holder, blocked.playbook) == (asked().id, "executor-1", "rollback-deployment")
    assert 59 < blocked.seconds <= 60


async def test_the_end_frees_the_target_and_so_does_time(ledger: Ledger) -> None:
    first, second, third = [await leased(ledger, asked(number)) for number in (1, 2, 3)]
    assert await first.lock(asked(1), 60) is None
    await first.finish(ended(asked(1)))
    assert await second.lock(asked(2), 0.05) is None
    assert await third.lock(asked(3), 60) is not None
    await asyncio.sleep(0.06)
    assert await third.lock(asked(3), 60) is None


def instance(name: str | None) -> Entity:
    return SERVICE.model_copy(update={"instance": name})


@pytest.mark.parametrize(
    ("held", "wanted", "blocked"),
    [("i1", "i2", False), ("i1", "i1", True), ("i1", None, True), (None, "i1", True)],
)
async def test_instances_are_held_apart_and_the_service_against_all(
    ledger: Ledger, held: str | None, wanted: str | None, *, blocked: bool
) -> None:
    first, second = asked(1, target=instance(held)), asked(2, target=instance(wanted))
    await (await leased(ledger, first)).lock(first, 60)
    assert ((await (await leased(ledger, second)).lock(second, 60)) is not None) is blocked
    assert await ledger.locked_by(instance(wanted)) is not None


async def test_deployments_with_another_prefix_do_not_meet(valkey: EmbeddedValkey, ledger: Ledger) -> None:
    await leased(ledger, asked())
    redis = connect(valkey.url)
    await leased(Ledger(redis, prefix="elsewhere", lease_seconds=1), asked())
    await redis.aclose()


async def test_a_lost_server_is_a_temporary_error() -> None:
    redis = connect(f"redis://127.0.0.1:{free_port()}/0")
    ledger, rails = Ledger(redis, prefix="p", lease_seconds=1), RailsStore(redis, RailsSettings(), prefix="p")
    for attempt in (
        ledger.claim(asked(), "executor-1"),
        ledger.state("a"),
        ledger.locked_by(SERVICE),
        rails.snapshot(SERVICE, "p", "i", T0),
        rails.reserve(asked(), T0),
    ):
        with pytest.raises(TemporaryError):
            await attempt
    await redis.aclose()
