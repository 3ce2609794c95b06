"""Real parts, started once a session and shared; each test keeps to itself by its `topic_prefix`.

`broker` runs a test twice: on Tansu, as the embedded profile has it (mark `integration`), and on Apache Kafka 4 (mark
`kafka`). Where Apache Kafka cannot run, its half is skipped; with CI=true that is a failure instead.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from uuid import uuid4

import pytest

from streams.embedded import EmbeddedBroker, EmbeddedValkey
from tests.parts import Broker, kafka, s3
from tests.parts.mock_cluster import MockCluster
from tests.parts.need import need

OUR_LOGGERS = {"actions", "console", "detectors", "schemas", "streams"}


@pytest.fixture(scope="session")
def tansu() -> Iterator[Broker]:
    with EmbeddedBroker() as broker:
        yield Broker("tansu", broker.bootstrap_servers)


@pytest.fixture(scope="session")
def apache_kafka() -> Iterator[Broker]:
    need(kafka.JARS.obstacle())
    with kafka.ApacheKafka() as broker:
        yield Broker("apache-kafka", broker.bootstrap_servers)


@pytest.fixture(
    scope="session",
    params=[
        pytest.param("tansu", marks=pytest.mark.integration),
        pytest.param("apache_kafka", marks=pytest.mark.kafka),
    ],
)
def broker(request: pytest.FixtureRequest) -> Broker:
    found: Broker = request.getfixturevalue(request.param)
    return found


@pytest.fixture(scope="session")
def valkey() -> Iterator[EmbeddedValkey]:
    with EmbeddedValkey() as server:
        yield server


@pytest.fixture(scope="session")
def s3_server() -> Iterator[s3.S3Server]:
    need(s3.JARS.obstacle())
    with s3.S3Server() as server:
        yield server


@pytest.fixture
def mock_cluster() -> Iterator[MockCluster]:
    with MockCluster() as cluster:
        yield cluster


@pytest.fixture
def topic_prefix() -> str:
    return f"t{uuid4().hex[:12]}"


@pytest.fixture
def expected_errors() -> list[str]:
    """Patterns of the errors that a test brings about on purpose; any other that we log fails it."""
    return []


@pytest.fixture(autouse=True)
def no_unexpected_errors(caplog: pytest.LogCaptureFixture, expected_errors: list[str]) -> Iterator[None]:
    yield
    errors = [
        record.getMessage()
        for phase in ("setup", "call")
        for record in caplog.get_records(phase)
        if record.levelno >= logging.ERROR and record.name.partition(".")[0] in OUR_LOGGERS
    ]
    unexpected = [error for error in errors if not any(re.search(pattern, error) for pattern in expected_errors)]
    assert not unexpected
