from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml

from schemas.codec import encode
from schemas.export import JSON_SCHEMA, asyncapi, json_schema, write_schemas
from schemas.topics import BY_NAME, CATALOGUE, Topic

from .records import RECORDS


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    out = tmp_path_factory.mktemp("schemas") / "not" / "there" / "yet"
    return {path.name: path for path in write_schemas(out)}


def validator(topic: Topic) -> jsonschema.Draft202012Validator:
    schema = json_schema(topic)
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def test_one_file_per_topic_and_the_asyncapi_document(written: dict[str, Path]) -> None:
    assert set(written) == {f"{topic.name}.schema.json" for topic in CATALOGUE} | {"asyncapi.yaml"}
    assert all(path.exists() for path in written.values())


def test_same_catalogue_same_bytes(written: dict[str, Path], tmp_path: Path) -> None:
    for path in write_schemas(tmp_path):
        assert path.read_bytes() == written[path.name].read_bytes()


def test_every_topic_has_a_sample_here() -> None:
    assert set(RECORDS) == set(BY_NAME)


@pytest.mark.parametrize("topic", CATALOGUE, ids=lambda topic: topic.name)
def test_schema_takes_what_we_write(topic: Topic, written: dict[str, Path]) -> None:
    schema = json.loads(written[f"{topic.name}.schema.json"].read_text(encoding="utf-8"))
    assert schema["$schema"] == JSON_SCHEMA
    for record in RECORDS[topic.name]:
        validator(topic).validate(json.loads(encode(record)))
        jsonschema.validate(json.loads(encode(record)), schema)


@pytest.mark.parametrize("topic", CATALOGUE, ids=lambda topic: topic.name)
def test_schema_allows_fields_of_the_future_and_refuses_versions_of_the_future(topic: Topic) -> None:
    check = validator(topic)
    for record in RECORDS[topic.name]:
        document = json.loads(encode(record))
        check.validate(document | {"added_later": 1})
        assert not check.is_valid(document | {"schema_version": 2})
        assert not check.is_valid([document])


def _without(document: dict[str, Any], field: str) -> dict[str, Any]:
    return {name: value for name, value in document.items() if name != field}


@pytest.mark.parametrize("topic", CATALOGUE, ids=lambda topic: topic.name)
def test_schema_and_codec_agree_on_what_is_required(topic: Topic) -> None:
    check = validator(topic)
    for record in RECORDS[topic.name]:
        document = json.loads(encode(record))
        for field in document:
            without = _without(document, field)
            try:
                topic.adapter.validate_json(json.dumps(without), strict=True)
            except ValueError:
                assert not check.is_valid(without), field
            else:
                assert check.is_valid(without), field


def test_asyncapi_refers_to_what_is_there(written: dict[str, Path]) -> None:
    document = yaml.safe_load(written["asyncapi.yaml"].read_text(encoding="utf-8"))
    assert document == asyncapi()
    references = list(_references(document))
    assert references
    for reference in references:
        if reference.startswith("./"):
            assert reference.removeprefix("./") in written
        else:
            assert _resolve(document, reference) is not None


def _references(node: Any) -> Any:
    if isinstance(node, dict):
        if "$ref" in node:
            yield node["$ref"]
        node = list(node.values())
    if isinstance(node, list):
        for child in node:
            yield from _references(child)


def _resolve(document: dict[str, Any], reference: str) -> Any:
    node: Any = document
    for part in reference.removeprefix("#/").split("/"):
        node = node[part]
    return node


def test_asyncapi_describes_every_channel_in_kafka_terms() -> None:
    document = asyncapi()
    assert document["asyncapi"] == "3.0.0"
    assert document["defaultContentType"] == "application/json"
    for topic in CATALOGUE:
        channel = document["channels"][topic.name]
        kafka = channel["bindings"]["kafka"]
        assert channel["address"] == topic.full_name("{prefix}")
        assert kafka["partitions"] == topic.partitions
        # The document says numbers and lists where the broker takes text; they must say the same, but for who dates
        # a record, which AsyncAPI's Kafka binding has no word for.
        assert {
            name: ",".join(value) if isinstance(value, list) else str(value)
            for name, value in kafka["topicConfiguration"].items()
        } == {name: value for name, value in topic.config().items() if name != "message.timestamp.type"}
        message = document["components"]["messages"][topic.name]
        assert message["contentType"] == "application/json"
        assert message["bindings"]["kafka"]["key"]["description"].startswith(topic.key)


def test_asyncapi_operations_are_ours() -> None:
    operations = asyncapi()["operations"]
    actions: dict[str, set[str]] = {topic.name: set() for topic in CATALOGUE}
    for name, operation in operations.items():
        topic = operation["channel"]["$ref"].removeprefix("#/channels/")
        assert name == f"{operation['action']}.{topic}"
        actions[topic].add(operation["action"])
    assert actions["raw.metrics"] == {"receive"}  # written by producers only
    assert actions["raw.alerts"] == {"receive", "send"}  # our webhook adapters write it as well
    assert actions["incidents"] == {"receive", "send"}
    assert actions["deadletters"] == {"send"}  # read by people only
