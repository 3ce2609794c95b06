"""What the topics say of an action: its decision with the trace, its incident, the signals and telemetry around it.

Called by `actions.forensics` after the target's own evidence, which may vanish; topics stay. It goes into the package
all the same, so that who opens it later needs nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import msgspec
import orjson
from confluent_kafka import Message

from actions.connectors.base import Files
from actions.kafka import KafkaConfig, MessageReader, TopicReader, bytes_of, line_of
from schemas.action import ActionCommand
from schemas.decision import Decision
from schemas.envelope import NANOS, Entity
from schemas.errors import PermanentError, TemporaryError
from schemas.incident import Incident
from schemas.signal import Signal
from schemas.topics import DECISIONS, INCIDENTS, RAW_ALERTS, RAW_LOGS, RAW_METRICS, RAW_SPANS, SIGNALS, Topic

# A person has a quarter of an hour to approve by default; before that the incident had to be noticed.
_LOOK_BACK_SECONDS = 1800
# Of a scope in that time; each is some 1 KB.
_MOST_SIGNALS = 1000

# Telemetry of the service: as long before the command, as much of each topic (the newest), and for as long a reading.
_WINDOW_SECONDS = 300
_WINDOW_BYTES = 16 * 1024 * 1024
_WINDOW_PATIENCE_SECONDS = 5.0


class _Wanted(NamedTuple):
    file: str
    topic: Topic
    most: int
    fits: Callable[[ActionCommand, Any], bool]


_WANTED = (
    _Wanted("decision.json", DECISIONS, 1, lambda asked, it: isinstance(it, Decision) and it.id == asked.decision_id),
    _Wanted("incident.json", INCIDENTS, 1, lambda asked, it: isinstance(it, Incident) and it.id == asked.incident_id),
    _Wanted(
        "signals.json",
        SIGNALS,
        _MOST_SIGNALS,
        lambda asked, it: isinstance(it, Signal) and it.entity.scope == asked.target.scope,
    ),
)


class Records:
    """Reads the topics on behalf of a package."""

    def __init__(self, kafka: KafkaConfig, prefix: str) -> None:
        self._kafka = kafka
        self._prefix = prefix

    async def collect(self, command: ActionCommand, package: Files) -> None:
        """Add a file for each topic; what is not on it any more is noted."""
        for wanted in _WANTED:
            await package.add(wanted.file, self._found(wanted, command))
        for topic in (RAW_METRICS, RAW_LOGS, RAW_SPANS, RAW_ALERTS):
            await package.add(f"{topic.name}.jsonl", self._window(topic, command))

    async def _found(self, wanted: _Wanted, command: ActionCommand) -> AsyncIterator[bytes]:
        # The newest are kept: of an incident, its last revision.
        kept: deque[Any] = deque(maxlen=wanted.most)

        def take(record: Any) -> None:
            if wanted.fits(command, record):
                kept.append(record)

        reader = TopicReader(self._kafka, wanted.topic, self._prefix, take)
        try:
            await reader.start(command.issued_unix_nano - _LOOK_BACK_SECONDS * NANOS)
            await reader.catch_up()
        finally:
            reader.close()
        if not kept:
            raise PermanentError(f"nothing of it on {wanted.topic.name} in the last {_LOOK_BACK_SECONDS} s")
        yield orjson.dumps([it.model_dump(mode="json") for it in kept], option=orjson.OPT_INDENT_2)

    async def _window(self, topic: Topic, command: ActionCommand) -> AsyncIterator[bytes]:
        """Give the telemetry of the service as it came: a record a line, written as archives have it."""
        window = _Window(command.target)
        reader = MessageReader(self._kafka, topic, self._prefix, window.take)
        problem = None
        try:
            await reader.start(command.issued_unix_nano - _WINDOW_SECONDS * NANOS)
            await reader.catch_up(_WINDOW_PATIENCE_SECONDS)
        except TemporaryError as error:
            problem = error
        finally:
            reader.close()
        for line in window.lines:
            yield line
        if problem is not None:
            raise problem
        if not window.lines:
            raise PermanentError(f"nothing of it on {topic.name} in the last {_WINDOW_SECONDS} s")
        if window.dropped:
            raise PermanentError(f"{window.dropped} older records had no room in {_WINDOW_BYTES} bytes")


class _Window:
    """The newest messages of one service, up to a number of bytes."""

    def __init__(self, target: Entity) -> None:
        self.lines: deque[bytes] = deque()
        self.dropped = 0
        self._bytes = 0
        self._scope, self._service = f"{target.scope}/".encode(), target.service.encode()

    def take(self, message: Message) -> None:
        key, value = bytes_of(message.key()) or b"", bytes_of(message.value()) or b""
        # Our own records are keyed by what they are about. Of others (OTLP) the name of the service is somewhere in
        # them, in either encoding; a record too many does no harm.
        if not key.startswith(self._scope) and self._service not in value:
            return
        self.lines.append(msgspec.json.encode(line_of(message)) + b"\n")
        self._bytes += len(self.lines[-1])
        while self._bytes > _WINDOW_BYTES:
            self._bytes -= len(self.lines.popleft())
            self.dropped += 1
