"""Which series a log record counts for: errors and warnings of its entity, its template or event, what it measures.

Called by `streams.kernel.detect_logs` for every record; the rows are those of its table and bank. A warning or error
never heard of a service comes with as many zeros as the service was listened to without it, and so does a kind of
event, so that they are judged from the first on. What is milder has to be known for a while: new versions say new
things.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.bank_columns import Kind
from detectors.log_parameters import read_quantity
from detectors.log_templates import ERROR_SEVERITY, WARN_SEVERITY, Band, Template, TemplateMiner
from schemas.envelope import AttributeValue, Entity
from streams.decoding.events import Resource
from streams.decoding.native import LogRow
from streams.decoding.series import UNKNOWN, Identity, SeriesTable
from streams.kernel.text import one_line

# Of all errors together, and of one template of them: the same evidence under the same name.
ERROR_COUNT = "log.error.count"
WARNING_COUNT = "log.warning.count"
RECORD_COUNT = "log.record.count"
EVENT_COUNT = "log.event.count"
QUANTITY = "log.quantity"
SESSION_COUNT = "log.session.unusual.count"
TEMPLATE = "log.template"
WORD = "log.template.word"
EVENT = "event.name"
# Templates leave half of the rows to the entities, whose errors are counted whatever else is said.
TEMPLATE_SHARE = 0.5
# Per partition. 256 templates of 512 characters each are the most that one can fill: a quarter of a megabyte.
TEMPLATE_SERVICES = 1024


class Sample(NamedTuple):
    """What a record counts for."""

    row: int
    event: int
    value: float


class _Saved(msgspec.Struct):
    miner: bytes
    unheard: dict[int, int]


class LogRows:
    """Rows of the series of one partition's log records.

    Args:
        table: in which the rows are.
        room: rows that templates and kinds of events may take.
        tick_nanos: event time of a tick.
        state: what `freeze` returned.

    """

    def __init__(self, table: SeriesTable, room: int, tick_nanos: int, state: bytes | None = None) -> None:
        self._table, self._room, self._tick_nanos = table, room, tick_nanos
        saved = _Saved(b"", {}) if state is None else msgspec.msgpack.decode(state, type=_Saved)
        self._miner = TemplateMiner(TEMPLATE_SERVICES, state=saved.miner or None)
        # Of each row that counts a template: for how many ticks its service was heard without it. 0 where that is no
        # evidence: milder than a warning.
        self.unheard = saved.unheard
        self._gauges: set[int] = set()  # of the rows given out since the last `take_new`

    def freeze(self) -> bytes:
        """State to go on from."""
        return msgspec.msgpack.encode(_Saved(self._miner.freeze(), self.unheard))

    def forget(self, rows: Sequence[int]) -> None:
        """Drop what is known of rows that are no longer in use."""
        for row in rows:
            self.unheard.pop(row, None)

    def take_new(self) -> tuple[NDArray[np.int64], NDArray[np.int8], NDArray[np.int64]]:
        """Rows given out since the last call: `[n]` each, its `Kind`, and the ticks that are known to be zero."""
        rows = self._table.take_new()
        kinds = [self._kind(row) for row in rows]
        zeros = [self.unheard.get(row, 0) for row in rows]
        self._gauges.clear()
        return np.array(rows, np.int64), np.array(kinds, np.int8), np.array(zeros, np.int64)

    def _kind(self, row: int) -> Kind:
        if row in self._gauges:
            return Kind.GAUGE
        return Kind.MENTIONS if row in self.unheard else Kind.COUNT

    def count(self, log: LogRow, resource: Resource, at: int, found: list[Sample]) -> tuple[int, int, int]:
        """Append what the `at`-th record of a batch counts for.

        Returns:
            The row of the entity's errors, that of its template, each below zero where there is no room, and the number
            of the template.

        """
        errors = self._table.find(resource.spelling, UNKNOWN)
        if errors == UNKNOWN:
            errors = self._table.admit(resource.spelling, _identity(resource.entity, ERROR_COUNT, {}))
        if errors < 0:
            self._table.overflow += 1
            return errors, UNKNOWN, 0
        severity = log.severity_number
        found.append(Sample(errors, at, float(severity >= ERROR_SEVERITY)))
        if WARN_SEVERITY <= severity < ERROR_SEVERITY:
            self._add(resource, WARNING_COUNT, at, found)
        said = log.event_name or log.body
        template = self._miner.learn(resource.scope, severity, said, log.time_unix_nano)
        row = self._table.find(spelling := resource.spelling + b"\0%d" % template.number, UNKNOWN)
        if row == UNKNOWN:
            row = self._admit(spelling, resource.entity, template, is_event=bool(log.event_name))
        if row >= 0:
            found.append(Sample(row, at, 1.0))
            if template.quantity >= 0:
                self._measure(log.body, resource, template, at, found)
        return errors, row, template.number

    def count_session(self, entity: Entity, at: int, now: int, found: list[Sample]) -> None:
        """Append an unusual session of an entity, which it was listened to without."""
        resource = Resource.of(_resource(entity))
        heard = self._miner.known_nanos(resource.scope, now) // self._tick_nanos
        self._add(resource, SESSION_COUNT, at, found, zeros=heard)

    def text(self, scope: str, number: int) -> str:
        """Text of a template of a service."""
        return self._miner.text(scope, number)

    def _add(self, resource: Resource, name: str, at: int, found: list[Sample], *, zeros: int = 0) -> None:
        row = self._table.find(spelling := b"%b\0%b" % (resource.spelling, name.encode()), UNKNOWN)
        if row == UNKNOWN and len(self._table) < self._room:
            row = self._table.admit(spelling, _identity(resource.entity, name, {}))
            self.unheard.setdefault(row, zeros)
        if row >= 0:
            found.append(Sample(row, at, 1.0))

    def _measure(self, body: str, resource: Resource, template: Template, at: int, found: list[Sample]) -> None:
        """Append the measured quantity in a line, as a gauge."""
        value = read_quantity(body, template.quantity)
        if value is None:
            return
        row = self._table.find(spelling := resource.spelling + b"\0%d\0quantity" % template.number, UNKNOWN)
        if row == UNKNOWN and len(self._table) < self._room:
            said: dict[str, AttributeValue] = {TEMPLATE: one_line(template.text), WORD: template.quantity + 1}
            identity = _identity(resource.entity, QUANTITY, said)
            row = self._table.admit(spelling, identity._replace(kind="gauge", temporality="unspecified", unit=""))
            self._gauges.add(row)
        if row >= 0:
            found.append(Sample(row, at, value))

    def _admit(self, spelling: bytes, entity: Entity, template: Template, *, is_event: bool) -> int:
        if len(self._table) >= self._room:
            return UNKNOWN
        mild = template.band == Band.INFO and not is_event
        name = EVENT_COUNT if is_event else ERROR_COUNT if template.band == Band.ERROR else RECORD_COUNT
        said: dict[str, AttributeValue] = {EVENT if is_event else TEMPLATE: one_line(template.text)}
        row = self._table.admit(spelling, _identity(entity, name, said))
        self.unheard.setdefault(row, 0 if mild else template.known_nanos // self._tick_nanos)
        return row


def _identity(entity: Entity, name: str, attributes: dict[str, AttributeValue]) -> Identity:
    return Identity(name, "counter", "delta", attributes, _resource(entity), "{record}")


def _resource(entity: Entity) -> dict[str, AttributeValue]:
    # The entity, not the whole resource: a new version of a service is to be compared with the version before it.
    resource: dict[str, AttributeValue] = {
        "deployment.environment.name": entity.environment,
        "service.name": entity.service,
    }
    if entity.instance is not None:
        resource["service.instance.id"] = entity.instance
    return resource
