"""Profiles: what an instance looks like as a whole while something of it fires."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import partial

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors import profile
from detectors.bank import BankSettings, SeriesBank
from detectors.profile import ProfileWatch
from schemas.envelope import NANOS
from schemas.raw import MetricBlock
from schemas.signal import Signal
from schemas.topics import RAW_METRICS
from streams.kernel.detect import DetectRules
from streams.kernel.detect_metrics import MetricDetect
from streams.kernel.detect_witnesses import MAX_PROFILE, PROFILE
from tests.streams.arc import RESOURCE, at, batch, cut, signals

RULES = DetectRules(signal_partitions=1, bank=BankSettings(lateness_nanos=NANOS // 2), max_series=2_000)
CALM, LEVEL, SPREAD = 60, 100.0, 3.0
# What each metric does in the fault, in its own spreads.
FAULT = (200.0, -200.0, 2.0, 0.0, 0.0)


def trouble(
    shape: Sequence[float] = FAULT, faults: Sequence[range] = (range(CALM, CALM + 30),), *, instances: int = 1
) -> Iterator[MetricBlock]:
    """Some instances with these metrics, calm but for the seconds of faults."""
    rng = np.random.default_rng(0)
    for second in range(1, max(fault.stop for fault in faults) + 30):
        off = np.array(shape) * SPREAD * any(second in fault for fault in faults)
        for instance in range(instances):
            values = rng.normal(LEVEL, SPREAD, len(shape)) + off
            yield MetricBlock(
                resource={**RESOURCE, "service.instance.id": f"checkout-{instance}"},
                series=[{"name": f"m{i}"} for i in range(len(values))],
                time_unix_nano=[at(second)],
                value=[[value] for value in values.tolist()],
            )


def profiles(records: Iterator[MetricBlock], rules: DetectRules = RULES) -> list[Signal]:
    told = signals(MetricDetect(rules, 3).take(RAW_METRICS, batch(RAW_METRICS, list(records))))
    return [signal for signal in told if signal.name == PROFILE]


def test_it_tells_of_every_metric_how_far_it_is_from_its_level_before() -> None:
    early, late = profiles(trouble())
    assert (late.kind, late.state, late.entity.instance) == ("metric", "noted", "checkout-0")
    assert early.subject == late.subject
    assert early.id != late.id
    assert late.time_unix_nano - early.time_unix_nano == (profile.LOOKS - profile.EARLY) * NANOS
    far = {name: float(value) for name, value in late.attributes.items()}
    assert far["m0"] == pytest.approx(np.arcsinh(200.0), abs=0.5)
    assert far["m1"] == pytest.approx(-np.arcsinh(200.0), abs=0.5)
    # It fires for nobody, but it says something.
    assert far["m2"] == pytest.approx(np.arcsinh(2.0), abs=0.7)
    assert abs(far["m3"]) < 0.7
    assert abs(far["m4"]) < 0.7
    assert late.observed == pytest.approx(np.linalg.norm(list(far.values())), abs=0.01)


def test_calm_has_none_and_fewer_than_three_metrics_have_none() -> None:
    assert profiles(trouble((0.0, 0.0, 0.0, 0.0))) == []
    assert profiles(trouble((200.0, 200.0))) == []


def test_what_is_over_soon_has_the_early_one_alone_and_what_comes_back_another() -> None:
    short = range(CALM, CALM + 5)
    assert len(profiles(trouble(faults=[short]))) == 1
    twice = profiles(trouble(faults=[short, range(CALM + 100, CALM + 130)]))
    assert len({signal.onset_unix_nano for signal in twice}) == 2


def test_it_tells_the_largest_of_many_and_of_a_bounded_number_of_instances(monkeypatch: pytest.MonkeyPatch) -> None:
    shape = (300.0, *[float(i) for i in range(MAX_PROFILE + 20)])
    late = profiles(trouble(shape))[-1]
    assert len(late.attributes) == MAX_PROFILE
    assert "m0" in late.attributes
    assert "m1" not in late.attributes
    monkeypatch.setattr(profile, "MAX_ENTITIES", 2)
    assert {signal.entity.instance for signal in profiles(trouble(instances=4))} == {"checkout-0", "checkout-1"}


def test_an_instance_of_which_no_level_is_known_is_looked_at_once_while_it_fires() -> None:
    # A zero that was always zero fires at once; the other metrics are still warming up.
    bank = SeriesBank(RULES.bank)
    bank.admit(np.arange(3), np.zeros(3, np.int8))
    bank.columns.firing[0] = True
    owner, watch = np.zeros(3, np.int64), ProfileWatch()
    look = partial(watch.look, bank=bank, owner=owner, raised=[])
    assert list(look(1, np.arange(3), np.ones(3), 0)) == []
    kept = watch.freeze()
    assert kept != ProfileWatch().freeze()
    assert list(look(2, np.arange(3), np.ones(3), 0)) == []
    assert watch.freeze() == kept
    bank.columns.firing[0] = False
    list(look(3, np.arange(3), np.ones(3), 0))
    assert watch.freeze() == ProfileWatch().freeze()


def test_rows_that_are_given_to_others_have_no_part_in_it() -> None:
    # The first instance falls silent in its trouble and is forgotten; its rows go to another, of which one metric had
    # room before.
    rules = replace(RULES, series_ttl=40 * NANOS, max_series=6)
    records = list(trouble(faults=[range(CALM, CALM + 4)]))[: CALM + 2]
    kernel = MetricDetect(rules, 3)
    kernel.take(RAW_METRICS, batch(RAW_METRICS, records))
    rng, told = np.random.default_rng(1), []
    for second in range(CALM + 200, CALM + 280):
        sample = MetricBlock(
            resource={**RESOURCE, "service.instance.id": "other"},
            series=[{"name": f"o{i}"} for i in range(6)],
            time_unix_nano=[at(second)],
            value=[[value] for value in rng.normal(LEVEL, SPREAD, 6).tolist()],
        )
        told += signals(kernel.take(RAW_METRICS, batch(RAW_METRICS, [sample])))
    assert len(kernel.table) == 6
    assert [signal for signal in told if signal.name == PROFILE] == []


@settings(max_examples=8, deadline=None)
@given(cuts=st.lists(st.integers(1, 110), max_size=8, unique=True).filter(bool))
def test_neither_batches_nor_a_restart_change_it(cuts: list[int]) -> None:
    kernel, seen = MetricDetect(RULES, 3), []
    for part in cut(RAW_METRICS, list(trouble()), cuts):
        seen += signals(kernel.take(RAW_METRICS, part))
        kernel = MetricDetect(RULES, 3, kernel.snapshot())
    assert [signal for signal in seen if signal.name == PROFILE] == profiles(trouble())
