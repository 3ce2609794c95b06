"""Dead letters: records nobody could use, kept whole with the reason and where they came from."""

from __future__ import annotations

from base64 import b64decode, b64encode

from pydantic import Field

from schemas.envelope import Name, Record, TimeUnixNano, content_id
from schemas.errors import Rejection


class DeadLetter(Record):
    """One unusable record. Its id is its origin, so a repeat after a crash is the same dead letter."""

    id: str
    reason: Rejection
    detail: str = Field(max_length=500)
    topic: Name
    partition: int
    offset: int
    time_unix_nano: TimeUnixNano = Field(description="the broker's timestamp of the original")
    key_base64: str | None = Field(description="original key; null when it had none")
    value_base64: str | None = Field(description="original value; null when it was null (a tombstone)")
    stage: Name = Field(description="the stage that gave up on it")

    @property
    def value(self) -> bytes | None:
        """The original bytes."""
        return None if self.value_base64 is None else b64decode(self.value_base64)


def dead_letter(
    error_reason: Rejection,
    detail: str,
    *,
    topic: str,
    partition: int,
    offset: int,
    time_unix_nano: int,
    key: bytes | None,
    value: bytes | None,
    stage: str,
) -> DeadLetter:
    """Build a dead letter from the original record."""
    return DeadLetter(
        id=content_id("dead_letter", topic, partition, offset),
        reason=error_reason,
        detail=detail[:500],
        topic=topic,
        partition=partition,
        offset=offset,
        time_unix_nano=max(1, time_unix_nano),
        key_base64=None if key is None else b64encode(key).decode(),
        value_base64=None if value is None else b64encode(value).decode(),
        stage=stage,
    )
