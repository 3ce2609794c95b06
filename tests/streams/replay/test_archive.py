"""What an archive holds is what the topics held, byte for byte, on both brokers."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from confluent_kafka import Producer

from schemas.codec import encode
from schemas.control import Control
from schemas.errors import ConfigurationError
from schemas.line import Header, Line
from schemas.topics import CONTROLS, RAW_LOGS, RAW_METRICS
from streams.archived import read_records
from streams.kafka_client import create_topics
from streams.replay.archive import Archive, Format, Manifest, read_lines, write_archive
from streams.replay.kafka_log import KafkaLog, known_topics
from streams.replay.parquet import GROUP_BYTES, ParquetFile
from streams.replay.span import OffsetRange, Place, Span
from streams.settings import KafkaSettings
from tests.parts import Broker
from tests.streams.arc import T0, log, metric

ARCHIVED_AT = 1_800_000_000_000_000_000
EVERYTHING = Span()
FORMATS: tuple[Format, ...] = ("jsonl", "parquet")
HOSTILE: tuple[bytes | None, ...] = (
    None,
    b"",
    b"\x00",
    b"\xff\xfe not UTF-8",
    "naïve ☃ \n \u2028".encode(),
    b'{"a":1}',
)
HEADERS: list[tuple[str, str | bytes | None]] = [("trace", b"\x80"), ("trace", b"twice"), ("none", None), ("", b"")]

Write = Callable[..., tuple[Path, Manifest]]


@pytest.fixture
def kafka(broker: Broker, topic_prefix: str) -> KafkaSettings:
    made = KafkaSettings(bootstrap_servers=broker.bootstrap_servers, topic_prefix=topic_prefix)
    create_topics(made, divide_partitions_by=3)
    return made


@pytest.fixture
def write(kafka: KafkaSettings, tmp_path: Path) -> Write:
    def do(
        span: Span = EVERYTHING, *names: str, folder: str = "archive", kind: Format = "jsonl"
    ) -> tuple[Path, Manifest]:
        path = tmp_path / folder
        moved: list[int] = []
        made = write_archive(
            KafkaLog(kafka, known_topics(names), span), path, span, ARCHIVED_AT, moved.append, kind=kind
        )
        assert sum(moved) == made.records
        return path, made

    return do


def publish(kafka: KafkaSettings, topic: str, partition: int, values: tuple[bytes | None, ...]) -> None:
    producer = Producer({"bootstrap.servers": kafka.bootstrap_servers})
    for i, value in enumerate(values):
        producer.produce(
            f"{kafka.topic_prefix}.{topic}",
            value,
            f"key {i}",
            partition,
            timestamp=T0 // 1_000_000 + i,
            headers=HEADERS,
        )
    assert producer.flush(30) == 0


def lines(path: Path) -> list[Line]:
    return [line.readable for some in read_lines(path) for line in some]


@pytest.mark.parametrize("kind", FORMATS)
def test_every_byte_of_every_field_is_kept(kafka: KafkaSettings, write: Write, kind: Format) -> None:
    publish(kafka, "controls", 0, HOSTILE)
    folder, manifest = write(EVERYTHING, "controls", kind=kind)
    (file,) = manifest.files
    kept = lines(folder / file.path)
    assert [line.value_bytes for line in kept] == list(HOSTILE)
    assert [line.key_bytes for line in kept] == [f"key {i}".encode() for i in range(len(HOSTILE))]
    assert [line.offset for line in kept] == list(range(len(HOSTILE)))
    assert [line.timestamp for line in kept] == [T0 // 1_000_000 + i for i in range(len(HOSTILE))]
    assert {line.timestamp_type for line in kept} == {"CreateTime"}
    assert kept[0].headers == (
        Header("trace", value_base64=b"\x80"),
        Header("trace", "twice"),
        Header("none"),
        Header("", ""),
    )
    assert (file.first_offset, file.last_offset, file.records) == (0, len(HOSTILE) - 1, len(HOSTILE))


@pytest.mark.parametrize("kind", FORMATS)
def test_it_is_read_as_it_was_written_and_by_whoever_reads_histories(
    kafka: KafkaSettings, write: Write, kind: Format
) -> None:
    publish(kafka, RAW_LOGS.name, 1, tuple(encode(log(i)) for i in range(5)))
    publish(kafka, RAW_METRICS.name, 0, (encode(metric(1, 0.5)),))
    folder, manifest = write(EVERYTHING, kind=kind)
    archive = Archive(folder, EVERYTHING)
    assert manifest == archive.manifest
    assert archive.partitions()[RAW_LOGS.name] == 4
    ((_, batch),) = archive.batches({Place(RAW_LOGS.name, 1)})
    assert list(batch.values) == [encode(log(i)) for i in range(5)]
    assert (batch.topic, batch.partition, list(batch.offsets)) == (f"{kafka.topic_prefix}.raw.logs", 1, [0, 1, 2, 3, 4])
    assert len(list(read_records([folder / file.path for file in manifest.files]))) == 6


def test_a_history_is_read_from_a_whole_archive_without_its_telemetry(kafka: KafkaSettings, write: Write) -> None:
    publish(kafka, RAW_METRICS.name, 0, (encode(metric(1, 0.5)),))
    said = Control(id="1", kind="resume", by="alice", time_unix_nano=T0)
    publish(kafka, CONTROLS.name, 0, (encode(said),))
    folder, _ = write(EVERYTHING, kind="parquet")
    assert list(read_records([folder])) == [said]


def test_offsets_and_times_choose_what_is_read(kafka: KafkaSettings, write: Write) -> None:
    publish(kafka, "controls", 0, (b"0", b"1", b"2", b"3", b"4", b"5"))
    by_offset = Span(offsets=(OffsetRange(topic="controls", first=2, until=4),))
    folder, manifest = write(by_offset, "controls", folder="offsets")
    assert [line.value for line in lines(folder / manifest.files[0].path)] == ["2", "3"]
    by_time = Span(since_millis=T0 // 1_000_000 + 3, until_millis=T0 // 1_000_000 + 5)
    folder, manifest = write(by_time, "controls", folder="times")
    assert [line.value for line in lines(folder / manifest.files[0].path)] == ["3", "4"]
    # What was archived whole gives the same spans when it is read.
    folder, _ = write(EVERYTHING, "controls", folder="whole")
    place = {Place("controls", 0)}
    read = [
        [value for _, batch in Archive(folder, span).batches(place) for value in batch.values]
        for span in (by_offset, by_time)
    ]
    assert read == [[b"2", b"3"], [b"3", b"4"]]


def test_an_archive_is_never_written_over(write: Write) -> None:
    write(EVERYTHING, "controls")
    with pytest.raises(ConfigurationError, match="archive already"):
        write(EVERYTHING, "controls")


def test_a_truncated_or_unfinished_archive_is_refused(kafka: KafkaSettings, write: Write, tmp_path: Path) -> None:
    publish(kafka, "controls", 0, (b"0", b"1"))
    folder, manifest = write(EVERYTHING, "controls")
    path = folder / manifest.files[0].path
    path.write_bytes(path.read_bytes().splitlines(keepends=True)[0])
    with pytest.raises(ConfigurationError, match="1 records; its manifest says 2"):
        list(Archive(folder, EVERYTHING).batches({Place("controls", 0)}))
    with pytest.raises(ConfigurationError, match="no finished archive"):
        Archive(tmp_path / "nowhere", EVERYTHING)


def test_a_parquet_file_is_refused_where_it_is_broken_or_somebody_elses(
    kafka: KafkaSettings, write: Write, tmp_path: Path
) -> None:
    publish(kafka, "controls", 0, (b"0", b"1"))
    folder, manifest = write(EVERYTHING, "controls", kind="parquet")
    path = folder / manifest.files[0].path
    path.write_bytes(path.read_bytes()[:-8])
    with pytest.raises(ConfigurationError, match="controls-0"):
        lines(path)
    pq.write_table(pa.table({"value": [1]}), tmp_path / "other.parquet")
    with pytest.raises(ConfigurationError, match="its columns are others"):
        lines(tmp_path / "other.parquet")


def test_rows_are_grouped_so_that_no_more_than_a_group_is_in_memory(tmp_path: Path) -> None:
    path = tmp_path / "raw.logs-0.parquet"
    made = [Line("r.raw.logs", 0, i, T0 // 1_000_000, value="x" * 1000) for i in range(GROUP_BYTES // 1000 * 2 + 10)]
    with ParquetFile(path) as file:
        for line in made:
            file.write([line])
    assert pq.ParquetFile(path).num_row_groups == 3
    assert lines(path) == made


def test_without_pyarrow_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ConfigurationError, match=r"pip install 'reflexarc\[parquet\]'"):
        ParquetFile(tmp_path / "raw.logs-0.parquet")


def test_a_topic_that_does_not_exist_is_named() -> None:
    with pytest.raises(ConfigurationError, match=r"no topic 'raw\.metric'"):
        known_topics(["raw.metric"])
