"""Row 5 on a network made up for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scoreboard.row import Run
from benchmarks.scoreboard.rows.alerts import DAY_SECONDS, HARMLESS, ROW

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")


def figures(data: Path, rows: list[tuple[float, str, str, str]]) -> dict[str, float]:
    folder = data / "ait_ads" / "A"
    folder.mkdir(parents=True)
    columns = dict(zip(("time", "name", "host", "time_label"), zip(*rows, strict=True), strict=True))
    parquet.write_table(pa.table({name: list(values) for name, values in columns.items()}), folder / "x.parquet")
    found = ROW.detect(Run(data, "A"))
    return {one.name.removeprefix("ait_ads "): one.value for one in ROW.measure(5, found, {}, "A")}


def a_day_of(*more: tuple[float, str, str, str]) -> list[tuple[float, str, str, str]]:
    """A usual alert every 100 seconds, with more among them, not in the order of time."""
    return [*more, *((at * 100.0, "login failed", "web", HARMLESS) for at in range(int(DAY_SECONDS // 100) + 1))]


def test_a_new_name_in_a_phase_finds_it_and_a_known_one_does_not(tmp_path: Path) -> None:
    found = figures(
        tmp_path, a_day_of((40_000, "shell", "web", "webshell"), (50_000, "login failed", "web", "cracking"))
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
    found = figures(tmp_path, a_day_of(later, first, second))
    assert found["false incidents a day"] == 1.0
    assert found["false share of incidents"] == 0.5
    assert found["alerts compressed"] == pytest.approx(1 - 2 / (DAY_SECONDS // 100 + 4))
