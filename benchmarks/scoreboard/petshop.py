"""Reading PetShop: components of a call graph by five minutes, calm days and issues.

Called by row 4 of the scoreboard. Issues of a scenario are short; each is watched by a copy of the watch that has been
through the calm days of the scenario.
"""

from __future__ import annotations

import csv
import gzip
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson

from detectors.root_cause_graph import Served

HEADERS = 4
COLUMNS = {("latency", "Average"): 0, ("availability", "Average"): 1, ("requests", "Sum"): 2}


@dataclass(frozen=True, slots=True)
class Issue:
    """A few ticks with an issue in them, what caused it, and how many ticks came before it was noticed."""

    ticks: Sequence[Mapping[str, Served]]
    cause: str
    calm_ticks: int


@dataclass(frozen=True, slots=True)
class Scenario:
    """A call graph, calm days of it, and issues."""

    calls: Mapping[str, Sequence[str]]
    calm: Sequence[Mapping[str, Served]]
    calm_days: float
    issues: Sequence[Issue]


def read_scenarios(common: Path, folders: Sequence[Path]) -> list[Scenario]:
    """Every scenario of these parts of which there are calm days."""
    return [
        _scenario(calm.parent.parent, [folder / calm.parent.parent.name for folder in folders])
        for calm in sorted(common.glob("*/noissue/metrics.csv.gz"))
    ]


def _scenario(common: Path, folders: Sequence[Path]) -> Scenario:
    seconds, calm = _ticks(common / "noissue" / "metrics.csv.gz")
    issues = []
    for target in (path for folder in folders for path in sorted(folder.glob("*/target.json"))):
        truth = orjson.loads(target.read_bytes())
        at, ticks = _ticks(target.with_name("metrics.csv.gz"))
        before = sum(second < truth["target"]["timestamp"] for second in at)
        issues.append(Issue(ticks, truth["root_cause"]["node"], before))
    return Scenario(_calls(common / "graph.csv"), calm, (seconds[-1] - seconds[0]) / 86_400, issues)


def _calls(path: Path) -> dict[str, list[str]]:
    with path.open() as lines:
        header, *rows = list(csv.reader(lines))
    return {
        row[0]: [name for name, called in zip(header[1:], row[1:], strict=True) if float(called) > 0] for row in rows
    }


def _ticks(path: Path) -> tuple[list[float], list[dict[str, Served]]]:
    with gzip.open(path, "rt") as lines:
        rows = list(csv.reader(lines))
    components, metrics, statistics = (row[1:] for row in rows[: HEADERS - 1])
    found = []
    for row in sorted(rows[HEADERS:], key=lambda one: float(one[0])):
        values: dict[str, list[float]] = {}
        for name, metric, statistic, value in zip(components, metrics, statistics, row[1:], strict=True):
            column = COLUMNS.get((metric, statistic))
            if column is not None and value:
                values.setdefault(name, [np.nan, np.nan, 0.0])[column] = float(value)
        served = {name: Served(latency, share / 100.0, count) for name, (latency, share, count) in values.items()}
        found.append((float(row[0]), served))
    return [second for second, _ in found], [served for _, served in found]
