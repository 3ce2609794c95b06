from __future__ import annotations

import json

import numpy as np
import orjson
import pytest

from schemas.errors import Rejection
from streams.decode import MetricColumns, MetricDecoder, SeriesTable

NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000
KEY = b"default/a"


def sample(time: int = NOW, value: float = 0.5, name: str = "cpu") -> bytes:
    return orjson.dumps({"name": name, "time_unix_nano": time, "value": value, "resource": {"service.name": "a"}})


def block(times: list[int], rows: list[list[float | None]]) -> bytes:
    series = [{"name": f"m{i}"} for i in range(len(rows))]
    return orjson.dumps({"resource": {"service.name": "a"}, "series": series, "time_unix_nano": times, "value": rows})


def decode(*values: bytes | None, now: int = 0, limit: int = 60 * SECOND) -> MetricColumns:
    decoder = MetricDecoder(SeriesTable(100), future_limit_nanos=limit)
    return decoder.decode([KEY] * len(values), values, [now // 1_000_000] * len(values))


def test_empty_batch() -> None:
    columns = decode()
    assert len(columns) == 0
    assert columns.rejected == []


def test_columns_are_arrays_in_the_order_of_the_records() -> None:
    columns = decode(sample(NOW, 1.5), sample(NOW - 1, 2, "mem"), sample(NOW + 1, -3))
    assert columns.series.tolist() == [0, 1, 0]
    assert columns.time_unix_nano.tolist() == [NOW, NOW - 1, NOW + 1]
    assert columns.value.tolist() == [1.5, 2.0, -3.0]
    assert columns.record.tolist() == [0, 1, 2]
    assert columns.series.dtype == columns.time_unix_nano.dtype == np.int64
    assert columns.value.dtype == np.float64


def test_block_is_read_by_time_and_nulls_are_dropped() -> None:
    columns = decode(block([10, 20, 30], [[1, None, 3], [None, 5, 6]]))
    assert columns.time_unix_nano.tolist() == [10, 20, 30, 30]
    assert columns.series.tolist() == [0, 1, 0, 1]
    assert columns.value.tolist() == [1, 5, 3, 6]
    assert columns.record.tolist() == [0, 0, 0, 0]


def test_times_of_a_block_may_come_in_any_order() -> None:
    columns = decode(block([30, 10, 20], [[3, 1, 2]]))
    assert columns.time_unix_nano.tolist() == [10, 20, 30]
    assert columns.value.tolist() == [1, 2, 3]


def test_blocks_and_samples_keep_the_order_of_their_records() -> None:
    columns = decode(
        sample(5), block([1, 2], [[1, 2]]), b"rubbish", sample(3), sample(4)[:-1] + b',"new":1}', sample(1)
    )
    assert columns.record.tolist() == [0, 1, 1, 3, 4, 5]
    assert columns.time_unix_nano.tolist() == [5, 1, 2, 3, 4, 1]
    assert [(position, error.reason) for position, error in columns.rejected] == [(2, Rejection.INVALID_JSON)]


def test_large_block() -> None:
    times = [NOW + i for i in range(300)]
    rows: list[list[float | None]] = [[float(i * 1000 + j) for j in range(300)] for i in range(50)]
    columns = decode(block(times, rows))
    assert len(columns) == 50 * 300
    assert columns.value.sum() == sum(value for row in rows for value in row if value is not None)


def test_a_sample_from_the_future_is_refused_by_position() -> None:
    columns = decode(sample(NOW), sample(NOW + 61 * SECOND), sample(NOW + 60 * SECOND), now=NOW)
    assert columns.record.tolist() == [0, 2]
    ((position, error),) = columns.rejected
    assert position == 1
    assert error.reason is Rejection.INVALID_SCHEMA
    assert "clock: 1.0 s" in error.detail


def test_of_a_block_only_what_is_ahead_is_refused() -> None:
    columns = decode(block([NOW, NOW + 3600 * SECOND], [[1, 2]]), now=NOW)
    assert columns.value.tolist() == [1]
    assert [position for position, _ in columns.rejected] == [0]


def test_the_past_is_never_refused_here() -> None:
    assert len(decode(sample(1), now=NOW)) == 1


@pytest.mark.parametrize("now", [0, -1_000_000])
def test_without_a_broker_timestamp_there_is_nothing_to_compare_with(now: int) -> None:
    assert len(decode(sample(2**63 - 1), now=now)) == 1


def test_a_verdict_of_the_codec_goes_before_the_clock() -> None:
    bad = sample(2 * NOW).replace(b'"cpu"', b'"\xff"')
    ((_, error),) = decode(bad, now=NOW).rejected
    assert error.reason is Rejection.INVALID_ENCODING


def test_many_bad_records_among_many_good_ones() -> None:
    values = [b"x" if i % 3 else sample(NOW + i) for i in range(3000)]
    columns = decode(*values)
    assert columns.record.tolist() == list(range(0, 3000, 3))
    assert [position for position, _ in columns.rejected] == [i for i in range(3000) if i % 3]


def test_a_flood_from_the_future_costs_no_more_than_its_size() -> None:
    columns = decode(*[sample(2 * NOW + i) for i in range(20_000)], now=NOW)
    assert len(columns.rejected) == 20_000


def test_pretty_printed_records_are_records() -> None:
    value = json.dumps(json.loads(sample()), indent=2).encode()
    columns = decode(value, sample(), value)
    assert columns.series.tolist() == [0, 0, 0]
