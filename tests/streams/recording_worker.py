"""A worker process for the tests that kill one: sums its records per partition, and writes down all that it did.

python -m tests.streams.recording_worker SERVERS PREFIX TOPIC FILE [raise | hang]

Its snapshots are lines of the file as well: what a real stage writes to the state topic.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TextIO

import orjson

from streams.app import StageApp, create_app
from streams.batch import Batch
from streams.transport import Partition
from streams.worker import run_worker
from tests.streams.readers import STAGE, settings

# Often enough that a kill falls between two.
_SNAPSHOT_EVERY = 3


class Summing:
    """State that is wrong after a restart if a record is folded twice or not at all."""

    def __init__(self, path: Path, fault: str) -> None:
        self._path = path
        self._file: TextIO = path.open("a")
        self._fault = fault
        self._sums: dict[int, tuple[int, int]] = {}  # partition -> (next offset, sum)
        self._batches = 0

    async def assigned(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        kept = {line["partition"]: line for line in _lines(self._path) if line["kind"] == "snapshot"}
        starts = {}
        for topic, partition in partitions:
            self._sums[partition] = (0, 0)
            if partition in kept:
                self._sums[partition] = (kept[partition]["next"], kept[partition]["sum"])
            starts[topic, partition] = self._sums[partition][0]
        return starts

    async def revoked(self, partitions: Sequence[Partition]) -> None:
        for _, partition in partitions:
            self._save(partition)

    async def handle(self, batch: Batch) -> None:
        await asyncio.sleep(0.01)
        expected, total = self._sums[batch.partition]
        if self._fault == "raise" and batch.partition == 1:
            raise ValueError("told to")
        while self._fault == "hang":
            self._write(kind="hangs")
            with suppress(asyncio.CancelledError):
                await asyncio.sleep(60)
        assert batch.offsets[0] == expected
        total += sum(int(value or b"") for value in batch.values)
        self._sums[batch.partition] = (batch.offsets[-1] + 1, total)
        self._write(kind="folded", partition=batch.partition, next=batch.offsets[-1] + 1, sum=total)
        self._batches += 1
        if self._batches % _SNAPSHOT_EVERY == 0:
            self._save(batch.partition)

    def _save(self, partition: int) -> None:
        position, total = self._sums[partition]
        self._write(kind="snapshot", partition=partition, next=position, sum=total)

    def _write(self, **line: object) -> None:
        self._file.write(orjson.dumps(line).decode() + "\n")
        self._file.flush()


def _lines(path: Path) -> list[dict[str, Any]]:
    return [orjson.loads(line) for line in path.read_bytes().splitlines(keepends=True) if line.endswith(b"\n")]


def main() -> int:
    servers, prefix, topic, path, *faults = sys.argv[1:]
    stage = Summing(Path(path), *(faults or [""]))

    @asynccontextmanager
    async def apps() -> AsyncIterator[Sequence[StageApp]]:
        config = settings(servers, prefix)
        yield [
            create_app(
                config, STAGE, topics=[topic], handle=stage.handle, assigned=stage.assigned, revoked=stage.revoked
            )
        ]
        if faults:  # what has failed cannot be put away either: closing it takes as long as brokers are away
            await asyncio.sleep(600)

    return run_worker(apps, stop_seconds=5)


if __name__ == "__main__":
    sys.exit(main())
