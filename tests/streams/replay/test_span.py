from __future__ import annotations

import pytest

from schemas.errors import ConfigurationError
from streams.replay.span import Place, Span, moment, offset_range, span

NOW = 1_700_000_000_000


@pytest.mark.parametrize(
    ("text", "millis"),
    [
        ("90s", NOW - 90_000),
        ("2h", NOW - 7_200_000),
        ("1.5d", NOW - 129_600_000),
        ("2023-11-14T22:13:20", NOW),
        ("2023-11-14T23:13:20+01:00", NOW),
    ],
)
def test_moments_are_read_as_people_write_them(text: str, millis: int) -> None:
    assert moment(text, NOW) == millis


@pytest.mark.parametrize("text", ["yesterday", "2", "h"])
def test_what_is_no_moment_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match=text):
        moment(text, NOW)


def test_a_span_that_holds_nothing_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="nothing lies between"):
        span("1h", "2h", (), NOW)


def test_offsets_of_a_partition_go_before_those_of_its_topic() -> None:
    made = span(None, None, ["raw.metrics:10-20", "raw.metrics/3:5-", "raw.logs:-7"], NOW)
    assert made.offsets_of(Place("raw.metrics", 1)) == (10, 20)
    assert made.offsets_of(Place("raw.metrics", 3)) == (5, None)
    assert made.offsets_of(Place("raw.logs", 0)) == (0, 7)
    assert made.offsets_of(Place("raw.alerts", 0)) == (0, None)


@pytest.mark.parametrize("text", ["raw.metrics", "raw.metrics:-", "raw.metrics/x:1-2", ":1-2"])
def test_what_is_no_range_of_offsets_is_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="range of offsets"):
        offset_range(text)


def test_the_end_of_a_span_is_left_out_and_its_beginning_is_not() -> None:
    made = Span(since_millis=10, until_millis=20)
    assert [at for at in (9, 10, 19, 20) if made.has(at)] == [10, 19]
    assert made.has(-1), "a record without a time is not judged by it"
