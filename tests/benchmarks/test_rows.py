"""The rows of the scoreboard: found by being there, run by one command, fitted one by one."""

from __future__ import annotations

import gzip
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import orjson
import pytest
from typer.testing import CliRunner

from benchmarks import scoreboard
from benchmarks.scoreboard import fit, load_thresholds
from benchmarks.scoreboard.registry import all_rows, choose
from benchmarks.scoreboard.row import Row, Run
from schemas.errors import ConfigurationError
from streams import cli

EACH_ROW = pytest.mark.parametrize("row", all_rows(), ids=lambda row: row.title)


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two labelled series in the format of NAB: one with a spike in its window, one calm."""
    folder = tmp_path / "data/nab/A"
    (folder / "labels").mkdir(parents=True)
    (folder / "data").mkdir()
    stamps = [datetime.fromtimestamp(1_600_000_000 + 300 * i, UTC).strftime("%Y-%m-%d %H:%M:%S") for i in range(600)]
    values = np.random.default_rng(0).normal(100.0, 5.0, (2, 600))
    values[0, 500] = 900.0
    for name, series in zip(("spiky", "calm"), values, strict=True):
        with gzip.open(folder / f"data/{name}.csv.gz", "wt") as out:
            out.write("timestamp,value\n")
            out.writelines(f"{stamp},{value}\n" for stamp, value in zip(stamps, series, strict=True))
    windows = {"spiky.csv": [[stamps[495], stamps[520]]], "calm.csv": []}
    (folder / "labels/windows.json").write_bytes(orjson.dumps(windows))
    return tmp_path / "data"


@EACH_ROW
def test_a_row_says_what_it_is(row: Row[Any]) -> None:
    assert row.numbers
    assert row.title
    assert row.sets


def test_no_two_rows_have_the_same_number() -> None:
    numbers = [number for row in all_rows() for number in row.numbers]
    assert {1, 2, 3} <= set(numbers)
    assert len(numbers) == len(set(numbers))


@EACH_ROW
def test_a_row_without_its_data_is_left_out_and_that_is_said(row: Row[Any], tmp_path: Path) -> None:
    said: list[str] = []
    assert scoreboard.run(Run(tmp_path, "A"), row.numbers, say=said.append) == []
    assert [row.title in line and row.sets[0] in line for line in said] == [True]


def test_an_unknown_row_is_refused_with_those_there_are() -> None:
    with pytest.raises(ConfigurationError, match="no row 77: choose among 1, 2, 3"):
        choose([1, 77])


def test_the_command_prints_figures_beside_anchors_and_writes_and_draws_the_same(data: Path, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    figures, pictures = tmp_path / "figures.json", tmp_path / "plots"
    asked = ["scoreboard", "--data", str(data), "--rows", "2,1", "--json", str(figures), "--plots", str(pictures)]
    ran = CliRunner().invoke(cli.app, asked)
    assert ran.exit_code == 0, ran.output
    written = orjson.loads(figures.read_bytes())
    assert [(one["row"], one["part"]) for one in written] == [(1, "A")] * 2 + [(2, "A")] * 4
    assert written[0]["anchor"] == 78.1
    recall = written[2]
    assert (recall["name"], recall["value"], recall["met"]) == ("nab at <= 20 % false pages: recall", 1.0, True)
    assert "nab standard score" in ran.output
    assert "78.1" in ran.output
    assert {path.name for path in pictures.iterdir()} >= {"nab_00.png", "nab_01.png"}


def test_rows_that_are_no_numbers_are_refused(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["reflexarc", "scoreboard", "--data", str(data), "--rows", "one"])
    with pytest.raises(SystemExit, match="2"):
        cli.main()


def test_fitting_a_row_leaves_the_points_of_others_alone(
    data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stored = tmp_path / "thresholds.json"
    before = load_thresholds()
    stored.write_bytes(orjson.dumps({"thresholds": {**before, "nab_standard": 0.0}}))
    monkeypatch.setattr(fit, "THRESHOLDS", stored)
    monkeypatch.setattr("sys.argv", ["fit", "--data", str(data), "--rows", "1"])
    fit.main()
    after = orjson.loads(stored.read_bytes())["thresholds"]
    assert after["nab_standard"] > 0.0
    assert after["smd_one_false_page_a_day"] == before["smd_one_false_page_a_day"]
