"""The versions of checkout, without HTTP: what makes the bad one bad."""

from __future__ import annotations

import asyncio
import random
from itertools import islice
from typing import Any

import pytest

from examples.fleet import payment
from examples.fleet.checkout import Database, PoolTimeoutError, bad, good
from examples.fleet.load import MAX_LINES, carts

CART: dict[str, Any] = {"lines": [{"sku": "a", "quantity": 2, "cents": 100}, {"sku": "b", "quantity": 1, "cents": 50}]}
DISCOUNTED: dict[str, Any] = CART | {"discount": {"rate": 0.1}}


class CountingDatabase(Database):
    def __init__(self, connections: int = 10) -> None:
        super().__init__(connections, random.Random(1))
        self.queries = 0

    async def query(self) -> None:
        self.queries += 1


class CountingPayment:
    def __init__(self) -> None:
        self.authorised: list[int] = []

    async def authorise(self, cents: int) -> None:
        self.authorised.append(cents)


async def test_the_good_version_asks_once_an_order() -> None:
    database, acquirer = CountingDatabase(), CountingPayment()
    order = good(database, acquirer.authorise)
    assert await order(CART) == {"cents": 250}
    assert await order(DISCOUNTED) == {"cents": 225}
    assert (database.queries, acquirer.authorised) == (2, [250, 225])


async def test_the_bad_version_asks_twice_a_line_and_cannot_read_discounts() -> None:
    database, acquirer = CountingDatabase(), CountingPayment()
    order = bad(database, acquirer.authorise)
    assert await order(CART) == {"cents": 250}
    assert database.queries == 4
    with pytest.raises(KeyError, match="percent"):
        await order(DISCOUNTED)


async def test_whoever_waits_too_long_for_a_connection_gets_an_error() -> None:
    database = CountingDatabase(connections=1)
    async with database.connection():
        with pytest.raises(PoolTimeoutError):
            async with database.connection():
                pytest.fail("there is only one connection")
    async with asyncio.timeout(1), database.connection():
        pass


async def test_payment_authorises_what_it_is_asked_for() -> None:
    assert await payment.build(random.Random(1))({"cents": 5}) == {"authorised_cents": 5}


def test_the_same_seed_orders_the_same_carts() -> None:
    first, again, other = (list(islice(carts(random.Random(seed)), 50)) for seed in (1, 1, 2))
    assert first == again != other
    assert {len(cart["lines"]) for cart in first} == set(range(1, MAX_LINES + 1))
    assert {"discount" in cart for cart in first} == {True, False}
