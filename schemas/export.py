"""The contract as files for everyone who produces or consumes: JSON Schema per topic, and one AsyncAPI document.

Called by `reflexarc schemas` and `make schemas`. Everything comes from the topic catalogue, and the same catalogue
always gives the same bytes, so the files can be compared between releases.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from schemas.envelope import SCHEMA_VERSION
from schemas.topics import CATALOGUE, Topic

JSON_SCHEMA = "https://json-schema.org/draft/2020-12/schema"
# Names in the catalogue's `writers` and `readers` that are not parts of ReflexArc.
_OUTSIDE = {"producers", "subscribers", "people", "audit"}
_MILLIS = 1000
# Formats of others that a topic takes besides its own.
_ALSO = dict.fromkeys(
    ("raw.metrics", "raw.logs", "raw.spans"),
    "OTLP as the OpenTelemetry Collector's Kafka exporter writes it (otlp_proto or otlp_json) is accepted as well.",
)


def write_schemas(out: Path) -> list[Path]:
    """Write all documents into the directory `out`, made if need be; returns what was written."""
    out.mkdir(parents=True, exist_ok=True)
    written = []
    for topic in CATALOGUE:
        path = out / _file_name(topic)
        path.write_text(json.dumps(json_schema(topic), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        written.append(path)
    path = out / "asyncapi.yaml"
    document = yaml.safe_dump(asyncapi(), sort_keys=False, allow_unicode=True, width=120)
    path.write_text(document, encoding="utf-8")
    return [*written, path]


def json_schema(topic: Topic) -> dict[str, Any]:
    """Return the JSON Schema of a topic's records."""
    body = topic.adapter.json_schema()
    discriminator = body.get("discriminator", {})
    for reference in discriminator.get("mapping", {}).values():
        # It has a default, but no reader can tell the variants apart without it.
        variant = body["$defs"][reference.removeprefix("#/$defs/")]
        variant["required"] = [discriminator["propertyName"], *variant["required"]]
    return {
        "$schema": JSON_SCHEMA,
        "$id": f"urn:reflexarc:{topic.name}:{SCHEMA_VERSION}",
        **body,
        "title": topic.name,
        "description": topic.purpose,
    }


def asyncapi() -> dict[str, Any]:
    """Return the AsyncAPI 3.0 document, written from ReflexArc's side: what it sends and what it receives."""
    return {
        "asyncapi": "3.0.0",
        "info": {
            "title": "ReflexArc",
            "version": f"{SCHEMA_VERSION}.0.0",
            "description": (
                "Autonomous incident response on Kafka. Every arrow of the pipeline is a topic; publish telemetry to "
                "the raw topics and subscribe to any other. Unknown fields are ignored, unknown versions are dead "
                "letters."
            ),
            "license": {"name": "Apache-2.0", "url": "https://www.apache.org/licenses/LICENSE-2.0"},
        },
        "defaultContentType": "application/json",
        "channels": {topic.name: _channel(topic) for topic in CATALOGUE},
        "operations": {name: operation for topic in CATALOGUE for name, operation in _operations(topic).items()},
        "components": {"messages": {topic.name: _message(topic) for topic in CATALOGUE}},
    }


def _channel(topic: Topic) -> dict[str, Any]:
    description = f"{topic.purpose} Written by: {topic.writers}. Read by: {topic.readers}."
    configuration: dict[str, Any] = {
        "cleanup.policy": [topic.cleanup],
        "retention.ms": topic.retention_seconds * _MILLIS if topic.retention_seconds > 0 else topic.retention_seconds,
        "max.message.bytes": topic.max_message_bytes,
    }
    return {
        "address": f"{{prefix}}.{topic.name}",
        "title": topic.name,
        "description": " ".join(filter(None, (description, _ALSO.get(topic.name)))),
        "messages": {"record": {"$ref": f"#/components/messages/{topic.name}"}},
        "parameters": {"prefix": {"description": "Prefix of all topics of a deployment.", "default": "reflexarc"}},
        "bindings": {
            "kafka": {
                "partitions": topic.partitions,
                "topicConfiguration": configuration,
                "bindingVersion": "0.5.0",
            }
        },
    }


def _operations(topic: Topic) -> dict[str, Any]:
    """Name what ReflexArc does with a topic; a topic that one stage writes and another reads has both."""
    actions = {"receive": topic.readers, "send": topic.writers}
    return {
        f"{action}.{topic.name}": {
            "action": action,
            "channel": {"$ref": f"#/channels/{topic.name}"},
            "summary": f"{action.capitalize()}: {topic.purpose}",
            "messages": [{"$ref": f"#/channels/{topic.name}/messages/record"}],
        }
        for action, parties in actions.items()
        if set(parties.split(", ")) - _OUTSIDE
    }


def _message(topic: Topic) -> dict[str, Any]:
    key = topic.key if topic.key_required else f"{topic.key}; may be null"
    return {
        "name": topic.name,
        "title": topic.name,
        "summary": topic.purpose,
        "contentType": "application/json",
        "payload": {
            "schemaFormat": "application/schema+json;version=draft-2020-12",
            "schema": {"$ref": f"./{_file_name(topic)}"},
        },
        "bindings": {"kafka": {"key": {"type": "string", "description": key}, "bindingVersion": "0.5.0"}},
    }


def _file_name(topic: Topic) -> str:
    return f"{topic.name}.schema.json"
