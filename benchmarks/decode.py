"""How fast raw telemetry is decoded on one core, by us and by the libraries that we chose from.

Run as `python -m benchmarks.decode [--rounds N] [--json FILE]`. Each job is a batch as the transport hands it over.
Rounds go through all jobs in turn, so that a slow moment of the machine hits all of them, each job in a fresh process,
so that none inherits the caches and the heap of another; what counts is the median over the rounds of the best
processor time of a few runs. What a job does differs, and is said: "parse" leaves Python objects, "validate" checks
them, "columns" and "rows" are the whole of the detect stage's work: validated, the series or resource looked up. polars
and pyarrow are measured where installed; the product does not need them.
"""

from __future__ import annotations

import argparse
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib import import_module
from importlib.util import find_spec
from io import BytesIO
from itertools import cycle
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import process_time
from tracemalloc import get_traced_memory, start, stop

import msgspec
import orjson
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.metrics.v1.metrics_pb2 import MetricsData
from pydantic import TypeAdapter

from benchmarks.measure import Measure, at_least, write_json
from schemas.codec import decode
from schemas.raw import MetricSample
from schemas.topics import RAW_METRICS
from streams.decode import LogDecoder, MetricDecoder, SeriesTable, alert_decoder

NOW = 1_700_000_000_000_000_000
SERIES = 1_000
# As many as the transport hands over at a time under load.
BATCH = 2_000
FAT = 100
RUNS = 10
GOAL_RECORDS_PER_SECOND = 800_000
GOAL_LOGS_PER_SECOND = 300_000
_KEY = b"default/checkout/checkout-1"


class Typed(msgspec.Struct, gc=False):
    """A sample with everything validated, as one would write it without looking series up."""

    name: str
    time_unix_nano: int
    value: float
    resource: dict[str, str | bool | int | float]
    kind: str = "gauge"
    unit: str = ""
    attributes: dict[str, str | bool | int | float] = {}
    schema_version: int = 1


@dataclass(frozen=True)
class Job:
    """Something to be timed."""

    group: str
    name: str
    does: str
    run: Callable[[], object]
    records: int
    samples: int


def _encode(record: object) -> bytes:
    """Return JSON as a consumer hands it over, in as many bytes as it has: orjson's own keep a page of memory each."""
    return bytes(memoryview(orjson.dumps(record)))


def sample(i: int, rng: random.Random) -> dict[str, object]:
    """One sample of about 190 bytes."""
    one = i % SERIES
    return {
        "name": "http.server.request.duration",
        "time_unix_nano": NOW + i * 1_000_003,
        "value": round(rng.random(), 6),
        "resource": {"service.name": f"svc-{one % 20}", "service.instance.id": f"i-{one % 50}"},
        "attributes": {"http.route": f"/r{one}"},
    }


def jobs() -> Iterator[Job]:
    rng = random.Random(7)
    singles = [_encode(sample(i, rng)) for i in range(BATCH)]
    yield from _parsers(singles)
    yield _ours("one sample a record", "ReflexArc", singles)
    damaged = [value if i % 100 else value[:-1] for i, value in enumerate(singles)]
    yield _ours("one sample a record", "ReflexArc, 1 % malformed", damaged)
    newer = [value[:-1] + b',"added_later":1}' for value in singles]
    yield _ours("one sample a record", "ReflexArc, an unknown field in each", newer)
    yield _ours("one sample a record", "ReflexArc, all malformed", [value[:-1] for value in singles])
    yield _explosion()
    yield from _many(rng)
    yield from _events(rng)


def _ours(group: str, name: str, values: list[bytes], samples: int = 1) -> Job:
    decoder = MetricDecoder(SeriesTable(100_000), future_limit_nanos=60 * 10**9)
    keys, timestamps = [_KEY] * len(values), [NOW // 1_000_000 + 3_600_000] * len(values)

    def run() -> object:
        return decoder.decode(keys, values, timestamps)

    return Job(group, name, "columns", run, len(values), len(values) * samples)


def _explosion() -> Job:
    """Every record a new series, the table full: the worst that well-formed records can do."""
    decoder = MetricDecoder(SeriesTable(1_000), future_limit_nanos=60 * 10**9)
    rng = random.Random(11)
    keys, timestamps = [_KEY] * BATCH, [0] * BATCH
    # More series than the table remembers having refused, so that none is ever met again.
    batches = cycle(
        [
            [_encode(sample(i, rng) | {"attributes": {"id": rng.getrandbits(63)}}) for i in range(BATCH)]
            for _ in range(5)
        ]
    )

    def run() -> object:
        return decoder.decode(keys, next(batches), timestamps)

    return Job("one sample a record", "ReflexArc, a label explosion", "columns", run, BATCH, BATCH)


def _parsers(values: list[bytes]) -> Iterator[Job]:
    typed = msgspec.json.Decoder(Typed)
    many = msgspec.json.Decoder(list[Typed])
    one = TypeAdapter(MetricSample)
    all_of_them = TypeAdapter(list[MetricSample])
    lines, array = b"\n".join(values), b"[" + b",".join(values) + b"]"
    runs: dict[str, tuple[str, Callable[[], object]]] = {
        "orjson.loads": ("parse", lambda: [orjson.loads(value) for value in values]),
        "orjson.loads, batch joined to one array": ("parse", lambda: orjson.loads(b"[" + b",".join(values) + b"]")),
        "msgspec, untyped": ("parse", lambda: [msgspec.json.decode(value) for value in values]),
        "msgspec, typed": ("validate", lambda: [typed.decode(value) for value in values]),
        "msgspec, typed, batch joined to one array": ("validate", lambda: many.decode(b"[" + b",".join(values) + b"]")),
        "msgspec, typed, batch joined to lines": ("validate", lambda: typed.decode_lines(b"\n".join(values))),
        "pydantic": ("validate", lambda: [one.validate_json(value, strict=True) for value in values]),
        "pydantic, batch joined to one array": ("validate", lambda: all_of_them.validate_json(array, strict=True)),
        "schemas.codec": ("validate", lambda: [decode(RAW_METRICS, _KEY, value) for value in values]),
    }
    if find_spec("polars"):
        polars = import_module("polars")
        runs["polars, batch joined to lines"] = ("parse", lambda: polars.read_ndjson(BytesIO(lines)))
    if find_spec("pyarrow"):
        json = import_module("pyarrow.json")
        serial = json.ReadOptions(use_threads=False)
        runs["pyarrow, batch joined to lines"] = ("parse", lambda: json.read_json(BytesIO(lines), read_options=serial))
    for name, (does, run) in runs.items():
        yield Job("one sample a record", name, does, run, len(values), len(values))


def _many(rng: random.Random) -> Iterator[Job]:
    records = BATCH // FAT
    blocks = [
        {
            "resource": {"service.name": "checkout", "service.instance.id": f"i-{i}"},
            "series": [{"name": f"metric.{j}", "attributes": {"core": j}} for j in range(FAT // 10)],
            "time_unix_nano": [NOW + k for k in range(10)],
            "value": [[round(rng.random(), 6) for _ in range(10)] for _ in range(FAT // 10)],
        }
        for i in range(records)
    ]
    yield _ours(f"{FAT} samples a record", "ReflexArc, own blocks", [_encode(block) for block in blocks], FAT)
    otlp = [_otlp(i, rng) for i in range(records)]
    yield _ours(f"{FAT} samples a record", "ReflexArc, OTLP protobuf", [one.SerializeToString() for one in otlp], FAT)
    yield _ours(f"{FAT} samples a record", "ReflexArc, OTLP JSON", [_otlp_json(one) for one in otlp], FAT)


def _otlp(i: int, rng: random.Random) -> MetricsData:
    data = MetricsData()
    of_resource = data.resource_metrics.add()
    of_resource.resource.attributes.append(KeyValue(key="service.name", value=AnyValue(string_value=f"svc-{i}")))
    of_scope = of_resource.scope_metrics.add()
    for j in range(FAT // 10):
        metric = of_scope.metrics.add(name=f"metric.{j}", unit="s")
        for k in range(10):
            point = metric.gauge.data_points.add(time_unix_nano=NOW + k, as_double=round(rng.random(), 6))
            point.attributes.append(KeyValue(key="http.route", value=AnyValue(string_value=f"/r{k}")))
            point.attributes.append(KeyValue(key="core", value=AnyValue(int_value=k)))
    return data


def _otlp_json(data: MetricsData) -> bytes:
    from google.protobuf.json_format import MessageToJson  # noqa: PLC0415 - only here

    return MessageToJson(data, indent=None, use_integers_for_enums=True).encode()


def _events(rng: random.Random) -> Iterator[Job]:
    logs = [
        _encode(
            {
                "time_unix_nano": NOW + i,
                "severity_number": 17,
                "body": f"payment failed for order {rng.randrange(10**6)}: refused after {rng.randrange(999)} ms",
                "resource": {"service.name": f"svc-{i % 20}", "service.instance.id": f"i-{i % 50}"},
                "attributes": {"http.route": "/pay", "trace_id": f"{rng.getrandbits(128):032x}"},
            }
        )
        for i in range(BATCH)
    ]
    alerts = [
        _encode(
            {
                "source": "alertmanager",
                "fingerprint": f"{i:016x}",
                "status": "firing",
                "name": "HighLatency",
                "time_unix_nano": NOW + i,
                "resource": {"service.name": f"svc-{i % 20}"},
                "labels": {"alertname": "HighLatency", "severity": "page", "service": f"svc-{i % 20}"},
            }
        )
        for i in range(BATCH)
    ]
    keys, timestamps = [_KEY] * BATCH, [0] * BATCH
    read_logs, read_alerts = LogDecoder(future_limit_nanos=0), alert_decoder(future_limit_nanos=0)
    yield Job("logs", "ReflexArc", "rows", lambda: read_logs.decode(keys, logs, timestamps), BATCH, BATCH)
    yield Job("alerts", "ReflexArc", "rows", lambda: read_alerts.decode(keys, alerts, timestamps), BATCH, BATCH)


def bytes_per_series(count: int) -> float:
    """Return the memory of the series table for each series it knows."""
    table = SeriesTable(count)
    decoder = MetricDecoder(table, future_limit_nanos=0)
    rng = random.Random(3)
    start()
    before, _ = get_traced_memory()
    for first in range(0, count, BATCH):
        values = [
            _encode(sample(i, rng) | {"attributes": {"http.route": f"/r{i}", "http.request.method": "GET"}})
            for i in range(first, first + BATCH)
        ]
        decoder.decode([_KEY] * BATCH, values, [0] * BATCH)
    del values
    after, _ = get_traced_memory()
    stop()
    return (after - before) / len(table)


def measure(rounds: int) -> dict[Job, float]:
    """Return the median seconds of each job."""
    # Forked, not spawned: jobs are closures, and this process stays as it is because it runs none of them.
    fork = get_context("fork")
    timed: dict[Job, list[float]] = {job: [] for job in jobs()}
    for _ in range(rounds):
        for job, seconds in timed.items():
            receive, send = fork.Pipe(duplex=False)
            process = fork.Process(target=_best, args=(job, send))
            process.start()
            seconds.append(receive.recv())
            process.join()
    return {job: median(seconds) for job, seconds in timed.items()}


def _best(job: Job, result: Connection) -> None:
    job.run()
    result.send(min(_time(job) for _ in range(RUNS)))


def _time(job: Job) -> float:
    began = process_time()
    job.run()
    return process_time() - began


def measures(found: dict[Job, float]) -> list[Measure]:
    """Return what was measured beside what was set out for."""
    speed = {(job.group, job.name): job.records / seconds for job, seconds in found.items()}
    parse = speed["one sample a record", "msgspec, untyped"]
    ours = speed["one sample a record", "ReflexArc"]
    return [
        at_least("decode: samples to columns", ours, "records/s", anchor=parse, goal=GOAL_RECORDS_PER_SECOND),
        at_least("decode: logs to rows", speed["logs", "ReflexArc"], "records/s", goal=GOAL_LOGS_PER_SECOND),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--json", type=Path, help="also write the measures to this file")
    arguments = parser.parse_args()
    found = measure(arguments.rounds)
    print(f"batches of {BATCH} samples, {arguments.rounds} rounds of {RUNS}, median of the best processor times\n")
    print(f"{'':44} {'does':9} {'ns/sample':>9} {'records/s':>11} {'samples/s':>11}")
    group = ""
    for job, seconds in found.items():
        if job.group != group:
            group = job.group
            print(f"\n{group}")
        nanos = seconds / job.samples * 1e9
        print(
            f"  {job.name:42} {job.does:9} {nanos:9.0f} {job.records / seconds:11,.0f} {job.samples / seconds:11,.0f}"
        )
    print(f"\nseries table: {bytes_per_series(20_000):.0f} bytes a series")
    if arguments.json:
        write_json(measures(found), arguments.json)


if __name__ == "__main__":
    main()
