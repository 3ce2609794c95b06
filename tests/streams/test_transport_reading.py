"""Reading through Faust in batches, on real brokers: everything, once, in order; and nothing committed too early."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial
from itertools import count

import pytest
from faust.types import TP

from streams.batch import Batch
from streams.settings import Settings
from streams.transport import Partition
from tests.parts import Broker
from tests.streams.readers import Reader, committed, make_topic, numbers, publish, running, settings, until

PARTITIONS = 4


@pytest.fixture
def config(broker: Broker, topic_prefix: str) -> Settings:
    return settings(broker.bootstrap_servers, topic_prefix)


@pytest.fixture
def topic(broker: Broker, topic_prefix: str) -> str:
    return make_topic(broker.bootstrap_servers, f"{topic_prefix}.records", PARTITIONS)


def whole(topic: str, total: int) -> dict[Partition, list[int]]:
    """Every offset once, in order, of records spread over the partitions."""
    return {(topic, p): list(range(total // PARTITIONS)) for p in range(PARTITIONS)}


def has_read(reader: Reader, count: int) -> bool:
    return len(reader.values) >= count


async def test_every_record_comes_once_and_in_order(broker: Broker, config: Settings, topic: str) -> None:
    sent = publish(broker.bootstrap_servers, topic, numbers(0, 20_000))
    reader = Reader()
    async with running(reader.app(config, [topic])):
        await until(lambda: len(reader.values) >= sent)
    assert reader.offsets == whole(topic, sent)
    assert len(reader.batches) < sent / 20
    for batch in reader.batches:
        assert batch.keys == [str(batch.partition).encode()] * len(batch)
        assert batch.values == [b"%d" % (offset * PARTITIONS + batch.partition) for offset in batch.offsets]
        assert all(timestamp > 1_700_000_000_000 for timestamp in batch.timestamps)


@pytest.mark.parametrize("codec", ["gzip", "snappy", "lz4", "zstd"])
async def test_compressed_records_are_read(broker: Broker, config: Settings, topic: str, codec: str) -> None:
    sent = publish(broker.bootstrap_servers, topic, numbers(0, 2000), compression=codec)
    reader = Reader()
    async with running(reader.app(config, [topic])):
        await until(lambda: len(reader.values) >= sent)
    assert sorted(reader.values, key=lambda value: int(value or b"")) == numbers(0, 2000)


async def test_tombstones_nil_keys_and_empty_values_pass_as_they_are(
    broker: Broker, config: Settings, topic: str
) -> None:
    from confluent_kafka import Producer  # noqa: PLC0415  # only here are records made that `publish` does not make

    producer = Producer({"bootstrap.servers": broker.bootstrap_servers, "linger.ms": 50})
    for key, value in [(None, b"v"), (b"k", None), (b"", b""), (None, None)]:
        producer.produce(topic, value, key, partition=0)
    producer.flush()
    reader = Reader()
    async with running(reader.app(config, [topic])):
        await until(lambda: len(reader.values) >= 4)
    assert [key for batch in reader.batches for key in batch.keys] == [None, b"k", b"", None]
    assert reader.values == [b"v", None, b"", None]


async def test_a_clean_stop_commits_all_that_was_done(broker: Broker, config: Settings, topic: str) -> None:
    sent = publish(broker.bootstrap_servers, topic, numbers(0, 4000))
    first, second = Reader(), Reader()
    async with running(first.app(config, [topic])):
        await until(lambda: len(first.values) >= sent)
    assert first.revoked == [[(topic, p) for p in range(PARTITIONS)]]
    assert await asyncio.to_thread(committed, config, topic) == [1000] * PARTITIONS
    publish(broker.bootstrap_servers, topic, numbers(4000, 4004))
    async with running(second.app(config, [topic])):
        await until(lambda: len(second.values) >= 4)
    assert sorted(second.values, key=lambda value: int(value or b"")) == numbers(4000, 4004)


async def test_two_workers_share_the_partitions_and_nothing_is_read_twice(
    broker: Broker, config: Settings, topic: str
) -> None:
    feeding = asyncio.Event()
    last = count(0, PARTITIONS * 50)

    async def feed() -> int:
        while not feeding.is_set():
            start = next(last)
            await asyncio.to_thread(publish, broker.bootstrap_servers, topic, numbers(start, start + PARTITIONS * 50))
            await asyncio.sleep(0.02)
        return next(last)

    first, second = Reader(), Reader()
    feeder = asyncio.create_task(feed())
    async with running(first.app(config, [topic])):
        await until(lambda: len(first.values) > 0)
        async with running(second.app(config, [topic])):
            await until(lambda: len(second.values) > 500)
            feeding.set()
            sent = await feeder
            half = PARTITIONS // 2
            assert len(first.assigned[-1]) == len(second.assigned[-1]) == half
            await until(lambda: len(first.values) + len(second.values) >= sent)
        publish(broker.bootstrap_servers, topic, numbers(sent, sent + 400))
        await until(lambda: len(first.values) + len(second.values) >= sent + 400)
        assert len(first.assigned[-1]) == PARTITIONS
    for tp, offsets in whole(topic, sent + 400).items():
        mine, theirs = first.offsets.get(tp, []), second.offsets.get(tp, [])
        assert sorted(mine + theirs) == offsets
        assert mine == sorted(mine)
        assert theirs == sorted(theirs)


async def test_the_partitions_of_equal_number_of_all_topics_go_to_the_same_worker(
    broker: Broker, config: Settings, topic_prefix: str
) -> None:
    topics = [make_topic(broker.bootstrap_servers, f"{topic_prefix}.{name}", 6) for name in ("a", "b", "c")]
    readers = Reader(), Reader()
    async with running(readers[0].app(config, topics)), running(readers[1].app(config, topics)):
        await until(lambda: all(r.assigned and len(r.assigned[-1]) == 9 for r in readers))
        for reader in readers:
            by_topic = [{p for name, p in reader.assigned[-1] if name == topic} for topic in topics]
            assert by_topic[0] == by_topic[1] == by_topic[2]


async def test_a_commit_never_passes_a_batch_in_work(broker: Broker, config: Settings, topic: str) -> None:
    sent = publish(broker.bootstrap_servers, topic, numbers(0, 400))
    opened = asyncio.Event()

    async def gate(batch: Batch) -> None:
        if batch.partition == 2:
            await opened.wait()

    reader = Reader(gate=gate)
    async with running(reader.app(config, [topic])):
        await until(lambda: len(reader.values) >= sent * 3 // 4)
        await asyncio.sleep(2.5)  # two commit intervals
        assert await asyncio.to_thread(committed, config, topic) == [100, 100, None, 100]
        opened.set()
        await until(lambda: len(reader.values) >= sent)
    assert await asyncio.to_thread(committed, config, topic) == [100] * PARTITIONS


async def test_a_held_partition_is_bounded_and_holds_back_no_other(
    broker: Broker, config: Settings, topic: str
) -> None:
    opened = asyncio.Event()

    async def gate(batch: Batch) -> None:
        if batch.partition == 0:
            await opened.wait()

    reader = Reader(gate=gate)
    app = reader.app(config, [topic])
    async with running(app):
        await until(lambda: bool(reader.assigned))
        total = 0
        for start in range(0, 4000, 400):
            total += publish(broker.bootstrap_servers, topic, numbers(start, start + 400))
            await until(partial(has_read, reader, total * 3 // 4))
        # One in work, one waiting for its turn, however long the others go on.
        assert [batch.partition for batch in reader.held] == [0]
        assert app.reader.in_flight((topic, 0)) == 2
        opened.set()
        await until(lambda: len(reader.values) >= total)
    assert reader.offsets == whole(topic, total)


async def test_a_paused_partition_waits_and_loses_nothing(broker: Broker, config: Settings, topic: str) -> None:
    reader = Reader()
    app = reader.app(config, [topic])
    async with running(app):
        await until(lambda: bool(reader.assigned))
        publish(broker.bootstrap_servers, topic, numbers(0, 400))
        await until(lambda: len(reader.values) >= 400)
        app.reader.pause_partitions({TP(topic, 1)})
        await asyncio.sleep(1.5)  # a poll that was under way may still bring something
        publish(broker.bootstrap_servers, topic, numbers(400, 800))
        await until(lambda: len(reader.values) >= 700)
        await asyncio.sleep(1)
        assert len(reader.offsets[topic, 1]) == 100
        app.reader.resume_partitions({TP(topic, 1)})
        await until(lambda: len(reader.values) >= 800)
    assert reader.offsets == whole(topic, 800)


async def test_seeking_back_reads_again_and_moves_the_committed_offset_with_it(
    broker: Broker, config: Settings, topic: str
) -> None:
    publish(broker.bootstrap_servers, topic, numbers(0, 400))
    reader = Reader()
    app = reader.app(config, [topic])
    async with running(app):
        await until(lambda: len(reader.values) >= 400)
        await app.reader.commit()
        await app.reader.seek(TP(topic, 3), 40)
        await until(lambda: len(reader.values) >= 460)
    assert reader.offsets[topic, 3] == [*range(100), *range(40, 100)]
    assert await asyncio.to_thread(committed, config, topic) == [100] * PARTITIONS


async def test_idle_topics_are_polled_in_peace_and_new_records_come_soon(
    broker: Broker, config: Settings, topic: str
) -> None:
    reader = Reader()
    app = reader.app(config, [topic])
    async with running(app):
        await until(lambda: bool(reader.assigned))
        await asyncio.sleep(3)
        assert reader.batches == []
        publish(broker.bootstrap_servers, topic, [b"late"])
        await until(lambda: len(reader.values) == 1, seconds=2)
        await until(lambda: app.reader.at_end(topic, 0), seconds=2)


async def test_the_offsets_of_a_snapshot_win_over_the_committed_ones(
    broker: Broker, config: Settings, topic: str
) -> None:
    publish(broker.bootstrap_servers, topic, numbers(0, 400))
    first = Reader()
    async with running(first.app(config, [topic])):
        await until(lambda: len(first.values) >= 400)
    # Behind the committed offset, at the beginning, at the end; partition 3 has no snapshot.
    second = Reader(starts={(topic, 0): 60, (topic, 1): 0, (topic, 2): 100})
    async with running(second.app(config, [topic])):
        await until(lambda: len(second.values) >= 140)
        publish(broker.bootstrap_servers, topic, numbers(400, 800))
        await until(lambda: len(second.values) >= 540)
    assert second.offsets == {
        (topic, 0): list(range(60, 200)),
        (topic, 1): list(range(200)),
        (topic, 2): list(range(100, 200)),
        (topic, 3): list(range(100, 200)),
    }
    assert await asyncio.to_thread(committed, config, topic) == [200] * PARTITIONS


class TestFailure:
    @pytest.fixture
    def expected_errors(self) -> list[str]:
        return [" failed$"]

    async def test_a_batch_that_cannot_be_handled_ends_the_app_uncommitted(
        self, broker: Broker, config: Settings, topic: str
    ) -> None:
        publish(broker.bootstrap_servers, topic, numbers(0, 400))

        async def gate(batch: Batch) -> None:
            if batch.partition == 1:
                raise OSError("the disk is full")

        reader = Reader(gate=gate)
        app = reader.app(config, [topic])
        async with running(app):
            async with asyncio.timeout(30):
                assert not await app.end()
            assert isinstance(app.failure, OSError)
        # Its state may be ahead of what it published: it is not asked to save it.
        assert reader.revoked == []
        assert (await asyncio.to_thread(committed, config, topic))[1] is None
        healthy = Reader()
        async with running(healthy.app(config, [topic])):
            await until(lambda: len(healthy.offsets.get((topic, 1), [])) >= 100)
        assert healthy.offsets[topic, 1] == list(range(100))

    async def test_state_that_cannot_be_restored_ends_the_app_before_it_reads(
        self, broker: Broker, config: Settings, topic: str
    ) -> None:
        publish(broker.bootstrap_servers, topic, numbers(0, 400))

        class Broken(Reader):
            async def on_assigned(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
                raise OSError(f"no snapshot of {partitions}")

        reader = Broken()
        app = reader.app(config, [topic])
        async with running(app), asyncio.timeout(30):
            assert not await app.end()
        assert reader.batches == []

    @pytest.mark.kafka
    async def test_state_of_another_log_ends_the_app(self, apache_kafka: Broker, topic_prefix: str) -> None:
        # Tansu answers a fetch beyond the end with nothing at all; but its logs end with it, and state as well.
        topic = make_topic(apache_kafka.bootstrap_servers, f"{topic_prefix}.records", PARTITIONS)
        publish(apache_kafka.bootstrap_servers, topic, numbers(0, 400))
        reader = Reader(starts={(topic, 0): 1_000_000})
        app = reader.app(settings(apache_kafka.bootstrap_servers, topic_prefix), [topic])
        async with running(app), asyncio.timeout(30):
            assert not await app.end()
        assert "another log" in str(app.failure)
        assert (topic, 0) not in reader.offsets
