"""The executor's edges on Kafka: what people said, what telemetry shows, and publishing with a delivery report.

Thin shells over confluent-kafka, used by `actions.action_to_outcome`. The readers join no group: each executor must
see every control and every signal. Reading never waits inside the client (`timeout=0`), so no thread is held.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from contextlib import suppress
from typing import Any

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    Consumer,
    KafkaError,
    KafkaException,
    Message,
    Producer,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec  # type: ignore[attr-defined]  # re-exported, not declared

from actions.controls import Controls
from schemas.codec import decode
from schemas.control import EVERY_SCOPE
from schemas.envelope import NANOS
from schemas.errors import RecordError, TemporaryError
from schemas.line import Line
from schemas.topics import CONTROLS, Topic

KafkaConfig = Mapping[str, Any]

# Reading so many records takes about as long as asking once more where to begin, a tenth of a second.
NEAR_RECORDS = 3000
# One fetch of the reader; more simply takes another turn.
BATCH = 500
# An answer within a data centre takes milliseconds, a leader's failover a few seconds: then nothing may be done.
ASK_SECONDS = 3.0
POLL_SECONDS = 0.02
# librdkafka's PARTITION_UA: the partitioner decides.
_BY_KEY = -1
_END = KafkaError._PARTITION_EOF  # noqa: SLF001 - the client names its local error codes so
# Signals are stamped by the broker or the detect stage when they are published. Read from this long before the
# command was issued, so that no clock difference hides one; what is too old is set aside by event time.
LOOK_BACK_SECONDS = 60


# Settings of a member of a group; other clients warn of each at every start.
_MEMBER = frozenset(
    {
        "session.timeout.ms",
        "heartbeat.interval.ms",
        "max.poll.interval.ms",
        "partition.assignment.strategy",
        "group.instance.id",
        "group.protocol",
    }
)


def connection(kafka: KafkaConfig) -> dict[str, Any]:
    """Keep what every client may be given."""
    return {name: value for name, value in kafka.items() if name not in _MEMBER}


def first_since(
    consumer: Consumer, topic: str, partitions: Iterable[int], moment_millis: int
) -> list[tuple[TopicPartition, int]]:
    """Find the first record of each partition at that time or later, or where it will be; with the partition's end.

    Raises:
        KafkaException: the brokers cannot be reached.

    """
    # The ends are asked for first: where no record is that young, what is appended in between is read, not missed.
    asked = [TopicPartition(topic, partition, moment_millis) for partition in partitions]
    ends = {p.partition: consumer.get_watermark_offsets(p, timeout=ASK_SECONDS)[1] for p in asked}
    found = consumer.offsets_for_times(asked, timeout=ASK_SECONDS)
    return [
        (TopicPartition(topic, p.partition, p.offset if p.offset >= 0 else ends[p.partition]), ends[p.partition])
        for p in found
    ]


class MessageReader:
    """Every partition of one topic, without a group; messages go to `sink` as they are."""

    def __init__(self, kafka: KafkaConfig, topic: Topic, prefix: str, sink: Callable[[Message], None]) -> None:
        self._name = topic.full_name(prefix)
        self._sink = sink
        settings = {
            # librdkafka wants a group name; nothing is ever committed to it.
            "group.id": f"{prefix}-reader",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            # Also how long a question about offsets can wait behind a fetch on the same connection.
            "fetch.wait.max.ms": 100,
        }
        self._consumer = Consumer({**connection(kafka), **settings})
        self._admin = AdminClient(connection(kafka))
        # Per partition, where reading has come to, and whether a fetch found nothing beyond.
        self._at: dict[int, int] = {}
        self._at_end: set[int] = set()
        # Per partition, the time of the newest record read, in milliseconds.
        self._newest: dict[int, int] = {}

    async def start(self, since_unix_nano: int | None = None) -> None:
        """Begin somewhat before that time, or at the very first record when none is given.

        Raises:
            TemporaryError: the brokers cannot be reached.

        """
        try:
            await asyncio.to_thread(self._assign, since_unix_nano)
        except KafkaException as error:
            raise _unreachable(self._name, error) from error

    async def catch_up(self, seconds: float = ASK_SECONDS) -> None:
        """Read everything that is on the topic now, within this time.

        Raises:
            TemporaryError: it cannot be read in time.

        """
        try:
            async with asyncio.timeout(seconds):
                asked_at = int(time.time() * 1000)
                ends = await self._ends()
                self.poll()
                while not self._has_reached(ends, asked_at):
                    await asyncio.sleep(POLL_SECONDS)
                    self.poll()
        except TimeoutError:
            raise TemporaryError(f"{self._name} could not be read within {seconds:g} s") from None
        except KafkaException as error:
            raise _unreachable(self._name, error) from error

    def poll(self) -> None:
        """Read what has arrived."""
        for message in self._consumer.consume(BATCH, timeout=0):
            self._take(message)

    def close(self) -> None:
        self._consumer.close()

    def _assign(self, since_unix_nano: int | None) -> None:
        known = self._consumer.list_topics(self._name, timeout=ASK_SECONDS).topics[self._name]
        places = [TopicPartition(self._name, partition, 0) for partition in known.partitions]
        if not places:
            raise KafkaException(known.error)
        if since_unix_nano is not None:
            moment = max(0, since_unix_nano - LOOK_BACK_SECONDS * NANOS) // 1_000_000
            found = first_since(self._consumer, self._name, known.partitions, moment)
            places = [self._nearer(place, end, moment) for place, end in found]
        self._consumer.assign(places)

    def _nearer(self, place: TopicPartition, high: int, moment: int) -> TopicPartition:
        """Halve the way to a moment: the embedded broker answers with the beginning, which is ever farther away."""
        low = place.offset
        while high - low > NEAR_RECORDS:
            middle = (low + high) // 2
            self._consumer.assign([TopicPartition(place.topic, place.partition, middle)])
            message = self._consumer.poll(ASK_SECONDS)
            before = message is not None and message.error() is None and message.timestamp()[1] < moment
            low, high = (middle, high) if before else (low, middle)
        return TopicPartition(place.topic, place.partition, low)

    def _take(self, message: Message) -> None:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if partition is None or offset is None or (error is not None and error.code() != _END):
            return
        if error is not None:
            self._at[partition] = offset
            self._at_end.add(partition)
            return
        self._at[partition] = offset + 1
        self._newest[partition] = message.timestamp()[1]
        self._at_end.discard(partition)
        self._sink(message)

    async def _ends(self) -> dict[int, int]:
        """Ask the brokers where each partition ends now."""
        latest = OffsetSpec.latest()  # type: ignore[no-untyped-call]  # the client leaves it untyped
        places = dict.fromkeys(self._consumer.assignment(), latest)
        asked = self._admin.list_offsets(places, request_timeout=ASK_SECONDS)
        return {place.partition: (await asyncio.wrap_future(answer)).offset for place, answer in asked.items()}

    def _has_reached(self, ends: Mapping[int, int], asked_at: int) -> bool:
        # The embedded broker names the record after the first of the last batch as the end: hence read on until a
        # fetch finds nothing more, or, where records never stop coming, until one from after the question. An empty
        # partition may report nothing at all.
        return all(
            end == 0
            or (
                self._at.get(partition, 0) >= end
                and (partition in self._at_end or self._newest.get(partition, 0) > asked_at)
            )
            for partition, end in ends.items()
        )


class TopicReader(MessageReader):
    """Every record of one topic; what is read goes to `sink`."""

    def __init__(self, kafka: KafkaConfig, topic: Topic, prefix: str, sink: Callable[[Any], None]) -> None:
        def decoded(message: Message) -> None:
            # What cannot be read is in the dead letters already, or will be: the stage that owns the topic sees to it.
            with suppress(RecordError):
                sink(decode(topic, bytes_of(message.key()), bytes_of(message.value())))

        super().__init__(kafka, topic, prefix, decoded)


class ControlsReader:
    """The controls in force, never out of date: asked before each step, it first reads up to the topic's very end."""

    def __init__(self, kafka: KafkaConfig, prefix: str) -> None:
        self._controls = Controls()
        self._reader = TopicReader(kafka, CONTROLS, prefix, self._controls.add)
        self._started = False
        self._turn = asyncio.Lock()

    async def current(self) -> Controls:
        """Read everything that people have said until now.

        Raises:
            TemporaryError: that cannot be known, so nothing may be done.

        """
        async with self._turn:
            if not self._started:
                await self._reader.start()
                self._started = True
            await self._reader.catch_up()
            return self._controls

    def close(self) -> None:
        self._reader.close()


class Publisher:
    """Publishes records that must not be lost: idempotent, acknowledged by all in-sync replicas, one at a time."""

    def __init__(self, kafka: KafkaConfig, prefix: str) -> None:
        settings = {
            # Java's, as everywhere: an outcome must land on the partition of its incident.
            "partitioner": "murmur2_random",
            "enable.idempotence": True,
            "acks": "all",
            # Longer than a broker's restart takes to elect a new leader; then the action is tried again.
            "delivery.timeout.ms": 30_000,
            "linger.ms": 0,
        }
        self._make: Callable[[], Producer] = lambda: Producer({**connection(kafka), **settings})
        self._producer = self._make()
        self._prefix = prefix

    async def publish(self, topic: Topic, key: str, value: bytes) -> None:
        """Return once the delivery report is in; a control of every scope goes to every partition.

        Raises:
            TemporaryError: it may or may not be on the topic; publish the same again.

        """
        reports: list[KafkaError | None] = []
        name = topic.full_name(self._prefix)
        try:
            wide = topic is CONTROLS and key == EVERY_SCOPE
            places = await asyncio.to_thread(partitions_of, self._producer, name) if wide else [_BY_KEY]
            for place in places:
                self._producer.produce(
                    name, value, key, place, on_delivery=lambda error, _message: reports.append(error)
                )
            while len(reports) < len(places):
                self._producer.poll(0)
                await asyncio.sleep(POLL_SECONDS / 2)
        except (KafkaException, BufferError) as error:
            raise self._failed(topic, error) from error
        failed = next((error for error in reports if error is not None), None)
        if failed is not None:
            raise self._failed(topic, KafkaException(failed))

    def _failed(self, topic: Topic, error: Exception) -> TemporaryError:
        cause = error.args[0] if error.args else None
        if isinstance(cause, KafkaError) and cause.fatal():
            # An idempotent producer that lost its place cannot go on; ids make the repeat harmless.
            self._producer = self._make()
        return _unreachable(topic.name, error)


def partitions_of(producer: Producer, name: str) -> list[int]:
    """Ask the brokers which partitions a topic has.

    Raises:
        KafkaException: they do not answer, or have no such topic.

    """
    known = producer.list_topics(name, timeout=ASK_SECONDS).topics[name]
    if known.error is not None:
        raise KafkaException(known.error)
    return sorted(known.partitions)


def _unreachable(name: str, error: Exception) -> TemporaryError:
    return TemporaryError(f"{name}: {error}")


def bytes_of(part: bytes | str | None) -> bytes | None:
    """Give a key or value as what it is; the client's types allow text that the broker never sends."""
    return part.encode() if isinstance(part, str) else part


def line_of(message: Message) -> Line:
    """Write a message down as it is, for a file."""
    dated_by, millis = message.timestamp()
    # Declared as whatever a producer may be given; it is pairs, or None.
    headers: Any = message.headers() or ()
    return Line.of(
        (message.topic() or "", message.partition() or 0, message.offset() or 0),
        (millis, "LogAppendTime" if dated_by == TIMESTAMP_LOG_APPEND_TIME else "CreateTime"),
        message.key(),
        message.value(),
        headers,
    )
