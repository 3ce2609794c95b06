"""What the topics say of an action goes into its package: through a real broker, and only what concerns it."""

from __future__ import annotations

from pathlib import Path
from time import time_ns
from typing import Any

import orjson
import pytest

from actions.forensics import Package
from actions.kafka import TopicReader
from actions.records import Records
from schemas.codec import encode
from schemas.envelope import Entity
from schemas.topics import DECISIONS, INCIDENTS, SIGNALS
from streams.embedded import EmbeddedBroker
from tests.actions.builders import LATENCY, decision, incident, progress, signal
from tests.actions.target import DeploymentTarget
from tests.actions.world import World

pytestmark = pytest.mark.integration


@pytest.fixture
def world(tansu: EmbeddedBroker, topic_prefix: str) -> World:
    return World(tansu.bootstrap_servers, "redis://nowhere", topic_prefix, DeploymentTarget())


def records(world: World) -> Records:
    return Records(lambda topic, sink: TopicReader(world.kafka, topic, world.prefix, sink))


def package(folder: Path) -> Package:
    folder.mkdir()
    return Package(folder, 1024 * 1024, time_ns)


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
    assert all(item["complete"] for item in found.files)


async def test_what_is_not_on_its_topic_is_noted(world: World, tmp_path: Path) -> None:
    (command,) = decision(incident(updated_unix_nano=time_ns())).actions
    found = package(tmp_path / "package")
    await records(world).collect(command, found)
    assert [item["complete"] for item in found.files] == [False, False, False]
    assert all("nothing of it on" in item["problem"] for item in found.files)
