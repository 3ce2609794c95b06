"""ReflexArc's detect stage as it is deployed: transport, decoding, the series bank, signals published, state saved.

python -m benchmarks.throughput.reflexarc SERVERS TOPIC JOB RECORDS

`empty` and `decode` stop after the transport and after the decoder.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from uuid import uuid4

from benchmarks.ready import compile_all
from benchmarks.throughput.stopwatch import Stopwatch
from benchmarks.throughput.windows import WINDOW_SECONDS
from schemas.topics import RAW_METRICS, SIGNALS
from streams.app import Handle, StageApp, create_app
from streams.batch import Batch
from streams.course import Course
from streams.decode import MetricDecoder, SeriesTable
from streams.kafka_client import client_config
from streams.publisher import Publisher
from streams.raw_to_signal import PACE_SECONDS, stage
from streams.roles import partition_count
from streams.settings import DetectSettings, KafkaSettings, Settings
from streams.snapshots import Snapshots
from streams.stage import Stage, StageRunner
from streams.transport import Partition
from streams.worker import run_worker


def main() -> None:
    servers, topic, job, records = sys.argv[1:]
    settings = settings_for(servers, topic)
    watch = Stopwatch(int(records))
    compile_all()

    @asynccontextmanager
    async def apps() -> AsyncIterator[Sequence[StageApp]]:
        publisher = Publisher(settings.kafka)
        if job == "windows":
            yield [await whole(settings, publisher, f"detect-{uuid4().hex}", _timed(watch))]
        else:
            yield [_app(settings, topic, _decode(watch) if job == "decode" else _count(watch))]

    sys.exit(run_worker(apps))


def settings_for(servers: str, topic: str) -> Settings:
    """Windows of ten seconds, as the peers have; its own default is a look each second."""
    prefix = topic.removesuffix(f".{RAW_METRICS.name}")
    return Settings(
        kafka=KafkaSettings(bootstrap_servers=servers, topic_prefix=prefix),
        detect=DetectSettings(tick_seconds=WINDOW_SECONDS),
    )


def _timed(watch: Stopwatch) -> Callable[[Handle], Handle]:
    def timed(handle: Handle) -> Handle:
        async def counted(batch: Batch) -> None:
            await handle(batch)
            watch.count(len(batch))

        return counted

    return timed


def _count(watch: Stopwatch) -> Handle:
    async def handle(batch: Batch) -> None:
        watch.count(len(batch))

    return handle


def _decode(watch: Stopwatch) -> Handle:
    decoder = MetricDecoder(SeriesTable(1_000_000), future_limit_nanos=60 * 1_000_000_000)

    async def handle(batch: Batch) -> None:
        decoder.decode(batch.keys, batch.values, batch.timestamps)
        watch.count(len(batch))

    return handle


async def whole(
    settings: Settings,
    publisher: Publisher,
    group: str,
    around: Callable[[Handle], Handle],
    told: Callable[[Sequence[Partition]], None] = lambda _: None,
) -> StageApp:
    """Return the stage as deployed, as a member of this group.

    Args:
        settings: of the deployment.
        publisher: of what it emits.
        group: of consumers, all of which are the stage.
        around: what is done about a batch, put around what the stage does.
        told: which partitions there are now, whenever they change.

    """
    partitions = await asyncio.to_thread(partition_count, settings.kafka, SIGNALS)
    detect = stage(Course(settings), partitions)
    prefix = settings.kafka.topic_prefix
    runner = StageRunner(
        Stage(group, tuple(lane for lane in detect.lanes if RAW_METRICS in lane.inputs)),
        topic_prefix=prefix,
        publish=publisher.publish,
        snapshots=Snapshots(client_config(settings.kafka), prefix, publisher.publish),
        snapshot_interval=settings.state.snapshot_interval_seconds,
    )

    async def assigned(held: Sequence[Partition]) -> Mapping[Partition, int]:
        starts = await runner.assigned(held)
        told(held)
        return starts

    async def revoked(lost: Sequence[Partition]) -> None:
        await runner.revoked(lost)
        told([])

    return create_app(
        settings,
        group,
        topics=[RAW_METRICS.full_name(prefix)],
        handle=around(runner.handle),
        assigned=assigned,
        revoked=revoked,
        pace_seconds=detect.pace_seconds,
    )


def _app(settings: Settings, topic: str, handle: Handle) -> StageApp:
    async def assigned(_: Sequence[Partition]) -> Mapping[Partition, int]:
        return {}

    async def revoked(_: Sequence[Partition]) -> None:
        return

    return create_app(
        settings,
        f"bench-{uuid4().hex}",
        topics=[topic],
        handle=handle,
        assigned=assigned,
        revoked=revoked,
        pace_seconds=PACE_SECONDS,
    )


if __name__ == "__main__":
    main()
