"""OTLP messages of tests, in the two spellings that the Collector's Kafka exporter writes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from google.protobuf import json_format
from google.protobuf.message import Message
from opentelemetry.proto.common.v1.common_pb2 import AnyValue, KeyValue
from opentelemetry.proto.logs.v1.logs_pb2 import LogRecord, LogsData
from opentelemetry.proto.trace.v1.trace_pb2 import Span, TracesData

from streams.decode import Events, LogDecoder, LogRow, SpanDecoder, SpanRow

NOW = 1_700_000_000_000_000_000
SECOND = 1_000_000_000

Spell = Callable[[Message], bytes]


def as_proto(message: Message) -> bytes:
    return message.SerializeToString()


def as_json(message: Message) -> bytes:
    """What `otlp_json` is: protobuf's JSON, with enumerations as numbers."""
    return json_format.MessageToJson(message, indent=None, use_integers_for_enums=True).encode()


def attribute(key: str, **value: Any) -> KeyValue:
    return KeyValue(key=key, value=AnyValue(**value))


def logs(*records: LogRecord, service: str = "checkout") -> LogsData:
    data = LogsData()
    of_resource = data.resource_logs.add()
    of_resource.resource.attributes.append(attribute("service.name", string_value=service))
    of_resource.scope_logs.add().log_records.extend(records)
    return data


def read_logs(value: bytes, now: int = 0, limit: int = 60 * SECOND) -> Events[LogRow]:
    return LogDecoder(future_limit_nanos=limit).decode([None], [value], [now // 1_000_000])


def spans(*records: Span, service: str = "checkout") -> TracesData:
    data = TracesData()
    of_resource = data.resource_spans.add()
    of_resource.resource.attributes.append(attribute("service.name", string_value=service))
    of_resource.scope_spans.add().spans.extend(records)
    return data


def read_spans(value: bytes, now: int = 0, limit: int = 60 * SECOND) -> Events[SpanRow]:
    return SpanDecoder(future_limit_nanos=limit).decode([None], [value], [now // 1_000_000])
