"""Causes that people teach by feedback, named by the live kernels, on made runs in the format of DBSherlock."""

from __future__ import annotations

from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="reads parquet with pyarrow")

from benchmarks.taught import UNKNOWN, Recorded, main, named, recorded, taught
from schemas.control import Control
from tests.benchmarks.test_dbsherlock_row import write_part


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[Recorded]:
    folder = tmp_path_factory.mktemp("data") / "dbsherlock" / "A"
    write_part(folder, 0)
    return list(recorded([folder]))


def lessons(runs: list[Recorded], without: Recorded | str) -> list[Control]:
    kept = [run for run in runs if run is not without and run.cause != without]
    return [lesson for run in kept if (lesson := taught(run)) is not None]


def test_feedback_on_one_run_names_the_next_of_its_kind(runs: list[Recorded]) -> None:
    for run in runs:
        found = named(run, lessons(runs, run))
        assert (found.first, found.last) == (run.cause, run.cause)
        assert found.seconds is not None
        assert found.seconds >= 0


def test_without_feedback_or_with_that_on_other_causes_nothing_is_named(runs: list[Recorded]) -> None:
    assert {named(run, []).last for run in runs} == {UNKNOWN}
    assert {named(run, lessons(runs, run.cause)).last for run in runs} == {UNKNOWN}


def test_each_lesson_is_about_an_incident_of_its_own(runs: list[Recorded]) -> None:
    told = lessons(runs, "none")
    assert len({lesson.example.incident_id for lesson in told if lesson.example}) == len(runs)


def test_the_command_prints_shares(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_part(tmp_path / "dbsherlock" / "A", 0)
    assert main(["--data", str(tmp_path)]) == 0
    assert "right at the end" in capsys.readouterr().out
