"""Row 5 on a network made up for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scoreboard.row import Run
from benchmarks.scoreboard.rows.alerts import DAY_SECONDS, HARMLESS, LEARNING_SECONDS, ROW

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

USUAL = int((LEARNING_SECONDS + DAY_SECONDS) // 100) + 1


def figures(data: Path, rows: list[tuple[float, str, str, str]]) -> dict[str, float]:
    folder = data / "ait_ads" / "A"
    folder.mkdir(parents=True)
    columns = dict(zip(("time", "name", "host", "time_label"), zip(*rows, strict=True), strict=True))
    parquet.write_table(pa.table({name: list(values) for name, values in columns.items()}), folder / "x.parquet")
    found = ROW.detect(Run(data, "A"))
    return {one.name.removeprefix("ait_ads "): one.value for one in ROW.measure(5, found, {}, "A")}


def a_judged_day_of(*more: tuple[float, str, str, str]) -> list[tuple[float, str, str, str]]:
    """A usual alert every 100 seconds while learning and for a day after, with more, not in the order of time."""
    return [*more, *((at * 100.0 - LEARNING_SECONDS, "login failed", "web", HARMLESS) for at in range(USUAL))]


def test_a_new_name_in_a_phase_finds_it_and_a_known_one_does_not(tmp_path: Path) -> None:
    found = figures(
        tmp_path, a_judged_day_of((40_000, "shell", "web", "webshell"), (50_000, "login failed", "web", "cracking"))
    )
    assert found["phases found"] == 0.5
    assert found["false incidents a day"] == 0.0
    assert found["false share of incidents"] == 0.0


def test_a_new_name_in_peace_is_a_false_incident_and_its_companions_within_the_hour_are_none(tmp_path: Path) -> None:
    first, second, later = (
        (40_000.0, "backup", "web", HARMLESS),
        (43_000.0, "mount", "web", HARMLESS),
        (60_000.0, "shell", "web", "webshell"),
    )
    found = figures(tmp_path, a_judged_day_of(later, first, second))
    assert found["false incidents a day"] == 1.0
    assert found["false share of incidents"] == 0.5
    assert found["alerts compressed"] == pytest.approx(1 - 2 / (USUAL + 3))


def test_what_is_new_while_learning_is_no_incident_and_a_phase_in_it_is_missed(tmp_path: Path) -> None:
    early, late = (-40_000.0, "shell", "web", "webshell"), (40_000.0, "backup", "web", HARMLESS)
    found = figures(tmp_path, a_judged_day_of(early, late))
    assert found["phases found"] == 0.0
    assert found["false incidents a day"] == 1.0
