"""The README's Python, run as it stands there against a broker: only the address is another."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from confluent_kafka import Producer

from schemas.codec import decode, encode
from schemas.raw import MetricSample
from schemas.topics import CATALOGUE, INCIDENTS, RAW_METRICS
from streams.embedded import EmbeddedBroker
from streams.kafka_client import create_topics
from streams.settings import KafkaSettings
from streams.tail import Tail
from tests.docs.pages import README, blocks
from tests.schemas.records import RECORDS

pytestmark = pytest.mark.integration

ADDRESS = "localhost:9092"
PATIENCE_SECONDS = 60.0


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaSettings]:
    """A broker of its own: the snippets name topics with the default prefix."""
    with EmbeddedBroker() as broker:
        settings = KafkaSettings(bootstrap_servers=broker.bootstrap_servers)
        assert len(create_topics(settings, divide_partitions_by=6)) > len(CATALOGUE)
        yield settings


def snippet(topic: str, kafka: KafkaSettings) -> str:
    (found,) = [code for code in blocks(README, "python") if f'"reflexarc.{topic}"' in code]
    assert ADDRESS in found
    return found.replace(ADDRESS, str(kafka.bootstrap_servers))


@contextmanager
def running(code: str, tmp_path: Path) -> Iterator[subprocess.Popen[str]]:
    """Run code as a stranger would: in another process and directory, with nothing of ours but the packages."""
    script = tmp_path / "snippet.py"
    script.write_text(code)
    process = subprocess.Popen(
        [sys.executable, "-u", "-W", "error", str(script)], cwd=tmp_path, stdout=subprocess.PIPE, text=True
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_what_the_first_snippet_publishes_is_telemetry(kafka: KafkaSettings, tmp_path: Path) -> None:
    before = time.time_ns()
    with running(snippet("raw.metrics", kafka), tmp_path) as process:
        assert process.wait(PATIENCE_SECONDS) == 0
    with Tail(kafka, [RAW_METRICS]) as tail:
        (seen,) = list(tail.to_end())
    assert isinstance(seen.record, MetricSample)
    assert seen.record.name == "http.server.request.duration"
    assert before <= seen.record.time_unix_nano <= time.time_ns()


def test_the_second_snippet_prints_incidents(kafka: KafkaSettings, tmp_path: Path) -> None:
    (value,) = [encode(record) for record in RECORDS[INCIDENTS.name][:1]]
    incident = decode(INCIDENTS, b"key", value)
    with running(snippet("incidents", kafka), tmp_path) as process:
        producer = Producer({"bootstrap.servers": str(kafka.bootstrap_servers)})
        producer.produce(INCIDENTS.full_name(kafka.topic_prefix), value, incident.scope.encode())
        assert producer.flush(PATIENCE_SECONDS) == 0
        assert process.stdout is not None
        printed = process.stdout.readline()
    assert printed.split() == [
        *(incident.status, incident.severity),
        *incident.title.split(),
        str(incident.classification.confidence),
    ]
