"""Commits never pass a record that is not done."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from actions.offsets import OffsetTracker


def test_only_what_is_contiguously_done_is_committed() -> None:
    offsets = OffsetTracker()
    for offset in (5, 6, 8):
        offsets.received(0, offset)
    offsets.done(0, 6)
    assert offsets.take() == {}
    offsets.done(0, 5)
    assert offsets.take() == {0: 8}
    assert offsets.take() == {}, "nothing moved since"
    offsets.done(0, 8)
    assert offsets.take() == {0: 9}


def test_a_partition_given_up_is_forgotten() -> None:
    offsets = OffsetTracker()
    offsets.received(0, 1)
    offsets.received(1, 1)
    offsets.forget([0])
    offsets.done(0, 1)
    offsets.done(1, 1)
    assert offsets.take() == {1: 2}
    offsets.received(0, 1)
    assert offsets.take() == {}


@given(st.permutations(range(8)), st.sets(st.integers(0, 7)))
def test_whatever_the_order_of_ending(order: list[int], never: set[int]) -> None:
    offsets = OffsetTracker()
    for offset in range(8):
        offsets.received(0, offset)
    committed = 0
    for offset in order:
        if offset not in never:
            offsets.done(0, offset)
        committed = offsets.take().get(0, committed)
    assert committed == min(never, default=8)
