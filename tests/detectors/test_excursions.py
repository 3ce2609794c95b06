import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.excursions import FINE_BEGINS, MOST, ExcursionRecord, unit
from detectors.false_share import MEMORY_SECONDS, MOST_EARNED, FalseShare

HOUR = 3600.0


def record(peaks: np.ndarray, hours: int = 24, looks: int = 100_000) -> ExcursionRecord:
    """As many looks, evenly over the hours, and these peaks among them."""
    made = ExcursionRecord(FINE_BEGINS)
    for part in np.array_split(peaks, hours):
        made.pass_time(HOUR, looks // hours, looks // hours)
        made.add(part)
    made.refresh()
    return made


def test_p_values_hold_for_peaks_far_higher_than_the_model_says() -> None:
    """Of 100 thousand looks one in fifty begins an excursion of mean height 4: eight times the model's."""
    rng = np.random.default_rng(0)
    made = record(rng.exponential(4.0, 2000))
    fresh = rng.exponential(4.0, 20_000)
    for level in (1e-4, 1e-5):
        share = 0.02 * np.mean(fresh >= made.threshold(level))
        assert share <= 3 * level
        assert made.p_value(made.threshold(level)) == pytest.approx(level)
    assert made.threshold(1e-6) < 80.0


def test_a_new_record_says_what_the_model_says_and_none_is_ever_surer() -> None:
    blank, calm = ExcursionRecord(FINE_BEGINS), record(np.full(2000, 0.1))
    assert blank.threshold(1e-7) == pytest.approx(6.6, abs=0.1)
    assert calm.threshold(1e-7) == pytest.approx(blank.threshold(1e-7), abs=0.1)


def test_what_was_long_ago_is_forgotten() -> None:
    wild = record(np.random.default_rng(1).exponential(8.0, 2000))
    before = wild.threshold(1e-6)
    for _ in range(21):
        wild.pass_time(24 * HOUR, 100_000, 100_000)
    wild.refresh()
    assert wild.threshold(1e-6) < before / 4


def test_a_fault_of_any_height_teaches_only_so_much() -> None:
    once, more = record(np.array([MOST])), record(np.array([1e9]))
    assert once.threshold(1e-6) == more.threshold(1e-6)


def test_a_day_has_the_looks_of_the_last_hour_where_more_has_begun_to_be_looked_at() -> None:
    made = ExcursionRecord(FINE_BEGINS)
    for _ in range(72):
        made.pass_time(HOUR, 1, 1)
    for _ in range(120):
        made.pass_time(60.0, 60, 60)
    assert made.looks_a_day == pytest.approx(86_400, rel=0.2)


def test_a_series_whose_excursions_are_high_needs_higher_ones() -> None:
    assert unit(0.0, 0.0) == unit(200.0, 20.0) == 1.0
    assert unit(200.0, 2000.0) > 10


@given(gaps=st.lists(st.floats(0.0, MEMORY_SECONDS), max_size=40))
def test_what_may_be_false_stays_within_what_was_found(gaps: list[float]) -> None:
    """Never below the share of one signal a day, never above what the most that is earned allows."""
    allowed, now = FalseShare(), 0.0
    for gap in gaps:
        now += gap
        allowed.pass_time(now)
        allowed.discovered()
        assert 0.2 <= allowed.level(0.2, 1000.0) * 1000.0 <= 0.2 * (1.0 + MOST_EARNED) + 1e-9
    allowed.pass_time(now + 40 * MEMORY_SECONDS)
    assert allowed.level(0.2, 1000.0) * 1000.0 == pytest.approx(0.2)


def test_what_is_raised_within_a_minute_is_one_discovery() -> None:
    allowed = FalseShare()
    allowed.pass_time(1000.0)
    assert allowed.discovered()
    allowed.pass_time(1059.0)
    assert not allowed.discovered()
    allowed.pass_time(1060.0)
    assert allowed.discovered()
