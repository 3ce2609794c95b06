"""Reading topics the way people do: from the beginning to now, and on as more arrives. No group, nothing committed.

Used by the commands that show something, by the demo and by tests.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple, Self

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.codec import decode
from schemas.errors import RecordError, TemporaryError
from schemas.topics import Topic
from streams.kafka_client import client_config
from streams.settings import KafkaSettings

METADATA_SECONDS = 10.0
# A broker that says nothing for this long while there is more to read is down.
SILENCE_SECONDS = 10.0
_NANOS_PER_MILLI = 1_000_000


class Seen(NamedTuple):
    """One record, and when it was published."""

    topic: Topic
    partition: int
    offset: int
    published_unix_nano: int
    record: Any


class Tail:
    """Every partition of some topics."""

    def __init__(self, kafka: KafkaSettings, topics: Sequence[Topic]) -> None:
        self._topics = {topic.full_name(kafka.topic_prefix): topic for topic in topics}
        self._consumer = Consumer(
            {
                **client_config(kafka),
                # Demanded by the client, never used.
                "group.id": f"{kafka.topic_prefix}-tail",
                "enable.auto.commit": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                # Errors are raised from here; what the client would say of them besides helps nobody.
                "log_level": 0,
            }
        )
        self._ended: set[tuple[str, int]] = set()
        self._places = self._assign()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._consumer.close()

    @property
    def at_end(self) -> bool:
        """Whether everything there was has been read."""
        return len(self._ended) == self._places

    def poll(self, seconds: float) -> Seen | None:
        """Wait for the next readable record, at most so long; what cannot be read is somebody's dead letter."""
        message = self._consumer.poll(seconds)
        return None if message is None else self._take(message)

    def to_end(self) -> Iterator[Seen]:
        """Read everything there is now.

        Raises:
            TemporaryError: the brokers stopped answering.

        """
        while not self.at_end:
            message = self._consumer.poll(SILENCE_SECONDS)
            if message is None:
                raise TemporaryError(f"Kafka has not answered for {SILENCE_SECONDS:g} s")
            seen = self._take(message)
            if seen is not None:
                yield seen

    def _assign(self) -> int:
        try:
            known = self._consumer.list_topics(timeout=METADATA_SECONDS).topics
        except KafkaException as error:
            raise TemporaryError(f"Kafka does not answer: {error.args[0].str()}") from error
        missing = [name for name in self._topics if name not in known]
        if missing:
            raise TemporaryError(f"no topic {missing[0]}: `reflexarc topics` creates what is missing")
        places = [
            TopicPartition(name, partition, OFFSET_BEGINNING)
            for name in self._topics
            for partition in known[name].partitions
        ]
        self._consumer.assign(places)
        return len(places)

    def _take(self, message: Message) -> Seen | None:
        name, partition, error = message.topic() or "", message.partition() or 0, message.error()
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
                self._ended.add((name, partition))
            return None
        topic = self._topics[name]
        try:
            record = decode(topic, _bytes(message.key()), _bytes(message.value()))
        except RecordError:
            return None
        published = message.timestamp()[1] * _NANOS_PER_MILLI
        return Seen(topic, partition, message.offset() or 0, published, record)


def _bytes(part: bytes | str | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part
