"""Whatever crashes, lapses or repeats, and whenever: an action's effect is wanted once, and its end is recorded."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import Iterator
from uuid import uuid4

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from redis.asyncio import Redis

from actions.ledger import connect
from schemas.outcome import Outcome, Result
from streams.embedded import EmbeddedValkey
from tests.actions.builders import LATENCY, command, incident
from tests.actions.interleaving import Fate, Interleaving, Luck

pytestmark = pytest.mark.integration

# Some 15 ms each. `make chaos` runs more.
RUNS = int(os.environ.get("REFLEXARC_INTERLEAVINGS", "2000"))

EVENTS = st.sampled_from(["step"] * 12 + ["deliver"] * 3 + ["kill", "lapse", "lapse", "lapse", "stop", "resume"])
SCHEDULES = st.lists(st.tuples(EVENTS, st.integers(0, 7)), min_size=20, max_size=120)
LUCK: st.SearchStrategy[Luck] = st.sampled_from(["ok", "answer lost", "request lost", "refused"])
FATES: st.SearchStrategy[Fate] = st.sampled_from(["better", "worse", "silence", "unreadable"])

# The same in every run: what is kept of them is under a prefix of the run's own.
COMMANDS = tuple(command(incident(id=f"incident-{number}", active_subjects=(LATENCY,))) for number in (1, 2))
UNTOUCHED = {Result.FAILED, Result.REFUSED, Result.EXPIRED}


@pytest.fixture(scope="module")
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture(scope="module")
def redis(runner: asyncio.Runner, valkey: EmbeddedValkey) -> Iterator[Redis]:
    redis = connect(valkey.url)
    yield redis
    runner.run(redis.aclose())


def test_every_effect_is_applied_at_most_once_and_nothing_is_left_half_done_and_unrecorded(
    runner: asyncio.Runner, redis: Redis
) -> None:
    ends: Counter[Result] = Counter()

    @given(SCHEDULES, st.lists(FATES, max_size=6), st.lists(LUCK, max_size=4))
    @settings(max_examples=RUNS, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    def interleaved(schedule: list[tuple[str, int]], fates: list[Fate], luck: list[Luck]) -> None:
        ends.update(runner.run(interleave(redis, schedule, fates, luck)))

    interleaved()
    assert set(ends) >= {Result.VERIFIED, Result.REVERTED, Result.REFUSED, Result.FAILED}, (
        f"the schedules did not reach every end: {ends}"
    )


async def interleave(
    redis: Redis, schedule: list[tuple[str, int]], fates: list[Fate], luck: list[Luck]
) -> list[Result]:
    """Play one schedule, then let everything end; give the ends."""
    commands = list(COMMANDS)
    world = Interleaving(redis, f"once-{uuid4().hex}", commands, fates, list(luck))
    try:
        world.deliver(0)
        for event, choice in schedule:
            await world.play(event, choice)
        await world.finish()
        for wanted in commands:
            check_end(world, wanted.id)
            assert await redis.hget(world.ledger.action_key(wanted.id), "outcome")
        check_apart(world)
        assert await redis.hgetall(world.ledger.lock_key("demo/checkout")) == {}, "the target is free again"
    finally:
        await world.close()
    return [world.ended[wanted.id][0].result for wanted in commands]


def check_end(world: Interleaving, action: str) -> None:
    """Everyone who asked was told the same end, and it is what happened to the target."""
    told: list[Outcome] = world.ended[action]
    assert len({outcome.model_dump_json() for outcome in told}) == 1
    result = told[0].result
    changes = [key for what, key in world.target.log if what == "change" and key.startswith(action)]
    assert changes in ([], [action], [action, f"{action}-revert"])
    if result is Result.VERIFIED:
        assert changes == [action]
    elif result is Result.REVERTED:
        assert changes == [action, f"{action}-revert"]
    elif result in UNTOUCHED:
        assert changes == []


def check_apart(world: Interleaving) -> None:
    """From an action's first change to its end, no other action changed the target."""
    log = world.target.log
    for wanted in world.commands:
        mine = [place for place, (_, key) in enumerate(log) if key.startswith(wanted.id)]
        between = log[mine[0] : mine[-1]] if mine else []
        assert all(key.startswith(wanted.id) for what, key in between if what == "change")
