"""Publishing that can be waited for: one idempotent producer per process, delivery reports as awaitables.

Used by `streams.stage` for everything the stages emit and by the command line for controls. Records of one call reach
each partition in the order given.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, NamedTuple

from confluent_kafka import KafkaError, KafkaException, Producer

from schemas.errors import PermanentError, TemporaryError
from schemas.topics import DEAD_LETTERS
from streams.kafka_client import client_config
from streams.settings import KafkaSettings


class Message(NamedTuple):
    """One record to publish; `topic` is the name on the broker. `partition` None: by key."""

    topic: str
    key: bytes
    value: bytes
    partition: int | None = None


# Returns when the brokers have all of them.
Publish = Callable[[Sequence[Message]], Awaitable[None]]

SETTINGS: Mapping[str, Any] = {
    "enable.idempotence": True,  # retries neither repeat nor reorder
    # Java's: whoever publishes a control must put its scope where the decisions of that scope are.
    "partitioner": "murmur2_random",
    "message.max.bytes": DEAD_LETTERS.max_message_bytes,
    # Longer than a broker's restart takes to elect a new leader; then the process ends and starts over.
    "delivery.timeout.ms": 60_000,
    # What one batch of a kernel emits is handed over in one go, so waiting for more gains nothing.
    "linger.ms": 0,
    "compression.type": "zstd",
    # A dead letter of the largest size, and much besides.
    "queue.buffering.max.kbytes": 256 * 1024,
}
# The producer's queue is full for as long as the brokers are slower than we are: look again soon.
FULL_SECONDS = 0.01
# How long the reporting thread sleeps in the client; reports wake it, so this only bounds how long `close` takes.
POLL_SECONDS = 0.1


class Publisher:
    """A producer and the thread that serves its delivery reports."""

    def __init__(self, kafka: KafkaSettings) -> None:
        self._producer = Producer({**client_config(kafka), **SETTINGS})
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="delivery-reports", daemon=True)
        self._thread.start()

    async def publish(self, messages: Sequence[Message]) -> None:
        """Return when the brokers have all of them.

        Raises:
            TemporaryError: they do not, and may later.
            PermanentError: they never will.

        """
        if not messages:
            return
        reports = _Reports(len(messages))
        for message in messages:
            await self._produce(message, reports.add)
        errors = await reports.done
        if errors:
            raise _as_ours(errors[0])

    async def close(self) -> None:
        """Wait for what is on its way, then stop."""
        await asyncio.to_thread(self._producer.flush, 5.0)
        self._closing.set()
        await asyncio.to_thread(self._thread.join)

    async def _produce(self, message: Message, report: Callable[[KafkaError | None, object], None]) -> None:
        # -1 (librdkafka's PARTITION_UA): the partitioner decides.
        partition = -1 if message.partition is None else message.partition
        while True:
            try:
                self._producer.produce(message.topic, message.value, message.key, partition, on_delivery=report)
            except BufferError:
                await asyncio.sleep(FULL_SECONDS)
            except KafkaException as error:
                raise _as_ours(error.args[0]) from error
            else:
                return

    def _serve(self) -> None:
        while not self._closing.is_set():
            self._producer.poll(POLL_SECONDS)


async def publish_once(kafka: KafkaSettings, messages: Sequence[Message]) -> None:
    """Publish with a producer of its own, for a command that ends afterwards; raises as `Publisher.publish` does."""
    publisher = Publisher(kafka)
    try:
        await publisher.publish(messages)
    finally:
        await publisher.close()


class _Reports:
    """Delivery reports of one call, collected on the reporting thread."""

    def __init__(self, wanted: int) -> None:
        self._loop = asyncio.get_running_loop()
        self._wanted = wanted
        self._errors: list[KafkaError] = []
        self.done: asyncio.Future[list[KafkaError]] = self._loop.create_future()

    def add(self, error: KafkaError | None, _message: object) -> None:
        # Only ever called on the reporting thread, so counting needs no lock.
        self._wanted -= 1
        if error is not None:
            self._errors.append(error)
        if not self._wanted:
            self._loop.call_soon_threadsafe(self._finish)

    def _finish(self) -> None:
        if not self.done.done():
            self.done.set_result(self._errors)


def _as_ours(error: KafkaError) -> TemporaryError | PermanentError:
    if error.retriable() or error.code() == KafkaError._MSG_TIMED_OUT:  # noqa: SLF001 - the client's own constant
        return TemporaryError(f"not published: {error.str()}")
    return PermanentError(f"not published: {error.str()}")
