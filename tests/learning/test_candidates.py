"""Steps that may be tried: small, within bounds, one threshold at a time, none that people have set."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.candidates import DETECTION, DOUBTED, Candidate, candidates
from learning.registry import DETECTION_THRESHOLDS, POLICY_THRESHOLDS
from learning.thresholds import CONFIDENCE, HIGHEST, STEP
from streams.settings import LEARNT, Settings, value_of, with_learnt

SHIPPED = {name: value_of(Settings(), name) for names in LEARNT.values() for name in names}
VALUES = st.fixed_dictionaries({name: st.floats(0.01, 1000) for name in DETECTION} | {CONFIDENCE: st.floats(0, 1)})


@given(VALUES)
def test_no_step_is_wider_than_its_reach_and_none_leads_out_of_bounds(now: dict[str, float]) -> None:
    for kind, parameters in candidates(now, {}, ()):
        ((name, value),) = parameters.items()
        assert name in LEARNT[kind]
        if name == CONFIDENCE:
            assert now[name] < value <= min(now[name] + STEP + 1e-4, HIGHEST)
            continue
        reach = DETECTION[name]
        nearer = abs(value - now[name]) > 0
        assert nearer
        if reach.lowest <= now[name] <= reach.highest:
            assert reach.lowest <= value <= reach.highest
            assert now[name] / reach.factor - 1e-4 <= value <= now[name] * reach.factor + 1e-4


def test_each_threshold_is_stepped_alone_and_keeps_what_its_kind_has_learnt() -> None:
    learnt = {DETECTION_THRESHOLDS: {"detect.max_false_share": 0.5}}
    now = SHIPPED | {"detect.max_false_share": 0.5}
    found = list(candidates(now, learnt, ()))
    waits = [one.parameters for one in found if "correlate.lone_wait_seconds" in one.parameters]
    assert waits == [
        {"detect.max_false_share": 0.5, "correlate.lone_wait_seconds": 20.0},
        {"detect.max_false_share": 0.5, "correlate.lone_wait_seconds": 45.0},
    ]
    assert Candidate(POLICY_THRESHOLDS, {CONFIDENCE: 0.85}) in found


def test_what_people_have_set_is_not_tried() -> None:
    assert list(candidates(SHIPPED, {}, SHIPPED)) == []


@pytest.mark.parametrize("kind", LEARNT)
def test_a_model_sets_what_its_kind_may_and_nothing_else(kind: str) -> None:
    everything = {"detect.window": 16, "policy.grants": (), "correlate.lone_wait_seconds": 12.0, CONFIDENCE: 0.9}
    made = with_learnt(Settings(), kind, everything)
    changed = {name for name in everything if value_of(made, name) != value_of(Settings(), name)}
    allowed = {POLICY_THRESHOLDS: {CONFIDENCE}, DETECTION_THRESHOLDS: {"correlate.lone_wait_seconds"}}
    assert changed == allowed.get(kind, set())


def test_what_mostly_raises_false_alarms_is_to_be_doubted_and_no_longer_when_it_does_not() -> None:
    asked = Candidate(DETECTION_THRESHOLDS, {DOUBTED: ["prod/checkout:x"]})
    assert next(candidates(SHIPPED, {}, (), ("prod/checkout:x",))) == asked
    doubting = SHIPPED | {DOUBTED: ("prod/checkout:x",)}
    assert asked not in list(candidates(doubting, {}, (), ("prod/checkout:x",)))
    assert next(candidates(doubting, {}, ())) == Candidate(DETECTION_THRESHOLDS, {DOUBTED: []})
