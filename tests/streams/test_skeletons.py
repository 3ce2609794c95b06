"""Samples found by what they look like without their numbers: the verdict and the meaning are the parser's, always."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.compiled import settle
from streams.decode import MetricDecoder, SeriesTable
from streams.decoding import compiled
from streams.decoding.skeletons import BYTES_PER_SERIES, MISSED

from .hostile import NUMBERS, Record
from .test_decode_agreement import KEY, SAMPLES, actual, expected

GOOD = b'{"name":"cpu","time_unix_nano":1,"value":0.5,"resource":{"service.name":"a"}}'
# Tokens where a number is expected: good ones of every spelling, and what is none.
TOKENS = st.one_of(
    NUMBERS.map(lambda number: json.dumps(number).encode()),
    st.floats(allow_nan=False, allow_infinity=False).map(lambda number: f"{number:.3e}".encode()),
    st.integers(0, 2**64).map(lambda number: b"%d" % number),
    st.from_regex(rb"-?[0-9]{1,25}(\.[0-9]{0,25})?([eE][+-]?[0-9]{0,4})?", fullmatch=True),
    st.sampled_from(
        [b"-0", b"-0.0", b"0", b"00", b"01", b"1.", b".5", b"+1", b"-", b"", b"1e", b"1e+", b"1e400", b"1-2"]
    ),
    st.sampled_from([b"9223372036854775807", b"9223372036854775808", b"9007199254740993", b"0.1e-400", b"1 2", b'"1"']),
)


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    compiled.ensure()
    assert compiled.loop(0) is not None


def primed(*values: bytes) -> MetricDecoder:
    """Return a decoder that knows the skeletons of these records."""
    decoder = MetricDecoder(SeriesTable(10_000), future_limit_nanos=0)
    decoder.decode([KEY] * len(values), values, [0] * len(values))
    return decoder


def rows(decoder: MetricDecoder, *values: bytes | None) -> list[int]:
    found = decoder.table.skeletons.read(values)
    assert found is not None
    return [int(row) for row in found.row]


def spelt(record: dict[str, Any], time: bytes, value: bytes, separators: tuple[str, str]) -> bytes:
    text = json.dumps({**record, "time_unix_nano": "@", "value": "$"}, separators=separators).encode()
    return text.replace(b'"@"', time).replace(b'"$"', value)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_any_numbers_in_a_known_skeleton(data: st.DataObject) -> None:
    record = data.draw(SAMPLES)
    separators = data.draw(st.sampled_from([(",", ":"), (", ", ": "), (",", ":   ")]))
    items = dict(data.draw(st.permutations(list(record.items()))))
    decoder = primed(spelt(items, b"12", b"0.25", separators))
    batch: list[Record] = [
        (KEY, spelt(items, time, value, separators))
        for time, value in data.draw(st.lists(st.tuples(TOKENS, TOKENS), min_size=1, max_size=8))
    ]
    assert actual(decoder, batch) == expected(batch)


@settings(max_examples=100, deadline=None)
@given(st.integers(0, len(GOOD) - 1), st.binary(max_size=3), st.integers(0, 3))
def test_any_damage_to_a_known_record(at: int, damage: bytes, length: int) -> None:
    batch: list[Record] = [(KEY, GOOD), (KEY, GOOD[:at] + damage + GOOD[at + length :]), (KEY, GOOD)]
    assert actual(primed(GOOD), batch) == expected(batch)


@given(st.floats(allow_nan=False, allow_infinity=False), st.integers(1, 2**63 - 1))
def test_known_records_are_found_and_their_numbers_exact(value: float, time: int) -> None:
    record = GOOD.replace(b"0.5", json.dumps(value).encode()).replace(b":1,", b":%d," % time)
    decoder = primed(GOOD)
    found = decoder.table.skeletons.read([record])
    assert found is not None
    assert (found.row[0], found.time[0], found.value[0]) == (0, time, value)
    assert np.signbit(found.value[0]) == np.signbit(value)


@pytest.mark.parametrize(
    "record",
    [
        GOOD[:-1] + b',"value":7}',  # the last one counts
        GOOD[:-1] + b',"v\\u0061lue":7}',
        GOOD.replace(b'"value"', b'"attributes":{"value":3},"value"'),  # another value is meant
        GOOD.replace(b'"name":"cpu",', b"") + b" ",
        GOOD[:-1] + b',"schema_version":1.0}',
        b"x",
        b"",
        None,
    ],
)
def test_what_cannot_be_cut_is_parsed_each_time(record: bytes | None) -> None:
    decoder = MetricDecoder(SeriesTable(10), future_limit_nanos=0)
    for _ in range(3):
        assert actual(decoder, [(KEY, record)]) == expected([(KEY, record)])
    assert rows(decoder, record) == [MISSED]


def test_records_without_a_key_are_refused_although_they_are_known() -> None:
    columns = primed(GOOD).decode([None, KEY, b""], [GOOD] * 3, [0] * 3)
    assert columns.record.tolist() == [1]
    assert [position for position, _ in columns.rejected] == [0, 2]


def test_samples_from_the_future_are_refused_although_they_are_known() -> None:
    decoder = MetricDecoder(SeriesTable(10), future_limit_nanos=1_000_000_000)
    late = GOOD.replace(b":1,", b":3000000001,")
    decoder.decode([KEY], [GOOD], [2000])
    columns = decoder.decode([KEY] * 3, [GOOD, late, GOOD], [2000] * 3)
    assert columns.record.tolist() == [0, 2]
    assert [position for position, _ in columns.rejected] == [1]


def test_series_that_are_forgotten_are_not_found() -> None:
    other = GOOD.replace(b"cpu", b"memory")
    decoder = primed(GOOD, other)
    assert rows(decoder, GOOD, other) == [0, 1]
    decoder.table.forget([0])
    assert rows(decoder, GOOD, other) == [MISSED, MISSED]
    third = GOOD.replace(b"cpu", b"disk")
    decoder.decode([KEY] * 2, [other, third], [0] * 2)
    assert rows(decoder, GOOD, other, third) == [MISSED, 1, 0]


def test_many_series_are_told_apart() -> None:
    records = [GOOD.replace(b"cpu", b"cpu.%d" % i) for i in range(5000)]
    decoder = MetricDecoder(SeriesTable(10_000), future_limit_nanos=0)
    while len(decoder.table.skeletons) < len(records):
        before = len(decoder.table.skeletons)
        decoder.decode([KEY] * len(records), records, [0] * len(records))
        assert len(decoder.table.skeletons) > before
    assert rows(decoder, *records) == list(range(5000))


def test_who_spells_a_series_differently_each_time_gains_no_memory() -> None:
    decoder = MetricDecoder(SeriesTable(4), future_limit_nanos=0)
    most = 4 * BYTES_PER_SERIES // len(GOOD)
    for i in range(200):
        record = GOOD[:-1] + b" " * i + b"}"
        assert decoder.decode([KEY], [record], [0]).series.tolist() == [0]
        assert len(decoder.table.skeletons) <= most


def test_who_reads_little_does_not_wait_for_a_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compiled, "_waiting", compiled._Waiting())
    decoder = primed(GOOD)
    assert decoder.table.skeletons.read([GOOD]) is None
    waiting = compiled._waiting
    assert waiting.records == 2
    compiled.loop(compiled.WORTH_RECORDS)
    settle()
    assert waiting.loop is not None
    decoder.decode([KEY], [GOOD], [0])
    assert rows(decoder, GOOD) == [0]
