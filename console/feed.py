"""Reads the topics the console shows, into the view.

One confluent-kafka consumer in a thread, in no group: every console sees every partition and nothing is committed.
Decoding happens in the thread, folding on the event loop. A record that cannot be read is counted and passed over
(the stage that should have used it dead-letters it); a broker that cannot be reached is waited for, and said so.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

from confluent_kafka import OFFSET_BEGINNING, Consumer, KafkaError, KafkaException, Message, TopicPartition

from actions.kafka import first_since
from console.models import FeedStatus
from console.view import Viewed
from schemas.codec import decode
from schemas.errors import RecordError
from schemas.topics import ACTIONS, CONTROLS, DECISIONS, INCIDENTS, LEARNING

log = logging.getLogger(__name__)

TOPICS = (INCIDENTS, DECISIONS, ACTIONS, LEARNING, CONTROLS)
# Decoding takes about 0.1 ms a record, so a batch is folded in a few milliseconds once decoded.
BATCH = 200
# Also how long a stop of the console may wait for the thread.
POLL_SECONDS = 0.25
# Between two questions to the brokers whether they are still there; also how old the lag figures may be.
PROBE_SECONDS = 2.0
ASK_SECONDS = 3.0

# (records, status): the fold, on the event loop. No records when only the status has changed.
Deliver = Callable[[list[Viewed], FeedStatus], None]
Place = tuple[str, int]


class Feed:
    """The reader. `run` ends when `stop` is called, or raises what cannot be mended by waiting."""

    def __init__(
        self,
        kafka: Mapping[str, Any],
        prefix: str,
        deliver: Deliver,
        *,
        history_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._topics = {topic.full_name(prefix): topic for topic in TOPICS}
        self._prefix = prefix
        self._deliver = deliver
        self._history_seconds = history_seconds
        self._now = now
        self._stopping = threading.Event()
        self._next: dict[Place, int] = {}
        self._unread: set[Place] = set()
        self._invalid: Counter[str] = Counter()
        self._status = self._told = FeedStatus()
        self._trouble = ""
        settings = {
            # librdkafka wants a group name; nothing is ever committed to it.
            "group.id": f"{prefix}-console",
            "enable.auto.commit": False,
            "enable.partition.eof": True,
            "auto.offset.reset": "earliest",
            "fetch.wait.max.ms": 100,
            # It says why it cannot connect to `error_cb`, and says so again on standard error at every attempt.
            "error_cb": self._note_trouble,
            "log_level": 0,
        }
        self._consumer = Consumer({**kafka, **settings})

    async def run(self) -> None:
        """Read until stopped."""
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(self._read, loop)

    def stop(self) -> None:
        self._stopping.set()

    def _read(self, loop: asyncio.AbstractEventLoop) -> None:
        try:
            while not self._stopping.is_set() and not self._assign():
                self._hand_over(loop, [])
                self._stopping.wait(1.0)
            probed = 0.0
            while not self._stopping.is_set():
                records = self._poll()
                if time.monotonic() - probed > PROBE_SECONDS:
                    self._probe()
                    probed = time.monotonic()
                self._hand_over(loop, records)
        finally:
            self._consumer.close()

    def _hand_over(self, loop: asyncio.AbstractEventLoop, records: list[Viewed]) -> None:
        self._set(caught_up=bool(self._next) and not self._unread, invalid_records=dict(self._invalid))
        if records or self._status != self._told:
            self._told = self._status
            # Waiting for the fold keeps a long history from piling up on the event loop.
            asyncio.run_coroutine_threadsafe(self._fold(records), loop).result()

    async def _fold(self, records: list[Viewed]) -> None:
        self._deliver(records, self._told)

    def _assign(self) -> bool:
        """Start at each partition's first record of the history asked for; False while that cannot be known."""
        since = int((self._now() - self._history_seconds) * 1000)
        try:
            places = [place for topic in self._topics for place in self._start(topic, since)]
        except KafkaException as error:
            self._set(connected=False, detail=self._trouble or _words(error))
            return False
        self._next = {(place.topic, place.partition): max(place.offset, 0) for place in places}
        self._unread = set(self._next)
        self._consumer.assign(places)
        self._set(connected=True, detail="")
        return True

    def _start(self, topic: str, since_millis: int) -> list[TopicPartition]:
        known = self._consumer.list_topics(topic, timeout=ASK_SECONDS).topics[topic]
        if known.error is not None:
            raise KafkaException(known.error)
        if self._topics[topic] is CONTROLS:
            # A stop holds until it is lifted, however long ago it was said.
            return [TopicPartition(topic, partition, OFFSET_BEGINNING) for partition in known.partitions]
        return [place for place, _ in first_since(self._consumer, topic, known.partitions, since_millis)]

    def _poll(self) -> list[Viewed]:
        """Take what has arrived, waiting a moment for the first of it."""
        first = self._consumer.poll(POLL_SECONDS)
        if first is None:
            return []
        # `consume` alone would wait for a full batch.
        messages = [first, *self._consumer.consume(BATCH - 1, timeout=0)]
        return [record for message in messages if (record := self._take(message)) is not None]

    def _take(self, message: Message) -> Viewed | None:
        topic, place = message.topic() or "", (message.topic() or "", message.partition() or 0)
        error, offset = message.error(), message.offset() or 0
        if error is not None:
            if error.code() == KafkaError._PARTITION_EOF:  # noqa: SLF001 - the public constant starts with one
                self._next[place] = offset
                self._unread.discard(place)
            else:
                self._note_trouble(error)
            return None
        self._next[place] = offset + 1
        try:
            record: Viewed = decode(self._topics[topic], _bytes(message.key()), _bytes(message.value()))
        except RecordError as fault:
            self._invalid[self._topics[topic].name] += 1
            log.warning("%s/%d offset %d cannot be read: %s", *place, offset, fault)
            return None
        return record

    def _probe(self) -> None:
        """Ask the brokers whether they are there, and see how far behind we are."""
        try:
            self._consumer.list_topics(CONTROLS.full_name(self._prefix), timeout=ASK_SECONDS)
        except KafkaException as error:
            self._set(connected=False, detail=self._trouble or _words(error))
            return
        self._trouble = ""
        lag: Counter[str] = Counter()
        for (topic, partition), reached in self._next.items():
            # Cached: the brokers send it with every fetch.
            _, end = self._consumer.get_watermark_offsets(TopicPartition(topic, partition), cached=True)
            lag[self._topics[topic].name] += max(0, end - reached)
        self._set(connected=True, detail="", lag=dict(lag))

    def _note_trouble(self, error: KafkaError) -> None:
        """Keep librdkafka's latest word on why it cannot reach the brokers; it goes on trying by itself."""
        self._trouble = error.str()

    def _set(self, **changed: Any) -> None:
        before, self._status = self._status, self._status.model_copy(update=changed)
        if (before.connected, before.detail) != (self._status.connected, self._status.detail):
            level = logging.INFO if self._status.connected else logging.WARNING
            log.log(level, "kafka: %s", self._status.detail or "connected")


def _words(error: KafkaException) -> str:
    cause = error.args[0]
    return cause.str() if isinstance(cause, KafkaError) else str(cause)


def _bytes(part: bytes | str | None) -> bytes | None:
    return part.encode() if isinstance(part, str) else part
