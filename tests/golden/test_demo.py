"""The demo end to end, as a newcomer runs it: real services, real processes, the embedded broker."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from schemas.codec import encode
from schemas.signal import Signal
from schemas.topics import CONTROLS, DECISIONS, INCIDENTS, LEARNING, SIGNALS
from streams.course import Course
from streams.replay.archive import Archive
from streams.replay.backtest import Backtest
from streams.replay.incident import again
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
    monkeypatch.setenv("REFLEXARC_CONFIG", str(ROOT / "examples" / "demo" / "reflexarc.toml"))
    check_replay(tmp_path / "archive")


def check_replay(folder: Path) -> None:
    """Detection sees the same signals in the telemetry again, and of the signals the same comes, byte for byte.

    However loaded the machine was: what its clock brought about lies among the signals.
    """
    archive, settings = Archive(folder, Span()), load_settings()
    live = list(archive.seen())
    signals = [seen for seen in live if seen.topic is SIGNALS]
    found = {one.id: one for one in Backtest(archive).play(settings).signals}
    assert {one.record.id: one.record for one in signals if isinstance(one.record, Signal)}.items() <= found.items()
    told = [seen for seen in live if seen.topic in {CONTROLS, LEARNING}]
    made = again(signals, told, Course(settings), archive.partitions()[SIGNALS.name])
    for topic, records in ((INCIDENTS, made.incidents), (DECISIONS, made.decisions)):
        published = {encode(seen.record) for seen in live if seen.topic is topic}
        assert published
        # The demo ends while stages may still have something to say.
        assert published <= {encode(record) for record in records}


def test_without_a_fault_nothing_is_done(tmp_path: Path) -> None:
    code, output, facts = run_demo("none", tmp_path / "report.json")
    assert code == 0, output
    assert (facts["commands"], facts["outcome"]) == (0, None)
