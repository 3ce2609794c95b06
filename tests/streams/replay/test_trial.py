"""Candidates play the same recordings as what is live; one goes live, for figures that can be looked up."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from benchmarks.adversary.arc import Sent
from benchmarks.adversary.world import FAULT_AT, T0, at, sent
from learning.candidates import Candidate
from learning.registry import DETECTION_THRESHOLDS
from schemas.control import Control
from schemas.envelope import NANOS
from schemas.errors import PermanentError
from schemas.incident import Incident
from schemas.topics import CONTROLS, INCIDENTS
from streams.cli import app
from streams.replay.archive import Archive
from streams.replay.backtest import Backtest
from streams.replay.trial import Trial, recorded_lessons
from streams.settings import Settings, load_settings, pinned
from tests.streams.replay.recorded import bad_rollout, kept, slow_instance

HEADER = "id,title,environment,service,started,ended\n"
SLOW = f"INC-1,one instance slow,prod,checkout,{at(FAULT_AT) // NANOS},{at(FAULT_AT + 25) // NANOS}\n"


@pytest.fixture(autouse=True)
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("REFLEXARC_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    Path("happened.csv").write_text(HEADER + SLOW)
    Path("nothing-happened.csv").write_text(HEADER)


def learn(*words: str) -> dict[str, Any]:
    done = CliRunner().invoke(app, ["learn", "--dry-run", "--json", *words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def by_value(found: dict[str, Any]) -> dict[str, str]:
    tried = {json.dumps(one["parameters"]): one["status"] for one in found["tried"]}
    assert len(tried) == len(found["tried"])
    return tried


def test_what_finds_a_missed_incident_goes_live(tmp_path: Path) -> None:
    kept(tmp_path / "missed", slow_instance(FAULT_AT, FAULT_AT + 25))
    kept(tmp_path / "quiet", slow_instance(0, 0))
    found = learn("--archive", "missed", "--archive", "quiet", "--labels", "happened.csv")
    live = found["model"]
    assert live["parameters"] == {"correlate.lone_wait_seconds": 20.0}
    # Both recordings are of the same time here: what happened counts in both, and was there to be found in one.
    assert live["reason"] == "better: missed_incidents 1 -> 0.5; none worse"
    assert (live["live_figures"]["missed_incidents"], live["figures"]["recordings"]) == (1.0, 2.0)
    assert live["data"]["first_unix_nano"] <= at(1)
    assert {status for _, status in by_value(found).items()} == {"live", "rejected"}
    assert by_value(found)['{"correlate.lone_wait_seconds": 45.0}'] == "rejected"


def test_what_spares_a_quiet_period_its_false_incident_goes_live(tmp_path: Path) -> None:
    kept(tmp_path / "blip", slow_instance(FAULT_AT, FAULT_AT + 35))
    found = learn("--archive", "blip", "--labels", "nothing-happened.csv")
    assert found["model"]["parameters"] == {"correlate.lone_wait_seconds": 45.0}
    assert "false_positive_rate 1 -> 0" in found["model"]["reason"]


def test_where_nothing_can_be_better_all_are_kept_with_the_reason(tmp_path: Path) -> None:
    kept(tmp_path / "found", bad_rollout())
    done = CliRunner().invoke(app, ["learn", "--dry-run", "--json", "--archive", "found"], catch_exceptions=False)
    found = json.loads(done.stdout)
    assert found["model"] is None
    assert {one["reason"] for one in found["tried"]} == {"no guarded figure is better"}
    assert "nobody said what really happened" in done.stderr


def test_what_people_have_set_or_rolled_back_is_not_tried(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLEXARC_CORRELATE__LONE_WAIT_SECONDS", "30")
    assert pinned() == {"correlate.lone_wait_seconds"}
    kept(tmp_path / "missed", slow_instance(FAULT_AT, FAULT_AT + 25))
    assert not [one for one in by_value(learn("--archive", "missed")) if "lone_wait" in one]


def test_a_live_model_of_detection_holds_where_nobody_says_else(monkeypatch: pytest.MonkeyPatch) -> None:
    model = {
        "id": "1",
        "kind": DETECTION_THRESHOLDS,
        "status": "live",
        "reason": "",
        "parameters": {"correlate.lone_wait_seconds": 20.0, "detect.window": 16},
        "data": {"first_unix_nano": 1, "last_unix_nano": 2, "records": 1, "hash": ""},
        "code_version": "1",
        "built_unix_nano": 1,
        "changed_unix_nano": 1,
    }
    Path("models/detection-thresholds").mkdir(parents=True)
    Path("models/detection-thresholds/live.json").write_text(json.dumps(model))
    shipped = Settings.model_fields["detect"].default
    assert load_settings().correlate.lone_wait_seconds == 20.0
    assert load_settings().detect == shipped, "a model may not set that"
    monkeypatch.setenv("REFLEXARC_CORRELATE__LONE_WAIT_SECONDS", "31")
    assert load_settings().correlate.lone_wait_seconds == 31


def test_detection_is_played_once_for_all_candidates_that_share_it(tmp_path: Path) -> None:
    recording, moved = kept(tmp_path / "found", bad_rollout()), list[int]()
    trial = Trial([Backtest(recording, moved=moved.append)], None, {})
    steps = [Candidate(DETECTION_THRESHOLDS, {"correlate.lone_wait_seconds": float(wait)}) for wait in (20, 45)]
    live, tried = trial.judge(Settings(), steps)
    assert [one.figures for one in tried] == [live, live]
    assert sum(moved) == recording.raw_records


def test_labels_without_recordings_are_refused() -> None:
    with pytest.raises(PermanentError, match="name them by --archive"):
        learn("--labels", "happened.csv")


def test_what_people_said_last_of_a_recorded_incident_is_its_lesson(tmp_path: Path) -> None:
    (revision, *_) = Backtest(kept(tmp_path / "raw", bad_rollout())).play(Settings()).made.incidents

    def said(second: float, **about: Any) -> Sent:
        made = Control(
            id=f"f{second}",
            kind="feedback",
            by="ada",
            time_unix_nano=T0 + int(second * NANOS),
            incident_id=revision.id,
            **about,
        )
        return sent(CONTROLS, made, second)

    told = [said(200, verdict="true_positive"), said(220, verdict="false_positive"), said(210, label="traffic_surge")]
    archive: Archive = kept(tmp_path / "told", [sent(INCIDENTS, Incident.model_validate(revision), 150), *told])
    (found,) = recorded_lessons([archive])
    assert (found.verdict, found.incident_id) == ("false_positive", revision.id)
