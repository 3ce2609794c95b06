"""What the topics say of an action goes into its package: through a real broker, and only what concerns it."""

from __future__ import annotations

from base64 import b64decode
from pathlib import Path
from time import time_ns
from typing import Any

import orjson
import pytest

from actions.forensics import Package
from actions.records import Records
from schemas.codec import encode
from schemas.envelope import Entity
from schemas.topics import DECISIONS, INCIDENTS, RAW_ALERTS, RAW_LOGS, RAW_METRICS, RAW_SPANS, SIGNALS
from streams.embedded import EmbeddedBroker
from tests.actions.builders import LATENCY, decision, incident, progress, signal
from tests.actions.target import DeploymentTarget
from tests.actions.world import World

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tansu: EmbeddedBroker, topic_prefix: str) -> World:
    return World(tansu.bootstrap_servers, "redis://nowhere", topic_prefix, DeploymentTarget())


def records(world: World) -> Records:
    return Records(world.kafka, world.prefix)


def package(folder: Path) -> Package:
    folder.mkdir()
    return Package(folder, 1024 * 1024, time_ns)


RAW = (RAW_METRICS, RAW_LOGS, RAW_SPANS, RAW_ALERTS)


def lines(held: Package, name: str) -> list[Any]:
    return [orjson.loads(line) for line in (held.folder / name).read_bytes().splitlines()]


def content(held: Package, name: str) -> Any:
    return orjson.loads((held.folder / name).read_bytes())


async def test_the_decision_the_incident_and_the_signals_are_read(world: World, tmp_path: Path) -> None:
    now = time_ns()
    made = decision(incident(updated_unix_nano=now))
    (command,) = made.actions
    other = made.model_copy(update={"id": "another"})
    for item in (made, other):
        world.publish(DECISIONS, command.target.scope, encode(item))
    for revision in (1, 2):
        world.publish(INCIDENTS, command.target.scope, encode(incident(revision=revision)))
    world.publish(INCIDENTS, "demo/search", encode(incident(id="incident-2", service="search")))
    elsewhere = Entity(environment="demo", service="search")
    for record in (signal(LATENCY, "firing", now), signal(LATENCY, "firing", now, entity=elsewhere), progress(now)):
        world.publish(SIGNALS, command.target.scope, encode(record))

    found = package(tmp_path / "package")
    await records(world).collect(command, found)
    assert [item["id"] for item in content(found, "decision.json")] == [made.id]
    assert [(item["id"], item["revision"]) for item in content(found, "incident.json")] == [("incident-1", 2)]
    assert [item["entity"]["service"] for item in content(found, "signals.json")] == ["checkout"]
    assert [item["name"] for item in found.files if not item["complete"]] == [topic.name + ".jsonl" for topic in RAW]


async def test_what_is_not_on_its_topic_is_noted(world: World, tmp_path: Path) -> None:
    (command,) = decision(incident(updated_unix_nano=time_ns())).actions
    found = package(tmp_path / "package")
    await records(world).collect(command, found)
    assert [item["complete"] for item in found.files] == [False] * 7
    assert all("nothing of it on" in item["problem"] for item in found.files)


async def test_the_telemetry_of_the_service_is_kept_as_it_came(world: World, tmp_path: Path) -> None:
    (command,) = decision(incident(updated_unix_nano=time_ns())).actions
    ours, others = b'{"value": 1}', b'{"value": 2}'
    world.publish(RAW_METRICS, "demo/checkout/checkout-1", ours)
    world.publish(RAW_METRICS, "demo/search/search-1", others)
    world.publish(RAW_LOGS, "opaque", b"\x0a\xff\x08checkout\xfe")
    found = package(tmp_path / "package")
    await records(world).collect(command, found)
    (metric,) = lines(found, "raw.metrics.jsonl")
    assert (metric["key"], metric["value"]) == ("demo/checkout/checkout-1", ours.decode())
    assert metric["topic"] == RAW_METRICS.full_name(world.prefix)
    assert metric["offset"] >= 0
    (log,) = lines(found, "raw.logs.jsonl")
    assert b64decode(log["value_base64"]) == b"\x0a\xff\x08checkout\xfe"


async def test_of_too_much_telemetry_the_newest_is_kept_and_the_rest_noted(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("actions.records._WINDOW_BYTES", 500)
    (command,) = decision(incident(updated_unix_nano=time_ns())).actions
    for number in range(20):
        world.publish(RAW_METRICS, "demo/checkout/checkout-1", b"%d" % number)
    found = package(tmp_path / "package")
    await records(world).collect(command, found)
    kept = [line["value"] for line in lines(found, "raw.metrics.jsonl")]
    assert 0 < len(kept) < 20
    assert kept == [str(number) for number in range(20 - len(kept), 20)]
    (entry,) = (item for item in found.files if item["name"] == "raw.metrics.jsonl")
    assert entry["problem"] == f"{20 - len(kept)} older records had no room in 500 bytes"
