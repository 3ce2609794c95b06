"""Reading the labelled sets: `<data>/<set>/<part>/...`, whatever the files and hosts in it are called.

Called by the rows of the scoreboard. Nothing here or after it knows a file.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.scoreboard.pages import Window

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Series:
    """One labelled univariate series."""

    name: str
    time_unix_nano: Ints
    value: Floats
    windows: tuple[Window, ...]


@dataclass(frozen=True, slots=True)
class Machine:
    """One labelled machine: calm history, then the part to be judged."""

    name: str
    history: Floats
    value: Floats
    anomalous: NDArray[np.bool_]


def read_nab(folders: Sequence[Path]) -> list[Series]:
    """Every series of these NAB parts, by name."""
    return [series for folder in folders for series in _read_nab(folder)]


def _read_nab(folder: Path) -> Iterator[Series]:
    labels: dict[str, list[list[str]]] = orjson.loads((folder / "labels" / "windows.json").read_bytes())
    for name in sorted(labels):
        with gzip.open(folder / "data" / f"{name}.gz", "rt") as lines:
            rows = [(_nanos(row["timestamp"]), float(row["value"])) for row in csv.DictReader(lines)]
        time = np.array([row[0] for row in rows], np.int64)
        windows = [_records(time, _nanos(start), _nanos(end)) for start, end in labels[name]]
        yield Series(name, time, np.array([row[1] for row in rows]), tuple(windows))


def _nanos(stamp: str) -> int:
    moment = datetime.fromisoformat(stamp).replace(tzinfo=UTC)
    return int(moment.timestamp()) * 1_000_000_000


def _records(time: Ints, start: int, end: int) -> Window:
    inside = np.flatnonzero((time >= start) & (time <= end))
    return int(inside[0]), int(inside[-1])


def read_machines(folders: Sequence[Path]) -> list[Machine]:
    """Every machine of these parts of `smd` or a set of the same format."""
    return [_read_machine(path) for folder in folders for path in sorted(folder.glob("*_test.parquet"))]


def _read_machine(path: Path) -> Machine:
    from pyarrow import parquet  # noqa: PLC0415 - not needed to run ReflexArc, nor for the sets that are no Parquet

    history = parquet.read_table(path.with_name(path.name.replace("_test", "_train")))
    judged = parquet.read_table(path)
    columns = [column for column in judged.column_names if column != "label"]
    return Machine(
        path.name.removesuffix("_test.parquet"),
        np.column_stack([history[column].to_numpy() for column in columns]).astype(np.float64),
        np.column_stack([judged[column].to_numpy() for column in columns]).astype(np.float64),
        judged["label"].to_numpy().astype(np.bool_),
    )
