"""Reading a span of Kafka's topics once, without a group and without leaving a trace on the broker.

Used by `streams.replay.archive`, on behalf of the commands `archive` and `backtest`. Nothing here can publish: there is
no producer.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import groupby
from time import monotonic, sleep, time_ns
from typing import TypeVar

from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Consumer, KafkaError, KafkaException, Message, TopicPartition

from schemas.errors import ConfigurationError, TemporaryError
from schemas.topics import BY_NAME
from streams.kafka_client import client_config
from streams.replay.span import Place, Span
from streams.settings import KafkaSettings

# Per call: some milliseconds of work, so that a progress bar moves.
POLL_RECORDS = 10_000
# The client waits for as many, or for so long: at the end of what there is, it is for so long.
WAIT_SECONDS = 0.1
METADATA_SECONDS = 10.0
# A broker that says nothing for this long while there is more to read is down.
SILENCE_SECONDS = 30.0

V = TypeVar("V")


class KafkaLog:
    """A span of some topics of a cluster. Every look at it is a connection of its own."""

    def __init__(self, kafka: KafkaSettings, names: Collection[str], span: Span) -> None:
        self._kafka = kafka
        self._span = span
        # What is published while we read is not read, or this would never end.
        self._until = span.until_millis or time_ns() // 1_000_000 + 1
        self._names = {name: f"{kafka.topic_prefix}.{name}" for name in names}

    @property
    def prefix(self) -> str:
        return self._kafka.topic_prefix

    def partitions(self) -> Mapping[str, int]:
        """Return how many partitions each topic of the catalogue has here.

        Raises:
            ConfigurationError: none of those that are meant is here.
            TemporaryError: the brokers do not answer.

        """
        consumer = self._consumer()
        try:
            known = _answered(lambda: consumer.list_topics(timeout=METADATA_SECONDS)).topics
        finally:
            consumer.close()
        full = {name: f"{self.prefix}.{name}" for name in BY_NAME}
        found = {name: len(known[full[name]].partitions) for name in BY_NAME if full[name] in known}
        if not self._names.keys() & found.keys():
            raise ConfigurationError(f"no topic here is named {', '.join(self._names.values())}")
        return found

    def size(self) -> int:
        """Return about how many records lie in the span: what a progress bar needs, not more."""
        consumer, total = self._consumer(), 0
        try:
            for start in self._starts(consumer, self._places()):
                high = _end(consumer, start)
                until = self._span.offsets_of(self._place(start))[1]
                total += max(0, min(high, high if until is None else until) - max(0, start.offset))
        finally:
            consumer.close()
        return total

    def messages(self) -> Iterator[tuple[Place, Sequence[Message]]]:
        """Read all partitions; each in its order, the partitions in any.

        Raises:
            TemporaryError: the brokers stopped answering.

        """
        consumer = self._consumer()
        try:
            starts = self._starts(consumer, self._places())
            consumer.assign(starts)
            reading = {self._place(start) for start in starts}
            silent_since = monotonic()
            while reading:
                found = consumer.consume(POLL_RECORDS, WAIT_SECONDS)
                if found:
                    silent_since = monotonic()
                elif monotonic() - silent_since > SILENCE_SECONDS:
                    raise TemporaryError(f"Kafka has not answered for {SILENCE_SECONDS:g} s")
                yield from self._wanted(consumer, found, reading)
        finally:
            consumer.close()

    def _wanted(
        self, consumer: Consumer, found: Sequence[Message], reading: set[Place]
    ) -> Iterator[tuple[Place, Sequence[Message]]]:
        for place, run in groupby(found, key=self._place):
            if place not in reading:
                continue
            kept, ended = self._cut(place, run)
            if kept:
                yield place, kept
            if ended:
                reading.discard(place)
                if reading:
                    consumer.incremental_unassign([TopicPartition(self._names[place.topic], place.partition)])

    def _cut(self, place: Place, run: Iterator[Message]) -> tuple[list[Message], bool]:
        """Keep what lies in the span; says whether nothing more can."""
        first, until = self._span.offsets_of(place)
        kept: list[Message] = []
        for message in run:
            error = message.error()
            if error is not None:
                if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the client's own name
                    return kept, True
                raise TemporaryError(f"{place.topic}/{place.partition}: {error.str()}")
            offset, (dated_by, millis) = message.offset() or 0, message.timestamp()
            if until is not None and offset >= until:
                return kept, True
            # Only the broker dates in order; after a producer's late record an earlier one may follow.
            if millis >= self._until and dated_by == TIMESTAMP_LOG_APPEND_TIME:
                return kept, True
            if offset >= first and self._span.has(millis):
                kept.append(message)
        return kept, False

    def _starts(self, consumer: Consumer, places: Collection[Place]) -> list[TopicPartition]:
        wanted = [TopicPartition(self._names[p.topic], p.partition, self._first(consumer, p)) for p in places]
        since = self._span.since_millis
        if since is None:
            return wanted
        asked = [TopicPartition(one.topic, one.partition, since) for one in wanted]
        found = _answered(lambda: consumer.offsets_for_times(asked, METADATA_SECONDS))
        dated = {(one.topic, one.partition): one.offset for one in found}
        # Negative where every record is older: its end.
        for one in wanted:
            at = dated[one.topic, one.partition]
            one.offset = at if at < 0 else max(at, one.offset)
        return wanted

    def _first(self, consumer: Consumer, place: Place) -> int:
        """Return where to begin by offset; not beyond the end, where a broker may have nothing to say ever."""
        first = self._span.offsets_of(place)[0]
        if not first:
            return 0
        at = TopicPartition(self._names[place.topic], place.partition)
        return min(first, _end(consumer, at))

    def _places(self) -> list[Place]:
        return [
            Place(name, i)
            for name, count in sorted(self.partitions().items())
            if name in self._names
            for i in range(count)
        ]

    def _place(self, at: Message | TopicPartition) -> Place:
        topic, partition = (at.topic(), at.partition()) if isinstance(at, Message) else (at.topic, at.partition)
        return Place(str(topic).removeprefix(f"{self.prefix}."), partition or 0)

    def _consumer(self) -> Consumer:
        return Consumer(
            {
                **client_config(self._kafka),
                # Demanded by the client, never used.
                "group.id": f"{self.prefix}-replay",
                "enable.auto.commit": False,
                "enable.auto.offset.store": False,
                "enable.partition.eof": True,
                "fetch.wait.max.ms": 100,
                # What retention has deleted meanwhile is gone; the oldest that is left comes next.
                "auto.offset.reset": "earliest",
                # Errors are raised from here; what the client would say of them besides helps nobody.
                "log_level": 0,
            }
        )


def known_topics(asked: Collection[str]) -> list[str]:
    """Check names of topics; none asked for: the whole catalogue.

    Raises:
        ConfigurationError: one is not in the catalogue.

    """
    unknown = [name for name in asked if name not in BY_NAME]
    if unknown:
        raise ConfigurationError(f"no topic {unknown[0]!r}; there are: {', '.join(BY_NAME)}")
    return list(asked) or list(BY_NAME)


def _end(consumer: Consumer, at: TopicPartition) -> int:
    return int(_answered(lambda: consumer.get_watermark_offsets(at, timeout=METADATA_SECONDS))[1])


def _answered(ask: Callable[[], V]) -> V:
    """Ask a broker until it answers: one that is just starting, or has just been given a partition, refuses at first.

    Raises:
        TemporaryError: it has not answered in time.

    """
    deadline = monotonic() + METADATA_SECONDS
    while True:
        try:
            return ask()
        except KafkaException as error:
            if monotonic() > deadline:
                raise TemporaryError(f"Kafka does not answer: {error.args[0].str()}") from error
            sleep(WAIT_SECONDS)
