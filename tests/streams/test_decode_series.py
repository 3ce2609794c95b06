from __future__ import annotations

from typing import Any

import orjson
import pytest

from streams.decode import MetricColumns, MetricDecoder, SeriesTable
from streams.decoding.series import LAYOUT_BYTES_PER_SERIES, NAME_BYTES_PER_SERIES, SPELLINGS_PER_SERIES

NOW = 1_700_000_000_000_000_000


def sample(**changes: Any) -> bytes:
    record = {"name": "cpu", "time_unix_nano": NOW, "value": 0.5, "resource": {"service.name": "a", "host.name": "h"}}
    return orjson.dumps(record | changes)


def read(decoder: MetricDecoder, *values: bytes) -> MetricColumns:
    return decoder.decode([b"k"] * len(values), values, [0] * len(values))


def decoder(max_series: int = 1000) -> MetricDecoder:
    return MetricDecoder(SeriesTable(max_series), future_limit_nanos=0)


@pytest.mark.parametrize(
    "other",
    [
        sample(value=7),
        sample(resource={"host.name": "h", "service.name": "a"}),
        sample(kind="gauge", unit="", attributes={}, schema_version=1),
        sample(unit="s"),
        sample(added_later=[1]),
        sample().replace(b'"cpu"', b'"\\u0063pu"'),
        sample().replace(b":", b" : "),
        b"\n" + sample(),
        b'{"resource":{"host.name":"h","service.name":"a"},"series":[{"name":"cpu"}],"time_unix_nano":[7],"value":[[1]]}',
    ],
)
def test_however_it_is_spelt_it_is_the_same_series(other: bytes) -> None:
    reader = decoder()
    first, second = read(reader, sample(), other).series.tolist()
    assert first == second
    assert read(reader, other, sample()).series.tolist() == [first, first]
    assert len(reader.table) == 1


@pytest.mark.parametrize(
    "other",
    [
        sample(name="mem"),
        sample(kind="counter"),
        sample(attributes={"core": 1}),
        sample(resource={"service.name": "a"}),
        sample(resource={"service.name": "a", "host.name": "h", "core": 1}),
    ],
)
def test_what_differs_is_another_series(other: bytes) -> None:
    columns = read(decoder(), sample(), other)
    assert len(set(columns.series.tolist())) == 2


def test_attributes_of_different_types_are_different_series() -> None:
    spellings = [sample(attributes={"a": value}) for value in (1, 1.0, True, "1", "true")]
    assert len(set(read(decoder(), *spellings).series.tolist())) == len(spellings)


def test_description() -> None:
    reader = decoder()
    resource = {"service.name": "a", "service.instance.id": "1", "deployment.environment.name": "prod"}
    value = sample(resource=resource, attributes={"z": 1, "a": "x"}, kind="counter", unit="By")
    (row,) = read(reader, value).series.tolist()
    series = reader.table.describe(row)
    assert str(series.entity) == "prod/a/1"
    assert (series.name, series.kind, series.unit, series.temporality) == ("cpu", "counter", "By", "cumulative")
    assert series.attributes == {"a": "x", "z": 1}
    assert series.resource == resource
    assert reader.table.kind(row) == ("counter", "cumulative")
    # Stable for ever: it is what signals, verdicts and labels of people refer to.
    assert series.id == "c6370f330a0c208d044fadcf45134b8e"


def test_new_rows_are_told_once() -> None:
    reader = decoder()
    read(reader, sample(), sample(name="mem"), sample())
    assert reader.table.take_new() == [0, 1]
    read(reader, sample(), sample(name="disk"))
    assert reader.table.take_new() == [2]
    assert reader.table.take_new() == []


def test_a_full_table_counts_and_goes_on() -> None:
    reader = decoder(max_series=2)
    names = [f"m{i}" for i in range(5)]
    for times in (1, 2):
        columns = read(reader, *(sample(name=name) for name in names))
        assert columns.series.tolist() == [0, 1]
        assert columns.record.tolist() == [0, 1]
        assert columns.rejected == []
        assert reader.table.overflow == 3 * times
    assert len(reader.table) == 2


def test_forgotten_rows_are_given_out_again() -> None:
    reader = decoder(max_series=2)
    read(reader, sample(name="a"), sample(name="b"), sample(name="c"))
    reader.table.forget([0])
    assert len(reader.table) == 1
    with pytest.raises(KeyError):
        reader.table.describe(0)
    # Refused before, welcome now; and nobody's old spelling leads to the row's new owner.
    assert read(reader, sample(name="c"), sample(name="b"), sample(name="a")).series.tolist() == [0, 1]
    assert reader.table.describe(0).name == "c"
    assert reader.table.overflow == 2


def block(*names: str, resource: bytes = b'{"service.name":"a"}') -> bytes:
    series = orjson.dumps([{"name": name} for name in names])
    values = orjson.dumps([[1]] * len(names))
    return b'{"resource":%b,"series":%b,"time_unix_nano":[7],"value":%b}' % (resource, series, values)


def test_a_block_leads_to_nobody_elses_rows_after_some_are_forgotten() -> None:
    reader = decoder(max_series=2)
    for _ in range(2):  # the second time by its layout
        assert read(reader, block("a", "b")).series.tolist() == [0, 1]
    reader.table.forget([0])
    assert read(reader, block("c")).series.tolist() == [0]
    assert read(reader, block("a", "b")).series.tolist() == [1]
    assert [reader.table.describe(row).name for row in (0, 1)] == ["c", "b"]


def test_a_block_that_found_no_room_finds_it_later() -> None:
    reader = decoder(max_series=2)
    for _ in range(2):
        assert read(reader, block("a", "b", "c")).series.tolist() == [0, 1]
    reader.table.forget([0, 1])
    assert read(reader, block("c", "d")).series.tolist() == [0, 1]


def test_endless_layouts_of_blocks_take_no_more_room() -> None:
    reader = decoder(max_series=10)
    most = LAYOUT_BYTES_PER_SERIES * 10
    for i in range(300):
        padded = b'{"service.name":"a"%b}' % (b" " * i)
        assert read(reader, block("a", "b", resource=padded)).series.tolist() == [0, 1]
        assert reader.table.layouts <= most // (len(padded) + 16)
    read(reader, block("a", "b", resource=b'{"service.name":"a"%b}' % (b" " * most)))
    assert reader.table.layouts > 0


def test_a_row_is_given_out_for_samples_only() -> None:
    reader = MetricDecoder(SeriesTable(10), future_limit_nanos=0)
    no_sample = b'{"resource":{},"series":[{"name":"a"}],"time_unix_nano":[1],"value":[[null]]}'
    bad = b'{"resource":{},"series":[{"name":"a"},{"name":""}],"time_unix_nano":[1],"value":[[1],[1]]}'
    ahead = sample(name="ahead", time_unix_nano=2 * NOW)
    columns = reader.decode([b"k"] * 3, [no_sample, bad, ahead], [NOW // 1_000_000] * 3)
    assert len(columns) == 0
    assert len(reader.table) == 0


def test_endless_spellings_of_a_series_take_no_more_room() -> None:
    reader = decoder(max_series=10)
    for i in range(200):
        columns = read(reader, sample().replace(b'{"service.name"', b"{" + b" " * i + b'"service.name"'))
        assert columns.series.tolist() == [0]
    assert len(reader.table) == 1
    assert reader.table.spellings <= SPELLINGS_PER_SERIES


def test_a_label_explosion_takes_no_more_room() -> None:
    reader = decoder(max_series=10)
    for i in range(50):
        read(reader, *(sample(attributes={"id": f"{i}-{j}"}) for j in range(20)))
    assert len(reader.table) == 10
    assert reader.table.overflow == 50 * 20 - 10
    assert reader.table.spellings <= 10 * SPELLINGS_PER_SERIES + 10


def test_snapshot_keeps_rows() -> None:
    reader = decoder(max_series=5)
    read(reader, *(sample(name=name) for name in "abcd"))
    reader.table.forget([3, 1])
    again = MetricDecoder.restore(reader.snapshot(), max_series=5, future_limit_nanos=0)
    assert again.table.take_new() == []
    assert len(again.table) == 2
    for row in (0, 2):
        assert again.table.describe(row) == reader.table.describe(row)
    # With or without a restart in between, what comes gets the same rows.
    for one in (reader, again):
        assert read(one, *(sample(name=name) for name in "acxyzd")).series.tolist() == [0, 2, 1, 3, 4]


def test_snapshot_of_nothing() -> None:
    again = MetricDecoder.restore(decoder().snapshot(), max_series=5, future_limit_nanos=0)
    assert len(again.table) == 0
    assert read(again, sample()).series.tolist() == [0]


def test_long_labels_are_bounded_like_many_series() -> None:
    reader = decoder(max_series=50)
    room = 50 * NAME_BYTES_PER_SERIES
    long = [sample(attributes={"path": f"{i}" + "x" * 30_000}) for i in range(20)]
    taken = len(read(reader, *long))
    # A name and a spelling of each that was taken; nothing of those that were not.
    assert taken == room // 60_000
    assert reader.table.overflow == 20 - taken
    assert len(read(reader, *long)) == taken  # what is known goes on
    assert len(read(reader, sample())) == 1  # and what is short finds room
    reader.table.forget(range(taken))
    assert len(read(reader, *reversed(long))) == taken
