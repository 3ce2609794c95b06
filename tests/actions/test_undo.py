"""Taking an action back later: the command has all it needs, is wanted once, and comes when due or asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, cast

import pytest

from actions.action_to_outcome import sweep
from actions.catalog import load
from actions.controls import Controls
from actions.ledger import connect
from actions.policy import Grant, PolicySettings, decide
from actions.reversals import KEEP_SECONDS, WISH_SECONDS, Reversals
from actions.undo import VALIDITY_SECONDS, counted, undo, undo_id
from schemas.action import ActionCommand, Operation
from schemas.control import Control
from schemas.envelope import Entity
from schemas.errors import PermanentError
from schemas.incident import RootCause
from schemas.outcome import EXPIRY, Result
from streams.embedded import EmbeddedValkey
from tests.actions.builders import REGRESSION, SERVICE, T0, command, incident, seconds
from tests.actions.test_autonomy import outcome

BEFORE = {"version": "2", "known_good_version": "1", "instances": [{"id": "i0"}, {"id": "i1"}]}


def isolation() -> ActionCommand:
    """The shipped isolation, of instance i0."""
    label = {"label": "instance_fault", "prediction_set": ("instance_fault",)}
    cause = RootCause(
        entity=SERVICE.model_copy(update={"instance": "i0"}), what="latency", signal_id="s", score=1, because="alone"
    )
    about = incident(classification=REGRESSION.model_copy(update=label), root_causes=(cause,))
    granted = PolicySettings(grants=(Grant(tier="autonomous"),))
    (found,) = decide(about, load(), granted, now_unix_nano=T0, previous_hash="").actions
    return found


def test_an_undo_carries_what_was_there_before() -> None:
    taken_back = undo(command(), BEFORE, by="ada", now_unix_nano=T0)
    assert taken_back.apply.params["body"] == {"version": "2", "kind": "rollout"}
    assert taken_back.revert is not None
    assert taken_back.revert.params["desired"] == [{"pointer": "/version", "equals": "1"}]
    assert (taken_back.undoes, taken_back.approved_by, taken_back.tier) == (command().id, "ada", "approve")
    assert taken_back.expires_unix_nano == T0 + seconds(VALIDITY_SECONDS)


def test_asked_twice_it_is_one_action_but_two_commands() -> None:
    first, second = (undo(command(), BEFORE, by="ada", now_unix_nano=at) for at in (T0, T0 + 1))
    assert first.id == second.id == undo_id(command().id) != command().id
    assert first.decision_id != second.decision_id


def test_counts_are_filled_in() -> None:
    scale = next(playbook for playbook in load() if playbook.name == "scale-out").steps[0]
    calls = {"apply": scale.apply, "revert": scale.revert or scale.apply}
    made = command(
        changes={
            name: Operation(connector=scale.connector, operation=call.operation, params=call.params)
            for name, call in calls.items()
        }
    )
    taken_back = undo(made, BEFORE, by=EXPIRY, now_unix_nano=T0)
    assert taken_back.apply.params["body"] == {"instances": 2}
    assert taken_back.revert is not None
    assert taken_back.revert.params["body"] == {"instances": 3}


def test_what_cannot_be_taken_back_is_refused() -> None:
    with pytest.raises(PermanentError):
        undo(command(changes={"revert": None}), BEFORE, by="ada", now_unix_nano=T0)


def test_an_isolation_expires_and_keeps_the_redundancy() -> None:
    found = isolation()
    assert found.target == Entity(environment="demo", service="checkout", instance="i0")
    assert found.effect_seconds == 1800
    assert found.redundancy is not None
    assert found.preconditions[0].where == {"id": "i0"}


def test_what_an_undo_counts_as() -> None:
    plain = outcome(Result.VERIFIED)
    assert counted(plain) == plain
    told = counted(plain.model_copy(update={"undoes": "a", "approved_by": "ada", "step": "rollback-undo"}))
    assert told is not None
    assert (told.result, told.action_id, told.step) == (Result.REVERTED, "a", "rollback")
    assert counted(plain.model_copy(update={"undoes": "a", "approved_by": EXPIRY})) is None


@pytest.fixture
async def reversals(valkey: EmbeddedValkey, topic_prefix: str) -> AsyncIterator[Reversals]:
    redis = connect(valkey.url)
    yield Reversals(redis, prefix=topic_prefix)
    await redis.aclose()


def said(kind: str, at: int, **scope: Any) -> Controls:
    controls = Controls()
    plain = {"id": f"{kind}-{at}", "kind": kind, "by": "ada", "time_unix_nano": at}
    controls.add(Control.model_validate(plain | scope))
    return controls


TERM = seconds(1800)


@pytest.mark.integration
async def test_an_effect_expires_once(reversals: Reversals) -> None:
    await reversals.note(isolation(), BEFORE, T0)
    assert await reversals.due(Controls(), T0 + TERM - 1) == []
    (due,) = await reversals.due(Controls(), T0 + TERM)
    assert (due.undoes, due.approved_by) == (isolation().id, EXPIRY)
    assert await reversals.due(Controls(), T0 + TERM) == [], "issued already"
    overdue = T0 + TERM + seconds(VALIDITY_SECONDS) + 1_000_000
    assert len(await reversals.due(Controls(), overdue)) == 1, "not final yet: issued again"
    await reversals.forget(isolation().id)
    assert await reversals.due(Controls(), overdue + TERM) == []


@pytest.mark.integration
async def test_a_renewal_gives_another_term(reversals: Reversals) -> None:
    await reversals.note(isolation(), BEFORE, T0)
    renewed = said("renew", T0 + seconds(1000), action_id=isolation().id)
    assert await reversals.due(renewed, T0 + TERM) == []
    assert len(await reversals.due(renewed, T0 + seconds(2800))) == 1


@pytest.mark.integration
async def test_a_renewal_is_told_once_and_only_while_the_effect_lasts(reversals: Reversals) -> None:
    await reversals.note(isolation(), BEFORE, T0)
    await reversals.note(command(), BEFORE, T0)  # lasts until it is taken back
    assert await reversals.renewed(Controls(), T0 + seconds(1001)) == []
    renewed = said("renew", T0 + seconds(1000))
    (entry,) = await reversals.renewed(renewed, T0 + seconds(1001))
    assert entry.command.id == isolation().id
    await reversals.note_renewed(entry, renewed)
    assert await reversals.renewed(renewed, T0 + seconds(1002)) == []
    again = said("renew", T0 + seconds(2000))
    assert len(await reversals.renewed(again, T0 + seconds(2001))) == 1
    assert await reversals.renewed(again, T0 + seconds(3801)) == []


@pytest.mark.integration
async def test_the_system_of_a_renewed_action_is_told(reversals: Reversals) -> None:
    await reversals.note(isolation(), BEFORE, T0)
    told: list[tuple[Operation, Any]] = []
    stopped = [Control(id="stop", kind="stop", by="ada", time_unix_nano=T0 + seconds(1000))]

    async def renew(operation: Operation, before: Any) -> None:
        told.append((operation, before))

    async def controls() -> Controls:
        found = said("renew", T0 + seconds(1000))
        for stop in stopped:
            found.add(stop)
        return found

    sweeps = asyncio.Semaphore(0)

    async def sleep(_: float) -> None:
        sweeps.release()
        await asyncio.sleep(0.01)

    tools: Any = SimpleNamespace(
        clock=lambda: T0 + seconds(1001),
        controls=controls,
        reversals=reversals,
        connectors={isolation().apply.connector: SimpleNamespace(renew=renew)},
        sleep=sleep,
    )
    sweeper = asyncio.create_task(sweep(tools, publisher=cast("Any", None)))
    for _ in range(3):
        await sweeps.acquire()
    assert told == [], "everything is stopped"
    stopped.clear()
    for _ in range(4):
        await sweeps.acquire()
    sweeper.cancel()
    assert told == [(isolation().apply, BEFORE)]


@pytest.mark.integration
async def test_a_person_takes_back_what_was_done_before(reversals: Reversals) -> None:
    await reversals.note(command(), BEFORE, T0)
    await reversals.note(isolation(), BEFORE, T0 + seconds(10))
    assert await reversals.due(said("revert", T0 - 1), T0 + seconds(20)) == []
    (due,) = await reversals.due(said("revert", T0 + seconds(5)), T0 + seconds(20))
    assert (due.undoes, due.approved_by) == (command().id, "ada")
    named = said("revert", T0 + seconds(15), action_id=isolation().id)
    assert [item.undoes for item in await reversals.due(named, T0 + seconds(20))] == [isolation().id]


@pytest.mark.integration
async def test_a_wish_is_followed_up_for_an_hour(reversals: Reversals) -> None:
    await reversals.note(command(), BEFORE, T0)
    wish = said("revert", T0 + 1)
    assert await reversals.due(wish, T0 + seconds(WISH_SECONDS) + 1) == []


@pytest.mark.integration
async def test_what_cannot_be_taken_back_is_not_kept(reversals: Reversals) -> None:
    await reversals.note(command(changes={"revert": None}), BEFORE, T0)
    await reversals.note(undo(command(), BEFORE, by="ada", now_unix_nano=T0), BEFORE, T0)
    assert await reversals.all(T0) == []
    await reversals.note(command(), BEFORE, T0)
    await reversals.all(T0 + seconds(KEEP_SECONDS + 1))
    assert await reversals.all(T0) == [], "too old to be told from what came since"
