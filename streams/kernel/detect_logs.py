"""Raw logs to signals: error counts judged like any series, and changes noted as they happen.

One kernel per partition of the raw logs. Every log record registers its entity, so that an entity that has said
something without an error has a history of zeros; records of severity ERROR and above count one. A structured
`deployment.*` event is a change: not a fault, but the first suspect of what follows.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate

import msgspec
import numpy as np

from detectors.bank import Kind, Verdict
from schemas.envelope import NANOS, AttributeValue, Entity, content_id
from schemas.signal import Signal, signal_id
from schemas.topics import RAW_LOGS, SIGNALS, Topic
from streams.decoding.events import Events, LogDecoder, Resource
from streams.decoding.native import LogRow
from streams.decoding.series import UNKNOWN, Identity, Series, SeriesTable
from streams.kernel.base import Emit, Output, Records, letter
from streams.kernel.detect import MODEL_VERSION, STAGE, DetectRules, SeriesDetect, explain
from streams.kernel.text import one_line

ERROR_COUNT = "log.error.count"
# OpenTelemetry: 17 to 20 is ERROR, above is FATAL.
ERROR_SEVERITY = 17
CHANGES = ("deployment.",)


class LogDetect(SeriesDetect):
    """Log records of one partition."""

    kind = "log"
    topic = RAW_LOGS

    def __init__(self, rules: DetectRules, partition: int, state: bytes | None = None) -> None:
        super().__init__(rules, partition)
        self._decoder = LogDecoder(future_limit_nanos=rules.future_limit)
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
        rows = np.array([_row(self.table, resource) for resource in events.resources], np.int64)
        admitted = np.array(self.table.take_new(), np.int64)
        self.bank.admit(admitted, np.full(len(admitted), Kind.COUNT, np.int8))
        keep = np.flatnonzero(rows >= 0).tolist()
        self.table.overflow += len(rows) - len(keep)
        found += self._judge(events, rows.tolist(), keep, records.offsets)
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
        return explain(verdict, series) if body is None else (*explain(verdict, series), f"newest error: {body}")

    def snapshot_extra(self) -> bytes:
        return msgspec.msgpack.encode((self._heard, self._bodies))

    def restore_extra(self, state: bytes) -> None:
        self._heard, self._bodies = msgspec.msgpack.decode(state, type=tuple[int, dict[int, str]])

    def forget_extra(self, rows: list[int]) -> None:
        for row in rows:
            self._bodies.pop(row, None)

    def _judge(
        self, events: Events[LogRow], rows: Sequence[int], keep: Sequence[int], offsets: Sequence[int]
    ) -> list[Output]:
        self._errors = {}
        counts = np.zeros(len(keep))
        for at, i in enumerate(keep):
            if events.rows[i].severity_number >= ERROR_SEVERITY:
                counts[at] = 1.0
                self._errors.setdefault(rows[i], []).append((at, one_line(events.rows[i].body)))
        times = np.array([events.rows[i].time_unix_nano for i in keep], np.int64)
        verdicts = self.bank.fold(np.array([rows[i] for i in keep], np.int64), times, counts)
        found = self.signals(verdicts, [events.record[i] for i in keep], offsets)
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
        return Emit(SIGNALS, entity.scope.encode(), noted)


def _row(table: SeriesTable, resource: Resource) -> int:
    """Row of the error count of an entity; negative when there is no room."""
    entity = resource.entity
    spelling = "\0".join((entity.environment, entity.service, entity.instance or "")).encode()
    row = table.find(spelling, UNKNOWN)
    return table.admit(spelling, _identity(entity)) if row == UNKNOWN else row


def _identity(entity: Entity) -> Identity:
    # The entity, not the whole resource: a new version of a service is to be compared with the version before it.
    resource: dict[str, AttributeValue] = {
        "deployment.environment.name": entity.environment,
        "service.name": entity.service,
    }
    if entity.instance is not None:
        resource["service.instance.id"] = entity.instance
    return Identity(ERROR_COUNT, "counter", "delta", {}, resource, "{record}")
