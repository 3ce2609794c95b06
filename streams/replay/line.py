"""A record as an archive keeps it: one line of JSON, or one row of Parquet with the same names.

Made by `streams.replay.archive` of what Kafka gave. Bytes that are UTF-8 are written as text, so that a line can be
read and searched, all others in base64 under a name of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, Protocol, Self

import msgspec
from confluent_kafka import TIMESTAMP_LOG_APPEND_TIME, Message

from schemas.errors import ConfigurationError

# Lines decoded at a time: as many records as the transport hands to a stage in one batch, at most.
BATCH_LINES = 10_000

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


class Sink(Protocol):
    """A file of an archive that is being written."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def write(self, lines: Iterable[Line]) -> None:
        """Write records behind those before."""


class JsonLines:
    """A file of JSON lines."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("wb")
        self._encoder = msgspec.json.Encoder()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()

    def write(self, lines: Iterable[Line]) -> None:
        self._file.write(self._encoder.encode_lines(lines))


def read_json_lines(path: Path) -> Iterator[list[Line]]:
    """Read a file of JSON lines, some at a time.

    Raises:
        ConfigurationError: it cannot be read, or a line is broken.

    """
    decoder, seen = msgspec.json.Decoder(Line), 0
    try:
        with path.open("rb") as file:
            while lines := [line for _, line in zip(range(BATCH_LINES), file, strict=False)]:
                yield [decoder.decode(line) for line in lines]
                seen += len(lines)
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except msgspec.MsgspecError as error:
        raise ConfigurationError(f"{path}: after line {seen}: {error}") from None


def line_of(message: Message) -> Line:
    """Write a record down as it is."""
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


def _written(part: bytes | str | None) -> tuple[str | None, bytes | None]:
    if part is None or isinstance(part, str):
        return part, None
    try:
        return part.decode(), None
    except UnicodeDecodeError:
        return None, part
