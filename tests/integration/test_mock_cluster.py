"""The mock cluster does to its clients what its calls say; checked anew for each version of librdkafka."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import pytest
from aiokafka import AIOKafkaConsumer
from confluent_kafka import KafkaError, Producer

from tests.parts.mock_cluster import ApiKey, MockCluster

pytestmark = pytest.mark.integration

Send = Callable[[int], float]


@pytest.fixture
def producer(mock_cluster: MockCluster) -> Producer:
    mock_cluster.create_topic("t", partitions=2)
    mock_cluster.move_leader("t", 0, 1)
    mock_cluster.move_leader("t", 1, 2)
    return Producer({"bootstrap.servers": mock_cluster.bootstrap_servers, "log_level": 0, "linger.ms": 0})


def send(producer: Producer, partition: int, patience: float) -> list[Any]:
    """Send one record; return what the broker said in this time: an offset, an error, nothing."""
    said: list[Any] = []
    producer.produce("t", b"v", partition=partition, on_delivery=lambda error, m: said.append(error or m.offset()))
    producer.flush(patience)
    return said


def test_a_broker_that_is_down_takes_nothing_until_it_is_up(mock_cluster: MockCluster, producer: Producer) -> None:
    assert send(producer, 0, 10) == [0]
    mock_cluster.broker_down(1)
    assert send(producer, 0, 0.5) == []
    mock_cluster.broker_up(1)
    assert send(producer, 0, 10) == [2]


def test_a_slow_broker_answers_late(mock_cluster: MockCluster, producer: Producer) -> None:
    assert send(producer, 1, 10) == [0]
    mock_cluster.round_trip(2, 500)
    began = time.monotonic()
    assert send(producer, 1, 10) == [1]
    assert time.monotonic() - began >= 0.5


def test_a_request_fails_as_often_as_asked(mock_cluster: MockCluster, producer: Producer) -> None:
    mock_cluster.fail(ApiKey.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE, times=2)
    answers = [send(producer, 0, 10)[0] for _ in range(3)]
    assert [answer.code() for answer in answers[:2]] == [KafkaError.MSG_SIZE_TOO_LARGE] * 2
    assert answers[2] == 0


def test_failing_can_be_ended(mock_cluster: MockCluster, producer: Producer) -> None:
    mock_cluster.fail(ApiKey.PRODUCE, KafkaError.MSG_SIZE_TOO_LARGE, times=5)
    mock_cluster.stop_failing(ApiKey.PRODUCE)
    assert send(producer, 0, 10) == [0]


async def test_a_group_survives_its_coordinator(mock_cluster: MockCluster, producer: Producer) -> None:
    mock_cluster.rebalance_delay(0)
    mock_cluster.move_coordinator("g", 3)
    assert send(producer, 0, 10) == [0]
    reader = AIOKafkaConsumer(
        "t", bootstrap_servers=mock_cluster.bootstrap_servers, group_id="g", auto_offset_reset="earliest"
    )
    await reader.start()
    assert (await reader.getone()).offset == 0
    mock_cluster.broker_down(3)
    mock_cluster.move_coordinator("g", 2)
    await reader.commit()
    await reader.stop()


def test_a_refused_call_says_why(mock_cluster: MockCluster) -> None:
    with pytest.raises(RuntimeError, match=r"partition_set_leader: .*not available"):
        mock_cluster.move_leader("t", 0, 9)
