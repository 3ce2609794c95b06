"""Raw logs to signals: counts of errors and of each template judged like any series, changes noted as they happen.

One kernel per partition of the raw logs. Every log record registers its entity, so that an entity that has said
something without an error has a history of zeros; records of severity ERROR and above count one. Besides, each template
of lines is counted per entity. A warning or error that was never heard of a service comes with as many zeros as the
service was listened to without it, so that it is judged from its first line on; what is milder has to be known for a
while first, because new versions say new things. A structured `deployment.*` event is a change: not a fault, but the
first suspect of what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from typing import NamedTuple

import msgspec
import numpy as np

from detectors.bank import Change, Verdict
from detectors.bank_columns import Kind
from detectors.log_templates import ERROR_SEVERITY, Band, TemplateMiner
from schemas.envelope import NANOS, AttributeValue, Entity, content_id
from schemas.signal import Signal, signal_id
from schemas.topics import RAW_LOGS, SIGNALS, Topic
from streams.decoding.events import Events, LogDecoder, Resource
from streams.decoding.native import LogRow
from streams.decoding.series import UNKNOWN, Identity, Series, SeriesTable
from streams.kernel.base import Emit, Output, Records, letter
from streams.kernel.detect import MODEL_VERSION, STAGE, DetectRules, SeriesDetect, explain
from streams.kernel.text import one_line

# Of all errors together, and of one template of them: the same evidence under the same name.
ERROR_COUNT = "log.error.count"
RECORD_COUNT = "log.record.count"
TEMPLATE = "log.template"
CHANGES = ("deployment.",)
# Templates leave half of the rows to the entities, whose errors are counted whatever else is said.
TEMPLATE_SHARE = 0.5
# Per partition. 256 templates of 512 characters each are the most that one can fill: a quarter of a megabyte.
TEMPLATE_SERVICES = 1024


class _Sample(NamedTuple):
    """What a record counts for."""

    row: int
    event: int
    value: float


class _Extra(msgspec.Struct):
    """What a snapshot holds besides the series."""

    heard: int
    bodies: dict[int, str]
    miner: bytes
    unheard: dict[int, int]


class LogDetect(SeriesDetect):
    """Log records of one partition."""

    kind = "log"
    topic = RAW_LOGS

    def __init__(self, rules: DetectRules, partition: int, state: bytes | None = None) -> None:
        super().__init__(rules, partition)
        self._decoder = LogDecoder(future_limit_nanos=rules.future_limit)
        self._miner = TemplateMiner(TEMPLATE_SERVICES)
        # Of each row that counts a template: for how many ticks its service was heard without it. 0 where that is no
        # evidence: milder than a warning.
        self._unheard: dict[int, int] = {}
        self._bodies: dict[int, str] = {}  # newest error of each row
        # Of the batch at hand: where each error lies among the samples, so that a signal quotes none from its future.
        self._errors: dict[int, list[tuple[int, str]]] = {}
        self._at = -1
        self._silent = False
        self._heard = 0  # event time at the last batch: from there the clock counts when the broker has nothing more
        if state is not None:
            self.restore(state)

    def take(self, topic: Topic, records: Records) -> list[Output]:  # noqa: ARG002 - there is only one
        self._silent = False
        events = self._decoder.decode(records.keys, records.values, records.timestamps)
        found: list[Output] = [letter(STAGE, records, i, error) for i, error in events.rejected]
        found += self._changes(events, records.offsets)
        samples = self._samples(events)
        admitted = self.table.take_new()
        zeros = np.array([self._unheard.get(row, 0) for row in admitted], np.int64)
        kinds = [Kind.MENTIONS if row in self._unheard else Kind.COUNT for row in admitted]
        self.bank.admit(np.array(admitted, np.int64), np.array(kinds, np.int8), zeros)
        found += self._judge(events, samples, records.offsets)
        self._heard = self.bank.high
        return [*found, *self.closing(records)]

    def wake(self, quiet_seconds: float) -> list[Output]:
        """Let nobody wait for logs, which are sparse; and count no errors for a while as the fact it is."""
        passed = int(quiet_seconds * NANOS) - self.rules.quiet_after
        if passed > 0 and self._heard + passed >= self.bank.high + self.rules.bank.tick_nanos:
            found = self.signals(self.bank.advance(self._heard + passed), (), ())
            # Read to here, and nothing more for now.
            return [*found, *self.progress(), *self.progress(idle=True)]
        if self._silent:
            return []
        self._silent = True
        return self.progress(idle=True)

    def reasons(self, verdict: Verdict, series: Series) -> tuple[str, ...]:
        before = [body for at, body in self._errors.get(verdict.series, ()) if at <= verdict.sample]
        body = before[-1] if before else self._bodies.get(verdict.series)
        said = () if body is None else (f"newest error: {body}",)
        first, *more = explain(verdict, series)
        template = series.attributes.get(TEMPLATE)
        return (first if template is None else f'"{template}": {first}', *more, *self._novelty(verdict), *said)

    def snapshot_extra(self) -> bytes:
        return msgspec.msgpack.encode(_Extra(self._heard, self._bodies, self._miner.freeze(), self._unheard))

    def restore_extra(self, state: bytes) -> None:
        extra = msgspec.msgpack.decode(state, type=_Extra)
        self._heard, self._bodies, self._unheard = extra.heard, extra.bodies, extra.unheard
        self._miner = TemplateMiner(TEMPLATE_SERVICES, state=extra.miner)

    def forget_extra(self, rows: list[int]) -> None:
        for row in rows:
            self._bodies.pop(row, None)
            self._unheard.pop(row, None)

    def _samples(self, events: Events[LogRow]) -> list[_Sample]:
        """Give every record its rows: one for the errors of its entity, one for its template."""
        found: list[_Sample] = []
        for i, (row, resource) in enumerate(zip(events.rows, events.resources, strict=True)):
            errors = _row(self.table, resource)
            if errors < 0:
                self.table.overflow += 1
                continue
            found.append(_Sample(errors, i, float(row.severity_number >= ERROR_SEVERITY)))
            counted = self._template_row(row, resource)
            if counted >= 0:
                found.append(_Sample(counted, i, 1.0))
        return found

    def _template_row(self, log: LogRow, resource: Resource) -> int:
        """Row of the count of a record's template at its entity; negative when there is no room."""
        entity = resource.entity
        template = self._miner.learn(entity.scope, log.severity_number, log.body, log.time_unix_nano)
        spelling = _spelling(entity, str(template.number))
        row = self.table.find(spelling, UNKNOWN)
        if row == UNKNOWN and len(self.table) < self.rules.max_series * TEMPLATE_SHARE:
            name = ERROR_COUNT if template.band == Band.ERROR else RECORD_COUNT
            row = self.table.admit(spelling, _identity(entity, name, {TEMPLATE: one_line(template.text)}))
            before = 0 if template.band == Band.INFO else template.known_nanos // self.rules.bank.tick_nanos
            self._unheard.setdefault(row, before)
        return row

    def _novelty(self, verdict: Verdict) -> tuple[str, ...]:
        """Say of a template that it is new to its service."""
        unheard = self._unheard.get(verdict.series, 0)
        if unheard < self.rules.bank.warmup or verdict.change is not Change.FIRING:
            return ()
        return (f"new here: the service was heard for {unheard * self.rules.bank.tick_nanos / NANOS:.0f} s without it",)

    def _judge(self, events: Events[LogRow], samples: Sequence[_Sample], offsets: Sequence[int]) -> list[Output]:
        self._errors = {}
        for at, (row, i, value) in enumerate(samples):
            if value and events.rows[i].severity_number >= ERROR_SEVERITY:
                self._errors.setdefault(row, []).append((at, one_line(events.rows[i].body)))
        times = np.array([events.rows[i].time_unix_nano for _, i, _ in samples], np.int64)
        rows, values = np.array([row for row, _, _ in samples], np.int64), np.array([value for *_, value in samples])
        found = self.signals(self.bank.fold(rows, times, values), [events.record[i] for _, i, _ in samples], offsets)
        self._bodies |= {row: errors[-1][1] for row, errors in self._errors.items()}
        self._errors = {}
        return found

    def _changes(self, events: Events[LogRow], offsets: Sequence[int]) -> list[Output]:
        # What the watermark has promised before each record: see `SeriesBank.watermark`.
        times = [row.time_unix_nano for row in events.rows]
        passed = accumulate([self.bank.high, *times], max)
        found: list[Output] = []
        for i, (row, high) in enumerate(zip(events.rows, passed, strict=False)):
            if row.event_name.startswith(CHANGES):
                earliest = high - self.rules.bank.lateness_nanos + 1
                found.append(self._change(row, events.resources[i].entity, earliest, offsets[events.record[i]]))
        return found

    def _change(self, row: LogRow, entity: Entity, earliest: int, offset: int) -> Output:
        subject = content_id("event", str(entity), row.event_name, row.attributes)
        said, time = one_line(row.body), max(row.time_unix_nano, earliest)
        noted = Signal(
            id=signal_id(subject, "noted", row.time_unix_nano),
            kind="change",
            state="noted",
            entity=entity,
            subject=subject,
            name=row.event_name,
            attributes=row.attributes,
            time_unix_nano=time,
            onset_unix_nano=row.time_unix_nano,
            release_unix_nano=max(time - self.rules.bank.lateness_nanos, earliest),
            detector="events",
            model_version=MODEL_VERSION,
            reasons=(said,) if said else (),
            origin=self._origin(offset),
        )
        return Emit(SIGNALS, noted.key, noted)


def _row(table: SeriesTable, resource: Resource) -> int:
    """Row of the error count of an entity; negative when there is no room."""
    entity = resource.entity
    spelling = _spelling(entity)
    row = table.find(spelling, UNKNOWN)
    return table.admit(spelling, _identity(entity, ERROR_COUNT, {})) if row == UNKNOWN else row


def _spelling(entity: Entity, *more: str) -> bytes:
    return "\0".join((entity.environment, entity.service, entity.instance or "", *more)).encode()


def _identity(entity: Entity, name: str, attributes: dict[str, AttributeValue]) -> Identity:
    # The entity, not the whole resource: a new version of a service is to be compared with the version before it.
    resource: dict[str, AttributeValue] = {
        "deployment.environment.name": entity.environment,
        "service.name": entity.service,
    }
    if entity.instance is not None:
        resource["service.instance.id"] = entity.instance
    return Identity(name, "counter", "delta", attributes, resource, "{record}")
