"""Row 5 on networks made up for it."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.alert_feedback import curve
from benchmarks.scoreboard.alert_networks import HARMLESS, Outcome, total
from benchmarks.scoreboard.row import Run
from benchmarks.scoreboard.rows.alerts import FITTED_ON, PAGES, PRIOR, ROW, STORED

pa = pytest.importorskip("pyarrow")
parquet = pytest.importorskip("pyarrow.parquet")

Alert = tuple[float, str, str, str]
DAY = 86_400.0
# A usual alert every quarter of an hour for three days; and one attack, whose second phase nothing betrays.
USUAL: list[Alert] = [(quarter * 900.0, "login failed", "web", HARMLESS) for quarter in range(3 * 96)]
AT = 2 * DAY + 40_000.0
ATTACK: list[Alert] = [
    (AT, "shell", "web", "webshell"),
    (AT + 10, "root", "web", "webshell"),
    (AT + 20, "login failed", "web", "cracking"),
]


def write(data: Path, part: str, *networks: list[Alert]) -> Run:
    folder = data / "ait_ads" / part
    folder.mkdir(parents=True)
    for number, rows in enumerate(networks):
        columns = dict(zip(("time", "name", "host", "time_label"), zip(*rows, strict=True), strict=True))
        table = pa.table({name: list(values) for name, values in columns.items()})
        parquet.write_table(table, folder / f"{number}.parquet")
    return Run(data, part)


def figures(run: Run, stored: dict[str, float]) -> dict[str, float]:
    measured = ROW.measure(5, ROW.detect(run), {PAGES: 99.0} | stored, run.part)
    return {one.name.removeprefix("ait_ads "): one.value for one in measured}


def test_an_attack_is_known_by_what_people_said_of_two_other_networks(tmp_path: Path) -> None:
    run = write(tmp_path, FITTED_ON, *[[*ATTACK, *USUAL]] * 3)
    found = figures(run, {})
    # "login failed" is heard in an attack as well, but far more often in peace: too weak to join.
    assert found["phases found"] == 0.5
    assert found["false incidents a day"] == 0.0
    assert found["time open on days without attack"] == 0.0
    assert found["phases with a telling alert, lost"] == 0.0
    assert found["alerts compressed"] == pytest.approx(1 - 1 / (len(USUAL) + 3))


def test_a_network_teaches_nothing_about_itself_on_the_part_that_was_learned(tmp_path: Path) -> None:
    found = figures(write(tmp_path, FITTED_ON, [*ATTACK, *USUAL], USUAL), {})
    assert found["phases found"] == 0.0


def test_another_part_is_judged_by_what_was_stored_and_teaches_nothing(tmp_path: Path) -> None:
    backup: Alert = (DAY, "backup", "db", HARMLESS)
    run = write(tmp_path, "C", [*ATTACK, backup, *USUAL])
    assert figures(run, {PRIOR: -1.0})["phases found"] == 0.0
    stored = {PRIOR: -1.0, f"{STORED}shell (new)": 3.0, f"{STORED}backup (new)": 4.0, "nab_standard": 1.0, PAGES: 2.5}
    found = figures(run, stored)
    assert found["phases found"] == 0.5
    assert found["false incidents a day"] == pytest.approx(1 / 3, rel=0.01)
    assert found["false share of incidents"] == 0.5
    # The backup has three decades of evidence, and the shell two: only the false one pages.
    assert (found["false share of pages"], found["phases in what pages"]) == (1.0, 0.0)
    # Four decades over a prior of one against last for two half-lives of twenty minutes, of two days without attack.
    assert found["time open on days without attack"] == pytest.approx(40 / (2 * 24 * 60), rel=0.01)


def test_what_is_fitted_is_what_another_part_is_judged_by(tmp_path: Path) -> None:
    fitted = ROW.fit(ROW.detect(write(tmp_path, FITTED_ON, *[[*ATTACK, *USUAL]] * 2)))
    assert fitted[f"{STORED}shell (new)"] > 0 > fitted[f"{STORED}login failed"]
    assert figures(write(tmp_path, "C", [*ATTACK, *USUAL]), fitted)["phases found"] == 0.5


def test_the_curve_of_labels_judges_every_choice_of_networks(tmp_path: Path) -> None:
    networks = ROW.detect(write(tmp_path, FITTED_ON, *[[*ATTACK, *USUAL]] * 3))
    found = list(curve(networks))
    assert [(known, told) for known, told, _ in found] == [(0, 0.0), (1, 2.0), (2, 4.0)]
    # Without labels two news within seconds are not yet rare enough after two days; with a network's they are known.
    assert [outcome.share_found for *_, outcome in found] == [0.0, 0.5, 0.5]


def test_a_phase_of_two_networks_counts_twice() -> None:
    assert total([Outcome(1, 1.0, 2, 0, 1, 0, [])] * 2).phases == 4
