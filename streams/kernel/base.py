"""What a kernel is: a pure state machine over the records of one partition. No I/O, no wall clock.

Kernels say what is to happen as data (`Emit`, `Keep`); `streams.stage` makes it happen. They see batches through
`Records`, which `streams.batch.Batch` satisfies, so that they can be run on lists in tests and replays.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, Self

from schemas.codec import decode
from schemas.dead_letter import dead_letter
from schemas.envelope import Record
from schemas.errors import RecordError, Rejection
from schemas.topics import DEAD_LETTERS, Topic

log = logging.getLogger(__name__)

_NANOS_PER_MILLI = 1_000_000


class Records(Protocol):
    """Consecutive records of one partition, as parallel lists."""

    @property
    def topic(self) -> str:
        """Name on the broker, prefix included."""

    @property
    def partition(self) -> int: ...

    @property
    def keys(self) -> Sequence[bytes | None]: ...

    @property
    def values(self) -> Sequence[bytes | None]: ...

    @property
    def offsets(self) -> Sequence[int]: ...

    @property
    def timestamps(self) -> Sequence[int]:
        """Broker timestamps in milliseconds; what is not above 0 is not known."""

    def since(self, offset: int) -> Self:
        """Leave out the records before this offset."""


@dataclass(frozen=True, slots=True)
class Emit:
    """One record to publish. `partition` None: by key."""

    topic: Topic
    key: bytes
    record: Record
    partition: int | None = None


@dataclass(frozen=True, slots=True)
class Keep:
    """One record for the lane's own store (see `streams.stage.Lane.keep`)."""

    record: Record


Output = Emit | Keep


class Kernel(Protocol):
    """One partition of a lane."""

    def take(self, topic: Topic, records: Records) -> list[Output]:
        """Fold one batch of one input topic."""

    def wake(self, quiet_seconds: float) -> list[Output]:
        """Act on the passing of time; called a few times a second.

        Args:
            quiet_seconds: for how long the broker has surely had nothing more for this kernel; 0 where it has, or
                where that is not known.

        """

    def snapshot(self) -> bytes:
        """State to go on from."""


def letter(stage: str, records: Records, i: int, error: RecordError) -> Emit:
    """Dead-letter the `i`-th record."""
    record = dead_letter(
        error.reason,
        error.detail,
        topic=records.topic,
        partition=records.partition,
        offset=records.offsets[i],
        time_unix_nano=records.timestamps[i] * _NANOS_PER_MILLI,
        key=records.keys[i],
        value=records.values[i],
        stage=stage,
    )
    return Emit(DEAD_LETTERS, record.id.encode(), record)


class RecordKernel(ABC):
    """A kernel that takes its records one by one: every topic but the raw ones. What it cannot take it dead-letters."""

    stage: str

    @abstractmethod
    def one(self, topic: Topic, record: Any) -> list[Output]:
        """Fold one record."""

    def take(self, topic: Topic, records: Records) -> list[Output]:
        found: list[Output] = []
        for i in range(len(records.offsets)):
            try:
                found += self.one(topic, decode(topic, records.keys[i], records.values[i]))
            except RecordError as error:
                found.append(letter(self.stage, records, i, error))
            except Exception as error:  # a bug of ours must not stop the stream
                log.exception("%s: %s/%d offset %d", self.stage, topic.name, records.partition, records.offsets[i])
                fault = RecordError(Rejection.PROCESSING_FAILED, f"{type(error).__name__}: {error}")
                found.append(letter(self.stage, records, i, fault))
        return found

    def wake(self, quiet_seconds: float) -> list[Output]:  # noqa: ARG002 - most have nothing to do with time
        return []

    def snapshot(self) -> bytes:
        return b""
