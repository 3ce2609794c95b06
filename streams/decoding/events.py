"""Batches of raw log records, spans and alerts to lean rows.

Called by `streams.kernel.detect_logs`, `detect_spans` and `detect_alerts` with the lists of one `streams.batch.Batch`.
As in `streams.decoding.metrics`, the quick parse takes a part of what `schemas.codec` takes, and the codec judges the
rest.
Resources are few and repeated in every record, so they are looked up by their bytes and shared.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import msgspec
import orjson

from schemas import codec
from schemas.envelope import AttributeValue, Entity, entity_of
from schemas.errors import RecordError, Rejection
from schemas.topics import RAW_ALERTS, RAW_LOGS, RAW_SPANS, Topic
from streams.decoding.native import (
    UNUSABLE,
    Alert,
    AlertRow,
    Attributes,
    ExtendedAlert,
    ExtendedLog,
    ExtendedSpan,
    Log,
    LogRow,
    Span,
    SpanRow,
    is_strict_json,
    parse_each,
)
from streams.decoding.otlp import unusable
from streams.decoding.otlp_logs import read_rows
from streams.decoding.otlp_rows import Rows
from streams.decoding.otlp_spans import read_spans

_NANOS_PER_MILLI = 1_000_000
_NO_LIMIT = 2**63 - 1
# Resources remembered per partition: more than a partition has instances. When it is full it is emptied: filling it
# again costs a parse each, and no bookkeeping on the way there.
_MAX_RESOURCES = 16_384

_decode_attributes = msgspec.json.Decoder(Attributes).decode

Row = TypeVar("Row", LogRow, SpanRow, AlertRow)
# A row as it is parsed has its resource as bytes, in a field that the row's own type does not show.
Parse = Callable[[bytes], Any]


@dataclass(frozen=True, slots=True)
class Resource:
    """What a row is about."""

    entity: Entity
    attributes: Mapping[str, AttributeValue]
    scope: str
    """The entity's, which is asked for with every row."""
    spelling: bytes
    """The entity as the key of what is counted of it."""

    @classmethod
    def of(cls, attributes: Mapping[str, AttributeValue]) -> Resource:
        """Name the entity that attributes describe."""
        entity = entity_of(attributes)
        spelling = "\0".join((entity.environment, entity.service, entity.instance or "")).encode()
        return cls(entity, attributes, entity.scope, spelling)


@dataclass(frozen=True, slots=True)
class Events(Generic[Row]):
    """The rows of a batch in the order of their records: three lists of equal length, and what was of no use."""

    rows: list[Row]
    resources: list[Resource]
    record: list[int]  # position in the batch
    # By position in the batch. A record of many rows may be here and still have given those that were good.
    rejected: list[tuple[int, RecordError]]

    def __len__(self) -> int:
        return len(self.rows)

    def add(self, row: Row, resource: Resource, position: int) -> None:
        """Append a row."""
        self.rows.append(row)
        self.resources.append(resource)
        self.record.append(position)


class _Origin(msgspec.Struct, gc=False):
    """One record as it came."""

    position: int
    key: bytes | None
    value: bytes | None
    broker_unix_nano: int
    not_after: int


class EventDecoder(Generic[Row]):
    """Decodes the batches of one partition of one topic. Made by `LogDecoder`, `SpanDecoder` and `alert_decoder`."""

    def __init__(self, topic: Topic, parse: Parse, parse_extended: Parse, *, future_limit_nanos: int) -> None:
        self._topic = topic
        self._parse = parse
        self._parse_extended = parse_extended
        self._future_limit = future_limit_nanos
        self._resources: dict[bytes, Resource] = {}

    def decode(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> Events[Row]:
        """Decode one batch; `timestamps` are the broker's, in milliseconds, not known where not above 0."""
        parsed, others = parse_each(self._parse, keys, values, self._topic.max_message_bytes)
        events: Events[Row] = Events([], [], [], [])
        quick, skip = iter(parsed), set(others)
        for position, timestamp in enumerate(timestamps):
            now = timestamp * _NANOS_PER_MILLI
            limit = now + self._future_limit if now > 0 else _NO_LIMIT
            origin = _Origin(position, keys[position], values[position], now, limit)
            try:
                if position in skip:
                    self._sort_out(events, origin)
                else:
                    self._add(events, origin, next(quick))
            except RecordError as error:
                events.rejected.append((position, error))
        return events

    def _add(self, events: Events[Row], origin: _Origin, row: Any) -> None:
        spelling = bytes(row.resource)
        resource = self._resources.get(spelling)
        if resource is None:
            resource = self._remember(spelling, self._look_into(spelling, origin))
        if row.time_unix_nano > origin.not_after:
            seconds = (row.time_unix_nano - origin.not_after) / 1e9
            detail = f"clock: {seconds:.1f} s further ahead of the broker than allowed"
            raise RecordError(Rejection.INVALID_SCHEMA, detail)
        events.add(row, resource, origin.position)

    def _sort_out(self, events: Events[Row], origin: _Origin) -> None:
        """Take one record that the quick parse did not: OTLP, newer fields, or nothing that can be used."""
        value = origin.value or b""
        fits = 0 < len(value) <= self._topic.max_message_bytes
        found = self.read_otlp(value, origin) if fits else None
        if found is not None:
            self._add_all(events, origin, found)
            return
        codec.check_envelope(self._topic, origin.key, origin.value)
        row = self._read_extended(origin.value or b"")
        if row is None:
            # Through orjson, because integers beyond 64 bits become floats there.
            record = codec.encode(codec.decode(self._topic, origin.key, origin.value))
            row = self._parse(orjson.dumps(orjson.loads(record)))
        self._add(events, origin, row)

    def read_otlp(self, value: bytes, origin: _Origin) -> Rows[Any] | None:  # noqa: ARG002 - the subclasses need them
        """Read the rows of one record of OTLP; None for what is none."""
        return None

    def _add_all(self, events: Events[Row], origin: _Origin, found: Rows[Any]) -> None:
        for row, spelling, attributes in found.rows:
            # A spelling of our own begins with a brace, so the two kinds cannot be mistaken.
            resource = self._resources.get(b"\0" + spelling) or self._remember(b"\0" + spelling, attributes)
            events.add(row, resource, origin.position)
        if found.faults:
            raise unusable(len(found.faults), found.faults[0])

    def _read_extended(self, value: bytes) -> Any:
        try:
            row = self._parse_extended(value)
        except UNUSABLE:
            return None
        return row if is_strict_json(value) else None

    def _look_into(self, spelling: bytes, origin: _Origin) -> Mapping[str, AttributeValue]:
        try:
            return _decode_attributes(spelling)
        except UNUSABLE:
            codec.decode(self._topic, origin.key, origin.value)
        attributes: dict[str, AttributeValue] = orjson.loads(spelling)
        return attributes

    def _remember(self, spelling: bytes, attributes: Mapping[str, AttributeValue]) -> Resource:
        if len(self._resources) >= _MAX_RESOURCES:
            self._resources.clear()
        resource = self._resources[spelling] = Resource.of(attributes)
        return resource


class LogDecoder(EventDecoder[LogRow]):
    """Decodes log records of our own format and of OTLP."""

    def __init__(self, *, future_limit_nanos: int) -> None:
        parse, parse_extended = msgspec.json.Decoder(Log).decode, msgspec.json.Decoder(ExtendedLog).decode
        super().__init__(RAW_LOGS, parse, parse_extended, future_limit_nanos=future_limit_nanos)

    def read_otlp(self, value: bytes, origin: _Origin) -> Rows[LogRow] | None:
        return read_rows(value, origin.broker_unix_nano, origin.not_after)


class SpanDecoder(EventDecoder[SpanRow]):
    """Decodes spans of our own format and of OTLP."""

    def __init__(self, *, future_limit_nanos: int) -> None:
        parse, parse_extended = msgspec.json.Decoder(Span).decode, msgspec.json.Decoder(ExtendedSpan).decode
        super().__init__(RAW_SPANS, parse, parse_extended, future_limit_nanos=future_limit_nanos)

    def read_otlp(self, value: bytes, origin: _Origin) -> Rows[SpanRow] | None:
        return read_spans(value, origin.not_after)


def alert_decoder(*, future_limit_nanos: int) -> EventDecoder[AlertRow]:
    """Return a decoder of alerts."""
    parse, parse_extended = msgspec.json.Decoder(Alert).decode, msgspec.json.Decoder(ExtendedAlert).decode
    return EventDecoder(RAW_ALERTS, parse, parse_extended, future_limit_nanos=future_limit_nanos)
