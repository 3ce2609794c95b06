"""Desired states: what the control API sets is brought about, whatever happens meanwhile."""

from __future__ import annotations

import pytest

from examples.fleet.services import KNOWN_GOOD_REQUESTS, KNOWN_GOOD_SECONDS
from tests.fleet.parts import World, yield_once


@pytest.fixture
async def world() -> World:
    world = World()
    await world.service.start()
    return world


async def test_starts_with_every_instance_serving(world: World) -> None:
    assert world.states() == {f"checkout-{n}": ("v1", "serving") for n in (1, 2, 3)}
    assert world.announced == []


async def test_a_deployment_replaces_one_instance_after_another_and_none_is_missing_meanwhile(world: World) -> None:
    deployment = world.service.set_version("v2", "rollout")
    assert deployment is not None
    assert world.service.snapshot()["deployment_id"] == deployment.id
    await world.converged()
    assert world.states() == {f"checkout-{n}": ("v2", "serving") for n in (1, 2, 3)}
    assert world.launched[3:] == [(f"checkout-{n}", "v2") for n in (1, 2, 3)]
    assert world.serving_at_pauses == [3, 3, 3]
    assert world.announced == [("rollout", "v2", None), ("rollout", "v2", "succeeded")]


async def test_the_running_version_again_changes_nothing(world: World) -> None:
    before = world.service.snapshot()
    assert world.service.set_version("v1", "rollback") is None
    assert world.service.snapshot() == before
    assert world.announced == []


async def test_the_same_version_twice_during_a_roll_is_one_deployment(world: World) -> None:
    first = world.service.set_version("v2", "rollout")
    assert world.service.set_version("v2", "rollout") == first
    await world.converged()
    assert world.announced == [("rollout", "v2", None), ("rollout", "v2", "succeeded")]


async def test_a_rollback_during_a_rollout_wins(world: World) -> None:
    world.service.set_version("v2", "rollout")
    world.service.set_version("v1", "rollback")
    await world.converged()
    assert {version for version, _ in world.states().values()} == {"v1"}
    assert world.announced == [
        ("rollout", "v2", None),
        ("rollout", "v2", "superseded"),
        ("rollback", "v1", None),
        ("rollback", "v1", "succeeded"),
    ]


async def test_a_version_that_does_not_start_leaves_the_old_one_serving(world: World) -> None:
    world.broken_versions.add("v2")
    world.service.set_version("v2", "rollout")
    while world.announced[-1][2] is None:
        await yield_once()
    assert world.announced[-1] == ("rollout", "v2", "failed")
    assert world.states() == {f"checkout-{n}": ("v1", "serving") for n in (1, 2, 3)}
    world.service.set_version("v1", "rollback")
    await world.converged()
    assert world.states() == {f"checkout-{n}": ("v1", "serving") for n in (1, 2, 3)}


async def test_scaling_adds_and_removes_instances(world: World) -> None:
    world.service.set_scale(5)
    await world.converged()
    assert len(world.service.serving()) == 5
    world.service.set_scale(2)
    await world.converged()
    assert list(world.states()) == ["checkout-1", "checkout-2"]


async def test_an_isolated_instance_stays_so_through_a_deployment(world: World) -> None:
    world.service.isolate(world.service.instances["checkout-2"], isolated=True)
    world.service.set_version("v3", "rollout")
    await world.converged()
    assert world.states()["checkout-2"] == ("v3", "isolated")
    assert [instance.id for instance in world.service.serving()] == ["checkout-1", "checkout-3"]


async def test_a_crashed_instance_stays_down_until_somebody_asks_for_the_version_again(world: World) -> None:
    crashed = world.service.instances["checkout-1"].child
    assert crashed is not None
    crashed.kill()
    assert world.states()["checkout-1"] == ("v1", "down")
    assert len(world.service.serving()) == 2
    world.service.set_version("v1", "rollout")
    await world.converged()
    assert world.states()["checkout-1"] == ("v1", "serving")
    assert world.announced == []


async def test_every_change_of_the_desired_state_has_a_new_generation(world: World) -> None:
    service = world.service
    generations = [service.generation]
    service.set_version("v2", "rollout")
    generations.append(service.generation)
    service.set_scale(4)
    generations.append(service.generation)
    service.isolate(service.instances["checkout-1"], isolated=True)
    generations.append(service.generation)
    service.isolate(service.instances["checkout-1"], isolated=True)
    service.set_scale(4)
    generations.append(service.generation)
    assert generations == [1, 2, 3, 4, 4]
    await world.converged()


@pytest.mark.parametrize(
    ("seconds", "requests", "failures", "expected"),
    [
        (KNOWN_GOOD_SECONDS, KNOWN_GOOD_REQUESTS, 0, "v3"),
        (KNOWN_GOOD_SECONDS, KNOWN_GOOD_REQUESTS, 5, "v1"),  # 2.5 % errors
        (KNOWN_GOOD_SECONDS - 1, KNOWN_GOOD_REQUESTS, 0, "v1"),
        (KNOWN_GOOD_SECONDS, KNOWN_GOOD_REQUESTS - 1, 0, "v1"),
    ],
)
async def test_a_version_is_known_good_after_it_served_long_often_and_well(
    world: World, seconds: float, requests: int, failures: int, expected: str
) -> None:
    world.service.set_version("v3", "rollout")
    await world.converged()
    for number in range(requests):
        world.service.served(failed=number < failures)
    world.now += seconds
    world.service.judge_version()
    assert world.service.known_good_version == expected


async def test_requests_served_before_the_deployment_do_not_speak_for_it(world: World) -> None:
    for _ in range(KNOWN_GOOD_REQUESTS):
        world.service.served(failed=False)
    world.now += KNOWN_GOOD_SECONDS
    world.service.set_version("v2", "rollout")
    await world.converged()
    world.service.judge_version()
    assert world.service.known_good_version == "v1"


async def test_stopping_ends_every_process(world: World) -> None:
    children = [instance.child for instance in world.service.instances.values()]
    await world.service.stop()
    assert [child.alive for child in children if child is not None] == [False, False, False]
