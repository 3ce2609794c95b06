"""What entities, peers and objectives have to say about raw metrics, as signals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.bank import BankSettings
from detectors.objectives import Objective
from detectors.witnesses import WitnessSettings
from schemas.envelope import NANOS
from schemas.raw import MetricBlock, MetricSample
from schemas.signal import Signal
from schemas.topics import RAW_METRICS
from streams.kernel.detect import DetectRules
from streams.kernel.detect_metrics import MetricDetect
from streams.kernel.detect_witnesses import ENTITY
from tests.streams.arc import RESOURCE, at, batch, cut, signals

INSTANCES = 6
METRICS = 5
OBJECTIVE = Objective("m0", "demo/*", above=300.0)
RULES = DetectRules(
    signal_partitions=1,
    bank=BankSettings(lateness_nanos=NANOS // 2),
    witnesses=WitnessSettings(objectives=(OBJECTIVE,)),
)


def block(seconds: float, instance: int, values: Sequence[float]) -> MetricBlock:
    return MetricBlock(
        resource={**RESOURCE, "service.instance.id": f"checkout-{instance}"},
        series=[{"name": f"m{i}", "unit": "s", "attributes": {"route": "/pay"}} for i in range(len(values))],
        time_unix_nano=[at(seconds)],
        value=[[value] for value in values],
    )


def fleet(seconds: int = 140, fault: range = range(120, 130), hit: Sequence[int] = (2,)) -> list[MetricBlock]:
    """Six instances of five metrics; some metrics of some instances depart for a while."""
    rng = np.random.default_rng(0)
    records = []
    for second in range(1, seconds):
        for instance in range(INSTANCES):
            values = rng.normal(100.0, 3.0, METRICS)
            values[:3] += 400.0 * (second in fault and instance in hit)
            records.append(block(second + 0.05 * instance, instance, values.tolist()))
    return records


def found(records: Sequence[MetricBlock | MetricSample], rules: DetectRules = RULES) -> list[Signal]:
    return signals(MetricDetect(rules, 3).take(RAW_METRICS, batch(RAW_METRICS, records)))


def by(detector: str, told: Sequence[Signal]) -> list[Signal]:
    return [signal for signal in told if signal.detector == detector]


@pytest.fixture(scope="module")
def told() -> list[Signal]:
    return found(fleet())


def test_an_entity_says_by_which_metrics_it_is_unlike_itself(told: list[Signal]) -> None:
    fired, cleared = by("entity", told)
    assert (fired.state, cleared.state) == ("firing", "cleared")
    assert (fired.name, fired.entity.instance, fired.support) == (ENTITY, "checkout-2", "own history")
    assert fired.subject == cleared.subject
    assert all(f"m{i}{{route=/pay}}" in fired.reasons[1].rsplit(", m3", 1)[0] for i in range(3))
    assert fired.p_value is not None
    assert fired.p_value < 1e-5
    assert fired.onset_unix_nano == at(120.1)


def test_an_instance_unlike_its_siblings_is_told_from_them_metric_by_metric(told: list[Signal]) -> None:
    fired = [signal for signal in by("peers", told) if signal.state == "firing"]
    assert {(signal.name, signal.entity.instance) for signal in fired} == {(f"m{i}", "checkout-2") for i in range(3)}
    assert all(signal.support == "peers" and "5 peers" in signal.reasons[0] for signal in fired)
    own = {signal.subject for signal in by("robust-cusum", told)}
    assert not own & {signal.subject for signal in fired}


def test_a_broken_objective_is_told_whatever_is_usual(told: list[Signal]) -> None:
    fired, cleared = by("objective", told)
    assert (fired.name, fired.support, fired.expected, fired.p_value) == ("m0", "objective", 300.0, None)
    assert "above the objective of 300 s" in fired.reasons[0]
    assert cleared.state == "cleared"


def test_what_all_siblings_share_is_of_no_instance() -> None:
    shared = found(fleet(hit=range(INSTANCES)))
    assert not by("peers", shared)
    assert len({s.entity.instance for s in by("robust-cusum", shared)}) == INSTANCES


def test_a_calm_fleet_is_left_alone() -> None:
    assert [s for s in found(fleet(300, hit=())) if s.detector in {"entity", "peers", "objective"}] == []


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 800), max_size=8, unique=True).filter(bool))
def test_neither_batches_nor_a_restart_change_a_signal(told: list[Signal], cuts: list[int]) -> None:
    kernel, seen = MetricDetect(RULES, 3), []
    for part in cut(RAW_METRICS, fleet(), cuts):
        seen += signals(kernel.take(RAW_METRICS, part))
        kernel = MetricDetect(RULES, 3, kernel.snapshot())
    assert seen == told


def test_what_fired_when_it_fell_silent_is_told_of_once_more() -> None:
    rules = replace(RULES, series_ttl=60 * NANOS)
    kernel = MetricDetect(rules, 3)
    kernel.take(RAW_METRICS, batch(RAW_METRICS, fleet(125)))
    other = [MetricSample(name="other", time_unix_nano=at(t), value=1.0, resource=RESOURCE) for t in (150, 250, 260)]
    gone = [s for s in signals(kernel.take(RAW_METRICS, batch(RAW_METRICS, other, first=10_000))) if s.name != "other"]
    assert {s.detector for s in gone if s.state == "adapted"} == {"robust-cusum", "entity", "peers", "objective"}
    assert all("forgotten" in s.reasons[0] for s in gone if s.state == "adapted")


def test_rows_given_to_others_know_nothing_of_the_former() -> None:
    rules = replace(RULES, series_ttl=60 * NANOS)
    kernel = MetricDetect(rules, 3)
    kernel.take(RAW_METRICS, batch(RAW_METRICS, fleet(100, hit=())))
    later = [
        record.model_copy(
            update={
                "time_unix_nano": (record.time_unix_nano[0] + 200 * NANOS,),
                "resource": {**record.resource, "service.name": "other"},
            }
        )
        for record in fleet(40, hit=())
    ]
    assert signals(kernel.take(RAW_METRICS, batch(RAW_METRICS, later, first=10_000))) == []
    assert MetricDetect(rules, 3, kernel.snapshot()).snapshot() == kernel.snapshot()


def test_what_there_is_no_room_for_is_judged_alone() -> None:
    narrow = replace(RULES, witnesses=WitnessSettings(max_entities=2))
    told = found(fleet(), narrow)
    assert not by("entity", told)
    assert by("robust-cusum", told)
