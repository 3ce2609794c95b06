"""The limit: confluent-kafka alone, each record decoded with the quickest typed decoder there is. No offsets, no state.

python -m benchmarks.throughput.bare SERVERS TOPIC JOB RECORDS
"""

from __future__ import annotations

import gc
import sys
from uuid import uuid4

import msgspec
from confluent_kafka import Consumer

from benchmarks.throughput.stopwatch import Stopwatch
from benchmarks.throughput.tuning import CONSUMER


class Sample(msgspec.Struct, gc=False):
    """A sample, or a block of them."""

    resource: dict[str, str]
    time_unix_nano: int | list[int]
    value: float | list[list[float]]
    name: str = ""


def main() -> None:
    servers, topic, job, records = sys.argv[1:]
    watch = Stopwatch(int(records))
    # It keeps nothing that could form a cycle, and collecting garbage would only slow it down.
    gc.disable()
    consumer = Consumer({"bootstrap.servers": servers, "group.id": f"bare-{uuid4().hex}", **CONSUMER})
    consumer.subscribe([topic])
    decode = msgspec.json.Decoder(Sample).decode
    while True:
        messages = consumer.consume(10_000, 1.0)
        values = [message.value() for message in messages]
        if job != "empty":
            _ = [decode(value or b"") for value in values]
        if messages:
            watch.count(len(messages))


if __name__ == "__main__":
    main()
