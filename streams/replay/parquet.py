"""Files of archives as Parquet: for tables of millions of records, and for whatever else reads Parquet.

Written and read by `streams.replay.archive` and `streams.archived`, a row group at a time, so that memory does not grow
with the file. Keys, values and headers are binary columns: the bytes as they were. Needs the extra `parquet`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from schemas.errors import ConfigurationError
from schemas.line import Header, Line
from streams.replay.json_lines import BATCH_LINES

# A row group, whichever is reached first. Rows: what is decoded at a time. Bytes: an archive has some hundred
# partitions open at once, and each holds a row group in memory until it is written.
GROUP_ROWS = BATCH_LINES
GROUP_BYTES = 4 * 1024 * 1024


class ParquetFile:
    """A Parquet file that is being written."""

    def __init__(self, path: Path) -> None:
        self._arrow, parquet = _pyarrow()
        self._schema = _schema(self._arrow)
        # Topic, partition and who dates are nearly always one value: dictionaries. Payloads never repeat enough.
        self._writer = parquet.ParquetWriter(
            path, self._schema, compression="zstd", use_dictionary=["topic", "timestamp_type"]
        )
        self._rows: list[dict[str, Any]] = []
        self._bytes = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self._flush()
        finally:
            self._writer.close()

    def write(self, lines: Iterable[Line]) -> None:
        """Write records behind those before."""
        for line in lines:
            row = _row(line)
            self._rows.append(row)
            self._bytes += len(row["value"] or b"")
            if len(self._rows) >= GROUP_ROWS or self._bytes >= GROUP_BYTES:
                self._flush()

    def _flush(self) -> None:
        if self._rows:
            self._writer.write_table(self._arrow.Table.from_pylist(self._rows, schema=self._schema))
        self._rows, self._bytes = [], 0


def read_parquet(path: Path) -> Iterator[list[Line]]:
    """Read a file, some rows at a time.

    Raises:
        ConfigurationError: it cannot be read, or is none of an archive.

    """
    arrow, parquet = _pyarrow()
    try:
        with parquet.ParquetFile(path) as file:
            if not file.schema_arrow.equals(_schema(arrow)):
                raise ConfigurationError(f"{path} is no Parquet file of an archive: its columns are others")
            for batch in file.iter_batches(BATCH_LINES):
                yield [_line(row) for row in zip(*(column.to_pylist() for column in batch.columns), strict=True)]
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None
    except arrow.ArrowException as error:
        raise ConfigurationError(f"{path}: {str(error).splitlines()[0]}") from None


def _row(line: Line) -> dict[str, Any]:
    return {
        "topic": line.topic,
        "partition": line.partition,
        "offset": line.offset,
        "timestamp": line.timestamp,
        "timestamp_type": line.timestamp_type,
        "key": line.key_bytes,
        "value": line.value_bytes,
        "headers": [{"name": header.name, "value": header.value_bytes} for header in line.headers],
    }


def _line(row: tuple[Any, ...]) -> Line:
    """Make a record of a row. Its bytes stay bytes, text or not: whoever plays them needs no text."""
    topic, partition, offset, timestamp, timestamp_type, key, value, headers = row
    return Line(
        topic,
        partition,
        offset,
        timestamp,
        timestamp_type,
        key_base64=key,
        value_base64=value,
        headers=tuple(Header(header["name"], value_base64=header["value"]) for header in headers),
    )


def _schema(arrow: Any) -> Any:
    header = arrow.struct([arrow.field("name", arrow.string(), nullable=False), ("value", arrow.binary())])
    required = [
        ("topic", arrow.string()),
        ("partition", arrow.int32()),
        ("offset", arrow.int64()),
        ("timestamp", arrow.int64()),
        ("timestamp_type", arrow.string()),
    ]
    return arrow.schema(
        [
            *(arrow.field(name, kind, nullable=False) for name, kind in required),
            ("key", arrow.binary()),
            ("value", arrow.binary()),
            ("headers", arrow.list_(header)),
        ]
    )


def _pyarrow() -> tuple[Any, Any]:
    try:
        import pyarrow as pa  # noqa: PLC0415 - an extra: most never need it
        import pyarrow.parquet as pq  # noqa: PLC0415 - an extra, too
    except ImportError:
        raise ConfigurationError("Parquet needs pyarrow: pip install 'reflexarc[parquet]'") from None
    return pa, pq
