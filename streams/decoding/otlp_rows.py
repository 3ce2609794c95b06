"""OTLP records that become rows: the walk over resources that logs (`otlp_logs`) and spans (`otlp_spans`) share.

What cannot be used does not take the others of its record with it: it is a fault, and counted.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar

from schemas.envelope import AttributeValue
from streams.decoding.native import LogRow, SpanRow
from streams.decoding.otlp import MAX_ATTRIBUTES, UNREADABLE, note_fault, resource_of
from streams.decoding.otlp_wire import Wire

Row = TypeVar("Row", LogRow, SpanRow)


@dataclass(slots=True)
class Rows(Generic[Row]):
    """Rows of one record by time, each with its resource and the bytes that spell it; and what could not be read."""

    rows: list[tuple[Row, bytes, Mapping[str, AttributeValue]]] = field(default_factory=list)
    faults: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, wire: Wire, by_resource: Iterable[tuple[Any, list[Any]]], read: Callable[[Any], Row]) -> Rows[Row]:
        """Read what each resource has.

        Raises:
            RecordError: there are too many faults.

        """
        found: Rows[Row] = Rows()
        for owner, messages in by_resource:
            if not messages:
                continue
            try:
                resource, spelling = resource_of(wire, owner)
            except UNREADABLE as error:
                note_fault(found.faults, f"resource: {error}")
                continue
            for message in messages:
                try:
                    row = read(message)
                except UNREADABLE as error:
                    note_fault(found.faults, str(error))
                else:
                    found.rows.append((row, spelling, resource))
        found.rows.sort(key=lambda entry: entry[0].time_unix_nano)
        return found


def bounded(attributes: dict[str, AttributeValue]) -> dict[str, AttributeValue]:
    """Return attributes of which there are not too many.

    Raises:
        ValueError: there are.

    """
    if len(attributes) > MAX_ATTRIBUTES:
        raise ValueError(f"{len(attributes)} attributes, {MAX_ATTRIBUTES} allowed")
    return attributes
