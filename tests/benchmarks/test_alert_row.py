"""Row 5 on networks made up for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.scoreboard.row import Run
from benchmarks.scoreboard.rows.alerts import FITTED_ON, HARMLESS, ROW, STORED

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

Alert = tuple[float, str, str]
DAY = 86_400.0
# A usual alert every quarter of an hour; and one attack, whose second phase nothing betrays by its name.
USUAL: list[Alert] = [(quarter * 900.0, "login failed", HARMLESS) for quarter in range(97)]
ATTACK: list[Alert] = [(40_000.0, "shell", "webshell"), (40_010.0, "login failed", "cracking")]


def write(data: Path, part: str, *networks: list[Alert]) -> Run:
    folder = data / "ait_ads" / part
    folder.mkdir(parents=True)
    for number, rows in enumerate(networks):
        columns = dict(zip(("time", "name", "time_label"), zip(*rows, strict=True), strict=True))
        table = pa.table({name: list(values) for name, values in columns.items()})
        parquet.write_table(table, folder / f"{number}.parquet")
    return Run(data, part)


def figures(run: Run, stored: dict[str, float]) -> dict[str, float]:
    measured = ROW.measure(5, ROW.detect(run), stored, run.part)
    return {one.name.removeprefix("ait_ads "): one.value for one in measured}


def test_an_attack_is_known_by_what_people_said_of_two_other_networks(tmp_path: Path) -> None:
    run = write(tmp_path, FITTED_ON, *[[*ATTACK, *USUAL]] * 3)
    found = figures(run, {})
    # "login failed" is heard in an attack as well, but far more often in peace: too weak to join.
    assert found["phases found"] == 0.5
    assert found["false incidents a day"] == 0.0
    assert found["alerts compressed"] == pytest.approx(1 - 1 / (len(USUAL) + 2))


def test_a_network_teaches_nothing_about_itself_on_the_part_that_was_learned(tmp_path: Path) -> None:
    found = figures(write(tmp_path, FITTED_ON, [*ATTACK, *USUAL], USUAL), {})
    assert found["phases found"] == 0.0


def test_another_part_is_judged_by_what_was_stored_and_teaches_nothing(tmp_path: Path) -> None:
    backup: Alert = (60_000.0, "backup", HARMLESS)
    run = write(tmp_path, "C", [*ATTACK, backup, *USUAL])
    assert figures(run, {})["phases found"] == 0.0
    found = figures(run, {f"{STORED}shell": 1.0, f"{STORED}backup": 1.0, "nab_standard": 1.0})
    assert found["phases found"] == 0.5
    assert found["false incidents a day"] == pytest.approx(1.0)
    assert found["false share of incidents"] == 0.5


def test_what_is_fitted_is_what_another_part_is_judged_by(tmp_path: Path) -> None:
    fitted = ROW.fit(ROW.detect(write(tmp_path, FITTED_ON, *[[*ATTACK, *USUAL]] * 2)))
    assert fitted[f"{STORED}shell"] > 0 > fitted[f"{STORED}login failed"]
    assert figures(write(tmp_path, "C", [*ATTACK, *USUAL]), fitted)["phases found"] == 0.5
