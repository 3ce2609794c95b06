"""The benchmark of several workers shares the partitions out among them, and times what they do together."""

from __future__ import annotations

import pytest

from benchmarks import workers
from benchmarks.throughput.records import SINGLE, fill
from tests.parts import Broker


@pytest.mark.kafka
def test_two_workers_get_through_all_records(apache_kafka: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(workers, "RECORDS", 20_000)
    fill(apache_kafka.bootstrap_servers, SINGLE, 20_000)
    assert workers.measure(apache_kafka.bootstrap_servers, 2) > 0
