from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.batch import Batch


def batch(offsets: list[int]) -> Batch:
    keys, values = [b"k%d" % offset for offset in offsets], [b"v%d" % offset for offset in offsets]
    return Batch("t", 3, values, keys, offsets, [offset * 10 for offset in offsets])


offset_lists = st.lists(st.integers(0, 2**62), min_size=1, max_size=50, unique=True).map(sorted)


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
