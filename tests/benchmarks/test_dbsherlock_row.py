"""Row 6 on made runs in the format of DBSherlock, and on the labelled set where it is there."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("pyarrow", reason="the row reads parquet with pyarrow")

import pyarrow as pa
from pyarrow import parquet

from benchmarks.scoreboard.row import Run
from benchmarks.scoreboard.rows.dbsherlock import ROW
from detectors.cause_memory import CauseDecision

DATA = Path(os.environ.get("REFLEXARC_DATA", ""))
TICKS, START, END = 110, 51, 90
# What each cause adds to three metrics, in spreads.
CAUSES = {"spike": (8.0, 0.0, 0.0), "locks": (0.0, 8.0, -6.0)}


def write_part(folder: Path, seed: int, late_label: int = 0) -> None:
    """Three runs of each cause; `late_label` moves the labelled onset behind the true one."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    tables, lines = [], ["case,cause,start,end"]
    for number, cause in enumerate(sorted(CAUSES) * 3):
        values = rng.normal(100.0, 5.0, (TICKS, 3))
        values[START - 1 : END] += 5.0 * np.array(CAUSES[cause])
        columns = {f"metric {m}": values[:, m] for m in range(3)}
        tables.append(pa.table({"case": [f"run {number}"] * TICKS, "t": np.arange(1, TICKS + 1), **columns}))
        lines.append(f"run {number},{cause},{START + late_label},{END}")
    parquet.write_table(pa.concat_tables(tables), folder / "tpcc16.parquet")
    (folder / "cases.csv").write_text("\n".join(lines) + "\n")


@pytest.mark.parametrize("part", ["A", "B", "A+B"])
def test_causes_taught_by_part_a_are_recognised_in_any_part(tmp_path: Path, part: str) -> None:
    for seed, name in enumerate("AB"):
        write_part(tmp_path / "dbsherlock" / name, seed)
    found = ROW.detect(Run(tmp_path, part))
    right, early, delay = ROW.measure(6, found, {}, part)
    assert len(found) == (12 if part == "A+B" else 6)
    assert (right.value, early.value) == (100.0, 0.0)
    assert 0 < delay.value <= 15
    assert (right.met, early.met) == (True, True)


def test_a_decision_before_the_labelled_onset_is_early_and_not_right(tmp_path: Path) -> None:
    write_part(tmp_path / "dbsherlock/A", 0)
    write_part(tmp_path / "dbsherlock/B", 1, late_label=30)
    found = ROW.detect(Run(tmp_path, "B"))
    assert all(isinstance(one.decision, CauseDecision) for one in found)
    right, early, _ = ROW.measure(6, found, {}, "B")
    assert (right.value, right.met) == (0.0, False)
    assert (early.value, early.met) == (100.0, False)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "dbsherlock").is_dir(), reason="set REFLEXARC_DATA to the folder of labelled sets")
def test_part_a_stays_about_as_good_as_measured() -> None:
    right, early, delay = ROW.measure(6, ROW.detect(Run(DATA, "A")), {}, "A")
    assert right.value >= 94.0
    assert early.value <= 5.0
    assert delay.value <= 11.0
