"""A plain Faust agent, as quick as its settings make it: raw values, orjson, uvloop, windows in a dict.

python -m benchmarks.throughput.plain_faust SERVERS TOPIC JOB RECORDS

Its windowed tables are left out in its favour: each write of one is a record to a changelog topic.
"""

from __future__ import annotations

import asyncio
import sys
from typing import Any
from uuid import uuid4

import faust
import orjson
import uvloop
from faust.types import StreamT

from benchmarks.throughput.stopwatch import Stopwatch
from benchmarks.throughput.windows import Scores, Windows


def main() -> None:
    servers, topic, job, records = sys.argv[1:]
    asyncio.set_event_loop_policy(uvloop.EventLoopPolicy())
    asyncio.run(_run(servers, topic, job, Stopwatch(int(records))))


async def _run(servers: str, topic: str, job: str, watch: Stopwatch) -> None:
    app = faust.App(
        f"plain-{uuid4().hex}",
        broker=f"aiokafka://{servers}",
        key_serializer="raw",
        value_serializer="raw",
        web_enabled=False,
        topic_disable_leader=True,
        topic_allow_declare=False,
        worker_redirect_stdouts=False,
        stream_wait_empty=False,
        datadir=".build/plain-faust",
    )
    windows, scores = Windows(), Scores()

    async def agent(stream: StreamT[Any]) -> None:
        async for event in stream.events():
            if job != "empty":
                sample = orjson.loads(event.value)
                if job == "windows":
                    mean = windows.add(event.key, sample["time_unix_nano"], sample["value"])
                    if mean is not None:
                        scores.score(event.key, mean)
                        watch.scored += 1
            watch.count()

    app.agent(app.topic(topic))(agent)
    await app.start()
    await app.wait_until_stopped()


if __name__ == "__main__":
    main()
