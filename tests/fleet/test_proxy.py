"""The proxy in front of real HTTP servers."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
from aiohttp import ClientSession, web
from aiohttp.test_utils import TestClient, TestServer

from examples.fleet.proxy import EJECTION_SECONDS, Proxy
from examples.fleet.telemetry import ERROR_RATIO, REQUEST_RATE
from streams.server_process import free_port
from tests.fleet.parts import World

Client = TestClient[Any, Any]
HITS = web.AppKey("hits", Counter[str])


class Fixture:
    """A service of two instances: one real server and one that may be moved to a port where nobody listens."""

    def __init__(self, world: World, proxy: Proxy, client: Client, hits: Counter[str]) -> None:
        self.world = world
        self.proxy = proxy
        self.client = client
        self.hits = hits

    async def order(self) -> tuple[int, str | None]:
        async with self.client.post("/checkout/orders", json={"lines": []}) as response:
            return response.status, response.headers.get("X-Served-By")

    def move(self, place: str, url: str) -> None:
        child = self.world.service.instances[place].child
        assert child is not None
        child.url = url


async def answer(request: web.Request) -> web.Response:
    request.app[HITS][request.path] += 1
    if request.path == "/drop" and request.transport is not None:
        request.transport.close()
    status = 500 if request.path == "/fail" else 201
    return web.json_response(await request.json(), status=status)


@pytest.fixture
async def fleet() -> AsyncIterator[Fixture]:
    async with AsyncExitStack() as stack:
        app = web.Application()
        hits = app[HITS] = Counter[str]()
        app.router.add_post("/{path}", answer)
        servers = [TestServer(app), TestServer(app)]
        for server in servers:
            await stack.enter_async_context(server)
        world = World(2, [str(server.make_url("")).rstrip("/") for server in servers])
        await world.service.start()
        other = World(2, [str(server.make_url("")).rstrip("/") for server in servers], name="payment")
        await other.service.start()
        session = await stack.enter_async_context(ClientSession())
        proxy = Proxy({"checkout": world.service, "payment": other.service}, session, lambda: world.now)
        client = await stack.enter_async_context(TestClient(TestServer(proxy.app())))
        yield Fixture(world, proxy, client, hits)


async def test_serves_in_turn_and_passes_body_and_status_through(fleet: Fixture) -> None:
    assert [await fleet.order() for _ in range(4)] == [(201, "checkout-1"), (201, "checkout-2")] * 2
    async with fleet.client.post("/checkout/fail", json={"a": 1}) as response:
        assert (response.status, await response.json()) == (500, {"a": 1})


async def test_each_service_takes_its_own_turns(fleet: Fixture) -> None:
    served = []
    for _ in range(4):
        served.append((await fleet.order())[1])
        async with fleet.client.post("/payment/authorisations", json={}):
            pass
    assert served == ["checkout-1", "checkout-2"] * 2


async def test_an_isolated_instance_gets_nothing(fleet: Fixture) -> None:
    fleet.world.service.isolate(fleet.world.service.instances["checkout-1"], isolated=True)
    assert {await fleet.order() for _ in range(4)} == {(201, "checkout-2")}


async def test_an_instance_that_refuses_is_left_out_and_tried_again_later(fleet: Fixture) -> None:
    child = fleet.world.service.instances["checkout-1"].child
    assert child is not None
    alive = child.url
    fleet.move("checkout-1", f"http://127.0.0.1:{free_port()}")
    assert {await fleet.order() for _ in range(4)} == {(201, "checkout-2")}
    fleet.move("checkout-1", alive)
    assert {await fleet.order() for _ in range(4)} == {(201, "checkout-2")}  # still ejected
    fleet.world.now += EJECTION_SECONDS
    assert {await fleet.order() for _ in range(4)} == {(201, "checkout-1"), (201, "checkout-2")}


async def test_without_any_instance_the_answer_is_503(fleet: Fixture) -> None:
    for instance in fleet.world.service.instances.values():
        fleet.world.service.isolate(instance, isolated=True)
    assert await fleet.order() == (503, None)


async def test_a_lost_answer_is_not_asked_for_twice(fleet: Fixture) -> None:
    async with fleet.client.post("/checkout/drop", json={}) as response:
        assert response.status == 502
    assert fleet.hits["/drop"] == 1


async def test_an_unknown_service_is_404(fleet: Fixture) -> None:
    async with fleet.client.post("/nobody/orders", json={}) as response:
        assert response.status == 404


async def test_measures_what_clients_see(fleet: Fixture) -> None:
    await fleet.order()
    async with fleet.client.post("/checkout/fail", json={}):
        pass
    measured = fleet.proxy.windows["checkout"].drain(0.5)
    assert measured[REQUEST_RATE] == 4.0
    assert measured[ERROR_RATIO] == 0.5
