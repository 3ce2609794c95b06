"""The benchmark of replays measures what it says, on a recording too small to say how fast anything is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from benchmarks import replay


def test_its_rows_are_those_of_all_benchmarks_and_both_formats_say_the_same(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    to = tmp_path / "replay.json"
    words = ["--series", "20", "--seconds", "60", "--rounds", "2", "--json", str(to)]
    monkeypatch.setattr("sys.argv", ["replay", *words])
    assert replay.main() == 0
    rows = {row["name"]: row for row in json.loads(to.read_text())}
    assert all(row.keys() == {"name", "value", "unit", "anchor", "goal", "met"} for row in rows.values())
    assert rows["replay: every round the same bytes"]["met"]
    for kind in ("jsonl", "parquet"):
        assert rows[f"replay from {kind}: speed"]["value"] > 0
        # 59 s of telemetry in a second would be 59 times real time; 1200 records take no longer than that.
        assert rows[f"replay from {kind}: over real time"]["value"] > 1


def test_two_recordings_that_differ_are_told_apart() -> None:
    one = replay.Played("jsonl", 10, 1.0, 1.0, 1.0, frozenset({"a"}))
    other = replay.Played("parquet", 10, 1.0, 1.0, 1.0, frozenset({"b"}))
    assert replay.measures([one, other])[0].met is False
