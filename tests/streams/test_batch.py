from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.batch import Batch


class Parsed(NamedTuple):
    offset: int
    timestamp: int = 0
    key: bytes | None = None
    value: bytes | None = None


def batch(offsets: list[int]) -> Batch:
    return Batch.of("t", 3, [Parsed(offset, offset * 10, b"k%d" % offset, b"v%d" % offset) for offset in offsets])


def test_columns_hold_the_records_by_position() -> None:
    made = Batch.of("t", 3, [Parsed(7, 70, b"k", b"v"), Parsed(9, 90)])
    assert (made.topic, made.partition, len(made)) == ("t", 3, 2)
    assert (list(made.offsets), made.timestamps) == ([7, 9], [70, 90])
    assert (made.keys, made.values) == ([b"k", None], [b"v", None])


offset_lists = st.lists(st.integers(0, 2**62), min_size=1, max_size=50, unique=True).map(sorted)


@given(offsets=offset_lists)
def test_offsets_are_those_of_the_records_with_or_without_holes(offsets: list[int]) -> None:
    assert list(batch(offsets).offsets) == offsets


def test_consecutive_offsets_cost_nothing() -> None:
    assert batch([5, 6, 7]).offsets == range(5, 8)


@given(offsets=offset_lists, data=st.data())
def test_since_leaves_out_what_came_before(offsets: list[int], data: st.DataObject) -> None:
    start = data.draw(st.sampled_from([0, offsets[0], offsets[-1], offsets[-1] + 1, offsets[len(offsets) // 2] + 1]))
    rest = batch(offsets).since(start)
    kept = [offset for offset in offsets if offset >= start]
    assert list(rest.offsets) == kept
    assert rest.values == [b"v%d" % offset for offset in kept]
    assert rest.keys == [b"k%d" % offset for offset in kept]
    assert rest.timestamps == [offset * 10 for offset in kept]


@pytest.mark.parametrize("start", [0, 5])
def test_since_the_beginning_is_the_batch_itself(start: int) -> None:
    made = batch([5, 6])
    assert made.since(start) is made
