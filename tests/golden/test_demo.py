"""The demo end to end, as a newcomer runs it: real services, real processes, the embedded broker."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.decision import Decision
from schemas.incident import Incident
from schemas.signal import Signal
from streams.replay.archive import Archive
from streams.replay.backtest import Backtest
from streams.replay.span import Span
from streams.settings import load_settings

ROOT = Path(__file__).parents[2]
# The demo takes a minute on an idle laptop; it gives up by itself before this.
LIMIT_SECONDS = 240

pytestmark = [pytest.mark.golden, pytest.mark.timeout(LIMIT_SECONDS + 30)]


def run_demo(fault: str, report: Path, archive: Path | None = None) -> tuple[int, str, dict[str, Any]]:
    kept = [] if archive is None else ["--archive", str(archive)]
    ran = subprocess.run(
        [sys.executable, "-m", "examples.demo", "--fault", fault, "--report", str(report), *kept],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=LIMIT_SECONDS,
        # A replay knows what came when, not how long a loaded machine took over it: no source is given up by the clock.
        env={**os.environ, "REFLEXARC_CORRELATE__MAX_HOLD_SECONDS": "60"},
        check=False,
    )
    facts: dict[str, Any] = json.loads(report.read_bytes()) if report.exists() else {}
    return ran.returncode, ran.stdout + ran.stderr, facts


def test_a_bad_deployment_is_rolled_back_recovery_verified_and_all_of_it_replayed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    code, output, facts = run_demo("bad-deploy", tmp_path / "report.json", tmp_path / "archive")
    assert code == 0, output
    assert list(facts["seconds_after_fault"]) == ["fault", "first signal", "detect", "decide", "act", "recover"]
    assert facts["commands"] == 1
    outcome = facts["outcome"]
    assert (outcome["result"], outcome["playbook"]) == ("verified", "rollback-deployment")
    assert (outcome["before"]["version"], outcome["after"]["version"]) == ("v2", "v1")
    assert outcome["evidence"]
    assert facts["seconds_after_fault"]["recover"] < 60
    monkeypatch.setenv("REFLEXARC_CORRELATE__MAX_HOLD_SECONDS", "60")
    monkeypatch.setenv("REFLEXARC_CONFIG", str(ROOT / "examples" / "demo" / "reflexarc.toml"))
    check_replay(tmp_path / "archive")


def check_replay(folder: Path) -> None:
    """A backtest of what was live sees the same signals, opens the same incidents and decides the same.

    When a revision is made depends, for logs that came late, on the load of the machine; what it says does not. With
    the order of arrival given, all of it is the same byte for byte: tests/integration/test_replay.py.
    """
    archive = Archive(folder, Span())
    replayed = Backtest(archive).play(load_settings())
    live = [seen.record for seen in archive.seen()]
    signals = [record for record in live if isinstance(record, Signal)]
    assert signals
    assert {one.id: one for one in signals}.items() <= {one.id: one for one in replayed.signals}.items()
    incidents = {record.id for record in live if isinstance(record, Incident)}
    assert incidents <= {incident.id for incident in replayed.made.incidents}
    acted = [said(record) for record in live if isinstance(record, Decision) and record.verdict == "act"]
    assert acted == [said(decision) for decision in replayed.made.decisions if decision.verdict == "act"]


def said(decision: Decision) -> tuple[object, ...]:
    found = (decision.incident_id, decision.tier, decision.playbook, decision.classification.label)
    return (*found, [command.id for command in decision.actions])


def test_without_a_fault_nothing_is_done(tmp_path: Path) -> None:
    code, output, facts = run_demo("none", tmp_path / "report.json")
    assert code == 0, output
    assert (facts["commands"], facts["outcome"]) == (0, None)
