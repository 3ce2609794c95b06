"""The world of an executor in tests: topics on a real broker, a real ledger, a real HTTP target."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable, Mapping
from contextlib import asynccontextmanager
from time import time_ns
from typing import Any

from confluent_kafka import Consumer, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # re-exported, not declared
from pydantic import SecretStr

from actions.action_to_outcome import ExecutorConfig, run_executor
from actions.connectors.settings import ConnectorsSettings, HttpEndpoint
from actions.kafka import bytes_of
from actions.ledger import Ledger, connect
from actions.rails import RailsSettings
from schemas.action import ActionCommand, Verification
from schemas.codec import decode, encode
from schemas.control import Control
from schemas.outcome import Outcome
from schemas.topics import ACTIONS, CATALOGUE, CONTROLS, LEARNING, SIGNALS, Topic
from tests.actions.builders import LATENCY, command, incident, progress, seconds, signal
from tests.actions.target import TOKEN, DeploymentTarget

PARTITIONS = 2
# Of a group's members: Tansu waits for the rebalance timeout at each join, so it is short here.
GROUP = {"session.timeout.ms": 6000, "heartbeat.interval.ms": 1000}


class World:
    """What one test may do, and see."""

    def __init__(self, bootstrap_servers: str, ledger_url: str, prefix: str, target: DeploymentTarget) -> None:
        self.kafka = {"bootstrap.servers": bootstrap_servers}
        self.ledger_url = ledger_url
        self.prefix = prefix
        self.target = target
        self._producer = Producer({**self.kafka, "linger.ms": 50})
        names = [topic.full_name(prefix) for topic in CATALOGUE]
        admin = AdminClient({"bootstrap.servers": bootstrap_servers})
        for made in admin.create_topics([NewTopic(name, PARTITIONS, 1) for name in names]).values():
            made.result()

    def publish(self, topic: Topic, key: str, value: bytes) -> None:
        self._producer.produce(topic.full_name(self.prefix), value, key)
        assert self._producer.flush(10) == 0

    def ask(self, *wanted: ActionCommand) -> None:
        for item in wanted:
            self.publish(ACTIONS, item.target.environment, encode(item))

    def show(self, state: Any, at: int | None = None, subject: str = LATENCY) -> None:
        self.publish(SIGNALS, "demo/checkout", encode(signal(subject, state, at or time_ns())))

    @asynccontextmanager
    async def telemetry(self) -> AsyncIterator[None]:
        """Samples keep coming, none abnormal: the detect stage says how far it has read."""

        async def go_on() -> None:
            while True:
                self.publish(SIGNALS, "demo/checkout", encode(progress(time_ns())))
                await asyncio.sleep(0.2)

        going = asyncio.create_task(go_on())
        try:
            yield
        finally:
            going.cancel()
            await asyncio.gather(going, return_exceptions=True)

    def say(self, kind: str, **scope: Any) -> None:
        self.say_many([{"kind": kind, **scope}])

    def say_many(self, said: Iterable[Mapping[str, Any]]) -> None:
        """Say several things in one batch."""
        for item in said:
            stamped = {"id": f"said-{time_ns()}", "by": "ada", "time_unix_nano": time_ns(), **item}
            value = encode(Control.model_validate(stamped))
            self._producer.produce(CONTROLS.full_name(self.prefix), value, "*")
        assert self._producer.flush(10) == 0

    @asynccontextmanager
    async def executor(self, name: str = "executor-1", **changes: Any) -> AsyncIterator[asyncio.Event]:
        stop = asyncio.Event()
        task = asyncio.create_task(run_executor(self.config(name, **changes), stop))
        try:
            yield stop
        finally:
            stop.set()
            await asyncio.wait_for(task, 15)

    def config(self, name: str, **changes: Any) -> ExecutorConfig:
        endpoint = {"base_url": self.target.url, "token": SecretStr(TOKEN), "enabled": True}
        plain: dict[str, Any] = {
            "kafka": {**self.kafka, **GROUP},
            "topic_prefix": self.prefix,
            "ledger_url": self.ledger_url,
            "ledger_prefix": self.prefix,
            "lease_seconds": 3,
            "name": name,
            "max_in_flight": 4,
            "connectors": ConnectorsSettings(http={"deployments": HttpEndpoint.model_validate(endpoint)}),
            "rails": RailsSettings(),
        }
        return ExecutorConfig(**(plain | changes))

    @asynccontextmanager
    async def ledger(self, lease_seconds: float = 3) -> AsyncIterator[Ledger]:
        redis = connect(self.ledger_url)
        yield Ledger(redis, prefix=self.prefix, lease_seconds=lease_seconds)
        await redis.aclose()

    async def outcomes(self, count: int = 1, within: float = 20) -> list[Outcome]:
        return await self.records(LEARNING, count, within)

    async def records(self, topic: Topic, count: int, within: float = 20) -> list[Any]:
        """Read until there are so many, or the time is up."""
        consumer = Consumer({**self.kafka, "group.id": "test", "auto.offset.reset": "earliest"})
        name = topic.full_name(self.prefix)
        consumer.assign([TopicPartition(name, number, 0) for number in range(PARTITIONS)])
        found: list[Any] = []
        try:
            async with asyncio.timeout(within):
                while len(found) < count:
                    read = [message for message in consumer.consume(10, timeout=0) if message.error() is None]
                    found += [decode(topic, bytes_of(item.key()), bytes_of(item.value())) for item in read]
                    await asyncio.sleep(0.05)
        except TimeoutError:
            pass
        finally:
            consumer.close()
        return found

    def committed(self) -> int:
        """Records of the actions topic that the executors' group will not read again."""
        consumer = Consumer({**self.kafka, "group.id": f"{self.prefix}-executor"})
        name = ACTIONS.full_name(self.prefix)
        places = consumer.committed([TopicPartition(name, number) for number in range(PARTITIONS)], timeout=5)
        consumer.close()
        return sum(max(0, place.offset) for place in places)


async def until(condition: Callable[[], object], within: float = 20) -> None:
    """Wait for something that a real part does in its own time."""
    async with asyncio.timeout(within):
        while not condition():  # noqa: ASYNC110 - the parts waited for are other processes
            await asyncio.sleep(0.02)


# A busy machine may stand still for seconds: only where nothing recovers is the patience short.
PATIENT = Verification(subjects=(LATENCY,), stabilisation_seconds=0.2, within_seconds=15)
IMPATIENT = Verification(subjects=(LATENCY,), stabilisation_seconds=0.2, within_seconds=3)


def now_command(number: int = 1, **changes: Any) -> ActionCommand:
    """Make a command of this moment that is verified as soon as the target recovers."""
    return command(incident(id=f"incident-{number}"), of_now() | changes)


def of_now() -> dict[str, Any]:
    """Give what makes a command one of this moment."""
    return {"issued_unix_nano": time_ns(), "expires_unix_nano": time_ns() + seconds(60), "verification": PATIENT}
