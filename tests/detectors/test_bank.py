from collections.abc import Iterable

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.bank import BankSettings, Change, SeriesBank, Verdict
from detectors.bank_columns import Kind
from detectors.bank_state import freeze, thaw

S = 1_000_000_000
T0 = 1_700_000_000 * S


def bank(n: int = 1, kind: Kind = Kind.GAUGE, **changes: float) -> SeriesBank:
    made = SeriesBank(BankSettings(**{"lateness_nanos": 0, **changes}))  # type: ignore[arg-type]  # test shorthand
    made.admit(np.arange(n), np.full(n, kind, np.int8))
    return made


def feed(to: SeriesBank, ticks: Iterable[int], values: Iterable[float], row: int = 0) -> list[Verdict]:
    found: list[Verdict] = []
    for tick, value in zip(ticks, values, strict=True):
        found += to.fold(np.array([row]), np.array([T0 + tick * S]), np.array([float(value)]))
    return found


def calm(n: int, seed: int = 0) -> list[float]:
    return [float(v) for v in np.random.default_rng(seed).normal(100.0, 5.0, n)]


def test_a_calm_series_says_nothing() -> None:
    assert feed(bank(), range(2000), calm(2000)) == []


def test_a_level_shift_fires_within_seconds_and_clears_when_it_is_over() -> None:
    b = bank()
    feed(b, range(60), calm(60))
    during = feed(b, range(60, 75), [v + 80 for v in calm(15, seed=1)])
    after = feed(b, range(75, 90), calm(15, seed=2))
    assert [v.change for v in during] == [Change.FIRING]
    assert during[0].time_unix_nano <= T0 + 66 * S
    assert during[0].onset_unix_nano == T0 + 60 * S
    assert during[0].expected == pytest.approx(100, abs=3)
    assert [v.change for v in after] == [Change.CLEARED]
    assert after[0].time_unix_nano <= T0 + 81 * S


def test_one_overwhelming_sample_fires_at_once_without_waiting_for_its_tick() -> None:
    b = bank()
    feed(b, range(60), calm(60))
    found = feed(b, [60], [1e6])
    assert [(v.change, v.time_unix_nano) for v in found] == [(Change.FIRING, T0 + 60 * S)]


def test_nothing_is_judged_before_the_warm_up() -> None:
    assert feed(bank(), range(16), [*calm(10), 1e6, 1e6, 1e6, 1e6, 1e6, 1e6]) == []


def test_a_fault_does_not_become_the_normal_but_a_lasting_level_is_adopted_and_called_that() -> None:
    b = bank(adapt_ticks=200)
    feed(b, range(60), calm(60))
    found = feed(b, range(60, 400), [v + 80 for v in calm(340, seed=3)])
    assert [v.change for v in found] == [Change.FIRING, Change.ADAPTED]
    assert found[1].time_unix_nano - found[0].time_unix_nano >= 199 * S


def test_silence_never_clears() -> None:
    b = bank()
    feed(b, range(60), calm(60))
    feed(b, range(60, 75), [200.0] * 15)
    b.admit(np.array([1]), np.array([Kind.GAUGE], np.int8))
    assert feed(b, range(75, 200), calm(125), row=1) == []


def test_heavy_tails_are_learned_per_series() -> None:
    """A log-normal series under a naive model would fire many times a day; its own tail record calms it."""
    rng = np.random.default_rng(4)
    b = bank(200)
    rows = np.arange(200)
    found: list[Verdict] = []
    for tick in range(1000):
        found += b.fold(rows, np.full(200, T0 + tick * S), rng.lognormal(0.0, 1.0, 200))
    assert sum(v.change is Change.FIRING for v in found) <= 2


def test_a_history_of_zeros_needs_more_than_one_blip() -> None:
    b = bank()
    feed(b, range(60), [0.0] * 60)
    assert feed(b, [60, 61], [0.1, 0.0]) == []
    assert [v.change for v in feed(b, range(62, 70), [0.3] * 8)] == [Change.FIRING]


def test_counters_are_judged_by_their_rate_and_a_reset_is_not_a_fall() -> None:
    b = bank(kind=Kind.COUNTER)
    steady = np.cumsum(np.random.default_rng(5).poisson(50, 80))
    assert feed(b, range(80), steady) == []
    restarted = np.cumsum(np.random.default_rng(6).poisson(50, 40))
    assert feed(b, range(80, 120), restarted) == []
    surge = restarted[-1] + np.cumsum([500] * 8)
    assert Change.FIRING in [v.change for v in feed(b, range(120, 128), surge)]


def test_event_counts_read_zero_in_silence() -> None:
    b = bank(2, kind=Kind.COUNT)
    feed(b, [0], [0.0])
    # Row 1 moves time; row 0 is silent and thereby learns that silence is normal.
    feed(b, range(1, 60), [0.0] * 59, row=1)
    assert [v.series for v in feed(b, range(60, 70), [4.0] * 10)] == [0]


def test_late_samples_are_counted_and_not_used() -> None:
    b = bank()
    feed(b, [10, 12], [1.0, 1.0])
    assert feed(b, [3], [1e9]) == []
    assert b.late == 1


def test_lateness_lets_out_of_order_samples_count() -> None:
    b = bank(lateness_nanos=3 * S)
    feed(b, [10, 12, 10], [1.0, 1.0, 1.0])
    assert b.late == 0


@settings(max_examples=40, deadline=None)
@given(
    cuts=st.lists(st.integers(1, 599), max_size=12, unique=True),
    seed=st.integers(0, 5),
    lateness=st.sampled_from([0, S // 2, 3 * S]),
)
def test_how_records_are_cut_into_batches_changes_nothing(cuts: list[int], seed: int, lateness: int) -> None:
    rng = np.random.default_rng(seed)
    series = rng.integers(0, 4, 600)
    time = T0 + np.sort(rng.integers(0, 100 * S, 600)) + rng.integers(-S, S, 600)
    value = rng.normal(10, 1, 600)
    value[400:] += 500 * (series[400:] == 2)
    whole, parts = bank(4, lateness_nanos=lateness), bank(4, lateness_nanos=lateness)
    expected = list(whole.fold(series, time, value))
    found: list[Verdict] = []
    for a, z in zip([0, *sorted(cuts)], [*sorted(cuts), 600], strict=True):
        found += parts.fold(series[a:z], time[a:z], value[a:z])
    assert found == expected
    assert parts.late == whole.late
    assert any(v.change is Change.FIRING and v.series == 2 for v in expected)


@settings(max_examples=25, deadline=None)
@given(cut=st.integers(1, 599), lateness=st.sampled_from([0, S // 2, 3 * S]))
def test_a_thawed_bank_goes_on_exactly(cut: int, lateness: int) -> None:
    rng = np.random.default_rng(7)
    series = rng.integers(0, 4, 600)
    time = T0 + np.sort(rng.integers(0, 100 * S, 600)) + rng.integers(-S, S, 600)
    value = rng.normal(10, 1, 600)
    value[400:] += 500 * (series[400:] == 2)
    whole = bank(4, lateness_nanos=lateness)
    list(whole.fold(series[:cut], time[:cut], value[:cut]))
    thawed = thaw(freeze(whole), whole.settings)
    rest = (series[cut:], time[cut:], value[cut:])
    assert list(thawed.fold(*rest)) == list(whole.fold(*rest))
    assert freeze(thawed) == freeze(whole)


def test_a_verdict_names_the_sample_that_completed_it() -> None:
    b = bank()
    feed(b, range(60), calm(60))
    at_once = list(b.fold(np.zeros(3, int), T0 + np.array([60, 61, 62]) * S, np.array([100.0, 1e6, 1e6])))
    assert [v.sample for v in at_once] == [1]


def test_what_fires_at_once_is_never_before_what_the_watermark_said_to_be_complete() -> None:
    b = bank(lateness_nanos=S // 2)
    feed(b, range(60), calm(60))
    list(b.fold(np.array([0]), np.array([T0 + 60 * S + 900_000_000]), np.array([100.0])))
    promised = b.watermark
    (late,) = b.fold(np.array([0]), np.array([T0 + 60 * S + 100_000_000]), np.array([1e6]))
    assert late.time_unix_nano > promised


def test_a_forgotten_row_is_not_in_use_any_more_and_one_with_open_samples_is_not_idle() -> None:
    b = bank(2, lateness_nanos=S)
    feed(b, range(5), [1.0] * 5)
    feed(b, range(5, 100), [1.0] * 95, row=1)
    tick = (T0 + 90 * S) // S
    assert b.idle_since(tick).tolist() == [0]
    feed(b, [99], [1.0])
    assert b.idle_since(tick).tolist() == []
    b.forget(np.array([1]))
    assert b.columns.last_tick[1] == -1


def test_time_passes_without_samples_and_silence_of_events_then_counts() -> None:
    b = bank(kind=Kind.COUNT)
    feed(b, range(60), [0.0] * 60)
    assert [v.change for v in feed(b, range(60, 70), [4.0] * 10)] == [Change.FIRING]
    assert [v.change for v in b.advance(T0 + 80 * S)] == [Change.CLEARED]
    assert feed(b, [75], [4.0]) == []
    assert b.late == 1


def test_the_calm_before_a_sudden_fault_does_not_clear_it() -> None:
    b = bank(lateness_nanos=S // 2)
    feed(b, range(60), calm(60))
    assert [v.change for v in feed(b, range(60, 70), [1e6] * 10)] == [Change.FIRING]
