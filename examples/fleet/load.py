"""The load generator: users who order whether or not the service keeps up (open loop, Poisson arrivals).

Forked by the supervisor. Arrivals and carts come from the seed, so two runs ask for the same orders.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from multiprocessing.connection import Connection
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout
from pydantic import BaseModel, ConfigDict

from examples.fleet.processes import on_value, stop_signal

MAX_LINES = 4
# What share of the carts carries the discount that version 2 of checkout cannot read.
DISCOUNTED_SHARE = 0.3
USER_TIMEOUT = ClientTimeout(total=5.0)
# At 60 arrivals a second and 5 s of patience no more than 300 users can wait; beyond twice that something is broken
# here, and more waiting users would only burn memory.
MAX_WAITING = 600


class LoadSpec(BaseModel):
    """What the load generator is told."""

    model_config = ConfigDict(frozen=True)

    url: str
    requests_per_second: float
    seed: int


def carts(rng: random.Random) -> Iterator[dict[str, Any]]:
    """Endless carts of one to four lines."""
    while True:
        lines = [
            {"sku": f"sku-{rng.randrange(1000)}", "quantity": rng.randint(1, 3), "cents": rng.randint(100, 9999)}
            for _ in range(rng.randint(1, MAX_LINES))
        ]
        cart: dict[str, Any] = {"lines": lines}
        if rng.random() < DISCOUNTED_SHARE:
            cart["discount"] = {"rate": 0.1}
        yield cart


async def run(spec: LoadSpec, connection: Connection) -> None:
    """Process body: send orders until SIGTERM."""
    stop = stop_signal()
    factor = [1.0]
    on_value(connection, lambda value: factor.__setitem__(0, value))
    async with ClientSession(timeout=USER_TIMEOUT) as session, asyncio.TaskGroup() as group:
        connection.send(spec.url)
        sending = group.create_task(_send_orders(spec, session, factor))
        await stop.wait()
        sending.cancel()


async def _send_orders(spec: LoadSpec, session: ClientSession, factor: list[float]) -> None:
    loop = asyncio.get_running_loop()
    arrivals, waiting = random.Random(f"{spec.seed}/arrivals"), set[asyncio.Task[None]]()
    due = loop.time()
    for cart in carts(random.Random(f"{spec.seed}/carts")):
        due += arrivals.expovariate(spec.requests_per_second * factor[0])
        # Arrivals do not wait for answers: a slow service does not get fewer users.
        await asyncio.sleep(max(0.0, due - loop.time()))
        if len(waiting) < MAX_WAITING:
            order = asyncio.create_task(_order(session, spec.url, cart))
            waiting.add(order)
            order.add_done_callback(waiting.discard)


async def _order(session: ClientSession, url: str, cart: dict[str, Any]) -> None:
    try:
        async with session.post(url, json=cart) as response:
            await response.read()
    except (ClientError, TimeoutError):
        # The user gives up. What failed is in the proxy's telemetry, where an operator would look.
        return
