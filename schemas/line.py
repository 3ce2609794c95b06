"""A record as files keep it: one line of JSON, or one row of Parquet with the same names.

Written into archives (`streams.replay.archive`) and packages of evidence (`actions.records`). Bytes that are UTF-8 are
written as text, so that a line can be read and searched, all others in base64 under a name of their own.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

DatedBy = Literal["CreateTime", "LogAppendTime"]


class Header(msgspec.Struct, omit_defaults=True):
    """One header. No value at all is a value, too."""

    name: str
    value: str | None = None
    value_base64: bytes | None = None

    @classmethod
    def of(cls, name: str, value: bytes | str | None) -> Header:
        text, raw = _written(value)
        return cls(name, text, raw)

    @property
    def value_bytes(self) -> bytes | None:
        return self.value_base64 if self.value is None else self.value.encode()


class Line(msgspec.Struct, omit_defaults=True):
    """One record. Of `key` and `key_base64`, and so on, at most one is there; none stands for null."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    timestamp_type: DatedBy = "CreateTime"
    key: str | None = None
    key_base64: bytes | None = None
    value: str | None = None
    value_base64: bytes | None = None
    headers: tuple[Header, ...] = ()

    @classmethod
    def of(
        cls,
        place: tuple[str, int, int],
        dated: tuple[int, DatedBy],
        key: bytes | str | None,
        value: bytes | str | None,
        headers: Iterable[tuple[str, bytes | str | None]],
    ) -> Line:
        """Write a record down: topic, partition and offset; time and who gave it; what it holds."""
        key_text, key_raw = _written(key)
        text, raw = _written(value)
        return cls(*place, *dated, key_text, key_raw, text, raw, tuple(Header.of(*header) for header in headers))

    @property
    def readable(self) -> Line:
        """The same record with everything that is text as text."""
        return Line.of(
            (self.topic, self.partition, self.offset),
            (self.timestamp, self.timestamp_type),
            self.key_bytes,
            self.value_bytes,
            ((header.name, header.value_bytes) for header in self.headers),
        )

    @property
    def key_bytes(self) -> bytes | None:
        return self.key_base64 if self.key is None else self.key.encode()

    @property
    def value_bytes(self) -> bytes | None:
        return self.value_base64 if self.value is None else self.value.encode()


def _written(part: bytes | str | None) -> tuple[str | None, bytes | None]:
    if part is None or isinstance(part, str):
        return part, None
    try:
        return part.decode(), None
    except UnicodeDecodeError:
        return None, part
