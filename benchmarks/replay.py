"""`python -m benchmarks.replay`: how much faster than real time recorded telemetry is played through the arc.

A made recording, one sample a second of each series, is written as an archive in each format and played by the same
code as `reflexarc backtest`: detect, correlate, decide, act. Each format is played in turn, round after round; medians
count, and decisions must be the same bytes every time.
"""

from __future__ import annotations

import argparse
import random
import tempfile
import time
from collections import defaultdict
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from zlib import crc32

from benchmarks.measure import Measure, at_least, write_json
from schemas.codec import encode
from schemas.envelope import NANOS
from schemas.line import Line
from schemas.raw import MetricSample
from schemas.topics import INCIDENT_PARTITIONS, RAW_METRICS, SIGNALS
from streams.progress import progress_bar
from streams.replay.archive import MANIFEST, Archive, Format, Manifest, PartitionWriter
from streams.replay.backtest import Backtest
from streams.replay.span import Place, Span
from streams.settings import Settings

T0 = 1_800_000_000 * NANOS
PARTITIONS = 4
FORMATS: tuple[Format, ...] = ("jsonl", "parquet")
# A day of a thousand series, a sample a second each, in less than half an hour: a change tried over lunch.
GOAL_TIMES_REAL_TIME = 50.0
MIB = 1024 * 1024


@dataclass(frozen=True)
class Played:
    """One recording in one format, played so many times."""

    kind: Format
    records: int
    span_seconds: float
    seconds: float
    """Median of all rounds."""
    size_mib: float
    digests: frozenset[str]

    @property
    def records_per_second(self) -> float:
        return self.records / self.seconds

    @property
    def times_real_time(self) -> float:
        return self.span_seconds / self.seconds


def record(folder: Path, kind: Format, series: int, seconds: int) -> Archive:
    """Write what these series would have sent."""
    folder.mkdir()
    places = [Place(RAW_METRICS.name, number) for number in range(PARTITIONS)]
    offsets: dict[Place, int] = defaultdict(int)
    with ExitStack() as stack:
        writers = {place: PartitionWriter(stack, folder, place, kind) for place in places}
        for millis, samples in _samples(series, seconds):
            lines: dict[Place, list[Line]] = defaultdict(list)
            for key, value in samples:
                place = places[crc32(key) % PARTITIONS]
                address = f"bench.{place.topic}", place.partition, offsets[place]
                lines[place].append(Line.of(address, (millis, "LogAppendTime"), key, value, ()))
                offsets[place] += 1
            for place, some in lines.items():
                writers[place].write(some)
    manifest = Manifest(
        topic_prefix="bench",
        partitions={RAW_METRICS.name: PARTITIONS, SIGNALS.name: INCIDENT_PARTITIONS},
        span=Span(),
        written_unix_nano=T0,
        files=tuple(writers[place].file() for place in places if offsets[place]),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json(), encoding="utf-8")
    return Archive(folder, Span())


def play(archives: dict[Format, Archive], rounds: int, workers: int) -> list[Played]:
    """Play each recording round after round, the formats in turn."""
    took: dict[Format, list[float]] = defaultdict(list)
    digests: dict[Format, set[str]] = defaultdict(set)
    total = rounds * sum(archive.raw_records for archive in archives.values())
    with progress_bar("play", total) as moved:
        for _ in range(rounds):
            for kind, archive in archives.items():
                began = time.perf_counter()
                replayed = Backtest(archive, workers=workers, moved=moved).play(Settings())
                took[kind].append(time.perf_counter() - began)
                digests[kind].add(replayed.made.digest)
    return [
        Played(
            kind=kind,
            records=archive.raw_records,
            span_seconds=(archive.until_millis - archive.since_millis) / 1000,
            seconds=median(took[kind]),
            size_mib=sum(path.stat().st_size for path in _files(archive)) / MIB,
            digests=frozenset(digests[kind]),
        )
        for kind, archive in archives.items()
    ]


def measures(found: list[Played]) -> list[Measure]:
    """Return the figures with their goals."""
    same = len({digest for one in found for digest in one.digests}) == 1
    rows = [at_least("replay: every round the same bytes", float(same), "yes or no", goal=1.0)]
    for one in found:
        name = f"replay from {one.kind}"
        rows += [
            at_least(f"{name}: over real time", one.times_real_time, "times", goal=GOAL_TIMES_REAL_TIME),
            Measure(f"{name}: speed", one.records_per_second, "records/s"),
            Measure(f"{name}: size of a million records", one.size_mib / one.records * 1e6, "MiB"),
        ]
    return rows


def table(found: list[Played]) -> str:
    """Return the figures as Markdown."""
    lines = ["| format | records/s | over real time | a million records take |", "|---|---|---|---|"]
    for one in found:
        size = f"{one.size_mib / one.records * 1e6:,.0f} MiB"
        lines.append(f"| {one.kind} | {one.records_per_second:,.0f} | {one.times_real_time:,.0f} times | {size} |")
    return "\n".join(lines) + "\n"


def _files(archive: Archive) -> Iterator[Path]:
    yield from (archive.folder / file.path for file in archive.manifest.files)


def _samples(series: int, seconds: int) -> Iterator[tuple[int, list[tuple[bytes, bytes]]]]:
    """Make each second's samples: levels with noise, and one service that turns bad for its last tenth."""
    noise = random.Random(1)
    for second in range(seconds):
        broken = second >= 0.9 * seconds
        yield T0 // 1_000_000 + second * 1000, [_sample(number, second, broken, noise) for number in range(series)]


def _sample(number: int, second: int, broken: bool, noise: random.Random) -> tuple[bytes, bytes]:
    service = f"service-{number // 10}"
    level = 0.9 if broken and number < 10 else 0.2
    sample = MetricSample(
        name="http.server.request.duration",
        time_unix_nano=T0 + second * NANOS,
        value=round(noise.gauss(level, 0.02), 5),
        unit="s",
        resource={"service.name": service, "service.instance.id": f"{service}-{number % 10}"},
    )
    return f"default/{service}".encode(), encode(sample)


def main() -> int:
    arguments = _arguments()
    with tempfile.TemporaryDirectory(prefix="reflexarc-bench-") as scratch:
        archives = {kind: record(Path(scratch) / kind, kind, arguments.series, arguments.seconds) for kind in FORMATS}
        found = play(archives, arguments.rounds, arguments.workers)
    rows = measures(found)
    print(f"{arguments.series} series, {arguments.seconds} s, {found[0].records} records, median of {arguments.rounds}")
    for row in rows:
        goal = "" if row.goal is None else f" (goal {row.goal:g}: {'met' if row.met else 'MISSED'})"
        print(f"{row.name}: {row.value:,.1f} {row.unit}{goal}")
    if arguments.json is not None:
        write_json(rows, arguments.json)
    return 0 if rows[0].met else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.replay", description=__doc__)
    parser.add_argument("--series", type=int, default=1000)
    parser.add_argument("--seconds", type=int, default=600)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--workers", type=int, default=1, help="processes that detect")
    parser.add_argument("--json", type=Path, help="write the figures here")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
