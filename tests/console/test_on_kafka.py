"""The whole role on a real broker: what the topics hold is shown, what is said reaches them, faults are lived with."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import aiohttp
import pytest
from confluent_kafka import Consumer, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # exported, but not so declared
from pydantic import BaseModel

from console import desk
from console.server import ConsoleConfig, serve
from schemas.codec import decode, encode
from schemas.errors import ConfigurationError
from schemas.topics import CATALOGUE, CONTROLS, DECISIONS, INCIDENTS, LEARNING, RAW_ALERTS, Topic
from streams.server_process import free_port
from tests.console.conftest import parse_test_alerts
from tests.console.records import control, decision, incident
from tests.parts import Broker

# 20 ms on an idle machine; on a busy one anything may take seconds, and reading by polls would take more.
AT_ONCE = 5.0

Session = aiohttp.ClientSession


@pytest.fixture
def topics(broker: Broker, topic_prefix: str) -> None:
    create_topics(broker, topic_prefix)


def create_topics(broker: Broker, topic_prefix: str) -> None:
    admin = AdminClient({"bootstrap.servers": broker.bootstrap_servers})
    wanted = [NewTopic(topic.full_name(topic_prefix), topic.partitions, 1) for topic in CATALOGUE]
    for done in admin.create_topics(wanted).values():
        done.result(30)


def produce(broker: Broker, topic_prefix: str, topic: Topic, key: str, record: bytes | BaseModel) -> int:
    """Publish as Faust does, placing keys by murmur2; return the partition."""
    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "partitioner": "murmur2"})
    value = record if isinstance(record, bytes) else encode(record)
    partitions: list[int | None] = []
    producer.produce(
        topic.full_name(topic_prefix), value, key, on_delivery=lambda _, sent: partitions.append(sent.partition())
    )
    producer.flush(30)
    [partition] = partitions
    assert partition is not None
    return partition


def consume(broker: Broker, topic_prefix: str, topic: Topic, count: int) -> Iterator[Message]:
    consumer = Consumer({"bootstrap.servers": broker.bootstrap_servers, "group.id": "test"})
    consumer.assign(
        [TopicPartition(topic.full_name(topic_prefix), partition, 0) for partition in range(topic.partitions)]
    )
    try:
        found = consumer.consume(count, timeout=20)
        assert len(found) == count
        yield from found
    finally:
        consumer.close()


@asynccontextmanager
async def console(broker: Broker, topic_prefix: str) -> AsyncIterator[Session]:
    config = ConsoleConfig(
        kafka={"bootstrap.servers": broker.bootstrap_servers},
        topic_prefix=topic_prefix,
        port=0,
        webhooks={"test": parse_test_alerts},
    )
    stop, address = asyncio.Event(), asyncio.get_running_loop().create_future()
    serving = asyncio.create_task(serve(config, stop, listening=address.set_result))
    try:
        async with Session(await asyncio.wait_for(address, 10)) as session:
            yield session
    finally:
        stop.set()
        await asyncio.wait_for(serving, 20)


async def until(session: Session, path: str, holds: Callable[[Any], bool]) -> Any:
    body = None
    async with asyncio.timeout(20):
        while body is None or not holds(body):
            async with session.get(path) as response:
                body = await response.json()
            await asyncio.sleep(0.05)
    return body


async def ready(session: Session) -> None:
    await until(session, "/readyz", lambda body: body == {"connected": True, "caught_up": True})


async def test_history_is_shown_whatever_lies_among_it(broker: Broker, topic_prefix: str, topics: None) -> None:
    shown, asked = incident(1), decision(incident(1))
    produce(broker, topic_prefix, LEARNING, "k", b"\xff not a record")
    produce(broker, topic_prefix, INCIDENTS, "k", shown)
    produce(broker, topic_prefix, DECISIONS, "k", asked)
    produce(broker, topic_prefix, CONTROLS, "*", control("stop"))
    async with console(broker, topic_prefix) as session:
        await ready(session)
        body = await until(session, f"/api/incidents/{shown.id}", lambda body: body.get("timeline"))
        assert body["timeline"][0]["record"]["id"] == asked.id
        async with session.get("/metrics") as response:
            figures = await response.text()
    assert 'reflexarc_console_invalid_records_total{topic="learning"} 1.0' in figures
    assert "reflexarc_console_stops_in_force 1.0" in figures


async def test_what_is_said_reaches_the_topics(broker: Broker, topic_prefix: str, topics: None) -> None:
    async with console(broker, topic_prefix) as session:
        async with session.post("/api/controls", json={"kind": "stop", "by": "alice"}) as response:
            assert response.status == 201
        async with session.post("/webhooks/test", data=b'["checkout"]') as response:
            assert response.status == 202
    [alert] = consume(broker, topic_prefix, RAW_ALERTS, 1)
    assert decode(RAW_ALERTS, b"key", alert.value()).name == "checkout"
    [stop] = consume(broker, topic_prefix, CONTROLS, 1)
    assert stop.key() == b"*"
    assert decode(CONTROLS, b"*", stop.value()).by == "alice"


async def test_an_answer_lands_where_its_decision_lies(broker: Broker, topic_prefix: str, topics: None) -> None:
    """Else the act stage, which reads a scope's decisions and answers on one partition, would never see it."""
    # Enough scopes that another way to place keys would be found out.
    asked = [decision(incident(number, environment=f"shop-{number}")) for number in range(8)]
    partitions = {trace.id: produce(broker, topic_prefix, DECISIONS, trace.environment, trace) for trace in asked}
    async with console(broker, topic_prefix) as session:
        await ready(session)
        for trace in asked:
            said = {"kind": "reject", "by": "alice", "decision_id": trace.id}
            async with session.post("/api/controls", json=said) as response:
                assert response.status == 201, await response.text()
    answers = consume(broker, topic_prefix, CONTROLS, len(asked))
    placed = {decode(CONTROLS, m.key(), m.value()).decision_id: m.partition() for m in answers}
    assert placed == partitions


async def test_a_change_is_seen_at_once(broker: Broker, topic_prefix: str, topics: None) -> None:
    async with console(broker, topic_prefix) as session:
        await ready(session)
        produce(broker, topic_prefix, INCIDENTS, "k", incident(1))
        async with asyncio.timeout(AT_ONCE):
            await until(session, f"/api/incidents/{incident(1).id}", lambda body: "incident" in body)
        async with asyncio.timeout(AT_ONCE):
            await session.post("/api/controls", json={"kind": "stop", "by": "alice"})
            async with session.get("/api/events") as response:
                async for line in response.content:
                    if b'"stopped":true' in line:
                        break


async def test_topics_that_come_later_are_waited_for(broker: Broker, topic_prefix: str) -> None:
    async with console(broker, topic_prefix) as session:
        await until(session, "/readyz", lambda body: body == {"connected": False, "caught_up": False})
        create_topics(broker, topic_prefix)
        await ready(session)


async def test_without_a_broker_it_serves_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(desk, "DELIVERY_SECONDS", 0.5)
    nowhere = Broker("tansu", f"127.0.0.1:{free_port()}")
    async with console(nowhere, "t") as session:
        await until(session, "/readyz", lambda body: body == {"connected": False, "caught_up": False})
        async with session.post("/api/controls", json={"kind": "stop", "by": "alice"}) as response:
            assert response.status == 503
            assert "did not confirm" in (await response.json())["detail"]
        async with session.get("/healthz") as response:
            assert response.status == 200


async def test_a_taken_port_is_a_configuration_error() -> None:
    taken = await asyncio.start_server(lambda _reader, _writer: None, "127.0.0.1", 0)
    port = taken.sockets[0].getsockname()[1]
    config = ConsoleConfig(kafka={"bootstrap.servers": "127.0.0.1:1"}, port=port)
    with pytest.raises(ConfigurationError, match=f"console.port {port}"):
        await serve(config, asyncio.Event())
    taken.close()
    await taken.wait_closed()


async def test_a_wrong_kafka_setting_is_a_configuration_error() -> None:
    config = ConsoleConfig(kafka={"bootstrap.servers": "127.0.0.1:1", "no.such.setting": "1"}, port=0)
    with pytest.raises(ConfigurationError, match="kafka"):
        await serve(config, asyncio.Event())
