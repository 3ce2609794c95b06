"""Bytewax. python benchmarks/peers/bytewax_engine.py SERVERS TOPIC JOB RECORDS, in the peers' environment.

Event-time windows of its own, no recovery store, scores in a dict: all in its favour.
"""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import bytewax.operators as op
import bytewax.operators.windowing as win
import orjson
from bytewax.connectors.kafka import KafkaSource
from bytewax.connectors.stdio import StdOutSink
from bytewax.dataflow import Dataflow
from bytewax.testing import run_main

sys.path.insert(0, str(Path(__file__).parents[2]))

from benchmarks.throughput.stopwatch import Stopwatch
from benchmarks.throughput.tuning import CONSUMER
from benchmarks.throughput.windows import WINDOW_SECONDS, Scores

Sample = tuple[float, float]  # seconds, value


def main() -> None:
    servers, topic, job, records = sys.argv[1:]
    watch = Stopwatch(int(records))
    config = {name: str(value).lower() for name, value in CONSUMER.items() if name != "auto.offset.reset"}
    flow = Dataflow("bench")
    read = op.input("read", flow, KafkaSource([servers], [topic], add_config=config, batch_size=10_000))

    def pass_by(messages: list[Any]) -> list[Any]:
        watch.count(len(messages))
        return []

    def decode(messages: list[Any]) -> list[Any]:
        _ = [orjson.loads(message.value) for message in messages]
        watch.count(len(messages))
        return []

    def samples(messages: list[Any]) -> list[tuple[str, Sample]]:
        found = []
        for message in messages:
            sample = orjson.loads(message.value)
            found.append((message.key.decode(), (sample["time_unix_nano"] / 1e9, sample["value"])))
        watch.count(len(messages))
        return found

    if job == "windows":
        _windows(op.flat_map_batch("samples", read, samples), watch)
    else:
        nothing = op.flat_map_batch("records", read, pass_by if job == "empty" else decode)
        op.output("out", nothing, StdOutSink())
    run_main(flow)


def _windows(keyed: Any, watch: Stopwatch) -> None:
    scores = Scores()

    def add(state: list[float], sample: Sample) -> list[float]:
        state[0] += sample[1]
        state[1] += 1
        return state

    def merge(first: list[float], second: list[float]) -> list[float]:
        return [first[0] + second[0], first[1] + second[1]]

    def score(closed: list[tuple[str, tuple[int, list[float]]]]) -> list[Any]:
        for key, (_, (total, count)) in closed:
            scores.score(key, total / count)
        watch.scored += len(closed)
        return []

    clock: Any = win.EventClock(
        lambda sample: datetime.fromtimestamp(sample[0], UTC), wait_for_system_duration=timedelta(0)
    )
    windower = win.TumblingWindower(timedelta(seconds=WINDOW_SECONDS), datetime(2023, 1, 1, tzinfo=UTC))
    # Records of a key come in order, so nothing needs to be sorted.
    closed = win.fold_window("w", keyed, clock, windower, lambda: [0.0, 0.0], add, merge, ordered=False)
    op.output("out", op.flat_map_batch("score", closed.down, score), StdOutSink())


if __name__ == "__main__":
    main()
