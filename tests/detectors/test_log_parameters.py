"""Measured quantities in lines: numbers with a unit, and no others."""

from __future__ import annotations

import doctest

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors import log_parameters
from detectors.log_parameters import quantity_of, read_quantity


@pytest.mark.parametrize(
    ("line", "word", "value"),
    [
        ("took 45ms", 1, 0.045),
        ("took 45 ms, at last", 1, 45.0),
        ("duration=1.5s user=7", 0, 1.5),
        ("heap (512MiB) in use", 1, 512 * 2**20),
        ("disk at 93%", 2, 0.93),
        ("wrote 20 bytes", 1, 20.0),
    ],
)
def test_a_number_with_a_unit_is_a_quantity(line: str, word: int, value: float) -> None:
    assert quantity_of(line) == word
    assert read_quantity(line, word) == pytest.approx(value)


@pytest.mark.parametrize("line", ["order 17 paid", "port=8080 open", "10.0.0.1 said 200", "v1.2.3", "", "x" * 600])
def test_a_number_without_one_is_a_name(line: str) -> None:
    assert quantity_of(line) == -1


def test_a_line_that_lost_its_quantity_has_none() -> None:
    assert read_quantity("took forever", 1) is None
    assert read_quantity("took", 1) is None


@given(st.text())
def test_any_line_is_read_without_an_error(line: str) -> None:
    word = quantity_of(line)
    assert word == -1 or read_quantity(line, word) is not None


def test_the_example_runs() -> None:
    assert doctest.testmod(log_parameters).failed == 0
