"""Bytes to records and back, in one place, with every way a record can be unusable named.

Called by every stage for low-volume topics and by tests; the raw telemetry hot path decodes whole batches
(`streams.decode`) and must agree with this module record by record.
"""

from __future__ import annotations

from typing import Any

import orjson
from pydantic import BaseModel, ValidationError

from schemas.envelope import SCHEMA_VERSION
from schemas.errors import RecordError, Rejection
from schemas.topics import Topic


def encode(record: BaseModel) -> bytes:
    """Serialise a record. The same record always gives the same bytes (fields in declared order, no spaces)."""
    return record.model_dump_json().encode()


def decode(topic: Topic, key: bytes | None, value: bytes | None) -> Any:
    """Validate one record of `topic`.

    Raises:
        RecordError: with the reason; the caller dead-letters the original.

    """
    check_envelope(topic, key, value)
    assert value is not None  # noqa: S101 - check_envelope refused None
    check_version(parse_json(value))
    try:
        # Strict: "12" is not 12. JSON mode, because only there strict still takes arrays for tuples.
        return topic.adapter.validate_json(value, strict=True)
    except ValidationError as error:
        raise RecordError(Rejection.INVALID_SCHEMA, describe(error)) from None


def check_envelope(topic: Topic, key: bytes | None, value: bytes | None) -> None:
    """Refuse what needs no parsing to be refused."""
    if not value:
        raise RecordError(Rejection.EMPTY, "null value" if value is None else "zero bytes")
    if len(value) > topic.max_message_bytes:
        raise RecordError(Rejection.TOO_LARGE, f"{len(value)} bytes, {topic.max_message_bytes} allowed")
    if topic.key_required and not key:
        raise RecordError(Rejection.MISSING_KEY, f"expected key: {topic.key}")


def parse_json(value: bytes) -> Any:
    """Parse strict JSON: UTF-8, no NaN or Infinity."""
    try:
        return orjson.loads(value)
    except orjson.JSONDecodeError as error:
        if not _is_utf8(value):
            raise RecordError(Rejection.INVALID_ENCODING, "not UTF-8") from None
        raise RecordError(Rejection.INVALID_JSON, str(error)) from None


def check_version(document: Any) -> None:
    """Refuse a version this code does not know; a record without one is version 1."""
    if not isinstance(document, dict):
        raise RecordError(Rejection.INVALID_SCHEMA, f"expected an object, got {type(document).__name__}")
    version = document.get("schema_version", SCHEMA_VERSION)
    if version != SCHEMA_VERSION or isinstance(version, bool):
        raise RecordError(Rejection.UNKNOWN_VERSION, f"schema_version {str(version)[:50]}; known: {SCHEMA_VERSION}")


def describe(error: ValidationError) -> str:
    """One line a person can act on: the first faults, each with its field. Never repeats the input: it is hostile."""
    faults = error.errors(include_url=False, include_context=False, include_input=False)
    lines = [f"{'.'.join(str(part) for part in fault['loc'])}: {fault['msg']}" for fault in faults[:3]]
    more = f" (+{len(faults) - 3} more)" if len(faults) > 3 else ""
    return "; ".join(lines) + more


def _is_utf8(value: bytes) -> bool:
    try:
        value.decode("utf-8")
    except UnicodeDecodeError:
        return False
    return True
