from collections.abc import Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.bank import BankSettings, Change, SeriesBank, Verdict
from detectors.bank_state import freeze, thaw
from detectors.coarse import SHARE, p_value
from detectors.univariate import LOOKS

S = 1_000_000_000
MINUTE = 60 * S
T0 = 1_700_006_400 * S
SETTINGS = BankSettings(lateness_nanos=0)
A_DAY = 288


def bank(rows: int = 1) -> SeriesBank:
    made = SeriesBank(SETTINGS)
    made.admit(np.arange(rows), np.zeros(rows, np.int8))
    return made


def feed(
    to: SeriesBank, values: Sequence[float] | NDArray[np.float64], first: int = 0, apart: int = 5 * MINUTE
) -> list[Verdict]:
    time = T0 + (first + np.arange(len(values))) * apart
    return list(to.fold(np.zeros(len(values), np.int64), time, np.asarray(values, np.float64)))


def days(count: float, seed: int = 0) -> NDArray[np.float64]:
    """Busy by day, idle by night, every five minutes: a sine that doubles the level, and noise."""
    at = np.arange(int(count * A_DAY))
    return 100.0 + 40.0 * np.sin(2 * np.pi * at / A_DAY) + np.random.default_rng(seed).normal(0.0, 2.0, len(at))


@pytest.fixture(scope="module")
def week() -> bytes:
    """A bank that has seen five calm days, and said nothing of them."""
    learned = bank()
    assert feed(learned, days(5)) == []
    return freeze(learned)


def test_a_fault_in_a_coarse_series_with_a_course_of_the_day_fires_says_why_and_is_over(week: bytes) -> None:
    b = thaw(week, SETTINGS)
    found = feed(b, np.concatenate((days(0.1, seed=1) + 150.0, days(1.0, seed=2))), first=5 * A_DAY)
    assert [verdict.change for verdict in found] == [Change.FIRING, Change.CLEARED]
    fired = found[0]
    assert fired.onset_unix_nano == T0 + 5 * A_DAY * 5 * MINUTE
    assert fired.time_unix_nano <= fired.onset_unix_nano + 30 * MINUTE
    names = [name for name, _ in fired.looks]
    assert "new value" in names
    assert set(names) <= set(LOOKS)
    assert 0.0 < fired.level < 0.01


def test_the_same_fault_is_found_after_a_restart_in_the_middle_of_it(week: bytes) -> None:
    faulty = days(0.2, seed=1) + 150.0
    whole = feed(thaw(week, SETTINGS), faulty, first=5 * A_DAY)
    halves = thaw(week, SETTINGS)
    found = feed(halves, faulty[:2], first=5 * A_DAY)
    found += feed(thaw(freeze(halves), SETTINGS), faulty[2:], first=5 * A_DAY + 2)
    assert found == whole
    assert whole


def test_a_coarse_series_that_warms_up_abstains() -> None:
    assert feed(bank(), [*days(0.15), *[1e6] * 10]) == []


def test_absurd_values_are_survived(week: bytes) -> None:
    b = thaw(week, SETTINGS)
    found = feed(b, [1e300, -1e300, 1e308], first=5 * A_DAY)
    assert [verdict.change for verdict in found][:1] == [Change.FIRING]


def test_a_series_that_is_sampled_every_second_again_is_judged_as_a_fine_one(week: bytes) -> None:
    b = thaw(week, SETTINGS)
    assert b.columns.slot[0] >= 0
    fine = np.random.default_rng(0).normal(100.0, 2.0, 200)
    feed(b, fine, first=5 * A_DAY * 300 + 300, apart=S)
    assert b.columns.slot[0] == -1
    assert not b.coarse.used.any()
    assert [v.change for v in feed(b, [1e6], first=5 * A_DAY * 300 + 500, apart=S)] == [Change.FIRING]


def test_one_outage_does_not_make_a_series_coarse() -> None:
    b = bank()
    feed(b, np.random.default_rng(0).normal(100.0, 2.0, 100), apart=S)
    feed(b, [100.0, 101.0], first=700, apart=S)
    assert b.columns.slot[0] == -1


def test_a_forgotten_series_gives_its_room_back_blank(week: bytes) -> None:
    b = thaw(week, SETTINGS)
    b.forget(np.array([0]))
    assert not b.coarse.used.any()
    b.admit(np.array([0]), np.zeros(1, np.int8))
    assert feed(b, [*days(0.1), *[1e6] * 10], first=5 * A_DAY) == []


def test_a_series_that_often_scores_high_needs_a_higher_score() -> None:
    score, none = np.array([3.0]), np.zeros(1)
    unknown = p_value(score, none, none, none)
    restless = p_value(score, np.array([5000.0]), np.array([300.0]), np.array([200.0]))
    quiet = p_value(score, np.array([5000.0]), none, none)
    assert restless[0] > 5 * unknown[0]
    assert quiet[0] == unknown[0] < SHARE
    assert p_value(np.array([0.9]), none, none, none)[0] == 1.0
