"""Archives made by hand: telemetry of the small service of the adversary tests, as a broker would have kept it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from zlib import crc32

import msgspec

from benchmarks.adversary.arc import Sent
from benchmarks.adversary.world import INSTANCES, T0, Weather, at, telemetry
from schemas.codec import encode
from schemas.line import Line
from schemas.raw import MetricBlock
from schemas.topics import INCIDENT_PARTITIONS, RAW_METRICS, SIGNALS
from streams.replay.archive import MANIFEST, Archive, File, Manifest
from streams.replay.span import Place, Span

RAW_PARTITIONS = 3


def bad_rollout(seed: int = 1) -> list[Sent]:
    return telemetry(Weather(), seed)


def partition_of(sent: Sent) -> int:
    """Give instances partitions of their own, so that there is something to interleave."""
    return crc32(sent.value[:400]) % RAW_PARTITIONS if sent.topic.name.startswith("raw.") else 0


def kept(folder: Path, records: Iterable[Sent], *, signal_partitions: int = INCIDENT_PARTITIONS) -> Archive:
    """Write records down as `reflexarc archive` would have."""
    folder.mkdir()
    lines: dict[Place, list[Line]] = defaultdict(list)
    for one in sorted(records, key=lambda one: one.broker_millis):
        place = Place(one.topic.name, partition_of(one))
        offset = len(lines[place])
        line = Line(
            f"r.{place.topic}",
            place.partition,
            offset,
            one.broker_millis,
            "LogAppendTime",
            key=one.key.decode(),
            value=one.value.decode(),
        )
        lines[place].append(line)
    files = [_file(folder, place, held) for place, held in sorted(lines.items())]
    manifest = Manifest(
        topic_prefix="r",
        partitions={SIGNALS.name: signal_partitions, "raw.metrics": RAW_PARTITIONS},
        span=Span(),
        written_unix_nano=T0,
        files=tuple(files),
    )
    (folder / MANIFEST).write_text(manifest.model_dump_json())
    return Archive(folder, Span())


def _file(folder: Path, place: Place, lines: list[Line]) -> File:
    name = f"{place.topic}-{place.partition}.jsonl"
    (folder / name).write_bytes(msgspec.json.Encoder().encode_lines(lines))
    times = [line.timestamp for line in lines]
    return File(
        topic=place.topic,
        partition=place.partition,
        path=name,
        records=len(lines),
        first_offset=0,
        last_offset=len(lines) - 1,
        first_millis=min(times),
        last_millis=max(times),
    )


def slow_instance(begin: float, end: float, seed: int = 1) -> list[Sent]:
    """Record a calm service; one instance is slow for a while, after the usual time of the fault."""
    hurt = iter([one for one in telemetry(Weather(), seed) if one.topic is RAW_METRICS])
    return [
        _slowed(one, next(hurt), begin, end) if one.topic is RAW_METRICS else one
        for one in telemetry(Weather(fault=False), seed)
    ]


def _slowed(calm: Sent, hurt: Sent, begin: float, end: float) -> Sent:
    block, slow = (MetricBlock.model_validate_json(one.value) for one in (calm, hurt))
    if block.resource["service.instance.id"] != INSTANCES[0] or not at(begin) <= block.time_unix_nano[0] < at(end):
        return calm
    # The first series is how long requests take.
    return calm._replace(value=encode(block.model_copy(update={"value": (slow.value[0], *block.value[1:])})))
