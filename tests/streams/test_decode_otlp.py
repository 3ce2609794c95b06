"""OTLP metrics as the Collector's Kafka exporter writes it, in both spellings, against the same expectations."""

from __future__ import annotations

import math
from typing import Any

import orjson
import pytest
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, ArrayValue, KeyValue, KeyValueList
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord
from opentelemetry.proto.metrics.v1.metrics_pb2 import (
    AggregationTemporality,
    ExponentialHistogramDataPoint,
    HistogramDataPoint,
    Metric,
    MetricsData,
    NumberDataPoint,
    SummaryDataPoint,
)

from schemas.errors import Rejection
from streams.decode import MetricColumns, MetricDecoder, SeriesTable
from tests.streams.otlp_records import NOW, SECOND, Spell, as_json, as_proto, attribute, logs, read_logs

DELTA = AggregationTemporality.AGGREGATION_TEMPORALITY_DELTA
CUMULATIVE = AggregationTemporality.AGGREGATION_TEMPORALITY_CUMULATIVE


def metrics(*made: Metric, scope: str = "", service: str = "checkout") -> MetricsData:
    data = MetricsData()
    of_resource = data.resource_metrics.add()
    of_resource.resource.attributes.extend(
        [attribute("service.name", string_value=service), attribute("service.instance.id", string_value="1")]
    )
    of_scope = of_resource.scope_metrics.add()
    of_scope.scope.name = scope
    of_scope.metrics.extend(made)
    return data


def gauge(name: str, *points: NumberDataPoint) -> Metric:
    metric = Metric(name=name, unit="s")
    metric.gauge.data_points.extend(points)
    return metric


def total(name: str, temporality: Any, point: NumberDataPoint, *, monotonic: bool = True) -> Metric:
    metric = Metric(name=name)
    metric.sum.data_points.append(point)
    metric.sum.aggregation_temporality = temporality
    metric.sum.is_monotonic = monotonic
    return metric


def number(value: float, time: int = NOW, **attributes: str) -> NumberDataPoint:
    point = NumberDataPoint(time_unix_nano=time, start_time_unix_nano=1)
    if isinstance(value, int):
        point.as_int = value
    else:
        point.as_double = value
    point.attributes.extend(attribute(key, string_value=text) for key, text in attributes.items())
    return point


class Reader:
    """A decoder, and what it found in words."""

    def __init__(self, *, limit: int = 60 * SECOND, max_series: int = 1000) -> None:
        self.decoder = MetricDecoder(SeriesTable(max_series), future_limit_nanos=limit)

    def columns(self, *values: bytes, now: int = 0) -> MetricColumns:
        # The exporter writes no key unless told to.
        return self.decoder.decode([None] * len(values), values, [now // 1_000_000] * len(values))

    def read(self, *values: bytes, now: int = 0) -> list[tuple[str, int, float]]:
        columns = self.columns(*values, now=now)
        names = [self.decoder.table.describe(row).name for row in columns.series.tolist()]
        return list(zip(names, columns.time_unix_nano.tolist(), columns.value.tolist(), strict=True))

    def kinds(self) -> dict[str, tuple[str, str]]:
        described = [self.decoder.table.describe(row) for row in range(len(self.decoder.table))]
        return {series.name: (series.kind, series.temporality) for series in described}


def test_gauge(spell: Spell) -> None:
    reader = Reader()
    value = spell(metrics(gauge("cpu", number(0.5, core="1"), number(3, NOW + 1, core="2"))))
    assert reader.read(value) == [("cpu", NOW, 0.5), ("cpu", NOW + 1, 3.0)]
    series = reader.decoder.table.describe(0)
    assert str(series.entity) == "default/checkout/1"
    assert (series.unit, series.kind, series.attributes) == ("s", "gauge", {"core": "1"})
    assert len(reader.decoder.table) == 2


def test_both_spellings_and_our_own_format_are_the_same_series() -> None:
    data = metrics(gauge("cpu", number(0.5, core="1")))
    own = {
        "name": "cpu",
        "time_unix_nano": NOW,
        "value": 1,
        "resource": {"service.name": "checkout", "service.instance.id": "1"},
        "attributes": {"core": "1"},
    }
    reader = Reader()
    columns = reader.decoder.decode([b"k", None, None], [orjson.dumps(own), as_proto(data), as_json(data)], [0] * 3)
    assert columns.series.tolist() == [0, 0, 0]
    assert columns.rejected == []


@pytest.mark.parametrize(
    ("temporality", "monotonic", "expected"),
    [
        (CUMULATIVE, True, ("counter", "cumulative")),
        (DELTA, True, ("counter", "delta")),
        (CUMULATIVE, False, ("gauge", "unspecified")),
        (DELTA, False, ("counter", "delta")),
    ],
)
def test_sums(spell: Spell, temporality: Any, monotonic: bool, expected: tuple[str, str]) -> None:
    reader = Reader()
    assert reader.read(spell(metrics(total("n", temporality, number(7), monotonic=monotonic)))) == [("n", NOW, 7.0)]
    assert reader.kinds() == {"n": expected}


def test_sum_without_temporality_is_a_fault(spell: Spell) -> None:
    columns = Reader().columns(spell(metrics(total("n", 0, number(7)), gauge("g", number(1)))))
    assert columns.value.tolist() == [1.0]
    ((_, error),) = columns.rejected
    assert "temporality" in error.detail


def histogram(counts: list[int], time: int, temporality: Any = CUMULATIVE, **more: Any) -> MetricsData:
    metric = Metric(name="latency", unit="s")
    metric.histogram.aggregation_temporality = temporality
    point = HistogramDataPoint(time_unix_nano=time, start_time_unix_nano=1, count=sum(counts), bucket_counts=counts)
    point.explicit_bounds.extend(more.pop("bounds", [1.0, 2.0, 4.0]))
    point.sum = 10.0
    metric.histogram.data_points.append(point)
    return metrics(metric)


def test_cumulative_histogram_has_percentiles_of_what_is_new(spell: Spell) -> None:
    reader = Reader()
    first = reader.read(spell(histogram([100, 0, 0, 0], NOW)))
    assert first == [("latency.count", NOW, 100.0), ("latency.sum", NOW, 10.0)]
    second = {name: value for name, _, value in reader.read(spell(histogram([100, 100, 0, 0], NOW + 1)))}
    assert second == {
        "latency.count": 200.0,
        "latency.sum": 10.0,
        "latency.p50": 1.5,
        "latency.p95": 1.95,
        "latency.p99": 1.99,
    }
    assert reader.kinds()["latency.count"] == ("counter", "cumulative")
    assert reader.kinds()["latency.p95"] == ("gauge", "unspecified")


def test_histogram_that_saw_nothing_new_has_no_percentiles(spell: Spell) -> None:
    reader = Reader()
    value = spell(histogram([5, 0, 0, 0], NOW))
    later = spell(histogram([5, 0, 0, 0], NOW + 1))
    assert [len(reader.read(one)) for one in (value, later, value)] == [2, 2, 2]


def test_histogram_that_began_anew_has_no_percentiles_once(spell: Spell) -> None:
    reader = Reader()
    counts = ([50, 50, 0, 0], [3, 0, 0, 0], [5, 0, 0, 0])
    lengths = [len(reader.read(spell(histogram(one, NOW + i)))) for i, one in enumerate(counts)]
    assert lengths == [2, 2, 5]


def test_histogram_with_other_bounds_begins_anew(spell: Spell) -> None:
    reader = Reader()
    reader.read(spell(histogram([1, 0, 0, 0], NOW)))
    assert len(reader.read(spell(histogram([9, 9, 0, 0], NOW + 1, bounds=[1.0, 2.0, 8.0])))) == 2


def test_delta_histogram_needs_no_point_before(spell: Spell) -> None:
    found = {name: value for name, _, value in Reader().read(spell(histogram([0, 0, 4, 0], NOW, DELTA)))}
    assert found["latency.p50"] == 3.0
    assert len(found) == 5


def test_nothing_is_guessed_above_the_highest_bound(spell: Spell) -> None:
    found = {name: value for name, _, value in Reader().read(spell(histogram([0, 0, 0, 9], NOW, DELTA)))}
    assert found["latency.p99"] == 4.0


@pytest.mark.parametrize("bounds", [[1.0, 1.0, 2.0], [2.0, 1.0, 3.0], [1.0], [1.0, 2.0, math.inf]])
def test_bounds_that_make_no_sense_are_a_fault(spell: Spell, bounds: list[float]) -> None:
    columns = Reader().columns(spell(histogram([1, 1, 1, 1], NOW, bounds=bounds)))
    assert len(columns) == 0
    assert [position for position, _ in columns.rejected] == [0]


def test_histogram_without_buckets_is_a_count_and_a_sum(spell: Spell) -> None:
    assert len(Reader().read(spell(histogram([5], NOW, DELTA, bounds=[])))) == 2


def exponential(positive: list[int], time: int = NOW, offset: int = 0, zero: int = 0, scale: int = 0) -> MetricsData:
    metric = Metric(name="latency")
    metric.exponential_histogram.aggregation_temporality = CUMULATIVE
    point = ExponentialHistogramDataPoint(time_unix_nano=time, count=sum(positive) + zero, scale=scale, zero_count=zero)
    point.positive.offset = offset
    point.positive.bucket_counts.extend(positive)
    metric.exponential_histogram.data_points.append(point)
    return metrics(metric)


def test_exponential_histogram(spell: Spell) -> None:
    reader = Reader()
    assert reader.read(spell(exponential([5]))) == [("latency.count", NOW, 5.0)]  # it has no sum
    # Scale 0: the bucket i is (2^i, 2^(i+1)]. Ten more between 4 and 8, though the buckets begin elsewhere.
    found = {name: value for name, _, value in reader.read(spell(exponential([5, 0, 10], NOW + 1)))}
    assert found["latency.p50"] == pytest.approx(4 * 2**0.5)
    assert len(reader.read(spell(exponential([5, 0, 10, 1], NOW + 2, scale=1)))) == 1  # another scale begins anew
    assert len(reader.read(spell(exponential([1], NOW + 3, scale=-1000)))) == 1


def test_exponential_histogram_with_zeros_and_negative_values(spell: Spell) -> None:
    data = exponential([], zero=1)
    metric = data.resource_metrics[0].scope_metrics[0].metrics[0].exponential_histogram
    metric.aggregation_temporality = DELTA
    metric.data_points[0].negative.bucket_counts.extend([98])
    metric.data_points[0].positive.bucket_counts.extend([1])
    found = {name: value for name, _, value in Reader().read(spell(data))}
    assert -2 < found["latency.p50"] < -1
    assert found["latency.p99"] == 0


def test_summary(spell: Spell) -> None:
    metric = Metric(name="latency")
    point = SummaryDataPoint(time_unix_nano=NOW, count=10, sum=5.0)
    for quantile, value in ((0.5, 0.1), (0.999, 2.0), (1.0, math.nan)):
        point.quantile_values.add(quantile=quantile, value=value)
    metric.summary.data_points.append(point)
    assert sorted(Reader().read(spell(metrics(metric)))) == [
        ("latency.count", NOW, 10.0),
        ("latency.p50", NOW, 0.1),
        ("latency.p99.9", NOW, 2.0),
        ("latency.sum", NOW, 5.0),
    ]


def test_no_recorded_value_and_values_that_are_no_numbers_are_no_samples(spell: Spell) -> None:
    gone = number(1.0)
    gone.flags = 1
    points = [gone, number(math.nan), number(math.inf), NumberDataPoint(time_unix_nano=NOW), number(2.0)]
    columns = Reader().columns(spell(metrics(gauge("cpu", *points))))
    assert columns.value.tolist() == [2.0]
    assert columns.rejected == []


def test_a_bad_point_does_not_take_the_others_with_it(spell: Spell) -> None:
    many = number(1.0)
    many.attributes.extend(attribute(str(i), int_value=i) for i in range(129))
    made = [gauge("cpu", number(1.0, 0), number(2.0), many), gauge("", number(3.0)), Metric(name="of no kind")]
    columns = Reader().columns(spell(metrics(*made)))
    assert columns.value.tolist() == [2.0]
    ((position, error),) = columns.rejected
    assert (position, error.reason) == (0, Rejection.INVALID_SCHEMA)
    assert "3 of its points" in error.detail


def test_points_from_the_future(spell: Spell) -> None:
    reader = Reader(limit=SECOND)
    value = spell(metrics(gauge("cpu", number(1.0, NOW + SECOND), number(2.0, NOW + SECOND + 1))))
    columns = reader.columns(value, now=NOW)
    assert columns.value.tolist() == [1.0]
    ((_, error),) = columns.rejected
    assert "clock" in error.detail
    # A histogram point from the future must not make those after it look old.
    reader.columns(spell(histogram([1, 0, 0, 0], 2 * NOW)), now=NOW)
    reader.columns(spell(histogram([2, 0, 0, 0], NOW)), now=NOW)
    assert len(reader.columns(spell(histogram([3, 0, 0, 0], NOW + 1)), now=NOW)) == 5


def test_points_are_read_by_time(spell: Spell) -> None:
    value = spell(metrics(gauge("a", number(3.0, 30), number(1.0, 10)), gauge("b", number(2.0, 20))))
    assert [time for _, time, _ in Reader().read(value)] == [10, 20, 30]


def test_scopes_with_metrics_of_one_name_are_told_apart(spell: Spell) -> None:
    reader = Reader()
    values = [spell(metrics(gauge("cpu", number(1.0)), scope=scope)) for scope in ("", "one", "two", "one")]
    assert reader.columns(*values).series.tolist() == [0, 1, 2, 1]
    assert reader.decoder.table.describe(1).attributes == {"otel.scope.name": "one"}


def test_attributes_of_every_kind(spell: Spell) -> None:
    point = number(1.0)
    point.attributes.extend(
        [
            attribute("text", string_value="x"),
            attribute("flag", bool_value=False),
            attribute("int", int_value=-7),
            attribute("double", double_value=0.5),
            attribute("nan", double_value=math.nan),
            attribute("bytes", bytes_value=b"\x00\xff"),
            attribute("list", array_value=ArrayValue(values=[AnyValue(int_value=1), AnyValue(string_value="a")])),
            attribute("map", kvlist_value=KeyValueList(values=[attribute("k", bool_value=True)])),
            KeyValue(key="nothing"),
        ]
    )
    reader = Reader()
    reader.read(spell(metrics(gauge("cpu", point))))
    assert reader.decoder.table.describe(0).attributes == {
        "text": "x",
        "flag": False,
        "int": -7,
        "double": 0.5,
        "nan": "nan",
        "bytes": "AP8=",
        "list": '[1,"a"]',
        "map": '{"k":true}',
        "nothing": "",
    }


def test_snapshot_keeps_the_points_before(spell: Spell) -> None:
    reader = Reader()
    reader.read(spell(histogram([5, 0, 0, 0], NOW)))
    again = Reader()
    again.decoder = MetricDecoder.restore(reader.decoder.snapshot(), max_series=1000, future_limit_nanos=0)
    value = spell(histogram([5, 5, 0, 0], NOW + 1))
    assert again.read(value) == reader.read(value)
    assert len(again.decoder.table) == 5


def test_endless_histograms_take_no_more_room(spell: Spell) -> None:
    reader = Reader(max_series=10)
    for i in range(50):
        data = histogram([1, 0, 0, 0], NOW)
        data.resource_metrics[0].resource.attributes[0].value.string_value = f"s{i}"
        reader.read(spell(data))
    assert len(reader.decoder._histograms.snapshot()) <= 2
    assert len(reader.decoder.table) == 10


def test_json_as_other_producers_spell_it() -> None:
    """Numbers for 64-bit integers, text for doubles, nothing that may be left out, fields of later versions."""
    point = {"timeUnixNano": NOW, "asDouble": "0.5", "laterField": {"a": [1]}}
    value = {"resourceMetrics": [{"scopeMetrics": [{"metrics": [{"name": "cpu", "gauge": {"dataPoints": [point]}}]}]}]}
    assert Reader().read(orjson.dumps(value)) == [("cpu", NOW, 0.5)]


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (b'{"resourceMetrics":[{"scopeMetrics":7}]}', Rejection.INVALID_SCHEMA),
        (b'{"resourceMetrics":7}', Rejection.INVALID_SCHEMA),
        (b'{"resourceMetrics":[}', Rejection.MISSING_KEY),
        (b"\n\xff\xff\xff\xff\xff", Rejection.MISSING_KEY),
        (as_proto(metrics(gauge("cpu", number(1.0))))[:-3], Rejection.MISSING_KEY),
    ],
)
def test_malformed(value: bytes, reason: Rejection) -> None:
    ((_, error),) = Reader().columns(value).rejected
    assert error.reason is reason


def test_logs_on_the_metrics_topic_are_not_taken_for_metrics() -> None:
    columns = Reader().columns(as_proto(logs(LogRecord(time_unix_nano=NOW, severity_text="INFO"))))
    assert len(columns) == 0
    assert len(columns.rejected) == 1


def test_a_record_of_ours_that_mentions_otlp_is_ours() -> None:
    value = {"name": "a", "time_unix_nano": NOW, "value": 1, "resource": {}, "resourceMetrics": 7}
    reader = Reader()
    columns = reader.decoder.decode([b"k"], [orjson.dumps(value)], [0])
    assert columns.value.tolist() == [1.0]


def test_a_record_full_of_faults_is_refused_whole(spell: Spell) -> None:
    metric = gauge("cpu", number(1.0), *[NumberDataPoint()] * 2000)
    columns = Reader().columns(spell(metrics(metric)))
    assert len(columns) == 0
    ((_, error),) = columns.rejected
    assert "more than 1000 faults" in error.detail
    events = read_logs(spell(logs(LogRecord(time_unix_nano=1), *[LogRecord()] * 2000)))
    assert len(events) == 0
    assert len(events.rejected) == 1


def test_nested_without_end_is_refused() -> None:
    body = b'{"arrayValue":{"values":[' * 400 + b"]}}" * 400
    point = b'{"timeUnixNano":"7","asInt":"1","attributes":[{"key":"a","value":' + body + b"}]}"
    value = (
        b'{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"name":"a","gauge":{"dataPoints":[' + point + b"]}}]}]}]}"
    )
    columns = Reader().columns(value)
    assert len(columns) == 0
    assert len(columns.rejected) == 1
