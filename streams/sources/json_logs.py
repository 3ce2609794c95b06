"""JSON logs of collectors to log records: what Fluent Bit and Vector have in common.

Used by `fluent_bit` and `vector`. Fields are looked for by their dotted names, whether the collector nested them or
not. What names the service, the pod or the environment becomes the resource, the rest attributes.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import msgspec

from schemas.envelope import AttributeValue
from schemas.errors import RecordError, Rejection
from schemas.raw import LogRecord
from streams.sources.common import MAX_ATTRIBUTES, clean, flatten, key_of, nanos_of, read_json

_MAX_BODY = 65_536
_NANOS_PER_MICRO = 1_000
_INFO = 9
# Words of many loggers, as OpenTelemetry's numbers.
_SEVERITY_WORDS = {
    1: "trace",
    5: "debug",
    9: "info information informational",
    10: "notice",
    13: "warn warning",
    17: "error err",
    21: "critical crit alert fatal emergency emerg panic",
}
_SEVERITIES = {word: number for number, words in _SEVERITY_WORDS.items() for word in words.split()}
_LEVELS = ("level", "severity", "log.level", "levelname", "loglevel", "lvl")
_decode = msgspec.json.Decoder(dict[str, Any]).decode


@dataclass(frozen=True)
class Layout:
    """Where a collector puts things: dotted names in order of preference."""

    times: tuple[str, ...]
    bodies: tuple[str, ...]
    resource: Mapping[str, tuple[str, ...]]


def read(layout: Layout, value: bytes) -> tuple[str, LogRecord]:
    """Return the record key and the log record.

    Raises:
        RecordError: the record is not a JSON object with a time.

    """
    fields = flatten(read_json(_decode, value))
    time = _time(_take(fields, layout.times))
    body = _take(fields, layout.bodies)
    severity = _SEVERITIES.get(str(_take(fields, _LEVELS) or "").lower(), _INFO)
    resource = _resource(layout, fields)
    attributes = dict(list(fields.items())[:MAX_ATTRIBUTES])
    return key_of(resource), LogRecord(
        time_unix_nano=time,
        severity_number=severity,
        body="" if body is None else str(body)[:_MAX_BODY],
        resource=resource,
        attributes={clean(name): _clean(value) for name, value in attributes.items()},
    )


def _take(fields: dict[str, AttributeValue], names: tuple[str, ...]) -> AttributeValue | None:
    found = next((name for name in names if name in fields), None)
    return None if found is None else fields.pop(found)


def _resource(layout: Layout, fields: Mapping[str, AttributeValue]) -> dict[str, AttributeValue]:
    found: dict[str, AttributeValue] = {}
    for attribute, names in layout.resource.items():
        value = next((fields[name] for name in names if fields.get(name)), None)
        if value is not None:
            found[attribute] = clean(str(value))
    return found


def _time(value: AttributeValue | None) -> int:
    """Read a time: RFC 3339 text, or seconds since the epoch, whose double has microseconds and no more."""
    if isinstance(value, str):
        nanos = nanos_of(value)
    elif isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value) and value < 2**33:
        nanos = round(value * 1_000_000) * _NANOS_PER_MICRO
    else:
        nanos = 0
    if nanos <= 0:
        raise RecordError(Rejection.INVALID_SCHEMA, "no time that can be read")
    return nanos


def _clean(value: AttributeValue) -> AttributeValue:
    return clean(value) if isinstance(value, str) else value
