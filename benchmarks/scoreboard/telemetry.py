"""The labelled sets as telemetry of systems, for the live path (`benchmarks.scoreboard.live`).

Series that were recorded apart are one system here: each is moved by whole weeks, so that they run side by side and
hours and days of the week stay what they were.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from itertools import groupby
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.scoreboard.data import Series, read_nab
from benchmarks.scoreboard.live import Fault, Subject, Telemetry
from benchmarks.scoreboard.nezha import MOST_SECONDS_OFF, faults_of
from benchmarks.scoreboard.rows.dbsherlock import read_runs
from schemas.envelope import NANOS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

MINUTE = 60 * NANOS
WEEK = 7 * 86_400 * NANOS
# A week in 2023, counted as those of the epoch are.
FIRST_WEEK = 2800 * WEEK
# A CPU fault of Nezha shows one or two minutes after it was put in and lasts about four.
NEZHA_BEFORE, NEZHA_LASTS, NEZHA_CALM = MINUTE, 6 * MINUTE, 15 * MINUTE
# An issue of PetShop is played right after the calm days of its scenario.
PETSHOP_TICK = 5 * MINUTE


def nab(folders: Sequence[Path]) -> Telemetry:
    """Every series of NAB."""
    return _side_by_side(read_nab(folders))


def ms_cloud(folders: Sequence[Path]) -> Telemetry:
    """Every series of the Microsoft cloud monitoring set."""
    return _side_by_side([_read_ms_cloud(path) for folder in folders for path in sorted(folder.glob("*/*.csv.gz"))])


def only_calm(telemetry: Telemetry) -> Telemetry:
    """The series in which nothing is labelled, by themselves."""
    broken = {fault.service for fault in telemetry.faults}
    calm = np.array([subject.service not in broken for subject in telemetry.subjects])
    kept = calm[telemetry.subject]
    return Telemetry(telemetry.subjects, telemetry.subject[kept], telemetry.time[kept], telemetry.value[kept])


def _read_ms_cloud(path: Path) -> Series:
    with gzip.open(path, "rt") as lines:
        rows = [
            (_nanos(row["TimeStamp"]), float(row["Value"] or "nan"), row["Label"] == "1")
            for row in csv.DictReader(lines)
        ]
    windows, at = [], 0
    for anomalous, run in groupby(row[2] for row in rows):
        count = len(list(run))
        if anomalous:
            windows.append((at, at + count - 1))
        at += count
    return Series(path.name, np.array([row[0] for row in rows]), np.array([row[1] for row in rows]), tuple(windows))


def _nanos(stamp: str) -> int:
    moment = datetime.fromisoformat(stamp)
    return int(moment.replace(tzinfo=moment.tzinfo or UTC).timestamp()) * NANOS


def _side_by_side(corpus: Sequence[Series]) -> Telemetry:
    """Each series a service of its own."""
    series, faults = [], []
    for number, one in enumerate(corpus):
        service = f"service-{number}"
        time = (one.time_unix_nano - one.time_unix_nano[0] // WEEK * WEEK + FIRST_WEEK) // MINUTE * MINUTE
        series.append((Subject(service, "0", "value"), time, one.value))
        faults += [Fault(int(time[a]), int(time[z]), int(time[z]), service) for a, z in one.windows]
    return Telemetry.of(series, faults)


def nezha(folders: Sequence[Path]) -> Iterator[Telemetry]:
    """Each day of Nezha: every metric of every pod, by the minute."""
    for folder in (path.parent for one in folders for path in sorted(one.glob("*/fault_list.json"))):
        faults = [
            Fault(one.second * NANOS - NEZHA_BEFORE, one.second * NANOS + NEZHA_LASTS, one.second * NANOS + NEZHA_CALM)
            for one in faults_of(folder)
        ]
        yield Telemetry.of(list(_pods(folder)), faults)


def _pods(folder: Path) -> Iterator[tuple[Subject, Ints, Floats]]:
    from pyarrow import parquet  # noqa: PLC0415 - not needed to list the rows

    table = parquet.read_table(folder / "metrics.parquet")
    seconds: Ints = table["TimeStamp"].to_numpy()
    pods = np.array(table["PodName"].to_pylist())
    metrics = {name: table[name].to_numpy().astype(np.float64) for name in table.column_names[2:]}
    near = np.abs(seconds - np.median(seconds)) < MOST_SECONDS_OFF
    for pod in np.unique(pods):
        mine = near & (pods == pod)
        # A pod is named after its workload, its ReplicaSet and itself.
        service = str(pod).rsplit("-", 2)[0]
        for name, values in metrics.items():
            yield Subject(service, str(pod), name), seconds[mine] * NANOS, values[mine]


def petshop(common: Path, folders: Sequence[Path]) -> Iterator[tuple[Telemetry, list[Telemetry]]]:
    """Each scenario of PetShop: its calm days, and its issues as what came right after them."""
    for path in sorted(common.glob("*/noissue/metrics.csv.gz")):
        calm = Telemetry.of(list(_components(path, 0)))
        issues = []
        for target in (
            one for folder in folders for one in sorted(folder.glob(f"{path.parent.parent.name}/*/target.json"))
        ):
            series = list(_components(target.with_name("metrics.csv.gz"), int(calm.time[-1]) + PETSHOP_TICK))
            times = np.concatenate([time for _, time, _ in series])
            issues.append(Telemetry.of(series, [Fault(int(times.min()), int(times.max()), int(times.max()))]))
        yield calm, issues


def _components(path: Path, begins: int) -> Iterator[tuple[Subject, Ints, Floats]]:
    """Every column; moved to begin at a time where that is not 0."""
    with gzip.open(path, "rt") as lines:
        names, metrics, statistics, _, *rows = list(csv.reader(lines))
    rows.sort(key=lambda row: float(row[0]))
    time = np.array([float(row[0]) for row in rows]).astype(np.int64) * NANOS
    time += begins - time[0] if begins else 0
    for at in range(1, len(names)):
        values = np.array([float(row[at] or "nan") for row in rows])
        if np.isfinite(values).any():
            yield Subject(names[at], "0", f"{metrics[at]}.{statistics[at]}"), time, values


def dbsherlock(folders: Sequence[Path]) -> Iterator[Telemetry]:
    """Each run of DBSherlock, a system of its own, second by second."""
    for run in (one for folder in folders for one in read_runs(folder)):
        time = FIRST_WEEK + np.arange(len(run.values)) * NANOS
        series = [
            (Subject("database", "0", f"metric-{column}"), time, run.values[:, column])
            for column in range(run.values.shape[1])
        ]
        fault = Fault(int(time[run.onset]), int(time[run.end - 1]), int(time[-1]))
        yield Telemetry.of(series, [fault])
