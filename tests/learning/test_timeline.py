"""Which version was live when, whatever the order in which its records came."""

from __future__ import annotations

from itertools import permutations
from pathlib import Path

import pytest

from learning.registry import AHEAD_NANOS, Registry
from learning.timeline import Timeline
from schemas.envelope import NANOS
from schemas.model import DataRange, Held, ModelVersion

T = 1_700_000_000 * NANOS
DATA = DataRange(first_unix_nano=1, last_unix_nano=2, records=3, hash="h")


def built(at: int, value: float, kind: str = "policy-thresholds") -> ModelVersion:
    return ModelVersion.built(
        kind,
        {"policy.min_confidence": value},
        DATA,
        code_version="1",
        now_unix_nano=at,
        status="live",
        reason="better",
        figures={},
        live_figures={},
    )


def values(timeline: Timeline, *times: int) -> list[float | None]:
    live = (timeline.at(time) for time in times)
    return [one[0].parameters["policy.min_confidence"] if one else None for one in live]


def test_a_version_holds_from_a_moment_ahead_until_another_takes_its_place(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first, second = built(T, 0.85), built(T + 100 * NANOS, 0.9)
    registry.add(first)
    registry.add(second)
    timeline = Timeline(registry.versions())
    begins, replaced = T + AHEAD_NANOS, T + 100 * NANOS + AHEAD_NANOS
    assert values(timeline, begins - 1, begins, replaced - 1, replaced) == [None, 0.85, 0.85, 0.9]


def test_a_rollback_begins_a_second_span_and_the_first_stays_known(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first, second = built(T, 0.85), built(T + 100 * NANOS, 0.9)
    registry.add(first)
    registry.add(second)
    registry.rollback(registry.find(first.id), by="anna", now_unix_nano=T + 200 * NANOS)
    registry.retire("policy-thresholds", by="anna", now_unix_nano=T + 300 * NANOS)
    timeline = Timeline(registry.versions())
    assert values(timeline, *(T + s * NANOS for s in (50, 150, 250, 350))) == [0.85, 0.9, 0.85, None]
    assert len(registry.find(first.id).held) == 2


def test_the_last_word_counts_in_any_order(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    first = built(T, 0.85)
    words = [*registry.add(first), *registry.add(built(T + 100 * NANOS, 0.9))]
    words += registry.rollback(registry.find(first.id), by="anna", now_unix_nano=T + 200 * NANOS)
    times = [T + s * NANOS for s in (0, 50, 150, 250)]
    for order in permutations(words):
        assert values(Timeline(order), *times) == [None, 0.85, 0.9, 0.85]


def test_of_two_that_claim_the_same_time_the_later_begun_counts_and_kinds_stand_beside_each_other() -> None:
    old, new = built(T, 0.85), built(T + 1, 0.9)
    old = old.model_copy(update={"held": (Held(from_unix_nano=T),)})
    new = new.model_copy(update={"held": (Held(from_unix_nano=T + 1),)})
    other = built(T, 0.5, "other").model_copy(update={"held": (Held(from_unix_nano=T),)})
    live = Timeline([new, old, other]).at(T + 2)
    assert {one.id for one in live} == {new.id, other.id}


@pytest.mark.parametrize("status", ["candidate", "rejected"])
def test_what_never_was_live_never_holds(tmp_path: Path, status: str) -> None:
    registry = Registry(tmp_path)
    registry.add(built(T, 0.85).model_copy(update={"status": status}))
    assert Timeline(registry.versions()).at(T + 3600 * NANOS) == ()


def test_what_is_built_again_keeps_when_it_held(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(built(T, 0.85))
    registry.add(built(T + 50 * NANOS, 0.85))
    (one,) = registry.versions()
    assert one.held == (Held(from_unix_nano=T + AHEAD_NANOS),)
