"""The stop button and the budget of instances, over several actions at once, on real parts."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import time_ns
from typing import Any

import pytest

from actions.rails import RailsSettings
from schemas.action import ActionCommand
from schemas.envelope import NANOS
from schemas.outcome import Result
from streams.embedded import EmbeddedValkey
from tests.actions.target import DeploymentTarget
from tests.actions.test_undo import isolation
from tests.actions.world import World, of_now, until
from tests.parts import Broker

# What a person may expect between pressing stop and the last step taken.
WITHIN_SECONDS = 1.0
FREE = RailsSettings(
    max_actions_per_hour=1000, max_target_actions_per_hour=1000, max_unavailable_share=1, cooldown_seconds=0
)


class Timed(list[str]):
    """Effects, and when each came about."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[int] = []

    def append(self, effect: str) -> None:
        self.times.append(time_ns())
        super().append(effect)


@pytest.fixture
def world(broker: Broker, valkey: EmbeddedValkey, topic_prefix: str, target: DeploymentTarget) -> World:
    return World(broker.bootstrap_servers, valkey.url, topic_prefix, target)


def isolating(number: int, **changes: Any) -> ActionCommand:
    """Isolate another instance, for another incident and by another playbook."""
    text = isolation().model_dump_json().replace('"i0"', f'"i{number}"')
    named = {"id": f"action-{number}", "incident_id": f"incident-{number}", "playbook": f"playbook-{number}"}
    return ActionCommand.model_validate_json(text).model_copy(update={**of_now(), **named, **changes})


async def keep_asking(world: World, asked: Callable[[], object]) -> None:
    number = 0
    while True:
        world.ask(isolating(number))
        asked()
        number += 1
        await asyncio.sleep(0.05)


async def test_from_the_click_on_stop_to_the_last_step_it_takes_less_than_a_second(world: World) -> None:
    world.target.running = ["2"] * 400
    world.target.effects = done = Timed()
    asked: list[int] = []
    async with world.executor(rails=FREE, max_in_flight=400):
        asking = asyncio.create_task(keep_asking(world, lambda: asked.append(time_ns())))
        try:
            await until(lambda: len(done) >= 5)
            clicked = time_ns()
            world.say("stop", note="enough")
            # Long after it: what was still asked for then shows that it was the stop that held.
            await until(lambda: sum(at > clicked + WITHIN_SECONDS * NANOS for at in asked) >= 5)
        finally:
            asking.cancel()
            await asyncio.gather(asking, return_exceptions=True)
        isolated = [at for effect, at in zip(done, done.times, strict=True) if effect.startswith("isolate")]
        last = (max(isolated) - clicked) / NANOS
        assert last < WITHIN_SECONDS, f"the last step came {last:.3f} s after the click"
        refused = [outcome for outcome in await world.outcomes(count=5) if outcome.result is Result.REFUSED]
    assert refused
    assert all("not_stopped: stopped by ada for everything: enough" in outcome.reason for outcome in refused)


async def test_instances_are_budgeted_across_playbooks(world: World) -> None:
    world.target.running = ["2"] * 5
    async with world.executor():
        # 34 % of five is one, and each playbook takes but one.
        world.ask(isolating(0))
        await until(lambda: len(world.target.effects) == 1)
        world.ask(isolating(1))
        (refused,) = await world.outcomes()
    assert (refused.playbook, refused.result, refused.escalate) == ("playbook-1", Result.REFUSED, True)
    assert refused.reason.startswith("redundancy_kept: ")
    assert world.target.effects == ["isolate i0"]
