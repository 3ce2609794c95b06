"""The stop button and the budget of instances, over several actions at once, on real parts."""

from __future__ import annotations

import asyncio
from time import time_ns
from typing import Any

import pytest

from actions.rails import RailsSettings
from schemas.action import ActionCommand
from schemas.envelope import NANOS
from schemas.outcome import Outcome, Result
from streams.embedded import EmbeddedValkey
from tests.actions.target import DeploymentTarget
from tests.actions.test_undo import isolation
from tests.actions.world import PATIENT, World, of_now, until
from tests.parts import Broker

# What a person may expect between pressing stop and the last step taken.
WITHIN_SECONDS = 1.0
FREE = RailsSettings(
    max_actions_per_hour=1000,
    max_target_actions_per_hour=1000,
    max_unavailable_share=1,
    cooldown_seconds=0,
    # What is stopped between its looks has failed.
    failure_budget=1000,
    playbook_failure_budget=1000,
    backoff_seconds=0.001,
    max_backoff_seconds=0.001,
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


# Each scope that may be stopped, and another of its kind.
SCOPES: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "global": ({}, {}),
    "environment": ({"environment": "demo"}, {"environment": "production"}),
    "service": ({"environment": "demo", "service": "checkout"}, {"environment": "demo", "service": "payment"}),
    "playbook": ({"playbook": "isolate"}, {"playbook": "scale-out"}),
    "incident": ({"incident_id": "incident-1"}, {"incident_id": "incident-2"}),
}
SAID = {
    "global": "everything",
    "environment": "environment demo",
    "service": "environment demo, service checkout",
    "playbook": "playbook isolate",
    "incident": "incident_id incident-1",
}
# Nothing is to be judged while the test lasts, however slow the machine.
UNJUDGED = PATIENT.model_copy(update={"within_seconds": 600})


class Asking:
    """Isolates one instance after the other, all within every scope that is stopped."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._done = Timed()
        self._asked: dict[str, int] = {}
        world.target.running, world.target.effects = ["2"] * 400, self._done

    async def go_on(self) -> None:
        for number in range(400):
            self._asked[f"isolate i{number}"] = time_ns()
            self._world.ask(isolating(number, incident_id="incident-1", playbook="isolate", verification=UNJUDGED))
            await asyncio.sleep(0.2)

    async def held(self, asked_since: int, count: int) -> list[Outcome]:
        """Wait for so many outcomes of what was asked for since a moment."""
        read = 1
        while True:
            found = await self._world.outcomes(read)
            held = [one for one in found if self._asked[one.action_id.replace("action-", "isolate i")] > asked_since]
            if len(held) >= count:
                return held
            read = len(found) + 1

    def done(self, asked_since: int) -> list[int]:
        """When what was asked for since a moment was done."""
        both = zip(self._done, self._done.times, strict=True)
        return [at for effect, at in both if self._asked[effect] > asked_since]

    def slowest(self, asked_since: int, before: int) -> int:
        """How long this machine took at most, between these moments, from a command to its effect."""
        both = [(self._asked[effect], at) for effect, at in zip(self._done, self._done.times, strict=True)]
        return max(at - asked for asked, at in both if asked > asked_since and at <= before)


async def test_from_the_click_on_stop_to_the_last_step_it_takes_less_than_a_second_at_every_scope(world: World) -> None:
    asking = Asking(world)
    async with world.executor(rails=FREE, max_in_flight=400):
        going = asyncio.create_task(asking.go_on())
        try:
            await until(lambda: asking.done(asked_since=0))
            for name, (here, elsewhere) in SCOPES.items():
                if elsewhere:
                    world.say("stop", **elsewhere)
                begun = time_ns()
                await until(lambda since=begun: len(asking.done(asked_since=since)) >= 2)  # type: ignore[misc]  # bound in the loop
                clicked = time_ns()
                world.say("stop", note=name, **here)
                said = time_ns()
                held = await asking.held(said, 2)
                assert {one.result for one in held} == {Result.REFUSED}
                assert all(f"not_stopped: stopped by ada for {SAID[name]}: {name}" in one.reason for one in held)
                # Whatever the machine: what is asked for once the brokers have the stop is not begun.
                assert asking.done(asked_since=said) == [], name
                # What was under way has had its last look before the click. Where commands take longer, so does that.
                last = max(asking.done(asked_since=0)) - clicked
                assert last < max(WITHIN_SECONDS * NANOS, asking.slowest(begun, clicked)), (
                    f"{name}: {last / NANOS:.3f} s"
                )
                world.say("resume", **here)
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)


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
