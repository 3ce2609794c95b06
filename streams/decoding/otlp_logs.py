"""OTLP log records to log rows; the companion of `streams.decoding.otlp`, which does the metrics.

Called by `streams.decoding.events`. The event time is the record's own, else the time at which it was observed, else
the broker's. A body that is not text becomes JSON text. The event name is the record's field, or the attribute
`event.name` of producers from before it had one.
"""

from __future__ import annotations

from typing import Any

from streams.decoding.native import LogRow
from streams.decoding.otlp import event_time
from streams.decoding.otlp_rows import Rows, bounded
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


def read_rows(value: bytes, broker_unix_nano: int, not_after: int) -> Rows[LogRow] | None:
    """Read the log records of one record; None for what is not OTLP.

    Raises:
        RecordError: it is OTLP JSON of the wrong shape, or has too many faults.

    """
    message = read_logs(value)
    if message is None:
        return None
    wire, batch = message
    by_resource = (
        (one.resource, [record for of_scope in one.scope_logs for record in of_scope.log_records])
        for one in batch.resource_logs
    )
    return Rows.read(wire, by_resource, lambda record: _row(wire, record, broker_unix_nano, not_after))


def _row(wire: Wire, record: Any, broker_unix_nano: int, not_after: int) -> LogRow:
    time = int(record.time_unix_nano) or int(record.observed_time_unix_nano) or broker_unix_nano
    attributes = wire.attributes(record)
    event_name = record.event_name or str(attributes.pop("event.name", ""))
    severity = record.severity_number or _SEVERITIES.get(record.severity_text.upper(), 0)
    return LogRow(
        time_unix_nano=event_time(time, not_after),
        severity_number=min(max(0, severity), _MAX_SEVERITY),
        body=wire.text(record.body)[:_MAX_BODY],
        event_name=event_name[:_MAX_EVENT_NAME],
        attributes=bounded(attributes),
    )
