"""What each role of a deployment is made of: the stages of a worker, an executor, a console.

Called by the command line, with settings that name a broker and a ledger.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager

from confluent_kafka import KafkaException
from confluent_kafka.admin import AdminClient

from actions.action_to_outcome import ExecutorConfig
from actions.ledger import connect
from console.config import ConsoleConfig
from schemas.errors import ConfigurationError, TemporaryError
from schemas.topics import CONTROLS, SIGNALS, Topic
from streams.app import StageApp, create_app
from streams.kafka_client import client_config
from streams.model_watch import followed
from streams.publisher import Publisher
from streams.settings import KafkaSettings, Settings
from streams.snapshots import Snapshots
from streams.sources import WEBHOOKS
from streams.sources.signatures import verifiers
from streams.stage import Stage, StageRunner
from streams.stages import STAGES, Surroundings

log = logging.getLogger(__name__)

# How often kernels are told that time passes. What they wait for is counted in seconds.
WAKE_SECONDS = 0.25
METADATA_SECONDS = 10.0


@asynccontextmanager
async def stage_apps(settings: Settings, names: Sequence[str]) -> AsyncIterator[Sequence[StageApp]]:
    """Make the apps of these stages, and what they share, for `streams.worker` to run.

    Raises:
        ConfigurationError: a setting is missing.
        TemporaryError: the brokers do not answer, or the topics are not there yet.

    """
    url = ledger_url(settings)
    signals, controls = [await asyncio.to_thread(partition_count, settings.kafka, t) for t in (SIGNALS, CONTROLS)]
    async with AsyncExitStack() as stack:
        redis = connect(url)
        stack.push_async_callback(redis.aclose)
        publisher = Publisher(settings.kafka)
        stack.push_async_callback(publisher.close)
        course = await stack.enter_async_context(followed(settings))
        around = Surroundings(course, signals, controls, redis)
        apps = []
        for name in names:
            runner, app = _prepare(STAGES[name](around), settings, publisher)
            waking = asyncio.create_task(_wake(runner, app))
            stack.push_async_callback(runner.close)
            stack.callback(waking.cancel)
            apps.append(app)
        yield apps


def executor_config(settings: Settings) -> ExecutorConfig:
    """Make the configuration of an executor."""
    return ExecutorConfig(
        kafka={
            **client_config(settings.kafka),
            "session.timeout.ms": int(settings.kafka.session_timeout_seconds * 1000),
            "heartbeat.interval.ms": int(settings.kafka.heartbeat_interval_seconds * 1000),
        },
        topic_prefix=settings.kafka.topic_prefix,
        ledger_url=ledger_url(settings),
        ledger_prefix=settings.ledger.key_prefix,
        lease_seconds=settings.ledger.lease_seconds,
        name=settings.executor.name,
        max_in_flight=settings.executor.max_in_flight,
        connectors=settings.connectors,
        rails=settings.policy.rails,
        forensics=settings.forensics,
    )


def console_config(settings: Settings) -> ConsoleConfig:
    """Make the configuration of a console."""
    return ConsoleConfig(
        kafka=client_config(settings.kafka),
        topic_prefix=settings.kafka.topic_prefix,
        host=settings.console.host,
        port=settings.console.port,
        token=settings.console.token,
        webhooks=WEBHOOKS,
        signatures=verifiers({name: key.get_secret_value() for name, key in settings.console.signatures.items()}),
        policy=settings.policy,
    )


def ledger_url(settings: Settings) -> str:
    """URL of Redis or Valkey."""
    if settings.ledger.url is None:
        raise ConfigurationError(
            "ledger.url is not set: name a Redis or Valkey, or use `reflexarc up`, which brings one"
        )
    return settings.ledger.url


def partition_count(kafka: KafkaSettings, topic: Topic) -> int:
    """Ask the brokers how many partitions a topic has.

    Raises:
        TemporaryError: they do not answer, or the topic is not there yet.

    """
    name = topic.full_name(kafka.topic_prefix)
    try:
        found = AdminClient(client_config(kafka)).list_topics(timeout=METADATA_SECONDS).topics.get(name)
    except KafkaException as error:
        raise TemporaryError(f"Kafka at {kafka.bootstrap_servers} does not answer: {error.args[0].str()}") from error
    if found is None or not found.partitions:
        raise TemporaryError(f"topic {name} does not exist; `reflexarc topics` creates it")
    return len(found.partitions)


def _prepare(stage: Stage, settings: Settings, publisher: Publisher) -> tuple[StageRunner, StageApp]:
    prefix = settings.kafka.topic_prefix
    runner = StageRunner(
        stage,
        topic_prefix=prefix,
        publish=publisher.publish,
        snapshots=Snapshots(client_config(settings.kafka), prefix, publisher.publish),
        snapshot_interval=settings.state.snapshot_interval_seconds,
    )
    app = create_app(
        settings,
        stage.name,
        topics=[topic.full_name(prefix) for topic in stage.inputs],
        handle=runner.handle,
        assigned=runner.assigned,
        revoked=runner.revoked,
        pace_seconds=stage.pace_seconds,
    )
    app.excuse_while(lambda: runner.waiting)
    return runner, app


async def _wake(runner: StageRunner, app: StageApp) -> None:
    try:
        while True:
            await asyncio.sleep(WAKE_SECONDS)
            await runner.wake(app.at_end)
    except Exception as error:  # noqa: BLE001 - whatever it was, the kernel may be ahead of its topics now
        app.fail(error)
