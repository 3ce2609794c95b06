"""Fetching: a librdkafka consumer that is told where to read, and gives whole columns of records.

Used by `streams.consumer_thread`, which keeps the group (membership, heartbeats, commits) with aiokafka and leaves the
reading to this. Everything but `end` and `is_fresh` is called in one thread, one call after the other: what a poll
hands out for a partition was fetched after the move that its reader knows of, or not at all.

Why librdkafka: it receives, decompresses and checks in threads of its own, outside Python's lock. On 2 cores with the
broker beside it, a record of 190 bytes costs our threads 1.1 microseconds, columns included, where aiokafka's fetcher,
as lean as it could be made, took 2.6 (`make bench`, the job "empty").
"""

from __future__ import annotations

import logging
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from math import inf
from operator import itemgetter
from threading import Event
from time import monotonic
from typing import Any, NamedTuple

import orjson
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, Message, TopicPartition
from faust.types import TP

from streams.batch import Batch

# What librdkafka says of its connections is not ours to say: a broker that is away is no error of the worker's.
_librdkafka = logging.getLogger("librdkafka")

# All that a poll brings. 20 000 records are some 30 ms of decoding: less costs throughput, more costs latency.
_POLL_RECORDS = 20_000
# Records of a partition that has no room are put aside up to this number; then it is no longer fetched. Not sooner:
# when fetching stops, librdkafka forgets what it has received already.
_ASIDE_RECORDS = 2 * _POLL_RECORDS
# What librdkafka may receive ahead: some hundred thousand records, as long as one full round of all partitions lasts.
_AHEAD_KBYTES = 32 * 1024
# Per partition and fetch. 4 MiB read no faster.
_FETCH_BYTES = 1024 * 1024
# Waiting is done in slices, so that a move need not wait for records to come.
_SLICE_SECONDS = 0.05
# So many records are worth a batch each, however soon they come: there is a backlog.
_WORTH_RECORDS = _POLL_RECORDS // 4
# How often librdkafka says when it heard from each broker; fetches follow each other within `fetch_wait_seconds` of
# 0.5 s, so that four of them missed, and not one, make a partition's end doubtful.
_REPORT_SECONDS = 0.5
_FRESH_SECONDS = 2.0

_timestamp = itemgetter(1)  # of the pair (type, milliseconds)


class FetchedRecord(NamedTuple):
    """One record of a topic that is not read in batches. `timestamp` is in milliseconds."""

    offset: int
    timestamp: int
    timestamp_type: int
    key: bytes | None
    value: bytes | None
    headers: tuple[Any, ...]


# What a poll brings: batches of the topics that are read so, records of the others.
Fetched = Mapping[TP, list[Any]]
# What was received of one partition, in order.
_Runs = dict[TP, list[Message]]


@dataclass(frozen=True, slots=True)
class FetchSettings:
    """How to read. `client` is how to reach the brokers, in librdkafka's vocabulary."""

    client: Mapping[str, Any]
    group: str
    batch_topics: frozenset[str]
    wait_seconds: float
    from_beginning: bool
    # The least time from one poll that brought records to the next. A batch costs a millisecond besides its records,
    # and a steady stream would come in ever smaller batches until that is all the time there is. What comes after a
    # pause is handed over at once.
    pace_seconds: float

    def consumer(self) -> dict[str, Any]:
        """Return the configuration of the consumer. It never joins the group and commits nothing."""
        return {
            **self.client,
            "group.id": self.group,
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest" if self.from_beginning else "latest",
            "isolation.level": "read_uncommitted",
            "check.crcs": True,
            "fetch.wait.max.ms": int(self.wait_seconds * 1000),
            "max.partition.fetch.bytes": _FETCH_BYTES,
            "queued.max.messages.kbytes": _AHEAD_KBYTES,
            # By default it waits a second before it fetches again once so much is ahead: long enough to run dry.
            "fetch.queue.backoff.ms": 5,
            # A broker that was away is tried again soon; by default after up to ten seconds.
            "reconnect.backoff.max.ms": 1000,
            "statistics.interval.ms": int(_REPORT_SECONDS * 1000),
        }


class Fetcher:
    """Reads the partitions that it was moved to."""

    def __init__(self, settings: FetchSettings) -> None:
        self._settings = settings
        self._moves: dict[TP, int] = {}  # which move each partition has made last
        self._next: dict[TP, int] = {}  # the offset that librdkafka goes on from, were it started again
        self._aside: dict[TP, list[Message]] = {}
        self._stopped: set[TP] = set()
        self._heard: dict[TP, float] = {}
        self._ends: dict[TP, int] = {}
        self._hurry = Event()
        self._brought = -inf  # when a poll brought records last
        config = {**settings.consumer(), "stats_cb": self._note_report}
        self._consumer = Consumer(config, logger=_librdkafka)

    def close(self) -> None:
        """End it."""
        self._consumer.close()

    def hurry(self) -> None:
        """Have a poll that waits for records come back: something else is to be done in its thread."""
        self._hurry.set()

    def move(self, offsets: Mapping[TP, int | None], move: int, assigned: set[TP]) -> None:
        """Go on from these offsets, and read nothing but what is assigned.

        Args:
            offsets: per partition; None is where the reset rule says.
            move: what polls must know from now on to get records of these partitions.
            assigned: all partitions there are now.

        """
        self._hurry.clear()
        reset = OFFSET_BEGINNING if self._settings.from_beginning else OFFSET_END
        for tp, offset in offsets.items():
            self._moves[tp] = move
            self._next[tp] = reset if offset is None else offset
            self._aside.pop(tp, None)
        for tp in self._next.keys() - assigned:
            del self._next[tp]
            self._aside.pop(tp, None)
            self._ends.pop(tp, None)
        self._stopped.clear()
        self._consumer.assign([TopicPartition(*tp, offset) for tp, offset in self._next.items()])

    def poll(self, partitions: Mapping[TP, int], seconds: float) -> Fetched:
        """Wait for records of these partitions, each given with the last move that the caller knows of.

        Raises:
            KafkaException: what cannot be read, and will not be by trying again.

        """
        wanted = {tp for tp, move in partitions.items() if self._moves.get(tp) == move}
        found: _Runs = {tp: self._aside.pop(tp) for tp in wanted if tp in self._aside}
        self._start(wanted)
        self._hurry.wait(max(0.0, self._brought + self._settings.pace_seconds - monotonic()))
        deadline = monotonic() + seconds
        while wanted and not found and not self._hurry.is_set():
            for tp, messages in self._receive(deadline - monotonic()).items():
                if tp in wanted:
                    found[tp] = messages
                else:
                    self._put_aside(tp, messages)
            if monotonic() >= deadline:
                break
        if 0 < sum(map(len, found.values())) < _WORTH_RECORDS:
            self._brought = monotonic()
        return {tp: self._columns(tp, messages) for tp, messages in found.items()}

    def end(self, tp: TP) -> int | None:
        """Return the offset after the last record that the broker had, as far as is known. May be called anywhere."""
        # From the reports: asking librdkafka (`get_watermark_offsets`) was seen to hold up the event loop for a second.
        end = self._ends.get(tp)
        return None if end is None else max(end, self._next.get(tp, 0))

    def is_fresh(self, tp: TP) -> bool:
        """Whether the broker has surely been asked a moment ago. May be called anywhere."""
        return monotonic() - self._heard.get(tp, -_FRESH_SECONDS) < _FRESH_SECONDS

    def _receive(self, seconds: float) -> _Runs:
        """Return what has come, or what comes first within a slice of time."""
        wait = min(max(seconds, 0.0), _SLICE_SECONDS)
        messages = self._consumer.consume(1, wait)
        if messages:  # it would wait for all of them
            messages += self._consumer.consume(_POLL_RECORDS, 0)
        if any(map(Message.error, messages)):
            messages = [message for message in messages if not _is_error(message)]
        runs = {tp: run for tp, run in _by_partition(messages).items() if tp in self._next}
        for tp, run in runs.items():
            self._next[tp] = (run[-1].offset() or 0) + 1
        return runs

    def _put_aside(self, tp: TP, messages: list[Message]) -> None:
        aside = self._aside.setdefault(tp, [])
        aside += messages
        if len(aside) >= _ASIDE_RECORDS and tp not in self._stopped:
            self._consumer.pause([TopicPartition(*tp)])
            self._stopped.add(tp)

    def _start(self, partitions: set[TP]) -> None:
        again = self._stopped & partitions
        if again:
            self._consumer.resume([TopicPartition(*tp) for tp in again])
            self._stopped -= again

    def _columns(self, tp: TP, messages: list[Message]) -> list[Any]:
        if tp.topic not in self._settings.batch_topics:
            return [_record(message) for message in messages]
        return [
            Batch(
                *tp,
                list(map(Message.value, messages)),
                list(map(Message.key, messages)),
                _offsets(messages),
                list(map(_timestamp, map(Message.timestamp, messages))),
            )
        ]

    def _note_report(self, text: str) -> None:
        report = orjson.loads(text)
        now = monotonic()
        idle = {broker["nodeid"]: broker["rxidle"] for broker in report["brokers"].values() if broker["rxidle"] >= 0}
        for tp in list(self._next):
            partition = report["topics"].get(tp.topic, {}).get("partitions", {}).get(str(tp.partition), {})
            if partition.get("hi_offset", -1) >= 0:
                self._ends[tp] = partition["hi_offset"]
            # Waiting for it to be led, or to be told where to begin, it is not asked for.
            if partition.get("fetch_state") == "active" and partition["broker"] in idle:
                self._heard[tp] = now - idle[partition["broker"]] / 1e6
            else:
                self._heard.pop(tp, None)


def _by_partition(messages: list[Message]) -> _Runs:
    runs: _Runs = defaultdict(list)
    start = 0
    origins = zip(map(Message.topic, messages), map(Message.partition, messages), strict=True)
    for (topic, partition), run in groupby(origins):
        stop = start + len(list(run))  # a list is made faster than its members are counted
        runs[TP(str(topic), partition or 0)] += messages[start:stop]
        start = stop
    return runs


def _is_error(message: Message) -> bool:
    error = message.error()
    if error is not None and not error.retriable():
        raise KafkaException(error)
    return error is not None


def _record(message: Message) -> FetchedRecord:
    kind, millis = message.timestamp()
    headers = tuple(message.headers() or ())
    return FetchedRecord(message.offset() or 0, millis, kind, message.key(), message.value(), headers)


def _offsets(messages: Sequence[Message]) -> Sequence[int]:
    """Offsets of records. They have holes only where records were compacted away or belong to transactions."""
    first, last = messages[0].offset() or 0, messages[-1].offset() or 0
    if last - first == len(messages) - 1:
        return range(first, last + 1)
    return [message.offset() or 0 for message in messages]
