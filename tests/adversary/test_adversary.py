"""Telemetry perturbed on purpose does not make the arc do wrong: every attack, through the real kernels."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks.adversary import __main__ as command
from benchmarks.adversary import poison
from benchmarks.adversary.attacks import ATTACKS, Attack
from benchmarks.adversary.trial import curve, run

BY_NAME = {attack.name: attack for attack in ATTACKS}
# As far as each goes, but for the flood: more of the same alerts cost time and show nothing new.
FARTHEST = {attack.name: attack.levels[2 if attack.name == "alert_flood" else -1] for attack in ATTACKS}
# What must still be put right, not only found, at this level of each attack.
STILL_MENDED = {"slow_drift": 120, "faint_fault": 0.8, "duplicates_disorder": 3, "mimicry": 3, "clock": 0.05}


@pytest.mark.parametrize("attack", ATTACKS, ids=lambda attack: attack.name)
def test_nothing_wrong_is_done_and_the_fault_is_still_found(attack: Attack) -> None:
    (point,) = curve(attack, [0], [FARTHEST[attack.name]])
    assert point.sound, point
    assert point.detection_kept == 1, point


@pytest.mark.parametrize("name", STILL_MENDED)
def test_what_can_still_be_mended_is(name: str) -> None:
    assert run(BY_NAME[name], STILL_MENDED[name], fault=True, seed=0).mended


def test_unperturbed_the_fault_is_mended_once_and_calm_stays_calm() -> None:
    attack = BY_NAME["injection"]
    broken, calm = run(attack, 0, fault=True, seed=0), run(attack, 0, fault=False, seed=0)
    assert (broken.found, broken.mended, broken.false_actions, broken.held_back) == (True, True, 0, 0)
    assert (calm.found, calm.incidents, calm.false_actions) == (False, 0, 0)


def test_the_judge_sees_a_wrong_action_where_there_is_one() -> None:
    """The limit that is documented: who forges just before the true sample. A judge must not miss it."""
    assert run(BY_NAME["impersonation_timed"], 0.9, fault=False, seed=0).false_actions == 1


@pytest.mark.parametrize(
    ("name", "level"), [*(("impersonation", n) for n in (1, 2, 3)), *(("impersonation_timed", n) for n in (0.1, 0.5))]
)
def test_who_speaks_for_instances_that_there_are_has_nothing_rolled_back(name: str, level: float) -> None:
    found = run(BY_NAME[name], level, fault=False, seed=0)
    assert (found.false_actions, found.incidents) == (0, 1), "a person is asked"
    assert run(BY_NAME[name], level, fault=True, seed=0).mended, "of a true fault nobody says otherwise"


@pytest.mark.parametrize("name", ["provocation", "provocation_fresh"])
@pytest.mark.parametrize("instances", [2, 8])
def test_instances_that_are_made_up_have_nothing_rolled_back(name: str, instances: int) -> None:
    found = run(BY_NAME[name], instances, fault=False, seed=0)
    assert (found.false_actions, found.held_back, found.leaks) == (0, 1, 0), "the policy would; live state knows better"
    assert run(BY_NAME[name], instances, fault=True, seed=0).found


def test_one_forged_series_is_no_proof_against_an_unproved_rollout() -> None:
    fresh = run(BY_NAME["provocation_fresh"], 1, fault=False, seed=0)
    assert (fresh.incidents, fresh.false_actions, fresh.held_back) == (1, 0, 0), "a person is asked"


def test_hostile_records_are_refused_one_by_one_and_break_nothing() -> None:
    found = run(BY_NAME["injection"], 9, fault=False, seed=0)
    assert (found.crashes, found.leaks) == (0, 0)
    assert found.refused >= 18, "two of each kind are no records at all"


def test_one_liar_moves_nothing_and_many_little() -> None:
    found = poison.curve(0)
    assert all(one.sound for one in found)
    assert all(one.versions_live == 0 for one in found if one.attackers == 1)
    assert max(one.harm_after - one.harm_before for one in found) < 2, (
        "in a hundred incidents, by as many liars as honest"
    )
    assert max(one.versions_live for one in found) > 0, "the attack is one: without the brakes it would move more"


def test_the_command_writes_its_figures_and_curves(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    to, page = tmp_path / "adversary.json", tmp_path / "adversary.html"
    words = ["--attack", "provocation_fresh", "--seeds", "1", "--json", str(to), "--html", str(page)]
    monkeypatch.setattr("sys.argv", ["adversary", *words])
    assert command.main() == 0
    rows = {row["name"]: row for row in json.loads(to.read_text())}
    assert all(row.keys() == {"name", "value", "unit", "anchor", "goal", "met"} for row in rows.values())
    for level in BY_NAME["provocation_fresh"].levels:
        found = rows[f"provocation_fresh, {level:g} forged instances: false actions"]
        assert (found["goal"], found["met"]) == (0, found["value"] == 0)
    assert page.read_text().count("<polyline") == 3
    assert "forged instances" in page.read_text()
