"""What the live path raises of the labelled sets where nothing is wrong: the bound, where it holds and where not."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

pytest.importorskip("pyarrow", reason="the sets are read with pyarrow")

from benchmarks.scoreboard import telemetry
from benchmarks.scoreboard.live import LivePartition, Tally, Telemetry, tally
from streams.kernel.detect import COARSE_DETECTOR, DETECTOR
from streams.settings import DetectSettings

DATA = Path(os.environ.get("REFLEXARC_DATA", ""))
pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not (DATA / "nezha").is_dir(), reason="set REFLEXARC_DATA to the folder of labelled sets"),
]


def raised(systems: list[Telemetry]) -> Tally:
    """Signals by each series' own past: what the setting is about."""
    found = Tally()
    for system in systems:
        signals = LivePartition().play(system).signals
        found += tally([one for one in signals if one.detector in {DETECTOR, COARSE_DETECTOR}], system)
    return found


def test_at_most_the_share_of_what_is_raised_on_nezha_is_false_and_its_quiet_hours_are_quiet() -> None:
    found = raised(list(telemetry.nezha([DATA / "nezha/A"])))
    assert found.false_share <= DetectSettings().max_false_share
    assert found.false <= 1
    assert found.found >= 12


def test_the_quiet_days_of_petshop_are_quieter_than_they_were() -> None:
    """Four days, in which 0.8 are allowed: the bound is missed (docs/detection.md), at a fifth of what it was."""
    days = [calm for calm, _ in telemetry.petshop(DATA / "petshop/common", [])]
    assert raised(days).false <= 5


def test_the_series_of_nab_without_a_window_are_quiet() -> None:
    """Sixteen days: more than eight where three are allowed is one case of a hundred."""
    assert raised([telemetry.only_calm(telemetry.nab([DATA / "nab/A"]))]).false <= 8


def test_the_series_of_ms_cloud_without_a_segment_are_quieter_than_they_were() -> None:
    """Fifty-two days, in which ten are allowed: the bound is missed (docs/detection.md), at a fifth of what it was."""
    assert raised([telemetry.only_calm(telemetry.ms_cloud([DATA / "ms_cloud/A"]))]).false <= 30
