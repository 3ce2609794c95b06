"""A second voice on a series is heard, whenever it speaks; what is ordinary is not taken for one."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.bank import BankSettings, Change, SeriesBank, Verdict
from detectors.bank_columns import Kind
from detectors.bank_state import freeze, thaw

S = 1_000_000_000
T0 = 1_700_000_000 * S
ONSET, END = 60, 75
SETTINGS = BankSettings()
Sample = tuple[float, float]  # second, value
VALUES = np.random.default_rng(7).normal(100.0, 5.0, 400)


def own(bad: float = 0.0, pace: float = 1.0, at: Callable[[int], float] = lambda _: 0.0) -> list[Sample]:
    """What its own producer reports: `bad` is how far the fault takes it."""
    return [(pace * i + at(i), VALUES[i] + (bad if i >= ONSET else 0.0)) for i in range(END)]


def forged(phase: float, pace: float = 1.0, bad: float = 400.0, since: int = ONSET) -> list[Sample]:
    calm = [(pace * (i + phase), VALUES[200 + i]) for i in range(since, ONSET)]
    return calm + [(pace * (i + phase), VALUES[200 + i] + bad) for i in range(ONSET, END)]


def play(samples: Iterable[Sample], kind: Kind = Kind.GAUGE, cuts: Iterable[int] = ()) -> list[Verdict]:
    """Fold samples by time, in batches that end at `cuts`; between them the bank comes to rest and goes on."""
    ordered = sorted(samples)
    time = np.array([T0 + round(second * S) for second, _ in ordered])
    value = np.array([value for _, value in ordered])
    bank = SeriesBank(SETTINGS)
    bank.admit(np.zeros(1, np.int64), np.full(1, kind, np.int8))
    found: list[Verdict] = []
    for start, stop in pairwise(sorted({0, len(ordered), *(cut % len(ordered) for cut in cuts)})):
        found += bank.fold(np.zeros(stop - start, np.int64), time[start:stop], value[start:stop])
        bank = thaw(freeze(bank), SETTINGS)
    return found + list(bank.flush())


def said(found: list[Verdict]) -> list[bool]:
    """Whether it was contested, each time that it was said to fire."""
    return [one.contested for one in found if one.change is Change.FIRING]


@pytest.mark.parametrize("pace", [1.0, 2.0, 10.0, 60.0])
@pytest.mark.parametrize("phase", [0.05, 0.3, 0.5])
def test_who_speaks_soon_after_the_true_sample_is_contested_at_once(phase: float, pace: float) -> None:
    assert said(play([*own(pace=pace), *forged(phase, pace)])) == [True]


@pytest.mark.parametrize("pace", [1.0, 2.0, 10.0, 60.0])
@pytest.mark.parametrize("phase", [0.7, 0.95])
def test_who_speaks_before_the_true_sample_is_contested_by_it(phase: float, pace: float) -> None:
    found = play([*own(pace=pace), *forged(phase, pace)])
    assert said(found)[:2] == [False, True]
    first, again = [one for one in found if one.change is Change.FIRING][:2]
    assert again.time_unix_nano - first.time_unix_nano <= (pace + 2) * S
    assert again.onset_unix_nano == first.onset_unix_nano


@pytest.mark.parametrize("bad", [25.0, 60.0])
def test_a_small_lie_that_adds_up_is_contested_too(bad: float) -> None:
    assert any(said(play([*own(), *forged(0.4, bad=2 * bad)])))


def test_a_few_calm_samples_before_do_not_make_it_a_second_producer() -> None:
    assert said(play([*own(), *forged(0.3, since=ONSET - 5)])) == [True]


def test_who_covers_up_a_fault_with_calm_samples_leaves_it_to_a_person() -> None:
    assert any(said(play([*own(400.0), *forged(0.3, bad=0.0)])))


@pytest.mark.parametrize("bad", [30.0, 400.0])
@pytest.mark.parametrize("pace", [1.0, 2.0, 10.0])
@pytest.mark.parametrize("seed", range(5))
def test_a_fault_is_not_contested_by_a_scraper_that_is_not_quite_on_time(bad: float, pace: float, seed: int) -> None:
    late = np.random.default_rng(seed).uniform(0, 0.2 * pace, END)
    assert said(play(own(bad, pace, lambda i: late[i]))) == [False]


@pytest.mark.parametrize("copies", [2, 3])
@pytest.mark.parametrize("pace", [1.0, 10.0])
@pytest.mark.parametrize("since", [0, ONSET - 2, ONSET])
def test_what_is_sent_again_is_no_second_voice(copies: int, pace: float, since: int) -> None:
    samples = own(400.0, pace)
    again = [one for one in samples if one[0] >= since * pace]
    assert said(play([*samples, *again * (copies - 1)])) == [False]


@pytest.mark.parametrize("offset", [0.02, 0.1, 0.3, 0.5, 0.8])
@pytest.mark.parametrize("pace", [1.0, 10.0])
@pytest.mark.parametrize("onset", [0.0, 0.25, 0.9])
def test_two_scrapers_of_one_target_agree(offset: float, pace: float, onset: float) -> None:
    """Both read the same counter of the same process: the second sees the fault when the first has."""
    times = [pace * (i + at) for i in range(END) for at in (0.0, offset)]
    fault = pace * (ONSET + onset)
    samples = [(at, VALUES[int(at / pace)] + (400.0 if at >= fault else 0.0)) for at in times]
    assert said(play(samples)) == [False]


def test_a_series_without_a_pace_is_not_held_to_one() -> None:
    gaps = np.random.default_rng(3).exponential(1.0, 300)
    at = np.cumsum(gaps)
    samples = [(float(at[i]), VALUES[i] + (400.0 if i >= 250 else 0.0)) for i in range(300)]
    assert not any(said(play(samples)))


def test_a_restarted_scraper_alone_is_no_second_voice() -> None:
    moved = own(0.0, 10.0, lambda i: 3.0 if i >= ONSET - 3 else 0.0)
    assert said(play(own(400.0, 10.0, lambda i: -7.0 if i >= ONSET - 3 else 0.0))) == [False]
    assert said(play(moved)) == []


def counted(samples: Iterable[Sample], begin: float = 0.0) -> list[Sample]:
    total, found = begin, []
    for second, value in sorted(samples):
        total += value
        found.append((second, total))
    return found


def test_a_counter_with_two_producers_is_contested_and_one_that_is_reset_is_not() -> None:
    assert any(said(play([*counted(own()), *counted(forged(0.3), 1e6)], Kind.COUNTER)))
    honest = counted(own(400.0))
    reset = [
        (second, total - (honest[ONSET - 5][1] if i >= ONSET - 5 else 0.0)) for i, (second, total) in enumerate(honest)
    ]
    assert said(play(honest, Kind.COUNTER)) == said(play(reset, Kind.COUNTER)) == [False]


@settings(max_examples=30, deadline=None)
@given(phase=st.floats(0.05, 0.95), cuts=st.lists(st.integers(0, 10_000), max_size=6))
def test_how_records_were_cut_into_batches_makes_no_difference(phase: float, cuts: list[int]) -> None:
    samples = [*own(), *forged(phase)]
    assert play(samples, cuts=cuts) == play(samples)
