"""The executor: action commands in, verified outcomes out.

Started by `reflexarc executor`. Commands come from the actions topic in a consumer group; each is carried out as a
task of its own (`actions.run`) while polling goes on, so a slow target never costs the membership. An offset is
committed only when the outcome is on the learning topic, acknowledged, and the ledger is final; everything between is
safe to repeat. A command that comes again after its end has its stored outcome published once more, same bytes and
id, unless it is known to be there already.

What cannot be read goes to the dead letters. What cannot be done now (a lost ledger, unreadable controls) stays
uncommitted and is tried again: no ledger, no action.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from time import time_ns
from typing import Any

from confluent_kafka import Consumer, KafkaException, Message, TopicPartition

from actions.connectors import registry
from actions.connectors.settings import ConnectorsSettings
from actions.controls import Controls, Scope
from actions.forensics import Forensics, ForensicsSettings
from actions.kafka import ControlsReader, KafkaConfig, Publisher, TopicReader, bytes_of
from actions.ledger import Ledger, connect
from actions.offsets import OffsetTracker
from actions.rails import RailsSettings
from actions.rails_store import RailsStore
from actions.records import Records
from actions.reversals import Reversal, Reversals
from actions.run import carry_out
from actions.tools import Tools
from schemas.action import ActionCommand
from schemas.codec import decode, encode
from schemas.dead_letter import dead_letter
from schemas.errors import PermanentError, RecordError, TemporaryError
from schemas.topics import ACTIONS, DEAD_LETTERS, LEARNING, SIGNALS

log = logging.getLogger(__name__)

# How long one poll waits for a command: the most it can add to the reaction, and to the notice of a stop.
POLL_SECONDS = 0.05
# Steps under way at a stop or a revoke get this long to reach their next gate; then they are broken off, which the
# ledger allows at any point. Supervisors kill after 10 s by default (docker stop) or 30 s (Kubernetes).
GRACE_SECONDS = 5.0
# A person who says revert sees it begin within a second.
SWEEP_SECONDS = 0.5
# A temporary fault is asked about again after its own delay, but not more often than this.
MIN_RETRY_SECONDS = 0.1


@dataclass(frozen=True)
class ExecutorConfig:
    """What an executor needs to know."""

    kafka: KafkaConfig
    """As confluent-kafka wants it: bootstrap.servers, security.*, ssl.*, sasl.*, session.timeout.ms, ..."""
    topic_prefix: str
    ledger_url: str = field(repr=False)
    ledger_prefix: str
    lease_seconds: float
    name: str
    max_in_flight: int
    connectors: ConnectorsSettings
    rails: RailsSettings
    forensics: ForensicsSettings = field(default_factory=ForensicsSettings)


async def run_executor(config: ExecutorConfig, stop: asyncio.Event) -> None:
    """Carry out actions until told to stop; return within a bounded time of that."""
    async with equipped(config) as tools:
        publisher = Publisher(config.kafka, config.topic_prefix)
        sweeper = asyncio.create_task(sweep(tools, publisher))
        try:
            await Executor(config, tools, publisher).run(stop)
        finally:
            sweeper.cancel()
            await asyncio.gather(sweeper, return_exceptions=True)


@asynccontextmanager
async def equipped(config: ExecutorConfig) -> AsyncIterator[Tools]:
    """Make the tools of an executor; nothing is connected to before it is used."""
    redis = connect(config.ledger_url)
    connectors = registry.build(config.connectors)
    controls = ControlsReader(config.kafka, config.topic_prefix)
    records = Records(config.kafka, config.topic_prefix)
    try:
        yield Tools(
            name=config.name,
            ledger=Ledger(redis, prefix=config.ledger_prefix, lease_seconds=config.lease_seconds),
            rails=RailsStore(redis, config.rails, prefix=config.ledger_prefix),
            limits=config.rails,
            reversals=Reversals(redis, prefix=config.ledger_prefix),
            connectors=connectors,
            controls=controls.current,
            evidence=lambda evidence: TopicReader(config.kafka, SIGNALS, config.topic_prefix, evidence.add),
            clock=time_ns,
            forensics=Forensics(config.forensics, config.name, time_ns, records.collect),
        )
    finally:
        controls.close()
        await registry.close(connectors)
        await redis.aclose()


async def sweep(tools: Tools, publisher: Publisher) -> None:
    """Issue what takes back actions whose effect has expired, or that a person wants reverted, for as long as asked.

    What a person lets last longer is told to the systems that would end it themselves.
    """
    while True:
        try:
            now = tools.clock()
            controls = await tools.controls()
            for entry in await tools.reversals.renewed(controls, now):
                await _renew(entry, controls, tools)
            for command in await tools.reversals.due(controls, now):
                log.info("action %s is to be taken back for %s", command.undoes, command.approved_by)
                await publisher.publish(ACTIONS, command.target.environment, encode(command))
        except TemporaryError as error:
            log.warning("nothing can be taken back at present: %s", error)
        await tools.sleep(SWEEP_SECONDS)


async def _renew(entry: Reversal, controls: Controls, tools: Tools) -> None:
    """Tell the system of an action that its effect goes on; every executor may, for it is the same each time."""
    command = entry.command
    connector = tools.connectors.get(command.apply.connector)
    if connector is None or controls.stops(Scope.of_command(command)):
        return
    try:
        await connector.renew(command.apply, entry.before)
    except PermanentError as error:
        log.warning("action %s cannot be renewed: %s", command.id, error)
    await tools.reversals.note_renewed(entry, controls)


class Executor:
    """One member of the executors' group."""

    def __init__(self, config: ExecutorConfig, tools: Tools, publisher: Publisher) -> None:
        self._config = config
        self._tools = tools
        self._publisher = publisher
        self._topic = ACTIONS.full_name(config.topic_prefix)
        self._offsets = OffsetTracker()
        self._tasks: dict[asyncio.Task[None], str] = {}
        # Per partition, how often it was taken from us: a task that began under another count is no longer ours.
        self._revocations: dict[int, int] = {}
        self._stopping = False
        self._paused = False
        # All calls of the consumer come from one thread, so its callbacks do too.
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="executor-consumer")

    async def run(self, stop: asyncio.Event) -> None:
        """Consume until `stop` is set."""
        settings = {
            "group.id": f"{self._config.topic_prefix}-executor",
            "enable.auto.commit": False,
            "enable.auto.offset.store": False,
            "auto.offset.reset": "earliest",
            # The embedded broker answers an empty fetch only after half of this, whatever arrives meanwhile.
            "fetch.wait.max.ms": 100,
        }
        consumer = Consumer({**self._config.kafka, **settings})
        try:
            await self._call(partial(consumer.subscribe, [self._topic], on_revoke=self._revoked, on_lost=self._lost))
            while not stop.is_set():
                await self._turn(consumer)
        finally:
            await self._drain(consumer)
            await self._call(consumer.close)
            self._thread.shutdown()

    async def _turn(self, consumer: Consumer) -> None:
        """Commit what is done, then take as many commands as there is room for."""
        await self._commit(consumer)
        room = self._config.max_in_flight - self._in_flight()
        await self._pause(consumer, full=room <= 0)
        # With every partition paused this only serves the group: no command can come.
        for message in await self._call(partial(consumer.consume, max(room, 1), POLL_SECONDS)):
            self._receive(message)

    def _in_flight(self) -> int:
        """Count the actions under way; the same one asked for twice counts once."""
        return len(set(self._tasks.values()))

    async def _pause(self, consumer: Consumer, *, full: bool) -> None:
        if full == self._paused:
            return
        change = consumer.pause if full else consumer.resume
        await self._call(lambda: change(consumer.assignment()))
        self._paused = full

    def _receive(self, message: Message) -> None:
        error, partition, offset = message.error(), message.partition(), message.offset()
        if error is not None or partition is None or offset is None:
            log.warning("actions: %s", error)
            return
        self._offsets.received(partition, offset)
        try:
            command = decode(ACTIONS, bytes_of(message.key()), bytes_of(message.value()))
        except RecordError as fault:
            work: Callable[[], Any] = partial(self._bury, message, fault)
            name = f"dead letter {partition}/{offset}"
        else:
            work, name = partial(self._carry_out, command, self._halted(partition)), command.id
        task = asyncio.create_task(self._until_done(work, partition, offset))
        self._tasks[task] = name
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        del self._tasks[task]
        if not task.cancelled() and task.exception() is not None:
            log.error("a command stays uncommitted", exc_info=task.exception())

    def _halted(self, partition: int) -> Callable[[], bool]:
        begun = self._revocations.get(partition, 0)
        return lambda: self._stopping or self._revocations.get(partition, 0) != begun

    async def _until_done(self, work: Callable[[], Any], partition: int, offset: int) -> None:
        halted = self._halted(partition)
        while not halted():
            try:
                await work()
            except TemporaryError as error:
                if halted():
                    return
                log.warning("%s/%s: %s; trying again", partition, offset, error)
                await self._tools.sleep(max(error.delay, MIN_RETRY_SECONDS))
            else:
                if not halted():
                    self._offsets.done(partition, offset)
                return

    async def _carry_out(self, command: ActionCommand, halted: Callable[[], bool]) -> None:
        ended = await carry_out(command, self._tools, halted)
        if ended.published:
            return
        await self._publisher.publish(LEARNING, command.target.environment, encode(ended.outcome))
        if not command.replay:
            await self._tools.ledger.published(command.id, ended.outcome.id)
        log.info("action %s %s: %s", command.id, ended.outcome.result, ended.outcome.reason)

    async def _bury(self, message: Message, fault: RecordError) -> None:
        letter = dead_letter(
            fault.reason,
            fault.detail,
            topic=self._topic,
            partition=message.partition() or 0,
            offset=message.offset() or 0,
            time_unix_nano=message.timestamp()[1] * 1_000_000,
            key=bytes_of(message.key()),
            value=bytes_of(message.value()),
            stage="execute",
        )
        await self._publisher.publish(DEAD_LETTERS, letter.id, encode(letter))

    async def _commit(self, consumer: Consumer) -> None:
        await self._call(partial(self._commit_done, consumer))

    def _commit_done(self, consumer: Consumer) -> None:
        places = [TopicPartition(self._topic, partition, offset) for partition, offset in self._offsets.take().items()]
        if not places:
            return
        try:
            consumer.commit(offsets=places, asynchronous=False)
        except KafkaException as error:
            # The group has moved on: whoever has the partition now finds the ledger final, and commits.
            log.warning("commit: %s", error)

    def _revoked(self, consumer: Consumer, partitions: list[TopicPartition]) -> None:
        """Give partitions back, in the consumer's thread: commit what is done, halt the rest."""
        self._commit_done(consumer)
        self._lost(consumer, partitions)

    def _lost(self, _consumer: Consumer, partitions: list[TopicPartition]) -> None:
        numbers = [place.partition for place in partitions]
        for number in numbers:
            self._revocations[number] = self._revocations.get(number, 0) + 1
        self._offsets.forget(numbers)
        # A new assignment starts unpaused.
        self._paused = False

    async def _drain(self, consumer: Consumer) -> None:
        """Let the steps under way reach their next gate, then break off the rest; commit what is done."""
        self._stopping = True
        if self._tasks:
            _, late = await asyncio.wait(set(self._tasks), timeout=GRACE_SECONDS)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        await self._commit(consumer)

    async def _call(self, function: Callable[[], Any]) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function)
