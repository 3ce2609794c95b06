"""Quix Streams. python benchmarks/peers/quix_engine.py SERVERS TOPIC JOB RECORDS, in the peers' environment.

Tumbling windows of its own, without changelog topics and with scores in a dict, both in its favour.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any
from uuid import uuid4

from quixstreams import Application

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.throughput.stopwatch import Stopwatch
from benchmarks.throughput.tuning import CONSUMER
from benchmarks.throughput.windows import WINDOW_SECONDS, Scores


def main() -> None:
    servers, name, job, records = sys.argv[1:]
    watch, scores = Stopwatch(int(records)), Scores()
    extra = {k: v for k, v in CONSUMER.items() if k not in {"auto.offset.reset", "enable.auto.commit"}}
    app = Application(
        broker_address=servers,
        consumer_group=f"quix-{uuid4().hex}",
        auto_offset_reset="earliest",
        consumer_extra_config=extra,
        use_changelog_topics=False,
        state_dir=tempfile.mkdtemp(prefix="quix-"),
        loglevel="ERROR",
    )

    def event_time(value: Any, _headers: Any, _timestamp: int, _kind: Any) -> int:
        return int(value["time_unix_nano"] // 1_000_000)

    def score(value: Any, key: Any, _timestamp: int, _headers: Any) -> float:
        watch.scored += 1
        return scores.score(key, value["value"])

    def count(_: Any) -> None:
        watch.count()

    if job == "empty":
        app.dataframe(app.topic(name, value_deserializer="bytes")).update(count)
    elif job == "decode":
        app.dataframe(app.topic(name, value_deserializer="json")).update(count)
    else:
        frame = app.dataframe(app.topic(name, value_deserializer="json", timestamp_extractor=event_time))
        frame = frame.update(count).apply(lambda value: value["value"])
        frame.tumbling_window(WINDOW_SECONDS * 1000).mean().final().apply(score, metadata=True)
    app.run()


if __name__ == "__main__":
    main()
