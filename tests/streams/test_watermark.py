from hypothesis import given
from hypothesis import strategies as st

from streams.kernel.watermark import EventTimeBuffer, Watermarks


def test_the_slowest_source_that_is_not_idle_decides() -> None:
    marks = Watermarks()
    marks.observe("a", 10)
    marks.observe("b", 5)
    assert marks.current == 10  # b was not known when a had come that far: what is released stays released
    marks.observe("a", 20)
    assert marks.current == 10
    marks.observe("b", 15)
    assert marks.current == 15
    marks.observe("b", 15, idle=True)
    assert marks.current == 20


def test_an_idle_source_counts_again_as_soon_as_it_speaks() -> None:
    marks = Watermarks({"a": 10, "b": 10})
    marks.observe("b", 10, idle=True)
    marks.observe("b", 11)
    marks.observe("a", 50)
    assert marks.current == 11


def test_excusing_names_those_behind_and_only_those() -> None:
    marks = Watermarks({"a": 10, "b": 30, "c": 20})
    assert marks.excuse(25) == ["a", "c"]
    assert marks.current == 30


@given(st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 50), st.booleans()), max_size=40))
def test_a_watermark_never_goes_back(steps: list[tuple[str, int, bool]]) -> None:
    marks, before = Watermarks(), 0
    for source, time, idle in steps:
        marks.observe(source, time, idle=idle)
        assert marks.current >= before
        before = marks.current


@given(st.lists(st.tuples(st.integers(0, 9), st.text("xyz", min_size=1, max_size=2)), max_size=30))
def test_items_come_out_by_time_and_then_by_id(entries: list[tuple[int, str]]) -> None:
    buffer: EventTimeBuffer[tuple[int, str]] = EventTimeBuffer()
    for time, identity in entries:
        buffer.add(time, identity, (time, identity))
    assert buffer.items() == sorted(entries)
    assert [buffer.pop() for _ in entries] == sorted(entries)
