"""OTLP log records to log rows; the companion of `streams.decoding.otlp`, which does the metrics.

Called by `streams.decoding.events`. The event time is the record's own, else the time at which it was observed, else
the broker's. A body that is not text becomes JSON text. The event name is the record's field, or the attribute
`event.name` of producers from before it had one. A record that cannot be used does not take the others of its batch
with it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from schemas.envelope import AttributeValue
from streams.decoding.native import LogRow
from streams.decoding.otlp import MAX_ATTRIBUTES, UNREADABLE, event_time, note_fault, resource_of
from streams.decoding.otlp_wire import Wire, read_logs

# What the schema allows of a native record; what is longer is cut, not refused: the end of a long body is expendable.
_MAX_BODY = 65_536
_MAX_EVENT_NAME = 256
_MAX_SEVERITY = 24
# OpenTelemetry's short names, and what loggers say instead; for records that have a text and no number.
_SEVERITIES = {
    "TRACE": 1,
    "DEBUG": 5,
    "INFO": 9,
    "NOTICE": 10,
    "WARN": 13,
    "WARNING": 13,
    "ERROR": 17,
    "CRITICAL": 21,
    "FATAL": 21,
}


@dataclass(slots=True)
class Logs:
    """Rows of one record by time, each with its resource and the bytes that spell it; and what could not be read."""

    rows: list[tuple[LogRow, bytes, Mapping[str, AttributeValue]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)


def read_rows(value: bytes, broker_unix_nano: int, not_after: int) -> Logs | None:
    """Read the log records of one record; None for what is not OTLP.

    Raises:
        RecordError: it is OTLP JSON of the wrong shape, or has too many faults.

    """
    message = read_logs(value)
    if message is None:
        return None
    wire, batch = message
    logs = Logs()
    for of_resource in batch.resource_logs:
        records = [record for of_scope in of_resource.scope_logs for record in of_scope.log_records]
        if not records:
            continue
        try:
            resource, spelling = resource_of(wire, of_resource.resource)
        except UNREADABLE as error:
            note_fault(logs.faults, f"resource: {error}")
            continue
        for record in records:
            try:
                row = _row(wire, record, broker_unix_nano, not_after)
            except UNREADABLE as error:
                note_fault(logs.faults, str(error))
            else:
                logs.rows.append((row, spelling, resource))
    logs.rows.sort(key=lambda entry: entry[0].time_unix_nano)
    return logs


def _row(wire: Wire, record: Any, broker_unix_nano: int, not_after: int) -> LogRow:
    time = int(record.time_unix_nano) or int(record.observed_time_unix_nano) or broker_unix_nano
    attributes = wire.attributes(record)
    event_name = record.event_name or str(attributes.pop("event.name", ""))
    if len(attributes) > MAX_ATTRIBUTES:
        raise ValueError(f"{len(attributes)} attributes, {MAX_ATTRIBUTES} allowed")
    severity = record.severity_number or _SEVERITIES.get(record.severity_text.upper(), 0)
    return LogRow(
        time_unix_nano=event_time(time, not_after),
        severity_number=min(max(0, severity), _MAX_SEVERITY),
        body=wire.text(record.body)[:_MAX_BODY],
        event_name=event_name[:_MAX_EVENT_NAME],
        attributes=attributes,
    )
