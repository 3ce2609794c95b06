"""A console without Kafka: the desk's view is filled by hand, and what it publishes is kept in a list."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer

from console.config import ConsoleConfig
from console.desk import Desk
from console.models import FeedStatus
from console.server import make_app
from schemas.errors import RecordError, Rejection
from schemas.raw import Alert
from schemas.topics import Topic
from tests.console.records import T0, seconds

Client = TestClient[web.Request, web.Application]

LIVE = FeedStatus(connected=True, caught_up=True, detail="", lag={"incidents": 3}, invalid_records={"learning": 2})


@dataclass
class Outbox:
    """Takes what the console publishes; refuses with `fault` while one is set."""

    sent: list[tuple[Topic, str, bytes]] = field(default_factory=list)
    fault: Exception | None = None

    async def publish(self, topic: Topic, key: str, value: bytes) -> None:
        if self.fault is not None:
            raise self.fault
        self.sent.append((topic, key, value))


def parse_test_alerts(body: bytes, headers: Mapping[str, str]) -> list[tuple[str, Alert]]:
    """Stand in for a parser of `streams.sources`: a JSON list of names; `boom` and `surrogate` are bugs in it."""
    try:
        names = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RecordError(Rejection.INVALID_JSON, str(error)) from None
    if names == "boom":
        raise ZeroDivisionError
    if names == "surrogate":
        names = ["\ud800"]
    return [(f"default/{name}", _alert(name)) for name in names]


def _alert(name: str) -> Alert:
    return Alert(
        source="test",
        fingerprint=name,
        status="firing",
        name=name,
        time_unix_nano=T0,
        resource={"service.name": name},
    )


def make_desk(outbox: Outbox, **config: Any) -> Desk:
    settings: dict[str, Any] = {"kafka": {}, "webhooks": {"test": parse_test_alerts}}
    desk = Desk(ConsoleConfig(**settings | config), outbox.publish, now_unix_nano=lambda: T0 + seconds(200))
    desk.receive([], LIVE)
    return desk


@pytest.fixture
def outbox() -> Outbox:
    return Outbox()


@pytest.fixture
def desk(outbox: Outbox) -> Desk:
    return make_desk(outbox)


@pytest.fixture
async def client(desk: Desk) -> AsyncIterator[Client]:
    async with TestClient(TestServer(make_app(desk))) as client:
        yield client


@pytest.fixture
async def guarded(outbox: Outbox) -> AsyncIterator[Client]:
    """Serve a console that asks for TOKEN."""
    async with TestClient(TestServer(make_app(make_desk(outbox, token=TOKEN)))) as client:
        yield client


TOKEN = "correct-horse-battery-staple"
