"""Intervals hold what they promise, and do not depend on the order of what they are made from."""

from __future__ import annotations

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.calibration import Claim, calibrate
from learning.statistics import mean, rate


def test_a_rate_has_the_published_interval() -> None:
    """Brown, Cai and DasGupta 2001 give Jeffreys' interval for 1 of 10 as [0.011, 0.381]."""
    found = rate(1, 10)
    assert (found.value, found.lower, found.upper, found.n) == pytest.approx((0.1, 0.011, 0.381, 10), abs=5e-4)


def test_none_of_none_is_no_rate_and_no_mean() -> None:
    assert str(rate(0, 0)) == str(mean([])) == "-"


@given(st.integers(1, 500).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_a_rate_lies_within_its_interval(counts: tuple[int, int]) -> None:
    found = rate(*counts)
    assert found.value is not None
    assert found.lower is not None
    assert found.upper is not None
    assert 0 <= found.lower <= found.value <= found.upper <= 1


def test_an_interval_of_a_mean_covers_the_truth_about_as_often_as_it_says() -> None:
    generator = np.random.default_rng(1)
    samples = [generator.exponential(60, 50).tolist() for _ in range(200)]
    held = [one.lower <= 60 <= one.upper for one in map(mean, samples) if one.lower is not None and one.upper]
    assert 0.88 <= sum(held) / len(held) <= 0.98


def test_order_changes_no_mean() -> None:
    values = [float(n * n % 37) for n in range(60)]
    shuffled = random.Random(3).sample(values, len(values))
    assert mean(values) == mean(shuffled)


def test_one_case_has_no_interval() -> None:
    assert (mean([3.0]).value, mean([3.0]).lower) == (3.0, None)


def test_who_is_right_as_often_as_claimed_is_calibrated() -> None:
    claims = [Claim(0.75, n % 4 != 0) for n in range(400)]
    found = calibrate(claims)
    assert found.calibration_error == pytest.approx(0)
    assert found.brier.value == pytest.approx(0.75 * 0.25)
    (only,) = found.curve
    assert (only.lower, only.claimed, only.found.value) == (0.7, 0.75, 0.75)


def test_who_is_always_sure_and_half_right_is_not() -> None:
    found = calibrate([Claim(1.0, n % 2 == 0, n % 2 == 0) for n in range(20)])
    assert found.calibration_error == pytest.approx(0.5)
    assert found.brier.value == pytest.approx(0.5)
    assert found.coverage.value == 0.5


def test_no_claims_are_no_fault() -> None:
    found = calibrate([])
    assert (found.claims, found.calibration_error, found.curve) == (0, None, ())
