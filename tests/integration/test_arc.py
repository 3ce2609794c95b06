"""The stages together on a real broker: hostile records, a bad rollout from telemetry to its command, a restart."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from random import Random
from typing import Any

import pytest
from confluent_kafka import Producer
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, not so declared
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    ResourceType,
)

from actions.settings import Grant, PolicySettings
from schemas.codec import encode
from schemas.dead_letter import DeadLetter
from schemas.envelope import Record
from schemas.errors import Rejection
from schemas.incident import Incident
from schemas.signal import Progress
from schemas.topics import (
    ACTIONS,
    DEAD_LETTERS,
    DECISIONS,
    INCIDENTS,
    RAW_ALERTS,
    RAW_LOGS,
    RAW_METRICS,
    RAW_SPANS,
    SIGNALS,
    Topic,
)
from streams.embedded import GROUP_TIMING, EmbeddedValkey
from streams.kafka_client import create_topics
from streams.roles import stage_apps
from streams.settings import DetectSettings, KafkaSettings, LedgerSettings, Settings, StateSettings
from streams.stages import STAGES
from streams.tail import Tail
from streams.worker import serve
from tests.parts import Broker
from tests.streams.arc import alert, log, metric, span, trace

PATIENCE_SECONDS = 60.0
TEN_MEGABYTES = 10_000_000
RAW = (RAW_METRICS, RAW_LOGS, RAW_SPANS, RAW_ALERTS)
GOOD: dict[str, Record] = {
    RAW_METRICS.name: metric(1, 1.0),
    RAW_LOGS.name: log(1),
    RAW_SPANS.name: span(1, 0.1, "checkout"),
    RAW_ALERTS.name: alert(1),
}


@pytest.fixture
def settings(broker: Broker, valkey: EmbeddedValkey, topic_prefix: str) -> Settings:
    kafka = {"bootstrap_servers": broker.bootstrap_servers, "topic_prefix": topic_prefix, **GROUP_TIMING}
    made = Settings(
        kafka=KafkaSettings.model_validate(kafka),
        ledger=LedgerSettings(url=valkey.url, key_prefix=topic_prefix),
        # Everything is published at once here, and arrives in order.
        detect=DetectSettings(lateness_seconds=0, quiet_seconds=3600),
        state=StateSettings(snapshot_interval_seconds=0.5),
        policy=PolicySettings(grants=(Grant(environment="demo", tier="autonomous"),)),
    )
    create_topics(made.kafka, divide_partitions_by=6)
    return made


@asynccontextmanager
async def worker(settings: Settings, names: Sequence[str] = tuple(STAGES)) -> AsyncIterator[None]:
    stop, up = asyncio.Event(), asyncio.Event()

    async def ready() -> None:
        up.set()

    async with stage_apps(settings, names) as apps:
        running = asyncio.create_task(serve(apps, stop, ready=ready))
        try:
            await asyncio.wait_for(up.wait(), PATIENCE_SECONDS)
            yield
            assert not running.done()
        finally:
            stop.set()
            assert await running == 0


def publish(
    settings: Settings,
    topic: Topic,
    records: Sequence[Record | bytes | None],
    key: bytes | None = b"k",
    partition: int = 0,
) -> None:
    """Publish to one partition, so that the order is known; `k` and no key go to the same."""
    assert settings.kafka.bootstrap_servers is not None
    producer = Producer({"bootstrap.servers": settings.kafka.bootstrap_servers, "message.max.bytes": 20_000_000})
    errors: list[Any] = []
    for record in records:
        value = encode(record) if isinstance(record, Record) else record
        producer.produce(
            topic.full_name(settings.kafka.topic_prefix),
            value,
            key,
            partition=partition,
            on_delivery=lambda error, _message: errors.append(error),
        )
        producer.poll(0)
    assert producer.flush(30) == 0
    assert not any(errors)


def read(settings: Settings, *topics: Topic) -> list[Any]:
    """Read every record there is now."""
    with Tail(settings.kafka, topics) as tail:
        return [seen.record for seen in tail.to_end()]


async def until(settings: Settings, topics: Sequence[Topic], done: Callable[[list[Any]], bool]) -> list[Any]:
    """Read topics from their beginnings until what is there suffices."""
    found: list[Any] = []
    with Tail(settings.kafka, topics) as tail:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not done(found):
                seen = await asyncio.to_thread(tail.poll, 0.1)
                found += [seen.record] if seen is not None else []
    return found


def allow_large_records(settings: Settings, topic: Topic) -> None:
    """As an operator may have done: Apache Kafka refuses them from producers otherwise, the embedded broker never."""
    name = topic.full_name(settings.kafka.topic_prefix)
    entry = ConfigEntry("max.message.bytes", "20000000", incremental_operation=AlterConfigOpType.SET)
    resource = ConfigResource(ResourceType.TOPIC, name, incremental_configs=[entry])
    admin = AdminClient({"bootstrap.servers": str(settings.kafka.bootstrap_servers)})
    admin.incremental_alter_configs([resource])[resource].result(30)


HOSTILE: dict[str, tuple[bytes | None, Rejection]] = {
    "no value": (None, Rejection.EMPTY),
    "no bytes": (b"", Rejection.EMPTY),
    "bad json": (b'{"name": ', Rejection.INVALID_JSON),
    "not a number": (b'{"time_unix_nano": 1, "value": NaN}', Rejection.INVALID_JSON),
    "utf-16": ('{"name": "m"}'.encode("utf-16"), Rejection.INVALID_ENCODING),
    "latin-1": (b'{"name": "caf\xe9"}', Rejection.INVALID_ENCODING),
    "not an object": (b"[1, 2]", Rejection.INVALID_SCHEMA),
    "wrong types": (b'{"name": 1, "time_unix_nano": "now", "value": [], "resource": 7}', Rejection.INVALID_SCHEMA),
    "nothing of it": (b"{}", Rejection.INVALID_SCHEMA),
    "from the future": (b'{"schema_version": 2}', Rejection.UNKNOWN_VERSION),
    "nested deeply": (b"[" * 2000 + b"]" * 2000, Rejection.INVALID_JSON),
    "ten megabytes": (b" " * TEN_MEGABYTES, Rejection.TOO_LARGE),
}


@pytest.mark.parametrize("topic", RAW, ids=lambda topic: topic.name)
async def test_every_hostile_record_is_one_dead_letter_and_the_worker_goes_on(settings: Settings, topic: Topic) -> None:
    allow_large_records(settings, topic)
    values = [value for value, _ in HOSTILE.values()]
    async with worker(settings, ["detect"]):
        publish(settings, topic, values)
        publish(settings, topic, [GOOD[topic.name]], key=None)
        publish(settings, topic, [GOOD[topic.name]])
        reached = await until(settings, [SIGNALS], lambda found: any(isinstance(r, Progress) for r in found))
        assert {record.source for record in reached if isinstance(record, Progress)} == {f"{topic.name}/0"}
    letters: list[DeadLetter] = read(settings, DEAD_LETTERS)
    assert [letter.offset for letter in letters] == list(range(len(HOSTILE) + 1))
    assert [letter.value for letter in letters] == [*values, encode(GOOD[topic.name])]
    assert [letter.reason for letter in letters] == [*(r for _, r in HOSTILE.values()), Rejection.MISSING_KEY]
    assert {letter.topic for letter in letters} == {topic.full_name(settings.kafka.topic_prefix)}
    assert {(letter.partition, letter.stage) for letter in letters} == {(0, "detect")}


@pytest.mark.parametrize(
    ("topic", "stage"),
    [(SIGNALS, "correlate"), (INCIDENTS, "decide"), (DECISIONS, "act")],
    ids=["signals", "incidents", "decisions"],
)
async def test_what_is_no_use_on_a_later_topic_is_one_dead_letter_too(
    settings: Settings, topic: Topic, stage: str
) -> None:
    async with worker(settings, [stage]):
        publish(settings, topic, [b"{", b"{}"])
        letters = await until(settings, [DEAD_LETTERS], lambda found: len(found) >= 2)
    assert [(letter.stage, letter.offset, letter.value) for letter in letters] == [(stage, 0, b"{"), (stage, 1, b"{}")]


CALM = [
    metric(t, 0.1 + 0.001 * (t % 7) + 3.0 * (name != "http.server.request.duration"), name=name)
    for t in range(40)
    for name in ("http.server.request.duration", "http.server.request.error_ratio")
]
FAULTY = [
    metric(42 + t, 5.0 + t / 10 + 30 * (name != "http.server.request.duration"), name=name)
    for t in range(10)
    for name in ("http.server.request.duration", "http.server.request.error_ratio")
]
ROLLOUT = log(41, "rollout of v2", event="deployment.started", deployment="d1")


async def break_the_service(settings: Settings, between: Callable[[], Awaitable[None]] | None = None) -> None:
    """Publish calm telemetry, a rollout and a fault; each when the one before has been read, as it would be live."""
    publish(settings, RAW_LOGS, [log(1)])
    publish(settings, RAW_METRICS, CALM)
    publish(settings, RAW_LOGS, [ROLLOUT])
    await until(settings, [SIGNALS], lambda found: any(getattr(r, "kind", "") == "change" for r in found))
    await until(settings, [SIGNALS], lambda found: any(_read_to(r, CALM[-1].time_unix_nano) for r in found))
    if between is not None:
        await between()
    publish(settings, RAW_METRICS, FAULTY)


def _read_to(record: Any, time: int) -> bool:
    return isinstance(record, Progress) and record.source == "raw.metrics/0" and record.time_unix_nano >= time


async def test_a_bad_rollout_becomes_one_incident_one_decision_and_one_command(settings: Settings) -> None:
    async with worker(settings):
        await break_the_service(settings)
        (command,) = await until(settings, [ACTIONS], lambda found: len(found) >= 1)
    incidents: list[Incident] = read(settings, INCIDENTS)
    assert len({incident.id for incident in incidents}) == 1
    assert incidents[0].classification.label == "deployment_regression"
    assert [decision.verdict for decision in read(settings, DECISIONS)] == ["act"]
    assert (command.playbook, str(command.target)) == ("rollback-deployment", "demo/checkout")
    assert set(command.verification.subjects) <= {s.subject for s in incidents[0].signals if s.kind == "metric"}
    assert read(settings, DEAD_LETTERS) == []


async def test_a_worker_that_takes_over_goes_on_where_the_other_ended(settings: Settings) -> None:
    """The baselines learnt by the first worker are what the second one judges by."""
    async with worker(settings):
        publish(settings, RAW_LOGS, [log(1)])
        publish(settings, RAW_METRICS, CALM)
        publish(settings, RAW_LOGS, [ROLLOUT])
        await until(settings, [SIGNALS], lambda found: any(_read_to(r, CALM[-1].time_unix_nano) for r in found))
    async with worker(settings):
        publish(settings, RAW_METRICS, FAULTY)
        await until(settings, [ACTIONS], lambda found: len(found) >= 1)
    incidents: list[Incident] = read(settings, INCIDENTS)
    assert len({incident.id for incident in incidents}) == 1
    assert len(read(settings, ACTIONS)) == 1


async def test_of_a_slow_and_failing_call_the_called_service_is_the_cause(settings: Settings) -> None:
    """Nobody said which service calls which: the traces do."""
    quick = {"span_tick_seconds": 1.0, "span_wait_seconds": 1.0}
    settings = settings.model_copy(update={"detect": settings.detect.model_copy(update=quick)})
    rng = Random(0)
    calm = [one for t in range(60) for one in trace(t + 0.5, rng.gauss(0.1, 0.005), number=t)]
    slow = [one for t in range(60, 70) for one in trace(t + 0.5, 0.6, number=t, failed=True)]
    async with worker(settings, ["detect", "correlate"]):
        publish(settings, RAW_SPANS, [*calm, *slow, span(90, 0.1, "cart", trace="last")])
        found: list[Incident] = await until(settings, [INCIDENTS], lambda told: any(len(i.services) > 1 for i in told))
    assert {incident.service for incident in found} == {"cart"}
    assert all(incident.root_causes[0].entity.service == "cart" for incident in found)
    assert found[-1].services == ("cart", "shop")
