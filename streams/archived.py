"""Records of our own topics, read from files: what `reflexarc archive` writes, or JSON lines that any consumer saved.

A line is a record as it was on its topic, or an object that holds one under `record` or `value` beside its `topic`.
Without a topic the record's own fields tell which it is. Used by the commands that read a history from files.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import msgspec
import orjson
from pydantic import ValidationError

from schemas.envelope import SCHEMA_VERSION, Record
from schemas.errors import ConfigurationError
from schemas.topics import (
    ACTIONS,
    BY_NAME,
    CONTROLS,
    DECISIONS,
    INCIDENTS,
    LEARNING,
    RAW_ALERTS,
    RAW_LOGS,
    RAW_METRICS,
    RAW_SPANS,
    SIGNALS,
    Topic,
)
from streams.replay.archive import read_manifest
from streams.replay.parquet import read_parquet

# Fields that together no other topic's records have.
_TELLING: tuple[tuple[Topic, frozenset[str]], ...] = (
    (INCIDENTS, frozenset({"revision", "signal_count", "onset_unix_nano"})),
    (DECISIONS, frozenset({"verdict", "policy_version", "classification"})),
    (LEARNING, frozenset({"result", "timing", "action_id"})),
    (ACTIONS, frozenset({"apply", "issued_unix_nano", "step"})),
    (CONTROLS, frozenset({"kind", "by", "time_unix_nano"})),
    (SIGNALS, frozenset({"subject", "detector", "model_version"})),
    (RAW_ALERTS, frozenset({"fingerprint", "status", "resource", "source"})),
)
_HELD_UNDER = ("record", "value")
# Nearly all of an archive, and of no use to whoever reads what came of it.
_TELEMETRY = frozenset({RAW_METRICS.name, RAW_LOGS.name, RAW_SPANS.name})


def record_of(document: Mapping[str, Any]) -> Record | None:
    """Read one line's object; None where it is no record of ours.

    Raises:
        ValidationError: it is one, but a broken one.

    """
    inner = next((document[name] for name in _HELD_UNDER if isinstance(document.get(name), (dict, str))), None)
    named = document.get("topic") if inner is not None else None
    held = orjson.loads(inner) if isinstance(inner, str) else inner if inner is not None else document
    topic = _topic(str(named)) if named else None
    topic = topic or next((topic for topic, fields in _TELLING if fields <= held.keys()), None)
    if topic is None or held.get("schema_version", SCHEMA_VERSION) != SCHEMA_VERSION:
        return None
    record: Record = topic.adapter.validate_json(orjson.dumps(held))
    return record


def read_records(paths: Iterable[Path]) -> Iterator[Record]:
    """Read all records of some files or archives; lines that hold none of ours are passed over.

    Raises:
        ConfigurationError: a file cannot be read, or a line of it is broken.

    """
    for path in files_of(paths):
        for number, line in enumerate(lines(path), 1):
            try:
                document = orjson.loads(line)
                record = record_of(document) if isinstance(document, dict) else None
            except (orjson.JSONDecodeError, ValidationError) as error:
                raise ConfigurationError(f"{path}:{number}: {_first_line(error)}") from None
            if record is not None:
                yield record


def files_of(paths: Iterable[Path]) -> Iterator[Path]:
    """Give files as they are, and the files of archives without metrics and logs.

    Raises:
        ConfigurationError: a folder is no archive.

    """
    for path in paths:
        if path.is_dir():
            yield from (path / file.path for file in read_manifest(path).files if file.topic not in _TELEMETRY)
        else:
            yield path


def lines(path: Path) -> Iterator[bytes]:
    """Read a file's lines that are not empty; those of a Parquet file of an archive as if it were JSON lines.

    Raises:
        ConfigurationError: it cannot be read.

    """
    if path.suffix == ".parquet":
        for rows in read_parquet(path):
            yield from (msgspec.json.encode(row.readable) for row in rows)
        return
    try:
        with path.open("rb") as file:
            yield from (line.strip() for line in file if line.strip())
    except OSError as error:
        raise ConfigurationError(f"{path}: {error.strerror or error}") from None


def _topic(name: str) -> Topic | None:
    """Find a topic by its name, with or without a deployment's prefix."""
    return next((topic for known, topic in BY_NAME.items() if name == known or name.endswith(f".{known}")), None)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0][:200]
