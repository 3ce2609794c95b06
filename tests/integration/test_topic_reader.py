"""Reading a topic from a moment on: near that moment on every broker, and nothing after it is missed."""

from __future__ import annotations

import time
from typing import Any

from actions.kafka import LOOK_BACK_SECONDS, NEAR_RECORDS, TopicReader
from schemas.codec import encode
from schemas.signal import Progress
from schemas.topics import SIGNALS
from tests.integration.clients import create_topic, produce
from tests.parts import Broker

RECORDS = 4 * NEAR_RECORDS


async def test_a_reader_begins_near_the_moment_asked_for(broker: Broker, topic_prefix: str) -> None:
    name = create_topic(broker, SIGNALS.full_name(topic_prefix))
    now = time.time_ns()
    # One a second, the newest now.
    records: list[dict[str, Any]] = [
        {
            "value": encode(Progress(source="s", time_unix_nano=i + 1)),
            "timestamp": now // 1_000_000 - 1000 * (RECORDS - i),
        }
        for i in range(RECORDS)
    ]
    for first in range(0, RECORDS, 1000):
        produce(broker, name, records[first : first + 1000])
    found: list[Progress] = []
    reader = TopicReader({"bootstrap.servers": broker.bootstrap_servers}, SIGNALS, topic_prefix, found.append)
    await reader.start(now)
    await reader.catch_up()
    reader.close()
    read = [progress.time_unix_nano for progress in found]
    assert read == list(range(read[0], RECORDS + 1))
    assert LOOK_BACK_SECONDS <= len(read) <= RECORDS / 2


async def test_what_comes_right_after_the_start_is_not_missed(broker: Broker, topic_prefix: str) -> None:
    """Where nothing is as young as the moment, the broker names no offset: "the end" would be looked up later."""
    name = create_topic(broker, SIGNALS.full_name(topic_prefix))
    found: list[Progress] = []
    for turn in range(1, 6):
        reader = TopicReader({"bootstrap.servers": broker.bootstrap_servers}, SIGNALS, topic_prefix, found.append)
        await reader.start(time.time_ns() + 3600 * 1_000_000_000)
        assert all(place.offset >= 0 for place in reader._consumer.assignment())
        produce(broker, name, [{"value": encode(Progress(source="s", time_unix_nano=turn))}])
        await reader.catch_up()
        reader.close()
        assert found[-1].time_unix_nano == turn
