"""The batch decoder and the codec give every record the same verdict, and every sample the same meaning."""

from __future__ import annotations

from typing import Any

import numpy as np
import orjson
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from schemas.codec import decode
from schemas.envelope import entity_of
from schemas.errors import RecordError, Rejection
from schemas.raw import MetricBlock, MetricSample
from schemas.topics import RAW_METRICS
from streams.decode import MetricDecoder, SeriesTable
from streams.decoding import compiled

from .hostile import ANYTHING, ATTRIBUTES, NUMBERS, RESOURCES, TIMES, Record, batches


@pytest.fixture(scope="module", autouse=True)
def _compiled() -> None:
    compiled.ensure()


KEY = b"default/checkout/1"
Sample = tuple[int, int, float, str, str, str, str]

NAMES = st.sampled_from(["http.server.request.duration", "cpu", "x" * 1024, "é😀"])
OPTIONAL: dict[str, st.SearchStrategy[Any]] = {
    "kind": st.sampled_from(["gauge", "counter", "histogram"]),
    "unit": st.sampled_from(["", "s", "By"]),
    "attributes": ATTRIBUTES,
    "schema_version": st.just(1),
    "added_by_a_newer_producer": ANYTHING,
}
SAMPLES = st.fixed_dictionaries(
    {"name": NAMES, "time_unix_nano": TIMES, "value": NUMBERS, "resource": RESOURCES}, optional=OPTIONAL
)


@st.composite
def blocks(draw: st.DrawFn) -> dict[str, Any]:
    series = draw(st.lists(st.fixed_dictionaries({"name": NAMES}, optional=OPTIONAL), min_size=1, max_size=3))
    for one in series:
        one.pop("schema_version", None)
    times = draw(st.lists(TIMES, min_size=1, max_size=3))
    row = st.lists(NUMBERS | st.none(), min_size=len(times), max_size=len(times))
    return {
        "resource": draw(RESOURCES),
        "series": series,
        "time_unix_nano": times,
        "value": draw(st.lists(row, min_size=len(series), max_size=len(series))),
    }


def expected(batch: list[Record]) -> tuple[list[Sample], dict[int, Rejection]]:
    """What the codec makes of a batch, record by record."""
    samples: list[Sample] = []
    rejected: dict[int, Rejection] = {}
    for position, (key, value) in enumerate(batch):
        try:
            record = decode(RAW_METRICS, key, value)
        except RecordError as error:
            rejected[position] = error.reason
        else:
            samples += _samples(position, record)
    return samples, rejected


def _samples(position: int, record: MetricSample | MetricBlock) -> list[Sample]:
    entity = str(entity_of(record.resource))
    if isinstance(record, MetricSample):
        return [
            (
                position,
                record.time_unix_nano,
                record.value,
                record.name,
                record.kind,
                _normal(record.attributes),
                entity,
            )
        ]
    found = [
        (position, time, value, series.name, series.kind, _normal(series.attributes), entity)
        for series, row in zip(record.series, record.value, strict=True)
        for time, value in zip(record.time_unix_nano, row, strict=True)
        if value is not None
    ]
    return sorted(found, key=lambda sample: sample[1])


def _normal(attributes: Any) -> str:
    fitting = {k: float(v) if type(v) is int and not -(2**63) <= v < 2**64 else v for k, v in attributes.items()}
    return orjson.dumps(fitting, option=orjson.OPT_SORT_KEYS).decode()


def actual(decoder: MetricDecoder, batch: list[Record]) -> tuple[list[Sample], dict[int, Rejection]]:
    columns = decoder.decode([key for key, _ in batch], [value for _, value in batch], [0] * len(batch))
    assert np.isfinite(columns.value).all()
    samples: list[Sample] = []
    for row, time, value, position in zip(
        columns.series.tolist(),
        columns.time_unix_nano.tolist(),
        columns.value.tolist(),
        columns.record.tolist(),
        strict=True,
    ):
        series = decoder.table.describe(row)
        samples.append(
            (position, time, value, series.name, series.kind, _normal(series.attributes), str(series.entity))
        )
    return samples, {position: error.reason for position, error in columns.rejected}


def agree(batch: list[Record]) -> None:
    decoder = MetricDecoder(SeriesTable(10_000), future_limit_nanos=0)
    want = expected(batch)
    assert actual(decoder, batch) == want
    # Now every spelling and skeleton is known: what the table remembers must not change a verdict.
    assert actual(decoder, batch) == want


GOOD = b'{"name":"cpu","time_unix_nano":1,"value":0.5,"resource":{"service.name":"a"}}'


@settings(max_examples=150, deadline=None)
@given(batches(SAMPLES | blocks()))
@example([])
@example([(KEY, GOOD), (KEY, GOOD + b","), (KEY, GOOD)])
def test_batches_of_anything(batch: list[Record]) -> None:
    agree(batch)


def _with(tail: bytes) -> bytes:
    return GOOD[:-1] + b"," + tail + b"}"


HOSTILE = {
    "null": None,
    "empty": b"",
    "blank": b"  \n ",
    "not json": b"cpu 0.5",
    "cut short": GOOD[:-1],
    "two in one": GOOD + GOOD,
    "an array": b"[" + GOOD + b"]",
    "a number": b"3",
    "NaN": GOOD.replace(b"0.5", b"NaN"),
    "Infinity": GOOD.replace(b"0.5", b"-Infinity"),
    "overflowing float": GOOD.replace(b"0.5", b"1e400"),
    "400 digits": GOOD.replace(b"0.5", b"1" * 400),
    "5000 digits": GOOD.replace(b"0.5", b"1" * 5000),
    "30 digits": GOOD.replace(b"0.5", b"1" * 30),
    "text for a number": GOOD.replace(b"0.5", b'"0.5"'),
    "true for a number": GOOD.replace(b"0.5", b"true"),
    "leading zero": GOOD.replace(b"0.5", b"00.5"),
    "negative time": GOOD.replace(b":1,", b":-1,"),
    "zero time": GOOD.replace(b":1,", b":0,"),
    "float time": GOOD.replace(b":1,", b":1.0,"),
    "time beyond int64": GOOD.replace(b":1,", b":9223372036854775808,"),
    "utf-16": GOOD.decode().encode("utf-16"),
    "byte order mark": b"\xef\xbb\xbf" + GOOD,
    "latin-1 in a name": GOOD.replace(b"cpu", b"cp\xfc"),
    "latin-1 in a label": _with(b'"attributes":{"a":"\xfc"}'),
    "latin-1 in an unknown field": _with(b'"later":"\xfc"'),
    "lone surrogate in a label": _with(b'"attributes":{"a":"\\ud800"}'),
    "lone surrogate in an unknown field": _with(b'"later":"\\ud800 "'),
    "newline in a label": _with(b'"attributes":{"a":"x\ny"}'),
    "overflowing label": _with(b'"attributes":{"a":1e400}'),
    "400 digits in a label": _with(b'"attributes":{"a":' + b"1" * 400 + b"}"),
    "30 digits in a label": _with(b'"attributes":{"a":' + b"1" * 30 + b"}"),
    "overflow in an unknown field": _with(b'"later":1e400'),
    "null label": _with(b'"attributes":{"a":null}'),
    "nested label": _with(b'"attributes":{"a":{"b":1}}'),
    "129 labels": _with(b'"attributes":' + orjson.dumps({str(i): i for i in range(129)})),
    "100000 labels": _with(b'"attributes":' + orjson.dumps({str(i): i for i in range(60_000)})),
    "128 labels": _with(b'"attributes":' + orjson.dumps({str(i): i for i in range(128)})),
    "deep": _with(b'"later":' + b"[" * 150 + b"]" * 150),
    "deeper": _with(b'"later":' + b"[" * 250 + b"]" * 250),
    "deepest": _with(b'"later":' + b"[" * 100_000),
    "brackets in a label": _with(b'"later":1,"attributes":{"a":"' + b"[" * 300 + b'"}'),
    "unknown field": _with(b'"later":{"a":[1,null]}'),
    "unknown version": _with(b'"schema_version":2'),
    "version as text": _with(b'"schema_version":"1"'),
    "version as float": _with(b'"schema_version":1.0'),
    # Only the codec takes it, and it is no block although it names one's field.
    "a label like the field of a block": _with(b'"schema_version":1.0,"attributes":{"series":"x"}'),
    "version true": _with(b'"schema_version":true'),
    "version null": _with(b'"schema_version":null'),
    "duplicate key, both good": _with(b'"value":1.5'),
    "duplicate key, first bad": GOOD.replace(b'"value"', b'"value":"x","value"'),
    "duplicate key, last bad": _with(b'"value":"x"'),
    "duplicate version": _with(b'"schema_version":2,"schema_version":1'),
    "duplicate label": _with(b'"attributes":{"a":1,"a":2}'),
    "escaped field name": GOOD.replace(b'"name"', b'"n\\u0061me"'),
    "1 MiB exactly": GOOD + b" " * (RAW_METRICS.max_message_bytes - len(GOOD)),
    "over 1 MiB": GOOD + b" " * (RAW_METRICS.max_message_bytes - len(GOOD) + 1),
    "10 MB": _with(b'"later":"' + b"x" * 10_000_000 + b'"'),
    "ragged block": b'{"resource":{},"series":[{"name":"a"}],"time_unix_nano":[1,2],"value":[[1]]}',
    "block without series": b'{"resource":{},"series":[],"time_unix_nano":[1],"value":[]}',
    "block with a bad series": b'{"resource":{},"series":[{"name":"a"},{}],"time_unix_nano":[1],"value":[[1],[2]]}',
    "block with a bad name": b'{"resource":{},"series":[{"name":""}],"time_unix_nano":[1],"value":[[1]]}',
    "block of nulls": b'{"resource":{},"series":[{"name":"a"}],"time_unix_nano":[1],"value":[[null]]}',
    "block with an unknown field": b'{"resource":{},"series":[{"name":"a","x":1}],"time_unix_nano":[1],"value":[[2]]}',
    "protobuf-like": b"\n\xff\xff\xff",
}


@pytest.mark.parametrize("value", HOSTILE.values(), ids=HOSTILE.keys())
def test_hostile_record_among_good_ones(value: bytes | None) -> None:
    agree([(KEY, GOOD), (KEY, value), (KEY, GOOD)])


@pytest.mark.parametrize("key", [None, b""])
def test_missing_key(key: bytes | None) -> None:
    agree([(KEY, GOOD), (key, GOOD), (key, b"x"), (key, None)])


def test_every_position_can_be_the_bad_one() -> None:
    for bad in range(4):
        agree([(KEY, b"x" if i == bad else GOOD) for i in range(4)])
