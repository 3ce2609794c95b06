"""The checkout service: reads the cart's lines from its database, has the payment authorised, writes a receipt.

Three versions. `v1` and `v3` are good. `v2` is a bad deployment made of three mistakes seen in real post-mortems:
it asks the database twice per line instead of once per order (N+1), it keeps one of too few pooled connections while
it waits for the payment service, and it reads a field of discounted carts that does not exist.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from aiohttp import ClientError, ClientSession, ClientTimeout

Json = dict[str, Any]
PlaceOrder = Callable[[Json], Awaitable[Json]]
Authorise = Callable[[int], Awaitable[None]]
"""Have this many cents authorised by the payment service."""

# A query: 12 ms at the median, one in a hundred beyond 27 ms (lognormal, as round trips to a healthy database are).
QUERY_MEDIAN_SECONDS = 0.012
QUERY_SIGMA = 0.35
GOOD_POOL = 20
# At 2.5 lines an order needs five queries and an authorisation, 74 ms; at 20 orders a second per instance that keeps
# two connections three quarters busy, so orders queue for them: slow, not collapsing while all instances serve.
BAD_POOL = 2
POOL_TIMEOUT_SECONDS = 0.3
PAYMENT_TIMEOUT = ClientTimeout(total=2.0)


class PoolTimeoutError(Exception):
    """No database connection became free in time."""


class PaymentUnavailableError(Exception):
    """The payment service did not authorise."""


class Database:
    """A connection pool to a database whose round trips take time."""

    def __init__(self, connections: int, rng: random.Random) -> None:
        self._pool = asyncio.Semaphore(connections)
        self._rng = rng

    @asynccontextmanager
    async def connection(self) -> AsyncIterator[None]:
        try:
            await asyncio.wait_for(self._pool.acquire(), POOL_TIMEOUT_SECONDS)
        except TimeoutError:
            raise PoolTimeoutError(f"no connection free within {POOL_TIMEOUT_SECONDS} s") from None
        try:
            yield
        finally:
            self._pool.release()

    async def query(self) -> None:
        await asyncio.sleep(self._rng.lognormvariate(0.0, QUERY_SIGMA) * QUERY_MEDIAN_SECONDS)


class Payment:
    """Client of the payment service, through the proxy."""

    def __init__(self, session: ClientSession, proxy_url: str) -> None:
        self._session = session
        self._url = f"{proxy_url}/payment/authorisations"

    async def authorise(self, cents: int) -> None:
        try:
            async with self._session.post(self._url, json={"cents": cents}, timeout=PAYMENT_TIMEOUT) as response:
                if response.status != 201:
                    raise PaymentUnavailableError(f"payment answered {response.status}")
        except (ClientError, TimeoutError) as error:
            raise PaymentUnavailableError(f"payment did not answer: {type(error).__name__}") from error


def _price(line: Json) -> int:
    return int(line["cents"]) * int(line["quantity"])


def good(database: Database, authorise: Authorise) -> PlaceOrder:
    """One query and one authorisation per order."""

    async def place_order(cart: Json) -> Json:
        async with database.connection():
            await database.query()
        total = sum(_price(line) for line in cart["lines"])
        if "discount" in cart:
            total = round(total * (1 - cart["discount"]["rate"]))
        await authorise(total)
        return {"cents": total}

    return place_order


def bad(database: Database, authorise: Authorise) -> PlaceOrder:
    """Two queries per line, a connection held throughout, and a field that is not there."""

    async def place_order(cart: Json) -> Json:
        total = 0
        async with database.connection():
            for line in cart["lines"]:
                await database.query()  # its price
                await database.query()  # its stock
                total += _price(line)
            await authorise(total)
        if "discount" in cart:
            total = round(total * (1 - cart["discount"]["percent"] / 100))
        return {"cents": total}

    return place_order


def build(version: str, session: ClientSession, proxy_url: str, rng: random.Random) -> PlaceOrder:
    """Build the service as `version` is."""
    authorise = Payment(session, proxy_url).authorise
    if version == "v2":
        return bad(Database(BAD_POOL, rng), authorise)
    return good(Database(GOOD_POOL, rng), authorise)
