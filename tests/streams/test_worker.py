"""Worker processes: how they end, and what is left when they are killed."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from streams.worker import serve
from tests.parts import Broker
from tests.streams.readers import PATIENCE_SECONDS, Reader, committed, make_topic, numbers, publish, settings, until

PARTITIONS = 4
ROOT = Path(__file__).parents[2]


@pytest.fixture
def topic(broker: Broker, topic_prefix: str) -> str:
    return make_topic(broker.bootstrap_servers, f"{topic_prefix}.records", PARTITIONS)


class Workers:
    """Starts worker processes; ends those that are left."""

    def __init__(self, broker: Broker, prefix: str, topic: str, path: Path) -> None:
        self._arguments = [broker.bootstrap_servers, prefix, topic, str(path)]
        self.path = path
        self._processes: list[subprocess.Popen[bytes]] = []
        path.touch()

    def start(self, *fault: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "tests.streams.recording_worker", *self._arguments, *fault]
        process = subprocess.Popen(command, cwd=ROOT)
        self._processes.append(process)
        return process

    def folded(self) -> dict[int, dict[str, Any]]:
        """Return the last state of each partition."""
        lines = [orjson.loads(line) for line in self.path.read_bytes().splitlines(keepends=True) if line[-1:] == b"\n"]
        return {line["partition"]: line for line in lines if line["kind"] == "folded"}

    def done(self) -> int:
        return sum(line["next"] for line in self.folded().values())

    def end(self) -> None:
        for process in self._processes:
            if process.poll() is None:
                process.kill()
            process.wait()


@pytest.fixture
def workers(broker: Broker, topic_prefix: str, topic: str, tmp_path: Path) -> Iterator[Workers]:
    started = Workers(broker, topic_prefix, topic, tmp_path / "done.jsonl")
    yield started
    started.end()


def wait_until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def sums(total: int) -> dict[int, int]:
    return {p: sum(range(p, total, PARTITIONS)) for p in range(PARTITIONS)}


def test_killed_workers_lose_nothing_and_fold_nothing_twice(broker: Broker, topic: str, workers: Workers) -> None:
    total, step = 0, 2000
    for _ in range(2):
        before = workers.done()
        worker = workers.start()
        # Kept busy, so that the kill falls in the middle of a batch, of a commit, or of a snapshot.
        while workers.done() < before + step:
            total += publish(broker.bootstrap_servers, topic, numbers(total, total + 200))
            assert worker.poll() is None
        worker.kill()
        worker.wait()
    survivor = workers.start()
    total += publish(broker.bootstrap_servers, topic, numbers(total, total + 200))
    wait_until(lambda: workers.done() >= total)
    assert {p: state["sum"] for p, state in workers.folded().items()} == sums(total)
    survivor.send_signal(signal.SIGTERM)
    assert survivor.wait(PATIENCE_SECONDS) == 0


def test_a_worker_told_to_stop_commits_and_ends_with_success(
    broker: Broker, topic_prefix: str, topic: str, workers: Workers
) -> None:
    publish(broker.bootstrap_servers, topic, numbers(0, 400))
    worker = workers.start()
    wait_until(lambda: workers.done() >= 400)
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(PATIENCE_SECONDS) == 0
    assert committed(settings(broker.bootstrap_servers, topic_prefix), topic) == [100] * PARTITIONS


def test_a_worker_whose_stage_fails_ends_with_failure(
    broker: Broker, topic_prefix: str, topic: str, workers: Workers
) -> None:
    publish(broker.bootstrap_servers, topic, numbers(0, 400))
    assert workers.start("raise").wait(PATIENCE_SECONDS) == 1
    assert committed(settings(broker.bootstrap_servers, topic_prefix), topic)[1] is None


def test_a_worker_that_hangs_is_over_soon_after_it_was_told_to_stop(
    broker: Broker, topic: str, workers: Workers
) -> None:
    publish(broker.bootstrap_servers, topic, numbers(0, 4))
    worker = workers.start("hang")
    wait_until(lambda: b"hangs" in workers.path.read_bytes())
    worker.send_signal(signal.SIGTERM)
    assert worker.wait(15) == 1


async def test_several_stages_share_a_process_each_with_its_own_group(
    broker: Broker, topic_prefix: str, topic: str
) -> None:
    publish(broker.bootstrap_servers, topic, numbers(0, 400))
    readers = [Reader(), Reader()]
    configs = [settings(broker.bootstrap_servers, f"{topic_prefix}.{name}") for name in ("one", "two")]
    stop = asyncio.Event()
    apps = [reader.app(config, [topic]) for reader, config in zip(readers, configs, strict=True)]
    serving = asyncio.create_task(serve(apps, stop))
    await until(lambda: all(len(reader.values) >= 400 for reader in readers))
    stop.set()
    assert await serving == 0
    assert [len(reader.values) for reader in readers] == [400, 400]


@pytest.mark.parametrize("moment", [0, 1, 10, 100])
async def test_a_worker_told_to_stop_while_it_starts_ends_with_success(
    broker: Broker, topic_prefix: str, topic: str, moment: int
) -> None:
    app = Reader().app(settings(broker.bootstrap_servers, topic_prefix), [topic])
    stop = asyncio.Event()
    serving = asyncio.create_task(serve([app], stop))
    while not (app.started and app.reader.started):  # noqa: ASYNC110  # its first turn of the loop, not later
        await asyncio.sleep(0)
    for _ in range(moment):  # turns of the loop, not seconds: its consumer's thread has come more or less far
        await asyncio.sleep(0)
    stop.set()
    assert await serving == 0
