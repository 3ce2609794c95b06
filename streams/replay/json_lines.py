"""Files of archives as JSON lines, to be read by eye and by anything.

Written and read by `streams.replay.archive`; `streams.replay.parquet` is the other format.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

import msgspec

from schemas.errors import ConfigurationError
from schemas.line import Line

# Lines decoded at a time: as many records as the transport hands to a stage in one batch, at most.
BATCH_LINES = 10_000


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
