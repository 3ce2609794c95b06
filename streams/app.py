"""The only place with Faust settings, each with its reason.

`create_app` makes the app of one stage: a consumer group of its own, so that a slow stage cannot rebalance the others.
Its topics are read in batches (`streams.transport`); each batch goes to the stage's handler (`streams.stage`), those of
one partition one after the other, those of different partitions side by side. `streams.worker` runs the apps.
"""

from __future__ import annotations

import asyncio
import logging
import ssl
from collections import defaultdict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

import faust
from faust.app import BootStrategy
from faust.types import TP, EventT, StreamT

from schemas.errors import ConfigurationError
from streams.batch import Batch
from streams.kafka_client import client_config
from streams.settings import KafkaSettings, Settings
from streams.transport import Batching, Consumer, Partition, Progress, Transport

log = logging.getLogger(__name__)

Handle = Callable[[Batch], Awaitable[None]]
Assigned = Callable[[Sequence[Partition]], Awaitable[Mapping[Partition, int]]]
Revoked = Callable[[Sequence[Partition]], Awaitable[None]]

# What is done before partitions are given away must be over before the group stops waiting for this member.
_SHARE_OF_REBALANCE_TIMEOUT = 0.5


def create_app(
    settings: Settings,
    stage: str,
    *,
    topics: Iterable[str],
    handle: Handle,
    assigned: Assigned,
    revoked: Revoked,
    pace_seconds: float = 0.0,
) -> StageApp:
    """Make the app of a stage.

    Args:
        settings: of the deployment, with `kafka.bootstrap_servers` known.
        stage: names the consumer group.
        topics: names on the broker.
        handle: takes a batch to its end. What it raises ends the app; the batch stays uncommitted.
        assigned: told all partitions that are now this worker's; returns the offsets to start from where they are not
            the committed ones.
        revoked: told the partitions that go. No handler is running; what it saves is the last word on them.
        pace_seconds: the least time between two polls that bring records.

    """
    kafka = settings.kafka
    if kafka.bootstrap_servers is None:
        raise ConfigurationError("kafka.bootstrap_servers is not set and no embedded broker was started")
    names = frozenset(topics)
    app = StageApp(
        f"{kafka.topic_prefix}-{stage}",
        batching=Batching(
            names,
            client=client_config(kafka),
            assigned=assigned,
            revoked=revoked,
            fetch_wait_seconds=kafka.fetch_wait_seconds,
            pace_seconds=pace_seconds,
        ),
        **_faust_settings(kafka, stage),
    )
    for name in sorted(names):
        app.read(name, handle)
    return app


def _faust_settings(kafka: KafkaSettings, stage: str) -> dict[str, Any]:
    return {
        "broker": ";".join(f"reflexarc://{server}" for server in str(kafka.bootstrap_servers).split(",")),
        "broker_credentials": _credentials(kafka),
        "broker_client_id": f"{kafka.topic_prefix}-{stage}",
        "broker_rebalance_timeout": kafka.rebalance_timeout_seconds,
        "broker_session_timeout": kafka.session_timeout_seconds,
        "broker_heartbeat_interval": kafka.heartbeat_interval_seconds,
        # Faust wants it above the session timeout. Ten seconds on top is aiokafka's own margin.
        "broker_request_timeout": kafka.session_timeout_seconds + 10,
        # Bounds what a crash reads again; a commit is one request a second.
        "broker_commit_interval": 1.0,
        # A new group starts with all that is kept: state is a fold of the log.
        "consumer_auto_offset_reset": "earliest",
        # Bytes in, bytes out. A decode error inside Faust acknowledges the record and kills the agent.
        "key_serializer": "raw",
        "value_serializer": "raw",
        # Topics come from the catalogue (`streams.kafka_client.create_topics`); Faust's own creation races.
        "topic_allow_declare": False,
        "topic_disable_leader": True,
        # `StageApp.release` waits for the work at hand, with a bound; Faust's wait has none.
        "stream_wait_empty": False,
        # Messages are bounded per partition before they get here (`Batching`). A queue that is full would hold back
        # every other partition of the app.
        "stream_buffer_maxsize": 1_000_000,
        # The console serves people, from its own process.
        "web_enabled": False,
        "worker_redirect_stdouts": False,
        # Faust reads settings from plain variables such as BROKER_URL: not ours.
        "env": {},
    }


def _credentials(kafka: KafkaSettings) -> faust.SSLCredentials | faust.SASLCredentials | None:
    context = _ssl_context(kafka) if kafka.security_protocol.endswith("SSL") else None
    if kafka.security_protocol.startswith("SASL"):
        return faust.SASLCredentials(
            username=kafka.sasl_username,
            password=kafka.sasl_password,
            ssl_context=context,
            mechanism=kafka.sasl_mechanism,
        )
    return None if context is None else faust.SSLCredentials(context)


def _ssl_context(kafka: KafkaSettings) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=kafka.ssl_cafile)
    context.check_hostname = kafka.ssl_check_hostname
    if kafka.ssl_certfile is not None:
        context.load_cert_chain(kafka.ssl_certfile, kafka.ssl_keyfile)
    return context


class _Boot(BootStrategy):
    # What stages emit goes through `streams.publisher`, which is idempotent and reports every failed delivery.
    enable_kafka_producer = False


class StageApp(faust.App):
    """The Faust app of one stage."""

    BootStrategy = _Boot

    def __init__(self, name: str, *, batching: Batching, **settings: Any) -> None:
        self._batching = replace(batching, revoked=self._release, failed=self.fail)
        self._revoked = batching.revoked
        self._turns: dict[TP, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._working: set[asyncio.Task[None]] = set()
        self.failure: Exception | None = None
        self._failed = asyncio.Event()
        self._waiting: Callable[[], bool] = lambda: False
        super().__init__(name, **settings)

    @property
    def reader(self) -> Consumer:
        """The consumer."""
        consumer = self.consumer
        assert isinstance(consumer, Consumer)  # noqa: S101  # by `_new_transport`
        return consumer

    @property
    def name(self) -> str:
        """Its consumer group."""
        return str(self.conf.id)

    def excuse_while(self, waiting: Callable[[], bool]) -> None:
        """Give what says that it stands still for a known, bounded reason, so that no watchdog takes it for stuck."""
        self._waiting = waiting

    def progress(self) -> Mapping[Partition, Progress]:
        """Return how far each of its partitions is done; nothing while it waits for a known reason."""
        return self.reader.progress() if self._consumer is not None and not self._waiting() else {}

    def at_end(self, topic: str, partition: int) -> bool:
        """Whether the broker has surely nothing more of a partition."""
        return self._consumer is not None and self.reader.at_end(topic, partition)

    def fail(self, error: Exception) -> None:
        """Note that this app must not go on; whoever runs it ends the process."""
        log.error("%s failed", self.name, exc_info=error)
        self.failure = self.failure or error
        self.reader.stop_flow()
        self._failed.set()

    async def end(self) -> bool:
        """Wait for the end; returns whether it is by intention."""
        ends = [asyncio.create_task(self.wait_until_stopped()), asyncio.create_task(self._failed.wait())]
        try:
            await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for end in ends:
                end.cancel()
        return self.failure is None and not self.crashed

    def read(self, topic: str, handle: Handle) -> None:
        """Give the batches of a topic to a handler."""

        async def feed(stream: StreamT[Any]) -> None:
            assert isinstance(stream, faust.Stream)  # noqa: S101  # what it is, but for tests of Faust's own
            try:
                async with asyncio.TaskGroup() as group:
                    async for event in stream.noack().events():
                        group.create_task(self._take(event, handle))
            except ExceptionGroup as errors:
                # Left to itself Faust would start the agent again, after the batch that failed.
                self.fail(errors.exceptions[0])

        self.agent(self.topic(topic), name=f"{self.conf.id}:{topic}")(feed)

    async def _take(self, event: EventT[Any], handle: Handle) -> None:
        """Handle a batch when the ones before it in its partition are done."""
        async with self._turns[event.message.tp]:
            if not self.reader.is_current(event.message):
                return  # its partition has gone meanwhile: whoever has it now reads it again
            task = cast(asyncio.Task[None], asyncio.current_task())
            self._working.add(task)
            try:
                await handle(cast(Batch, event.value))
            finally:
                self._working.discard(task)
            event.ack()

    async def _release(self, partitions: Sequence[Partition]) -> None:
        """Finish what is being worked on, commit it, and let the stage save, before these partitions go."""
        seconds = self.conf.broker_rebalance_timeout * _SHARE_OF_REBALANCE_TIMEOUT
        try:
            async with asyncio.timeout(seconds):
                if self._working:
                    await asyncio.wait(self._working)
                await self.reader.commit()
                self.reader.forget(TP(*partition) for partition in partitions)
                await self._revoked(partitions)
        except TimeoutError:
            log.warning("%s: not done with its partitions in %.1f s; what is open is read again", self.conf.id, seconds)

    async def on_stop(self) -> None:
        """Stop as if every partition were given away.

        Not after a failure: state may be ahead of what was published, and only a restart from the last snapshot puts
        that right.
        """
        if self._consumer is not None and self._consumer.started and self.failure is None:
            self.reader.stop_flow()
            await self._release(sorted(self.reader.assignment()))
        await super().on_stop()

    def _new_transport(self) -> Transport:
        return Transport(self.conf.broker_consumer, self, batching=self._batching)

    def _create_directories(self) -> None:
        """Make none: nothing is kept on disk."""
