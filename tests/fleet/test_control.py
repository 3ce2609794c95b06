"""The control API: who may change what, and a change repeated is one change."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from examples.fleet.control import Control
from tests.fleet.parts import FakeChild, World

AUTHORISED = {"Authorization": "Bearer s3cret"}
VERSION = "/v1/services/checkout/version"
Client = TestClient[Any, Any]


@pytest.fixture
async def world() -> World:
    world = World()
    await world.service.start()
    return world


@pytest.fixture
def load() -> FakeChild:
    return FakeChild()


@pytest.fixture
async def client(world: World, load: FakeChild) -> AsyncIterator[Client]:
    control = Control({"checkout": world.service}, load, token="s3cret", environment="demo")
    async with TestClient(TestServer(control.app())) as client:
        yield client


async def put(client: Client, path: str, body: Any, **headers: str) -> tuple[int, dict[str, Any]]:
    async with client.put(path, json=body, headers=AUTHORISED | headers) as response:
        return response.status, await response.json()


async def show(client: Client) -> dict[str, Any]:
    async with client.get("/v1/services/checkout") as response:
        assert response.status == 200
        answer: dict[str, Any] = await response.json()
        return answer


async def test_shows_a_service_to_anybody(client: Client) -> None:
    assert await show(client) == {
        "environment": "demo",
        "service": "checkout",
        "version": "v1",
        "known_good_version": "v1",
        "generation": 1,
        "converged": True,
        "deployment_id": None,
        "observers": ["checkout-proxy"],
        "instances": [{"id": f"checkout-{n}", "version": "v1", "state": "serving"} for n in (1, 2, 3)],
    }


async def test_is_healthy(client: Client) -> None:
    async with client.get("/healthz") as response:
        assert response.status == 200


@pytest.mark.parametrize(
    ("path", "body"),
    [
        (VERSION, {"version": "v2"}),
        ("/v1/services/checkout/scale", {"instances": 4}),
        ("/v1/instances/checkout-1/isolation", {"isolated": True}),
        ("/v1/faults/crash", {"instance": "checkout-1"}),
        ("/v1/faults/slow-instance", {"instance": "checkout-1"}),
        ("/v1/faults/traffic-surge", {"factor": 3}),
    ],
)
@pytest.mark.parametrize("authorization", [None, "Bearer wrong", "Bearer", "Basic s3cret", "s3cret"])
async def test_a_change_without_the_token_is_refused(
    client: Client, load: FakeChild, path: str, body: dict[str, Any], authorization: str | None
) -> None:
    before = await show(client)
    headers = {} if authorization is None else {"Authorization": authorization}
    async with client.put(path, json=body, headers=headers) as response:
        assert response.status == 401
    assert await show(client) == before
    assert load.values == []


async def test_sets_a_version(client: Client, world: World) -> None:
    status, answer = await put(client, VERSION, {"version": "v2"})
    assert (status, answer["version"], answer["deployment_id"]) == (202, "v2", "checkout-1")
    await world.converged()
    assert {i["version"] for i in (await show(client))["instances"]} == {"v2"}
    status, answer = await put(client, VERSION, {"version": "v2"})
    assert (status, answer["deployment_id"]) == (200, None)


async def test_a_rollback_is_announced_as_one(client: Client, world: World) -> None:
    await put(client, VERSION, {"version": "v3", "kind": "rollback"})
    await world.converged()
    assert world.announced == [("rollback", "v3", None), ("rollback", "v3", "succeeded")]


async def test_the_same_key_gets_the_same_answer_and_has_its_effect_once(client: Client, world: World) -> None:
    first = await put(client, VERSION, {"version": "v2"}, **{"Idempotency-Key": "a"})
    await world.converged()
    await put(client, VERSION, {"version": "v1", "kind": "rollback"}, **{"Idempotency-Key": "b"})
    await world.converged()
    # The late repeat of the first request must not undo the second.
    assert await put(client, VERSION, {"version": "v2"}, **{"Idempotency-Key": "a"}) == first
    assert (await show(client))["version"] == "v1"


async def test_a_key_cannot_be_used_for_another_request(client: Client) -> None:
    await put(client, VERSION, {"version": "v2"}, **{"Idempotency-Key": "a"})
    status, answer = await put(client, VERSION, {"version": "v3"}, **{"Idempotency-Key": "a"})
    assert (status, answer) == (422, {"error": "this Idempotency-Key was used for another request"})
    status, _ = await put(client, "/v1/services/checkout/scale", {"instances": 2}, **{"Idempotency-Key": "a"})
    assert status == 422


async def test_a_refused_request_does_not_use_up_its_key(client: Client) -> None:
    status, _ = await put(client, VERSION, {"version": "v9"}, **{"Idempotency-Key": "a"})
    assert status == 422
    status, _ = await put(client, VERSION, {"version": "v2"}, **{"Idempotency-Key": "a"})
    assert status == 202


async def test_scales(client: Client, world: World) -> None:
    status, _ = await put(client, "/v1/services/checkout/scale", {"instances": 4})
    assert status == 202
    await world.converged()
    assert len((await show(client))["instances"]) == 4


async def test_isolates_and_takes_back(client: Client) -> None:
    path = "/v1/instances/checkout-2/isolation"
    _, answer = await put(client, path, {"isolated": True})
    assert [i["state"] for i in answer["instances"]] == ["serving", "isolated", "serving"]
    _, answer = await put(client, path, {"isolated": False})
    assert [i["state"] for i in answer["instances"]] == ["serving", "serving", "serving"]


async def test_injects_faults(client: Client, world: World, load: FakeChild) -> None:
    slow, crashed = (world.service.instances[f"checkout-{n}"].child for n in (1, 2))
    await put(client, "/v1/faults/slow-instance", {"instance": "checkout-1", "seconds": 0.5})
    _, answer = await put(client, "/v1/faults/crash", {"instance": "checkout-2"})
    await put(client, "/v1/faults/traffic-surge", {"factor": 3})
    assert isinstance(slow, FakeChild)
    assert slow.values == [0.5]
    assert crashed is not None
    assert not crashed.alive
    assert [i["state"] for i in answer["instances"]] == ["serving", "down", "serving"]
    assert load.values == [3.0]


@pytest.mark.parametrize(
    ("path", "body", "expected"),
    [
        ("/v1/services/nobody/version", {"version": "v1"}, 404),
        ("/v1/instances/checkout-9/isolation", {"isolated": True}, 404),
        ("/v1/faults/earthquake", {}, 404),
        (VERSION, {"version": "v9"}, 422),
        (VERSION, {"version": 1}, 422),
        (VERSION, {}, 422),
        (VERSION, {"version": "v1", "force": True}, 422),
        (VERSION, {"version": "v1", "kind": "sideways"}, 422),
        (VERSION, "v1", 422),
        ("/v1/services/checkout/scale", {"instances": 0}, 422),
        ("/v1/services/checkout/scale", {"instances": 9}, 422),
        ("/v1/instances/checkout-1/isolation", {"isolated": "yes"}, 422),
        ("/v1/faults/traffic-surge", {"factor": 0}, 422),
    ],
)
async def test_what_makes_no_sense_is_refused(client: Client, path: str, body: Any, expected: int) -> None:
    before = await show(client)
    async with client.put(path, json=body, headers=AUTHORISED) as response:
        assert response.status == expected
    assert await show(client) == before
