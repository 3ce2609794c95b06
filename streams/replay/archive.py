"""Archives: a folder with one file of JSON lines or Parquet per topic partition, and a manifest that is written last.

`reflexarc archive` writes them from Kafka; `reflexarc backtest` and everything that reads a history from files
(`streams.archived`) reads them. A record is kept as it was: key, value and headers byte for byte, timestamp and who
gave it, partition and offset (`schemas.line`).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import Literal

from pydantic import ValidationError

from actions.kafka import line_of
from schemas.codec import decode
from schemas.envelope import Model
from schemas.errors import ConfigurationError, RecordError
from schemas.line import Line
from schemas.topics import BY_NAME, RAW_ALERTS, RAW_LOGS, RAW_METRICS, RAW_SPANS
from streams.batch import Batch
from streams.replay.json_lines import JsonLines, Sink, read_json_lines
from streams.replay.kafka_log import KafkaLog
from streams.replay.parquet import ParquetFile, read_parquet
from streams.replay.span import Place, Span
from streams.tail import Seen

MANIFEST = "archive.json"

# What is detected in; the rest is what came of it, or was said about it.
RAW = frozenset({RAW_METRICS.name, RAW_LOGS.name, RAW_SPANS.name, RAW_ALERTS.name})

# The suffix of its files says in which format an archive is.
Format = Literal["jsonl", "parquet"]
_SINKS: Mapping[Format, Callable[[Path], Sink]] = {"jsonl": JsonLines, "parquet": ParquetFile}


class File(Model):
    """One partition of an archive."""

    topic: str
    partition: int
    path: str
    records: int
    first_offset: int
    last_offset: int
    first_millis: int
    last_millis: int

    @property
    def place(self) -> Place:
        return Place(self.topic, self.partition)


class Manifest(Model):
    """What an archive holds. A folder without one was not finished."""

    version: Literal[1] = 1
    topic_prefix: str
    partitions: dict[str, int]
    """Of each topic on the broker: where a key lies depends on it."""
    span: Span
    written_unix_nano: int
    files: tuple[File, ...]

    @property
    def records(self) -> int:
        return sum(file.records for file in self.files)


class Archive:
    """An archive to read. Holds no open file, so that it can be handed to another process."""

    def __init__(self, folder: Path, span: Span) -> None:
        self.folder = folder
        self._span = span
        self.manifest = read_manifest(folder)

    @property
    def prefix(self) -> str:
        return self.manifest.topic_prefix

    def partitions(self) -> Mapping[str, int]:
        """Return how many partitions each topic had."""
        return self.manifest.partitions

    @property
    def raw_records(self) -> int:
        """How many records of telemetry there are, in the span or not."""
        return sum(file.records for file in self.manifest.files if file.topic in RAW)

    @property
    def since_millis(self) -> int:
        """Time of the oldest record in the span."""
        first = min((file.first_millis for file in self.manifest.files if file.first_millis), default=0)
        return max(first, self._span.since_millis or 0)

    @property
    def until_millis(self) -> int:
        """Time of the newest record in the span."""
        last = max((file.last_millis for file in self.manifest.files), default=0)
        return last if self._span.until_millis is None else min(last, self._span.until_millis - 1)

    def batches(self, places: Collection[Place]) -> Iterator[tuple[Place, Batch]]:
        """Read these partitions, one after the other.

        Raises:
            ConfigurationError: a file cannot be read, or is not what the manifest says.

        """
        for file in self.manifest.files:
            if file.place in places:
                yield from self._batches(file)

    def seen(self) -> Iterator[Seen]:
        """Read every record that is not raw telemetry, as `streams.tail` would; what cannot be read is passed over."""
        for place, batch in self.batches({file.place for file in self.manifest.files if file.topic not in RAW}):
            topic = BY_NAME[place.topic]
            for key, value, offset, millis in zip(
                batch.keys, batch.values, batch.offsets, batch.timestamps, strict=True
            ):
                with suppress(RecordError):
                    record = decode(topic, key, value)
                    yield Seen(topic, place.partition, offset, millis * 1_000_000, record)

    def _batches(self, file: File) -> Iterator[tuple[Place, Batch]]:
        first, until = self._span.offsets_of(file.place)
        for lines in _chunks(self.folder / file.path, file.records):
            kept = [
                line
                for line in lines
                if line.offset >= first and (until is None or line.offset < until) and self._span.has(line.timestamp)
            ]
            if kept:
                yield file.place, _columns(kept)


def write_archive(
    log: KafkaLog,
    folder: Path,
    span: Span,
    now_unix_nano: int,
    moved: Callable[[int], None],
    *,
    kind: Format = "jsonl",
) -> Manifest:
    """Write what a log holds into a new folder; `moved` hears how many records more are done.

    Raises:
        ConfigurationError: there is an archive already, the folder cannot be written to, or the format needs an extra.

    """
    if (folder / MANIFEST).exists():
        raise ConfigurationError(f"{folder} holds an archive already; name another folder")
    writers: dict[Place, PartitionWriter] = {}
    partitions = log.partitions()
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with ExitStack() as stack:
            for place, messages in log.messages():
                if place not in writers:
                    writers[place] = PartitionWriter(stack, folder, place, kind)
                writers[place].write([line_of(message) for message in messages])
                moved(len(messages))
        manifest = Manifest(
            topic_prefix=log.prefix,
            partitions=dict(partitions),
            span=span,
            written_unix_nano=now_unix_nano,
            files=tuple(writers[place].file() for place in sorted(writers)),
        )
        (folder / MANIFEST).write_text(manifest.model_dump_json(indent=2) + "\n", encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{folder}: {error.strerror or error}") from None
    return manifest


def _columns(lines: Sequence[Line]) -> Batch:
    return Batch(
        lines[0].topic,
        lines[0].partition,
        [line.value_bytes for line in lines],
        [line.key_bytes for line in lines],
        [line.offset for line in lines],
        [line.timestamp for line in lines],
    )


def read_manifest(folder: Path) -> Manifest:
    """Read what an archive holds.

    Raises:
        ConfigurationError: it is none, or was not finished.

    """
    try:
        return Manifest.model_validate_json((folder / MANIFEST).read_bytes())
    except OSError:
        raise ConfigurationError(f"{folder} is no finished archive: it has no {MANIFEST}") from None
    except ValidationError as error:
        raise ConfigurationError(f"{folder / MANIFEST}: {str(error).splitlines()[0]}") from None


class PartitionWriter:
    """One file, and what the manifest says of it."""

    def __init__(self, stack: ExitStack, folder: Path, place: Place, kind: Format) -> None:
        self._place = place
        self._name = f"{place.topic}-{place.partition}.{kind}"
        self._sink = stack.enter_context(_SINKS[kind](folder / self._name))
        self._offsets: tuple[int, int] | None = None
        self._millis: tuple[int, int] = (0, 0)
        self._records = 0

    def write(self, lines: Sequence[Line]) -> None:
        self._sink.write(lines)
        first = self._offsets[0] if self._offsets else lines[0].offset
        self._offsets = (first, lines[-1].offset)
        dated = [line.timestamp for line in lines if line.timestamp > 0]
        known = [*dated, *(at for at in self._millis if at)]
        self._millis = (min(known, default=0), max(known, default=0))
        self._records += len(lines)

    def file(self) -> File:
        first, last = self._offsets or (0, 0)
        return File(
            topic=self._place.topic,
            partition=self._place.partition,
            path=self._name,
            records=self._records,
            first_offset=first,
            last_offset=last,
            first_millis=self._millis[0],
            last_millis=self._millis[1],
        )


def _chunks(path: Path, records: int) -> Iterator[list[Line]]:
    seen = 0
    for lines in read_lines(path):
        yield lines
        seen += len(lines)
    if seen != records:
        raise ConfigurationError(f"{path} has {seen} records; its manifest says {records}")


def read_lines(path: Path) -> Iterator[list[Line]]:
    """Read a file of an archive in either format, some records at a time.

    Raises:
        ConfigurationError: it cannot be read.

    """
    return read_parquet(path) if path.suffix == ".parquet" else read_json_lines(path)
