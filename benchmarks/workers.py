"""Throughput of the detect stage with 1, 2 and 4 workers: processes of one consumer group that share the partitions.

Run as `python -m benchmarks.workers [--workers 1 2 4] [--rounds 3] [--json FILE]`. The records, and what is done with
them, are those of `make bench`. Workers join first and wait at a barrier, so that neither their start nor the group's
rebalances are timed; the clock runs from there until all records together are done. More workers than cores cannot be
faster: it shows what sharing costs.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from queue import Empty, Queue
from statistics import median
from threading import Thread
from uuid import uuid4

from benchmarks.measure import Measure, write_json
from benchmarks.ready import compile_all
from benchmarks.throughput.engines import ROOT
from benchmarks.throughput.records import PARTITIONS, SINGLE, fill
from benchmarks.throughput.reflexarc import settings_for, whole
from streams.app import Handle, StageApp
from streams.batch import Batch
from streams.publisher import Publisher
from streams.worker import run_worker
from tests.parts.kafka import JARS, ApacheKafka

WORKERS = (1, 2, 4)
RECORDS = 1_500_000
PATIENCE_SECONDS = 120.0
# Process, word, number.
Said = Queue[tuple[int, str, int]]


def measure(servers: str, workers: int) -> float:
    """Return the records a second that this many workers get through together."""
    group, said = f"detect-{uuid4().hex}", Said()
    command = [sys.executable, "-m", "benchmarks.workers", "--member", group, "--servers", servers]
    with ExitStack() as stack:
        started = [
            stack.enter_context(subprocess.Popen(command, cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE))
            for _ in range(workers)
        ]
        for process in started:
            stack.callback(process.kill)
            Thread(target=_listen, args=(process, said), daemon=True).start()
        _await_shares(said)
        began = time.perf_counter()
        for process in started:
            assert process.stdin is not None
            process.stdin.write(b"go\n")
            process.stdin.flush()
        done = 0
        while done < RECORDS:
            _, word, number = said.get(timeout=PATIENCE_SECONDS)
            done += number if word == "done" else 0
        return RECORDS / (time.perf_counter() - began)


def _listen(process: subprocess.Popen[bytes], said: Said) -> None:
    assert process.stdout is not None
    for line in process.stdout:
        word, number = line.decode().split()
        said.put((process.pid, word, int(number)))


def _await_shares(said: Said) -> None:
    """Wait until the partitions are shared out and stay so: each member's joining moves them again."""
    held: dict[int, int] = {}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        try:
            pid, _, number = said.get(timeout=3)
        except Empty:
            if sum(held.values()) == PARTITIONS:
                return
        else:
            held[pid] = number
    raise RuntimeError("the workers did not share out the partitions")


def member(servers: str, group: str) -> int:
    """Be one worker of the group."""
    settings = settings_for(servers, SINGLE.topic)
    compile_all()
    go = asyncio.Event()

    async def wait_for_go() -> None:
        await asyncio.to_thread(sys.stdin.readline)
        go.set()

    def counting(handle: Handle) -> Handle:
        async def counted(batch: Batch) -> None:
            await go.wait()
            await handle(batch)
            _say("done", len(batch))

        return counted

    @asynccontextmanager
    async def apps() -> AsyncIterator[Sequence[StageApp]]:
        publisher = Publisher(settings.kafka)
        waiting = asyncio.create_task(wait_for_go())
        yield [await whole(settings, publisher, group, counting, lambda held: _say("holds", len(held)))]
        waiting.cancel()

    return run_worker(apps)


def _say(word: str, number: int) -> None:
    sys.stdout.write(f"{word} {number}\n")
    sys.stdout.flush()


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.workers", description=__doc__)
    parser.add_argument("--workers", type=int, nargs="+", default=list(WORKERS))
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--servers", help="brokers to use; by default Apache Kafka is started")
    parser.add_argument("--member", metavar="GROUP", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.member:
        return member(arguments.servers, arguments.member)
    why_not = None if arguments.servers else JARS.obstacle()
    if why_not is not None:
        sys.stderr.write(f"{why_not}\n")
        return 2
    with ExitStack() as stack:
        servers = arguments.servers or stack.enter_context(ApacheKafka(heap="1g")).bootstrap_servers
        fill(servers, SINGLE, RECORDS)
        found = rates(servers, arguments.workers, arguments.rounds)
    print(table(found))
    if arguments.json is not None:
        write_json(measures(found), arguments.json)
    return 0


def rates(servers: str, workers: Sequence[int], rounds: int) -> dict[int, float]:
    """Return records a second for each number of workers: the medians of some rounds, all numbers in turn."""
    found = [{n: measure(servers, n) for n in workers} for _ in range(rounds)]
    return {n: median(one[n] for one in found) for n in workers}


def measures(found: dict[int, float]) -> list[Measure]:
    """Return the figures."""
    return [Measure(f"{n} workers", rate, "records/s") for n, rate in found.items()]


def table(found: dict[int, float]) -> str:
    """Return the figures as Markdown."""
    lines = ["| workers | records/s |", "| ---: | ---: |", *(f"| {n} | {rate:,.0f} |" for n, rate in found.items())]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    sys.exit(main())
