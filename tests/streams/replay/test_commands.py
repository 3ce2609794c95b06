"""The commands as a person runs them."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from benchmarks.adversary.world import FAULT_AT, T0, at, sent
from learning.registry import POLICY_THRESHOLDS
from schemas.envelope import NANOS
from schemas.errors import ConfigurationError
from schemas.model import DataRange, Held, ModelVersion
from schemas.topics import DECISIONS, MODELS
from streams.cli import app
from streams.replay.backtest import Backtest
from streams.settings import load_settings
from tests.streams.replay.recorded import bad_rollout, kept

LABELS = f"""id,title,environment,service,started,ended,label
INC-1,bad rollout,prod,checkout,{at(FAULT_AT) // 10**9},{at(FAULT_AT + 600) // 10**9},deployment_regression
"""


@pytest.fixture(autouse=True)
def recorded(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name in [name for name in os.environ if name.startswith("REFLEXARC_")]:
        monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    kept(tmp_path / "monday", bad_rollout())
    (tmp_path / "labels.csv").write_text(LABELS)
    (tmp_path / "bold.toml").write_text('[[policy.grants]]\ntier = "autonomous"\n')


def run(*arguments: str) -> str:
    done = CliRunner().invoke(app, list(arguments), catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.stdout


def test_a_backtest_tells_figures_and_differences_and_writes_a_page() -> None:
    told = run("backtest", "monday", "--labels", "labels.csv", "--compare", "bold.toml", "--html", "page.html")
    assert "B acts on 1 incident that A left to people; none of them is known to be harmful." in told
    assert "times real time" in told
    assert Path("page.html").read_text().startswith("<!doctype html>")


def test_its_json_holds_the_figures_that_the_gate_reads() -> None:
    told = json.loads(run("backtest", "monday", "--labels", "labels.csv", "--json"))
    guarded = {"false_positive_rate": 0.0, "missed_incidents": 0.0, "harmful_proposals": 0.0}
    assert told["figures"] == {**guarded, "brier_score": pytest.approx(0.01)}
    assert told["incidents"][0]["truth"] == "INC-1"
    both = json.loads(run("backtest", "monday", "--compare", "bold.toml", "--json"))
    assert (both["a"]["would_act"], both["b"]["would_act"]) == (0, 1)


def test_a_part_of_an_archive_is_played() -> None:
    told = run("backtest", "monday", "--json", "--until", "2027-01-15T08:01:40Z")  # before the fault
    assert json.loads(told)["incidents"] == []


def test_as_it_was_each_learnt_version_holds_when_it_was_live(tmp_path: Path) -> None:
    """One that doubts everything was live during the fault, and is not any more."""

    def live(since: float, until: float) -> ModelVersion:
        return ModelVersion(
            id="sceptic",
            kind=POLICY_THRESHOLDS,
            status="retired",
            reason="another took its place",
            parameters={"policy.min_confidence": 0.99},
            data=DataRange(first_unix_nano=1, last_unix_nano=2, records=1, hash="h"),
            code_version="1",
            built_unix_nano=1,
            changed_unix_nano=at(until),
            held=(Held(from_unix_nano=at(since), until_unix_nano=at(until)),),
        )

    def verdicts(*arguments: str) -> list[str]:
        told = run("backtest", *arguments, "--compare", "bold.toml", "--json")
        return [one["verdict"] for one in json.loads(told)["b"]["incidents"]]

    kept(tmp_path / "then", [*bad_rollout(), sent(MODELS, live(0, FAULT_AT + 60), 1)])
    kept(tmp_path / "after", [*bad_rollout(), sent(MODELS, live(0, FAULT_AT - 1), 1)])
    assert verdicts("then") == ["act"]
    assert verdicts("then", "--as-it-was") == ["ask"]
    assert verdicts("after", "--as-it-was") == ["act"]
    # The registry knows as much as the topic.
    assert verdicts("monday", "--as-it-was") == ["act"]
    folder = tmp_path / "models" / POLICY_THRESHOLDS
    folder.mkdir(parents=True)
    (folder / "sceptic.json").write_text(live(0, FAULT_AT + 60).model_dump_json())
    assert verdicts("monday", "--as-it-was") == ["ask"]


def test_as_it_was_says_whether_the_policy_of_that_day_is_here(tmp_path: Path) -> None:
    made = Backtest(kept(tmp_path / "raw", bad_rollout())).play(load_settings()).made.decisions
    decided = [sent(DECISIONS, one, (one.time_unix_nano - T0) / NANOS) for one in made]
    kept(tmp_path / "with", [*bad_rollout(), *decided])
    done = CliRunner().invoke(app, ["backtest", "with", "--as-it-was"], catch_exceptions=False)
    assert "policy and playbooks as today" in done.stderr
    Path("reflexarc.toml").write_text("[policy]\nmin_confidence = 0.9\n")
    done = CliRunner().invoke(app, ["backtest", "with", "--as-it-was"], catch_exceptions=False)
    assert "which is not here" in done.stderr


def test_settings_to_try_that_are_wrong_are_named() -> None:
    Path("wrong.toml").write_text("[policy]\nmin_confidence = 7\n")
    with pytest.raises(ConfigurationError, match=r"wrong\.toml.*min_confidence"):
        run("backtest", "monday", "--compare", "wrong.toml")
