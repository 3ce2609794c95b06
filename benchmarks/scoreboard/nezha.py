"""Reading Nezha: days of metrics, logs and traces of microservices as ticks of a minute, with the faults put in.

Called by row 4 of the scoreboard. Logs and traces exist for some minutes only; a minute of them is handed over at the
first tick at which it is complete.
"""

from __future__ import annotations

import csv
import gzip
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import orjson
from numpy.typing import NDArray

from detectors.root_cause_patterns import Blame, template, transitions
from detectors.root_cause_spans import Spans
from detectors.root_cause_watch import Tick

MINUTE = 60
# Rows whose clock is further than this from the median are wrong by their clock, and no telemetry of this day.
MOST_SECONDS_OFF = 2 * 86_400
USAGE, LATENCY = "CpuUsage(m)", "PodServerLatencyP90(s)"
Events = dict[tuple[int, str], list[tuple[int, str]]]
"""When what happened, by trace and entity."""

_JSON_LOG = re.compile(r'"(message|severity)":"([^"]*)"')
_CLOCK = re.compile(r"^\d\d:\d\d:\d\d\.\d+ +")


@dataclass(frozen=True, slots=True)
class Fault:
    """What was put in: when, and into which entity."""

    second: int
    entity: str


@dataclass(frozen=True, slots=True)
class Day:
    """A day of one system: ticks with the second of each, and the faults in them."""

    ticks: Sequence[tuple[int, Tick]]
    faults: Sequence[Fault]


def read_day(folder: Path) -> Day:
    """Read the ticks and faults of a day."""
    metrics = _metrics(folder)
    windows = sorted(_windows(folder), key=lambda window: window[0])
    ticks: list[tuple[int, Tick]] = []
    at = 0
    for second, (used, waited) in metrics.items():
        # More than one minute of traces may have become complete: each is a tick of its own, in order.
        while at + 1 < len(windows) and windows[at + 1][0] <= second:
            ticks.append((windows[at][0], windows[at][1]))
            at += 1
        if at < len(windows) and windows[at][0] <= second:
            ticks.append((second, replace(windows[at][1], usage=used, latency=waited)))
            at += 1
        else:
            ticks.append((second, Tick(used, waited)))
    return Day(ticks, faults_of(folder))


def faults_of(folder: Path) -> list[Fault]:
    """Read what was put in on a day."""
    hours: Mapping[str, list[dict[str, str]]] = orjson.loads((folder / "fault_list.json").read_bytes())
    return [
        Fault(int(datetime.fromisoformat(one["inject_time"]).replace(tzinfo=UTC).timestamp()), one["inject_pod"])
        for hour in hours.values()
        for one in hour
    ]


def read_samples(folder: Path) -> Iterator[tuple[int, list[tuple[str, str, float]]]]:
    """Read all metrics, minute by minute: entity, name, value."""
    from pyarrow import parquet  # noqa: PLC0415 - not needed to list the rows

    table = parquet.read_table(folder / "metrics.parquet")
    seconds: NDArray[np.int64] = table["TimeStamp"].to_numpy()
    near = np.abs(seconds - np.median(seconds)) < MOST_SECONDS_OFF
    entities = np.array(table["PodName"].to_pylist())
    names = [name for name in table.column_names if name not in {"Time", "TimeStamp", "PodName"}]
    values = np.column_stack([table[name].to_numpy().astype(float) for name in names])
    for second in np.unique(seconds[near]):
        rows = np.flatnonzero(seconds == second)
        cells = ((row, at) for row in rows for at in np.flatnonzero(np.isfinite(values[row])))
        yield int(second), [(str(entities[row]), names[at], float(values[row, at])) for row, at in cells]


def read_calls(folder: Path) -> dict[str, list[str]]:
    """Read which service calls which, where the set tells."""
    path, calls = folder / "dependency.csv.gz", defaultdict[str, list[str]](list)
    with gzip.open(path, "rt") if path.exists() else StringIO() as lines:
        for row in csv.DictReader(lines):
            calls[row["Source"]].append(row["Target"])
    return calls


def read_log_lines(folder: Path) -> Iterator[tuple[int, str, str]]:
    """Read all log lines: nanosecond, entity, text without its clock."""
    from pyarrow import parquet  # noqa: PLC0415 - not needed to list the rows

    table = parquet.read_table(folder / "logs.parquet", columns=["ts_ns", "pod", "msg"])
    for nanos, entity, message in zip(*(table[name].to_pylist() for name in table.column_names), strict=True):
        yield nanos, entity, _text(message)


@dataclass(frozen=True, slots=True)
class Span:
    """A span of a trace, nanoseconds; `row` and `parent` (-1: none) are its id and its parent's."""

    trace: str
    row: int
    parent: int
    entity: str
    operation: str
    start: int
    end: int
    enters: bool
    """Whether its parent is of another entity, or there is none."""
    calls: bool
    """Whether a child is of another entity."""


def read_spans(folder: Path) -> Iterator[Span]:
    """Read all spans."""
    from pyarrow import parquet  # noqa: PLC0415 - not needed to list the rows

    table = parquet.read_table(folder / "traces.parquet")
    minute, phase, entity, operation, trace = (
        _texts(table[name]) for name in ("minute", "phase", "pod", "op", "trace")
    )
    parent, start = table["parent_row"].to_numpy(), table["start_ns"].to_numpy()
    lasted = (table["duration_us"].to_numpy() * 1000).astype(np.int64)
    crosses = (parent >= 0) & (entity != entity[parent])
    calls = np.zeros(len(parent), np.bool_)
    calls[parent[crosses]] = True
    rows = zip(
        *(column.tolist() for column in (minute, phase, trace, parent, entity, operation, start, start + lasted)),
        *((crosses | (parent < 0)).tolist(), calls.tolist()),
        strict=True,
    )
    for row, (of_minute, of_phase, of_trace, *rest) in enumerate(rows):
        yield Span(f"{of_minute}{of_phase}{of_trace}", row, *rest)


def _metrics(folder: Path) -> dict[int, tuple[dict[str, float], dict[str, float]]]:
    """Use and latency of each entity by the second of the tick."""
    from pyarrow import parquet  # noqa: PLC0415 - not needed to list the rows

    table = parquet.read_table(folder / "metrics.parquet", columns=["TimeStamp", "PodName", USAGE, LATENCY])
    seconds: NDArray[np.int64] = table["TimeStamp"].to_numpy()
    near = np.abs(seconds - np.median(seconds)) < MOST_SECONDS_OFF
    minutes: dict[int, tuple[dict[str, float], dict[str, float]]] = defaultdict(lambda: ({}, {}))
    columns = (table["PodName"].to_pylist(), table[USAGE].to_numpy(), table[LATENCY].to_numpy())
    for second, entity, value, waited in zip(seconds, *columns, strict=True):
        usage, latency = minutes[int(second) // MINUTE]
        usage[entity] = float(value)
        if waited > 0:  # 0 or not a number where nobody called
            latency[entity] = float(waited)
    offset = int(np.median(seconds[near] % MINUTE))
    kept = sorted({int(second) // MINUTE for second in seconds[near]})
    return {minute * MINUTE + offset: minutes[minute] for minute in kept}


def _windows(folder: Path) -> Iterator[tuple[int, Tick]]:
    """Each minute file of traces with its logs, at the second at which its last span began."""
    from pyarrow import parquet  # noqa: PLC0415 - not needed to list the rows

    table = parquet.read_table(folder / "traces.parquet")
    columns = {name: _texts(table[name]) for name in ("minute", "phase", "pod", "op", "trace")}
    parent, start = table["parent_row"].to_numpy(), table["start_ns"].to_numpy()
    microseconds = table["duration_us"].to_numpy()
    logs, accusing = _logs(folder)
    keys = np.char.add(columns["minute"], columns["phase"])
    for key in np.unique(keys):
        rows = np.flatnonzero(keys == key)
        place = np.full(len(keys) + 1, -1)
        place[rows] = np.arange(len(rows))
        spans = Spans(columns["pod"][rows], columns["op"][rows], place[parent[rows]], microseconds[rows])
        events = defaultdict(list, {one: list(found) for one, found in logs.get(str(key), {}).items()})
        told = (columns[name][rows].tolist() for name in ("trace", "pod", "op"))
        for trace, pod, op, began in zip(*told, start[rows].tolist(), strict=True):
            events[trace, pod].append((began, op))
        sequences = ((entity, [event for _, event in sorted(found)]) for (_, entity), found in events.items())
        tick = Tick(spans=spans, patterns=transitions(sequences), accusing=accusing.get(str(key), frozenset()))
        yield int(start[rows].max()) // 1_000_000_000, tick


def _texts(column: Any) -> NDArray[Any]:
    """Make an array of a column whose values come again and again: each is made once."""
    coded = column.combine_chunks().dictionary_encode()
    values: NDArray[Any] = np.array(coded.dictionary.to_pylist())[coded.indices.to_numpy()]
    return values


def _logs(folder: Path) -> tuple[dict[str, Events], dict[str, frozenset[str]]]:
    """Log templates of each minute file, and the entities of which errors name others."""
    from pyarrow import parquet  # noqa: PLC0415 - not needed to list the rows

    found: dict[str, Events] = defaultdict(lambda: defaultdict(list))
    rows: list[dict[str, Any]] = parquet.read_table(folder / "logs.parquet").to_pylist()
    blame = Blame(row["pod"] for row in rows)
    errors: dict[str, list[tuple[str, str]]] = defaultdict(list)
    for row in rows:
        errors[row["minute"] + row["phase"]].append((row["pod"], row["msg"]))
        said = template(_text(row["msg"]))
        found[row["minute"] + row["phase"]][row["trace"], row["pod"]].append((row["ts_ns"], said))
    return found, {key: blame.accusing(lines) for key, lines in errors.items()}


def _text(line: str) -> str:
    """Severity and message of a line of JSON; what follows the clock of any other."""
    if line.startswith("{"):
        fields = dict(_JSON_LOG.findall(line))
        return f"{fields.get('severity', '')} {fields.get('message', line)}"
    return _CLOCK.sub("", line)
