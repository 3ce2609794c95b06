"""One instance: what it answers, measures and logs."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from examples.fleet.checkout import PaymentUnavailableError
from examples.fleet.instance import ACCESS_LOG_EVERY, Instance
from examples.fleet.telemetry import (
    DURATION_MEAN,
    ERROR,
    ERROR_RATIO,
    INFO,
    REQUEST_RATE,
    WARN,
    ProcessUsage,
    Telemetry,
)
from schemas.raw import LogRecord, MetricBlock
from tests.fleet.parts import MemoryPublisher

Client = TestClient[Any, Any]


async def operation(cart: dict[str, Any]) -> dict[str, Any]:
    if cart.get("payment") == "away":
        raise PaymentUnavailableError("payment answered 503")
    return {"cents": cart["cents"]}


@pytest.fixture
def publisher() -> MemoryPublisher:
    return MemoryPublisher()


@pytest.fixture
def instance(publisher: MemoryPublisher) -> Instance:
    return Instance(operation, Telemetry({"service.name": "checkout"}, publisher))


@pytest.fixture
async def client(instance: Instance) -> AsyncIterator[Client]:
    app = web.Application()
    app.router.add_post("/orders", instance.serve)
    async with TestClient(TestServer(app)) as client:
        yield client


async def order(client: Client, body: dict[str, Any]) -> int:
    async with client.post("/orders", json=body) as response:
        return response.status


def logs(publisher: MemoryPublisher) -> list[LogRecord]:
    return [record for _, _, record in publisher.records if isinstance(record, LogRecord)]


async def test_a_bug_is_a_500_and_an_error_record_with_its_stack(client: Client, publisher: MemoryPublisher) -> None:
    assert await order(client, {}) == 500
    [record] = logs(publisher)
    assert record.severity_number == ERROR
    assert record.body.startswith("Unhandled exception in POST /orders\nTraceback (most recent call last):")
    assert record.body.rstrip().endswith("KeyError: 'cents'")
    assert record.attributes == {
        "exception.type": "KeyError",
        "exception.message": "'cents'",
        "http.request.method": "POST",
        "url.path": "/orders",
        "http.response.status_code": 500,
    }


async def test_a_failure_it_knows_of_is_a_warning(client: Client, publisher: MemoryPublisher) -> None:
    assert await order(client, {"payment": "away"}) == 502
    [record] = logs(publisher)
    assert (record.severity_number, record.body) == (WARN, "POST /orders failed: payment answered 503")


async def test_one_success_in_fifty_is_logged(client: Client, publisher: MemoryPublisher) -> None:
    for _ in range(2 * ACCESS_LOG_EVERY):
        assert await order(client, {"cents": 5}) == 201
    assert [record.severity_number for record in logs(publisher)] == [INFO, INFO]


async def test_reports_what_it_measured(client: Client, instance: Instance, publisher: MemoryPublisher) -> None:
    instance.extra_seconds = 0.05
    await order(client, {"cents": 5})
    instance.extra_seconds = 0.0
    await order(client, {})
    instance.report(ProcessUsage(), 0.5)
    block = publisher.records[-1][2]
    assert isinstance(block, MetricBlock)
    values = {series.name: row[0] for series, row in zip(block.series, block.value, strict=True)}
    assert len(values) == 6
    assert values[ERROR_RATIO.name] == 0.5
    assert values[REQUEST_RATE.name] == 4.0
    mean = values[DURATION_MEAN.name]
    assert mean is not None
    assert mean >= 0.025
