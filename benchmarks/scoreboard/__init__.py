"""The scoreboard: real labelled data, honest metrics, one configuration for all sets.

Called by `reflexarc scoreboard`. The thresholds were fixed on part A by `benchmarks.scoreboard.fit` and are stored
beside this file; running here fits nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import orjson

from benchmarks.measure import Measure

THRESHOLDS = Path(__file__).with_name("thresholds.json")


def load_thresholds() -> dict[str, float]:
    """Read the stored operating points."""
    stored: dict[str, float] = orjson.loads(THRESHOLDS.read_bytes())["thresholds"]
    return stored


def run(data: Path, part: str, rows: Sequence[int], plots: Path | None = None) -> list[Measure]:
    """Measure the given rows (1 to 3) on a part of the data, `A+B` for both; write plots where a folder is given."""
    # Reading the sets needs pyarrow and plotting matplotlib, which only this command does.
    from benchmarks.scoreboard import data as read  # noqa: PLC0415
    from benchmarks.scoreboard import multivariate, univariate  # noqa: PLC0415

    thresholds = load_thresholds()
    measures: list[Measure] = []
    if {1, 2} & set(rows):
        series = univariate.detect(read.read_nab(data, part))
        measures += univariate.row_1(series, thresholds, part) if 1 in rows else []
        measures += univariate.row_2(series, thresholds) if 2 in rows else []
        if plots is not None:
            from benchmarks.scoreboard.plots import plot_series  # noqa: PLC0415

            plot_series(series, thresholds, plots)
    if 3 in rows:
        machines = multivariate.detect(read.read_machines(data, part))
        measures += multivariate.row_3(machines, thresholds)
        if plots is not None:
            from benchmarks.scoreboard.plots import plot_machines  # noqa: PLC0415

            plot_machines(machines, thresholds, plots)
    return measures
