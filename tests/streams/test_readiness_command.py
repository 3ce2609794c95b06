"""`reflexarc readiness` on a real Redis and broker."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from actions.ledger import connect
from actions.settings import PolicySettings
from schemas.codec import encode
from schemas.control import Control
from schemas.envelope import Record
from schemas.topics import CONTROLS, DECISIONS, INCIDENTS, Topic
from streams.cli import app
from streams.embedded import EmbeddedValkey
from streams.kafka_client import create_topics
from streams.outcome_to_lesson import Lessons
from streams.publisher import Message, publish_once
from streams.settings import KafkaSettings
from tests.actions.builders import T0, command, decision, incident
from tests.parts import Broker
from tests.streams.test_decide import outcome

pytestmark = pytest.mark.integration


def publish(kafka: KafkaSettings, topic: Topic, record: Record) -> None:
    asyncio.run(publish_once(kafka, [Message(topic.full_name(kafka.topic_prefix), b"demo/checkout", encode(record))]))


def right(incident_id: str) -> Control:
    """Somebody confirms what an incident was called."""
    return Control(
        id=f"right-{incident_id}",
        kind="feedback",
        by="ada",
        time_unix_nano=T0,
        incident_id=incident_id,
        verdict="true_positive",
    )


async def learn(url: str, prefix: str) -> None:
    redis = connect(url)
    await Lessons(redis, prefix).learn(outcome(command()))
    await redis.aclose()


def test_the_command_reads_records_and_controls(
    tansu: Broker, valkey: EmbeddedValkey, topic_prefix: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    kafka = KafkaSettings(bootstrap_servers=tansu.bootstrap_servers, topic_prefix=topic_prefix)
    create_topics(kafka, divide_partitions_by=6)
    asyncio.run(learn(valkey.url, topic_prefix))
    monkeypatch.setenv("REFLEXARC_KAFKA__BOOTSTRAP_SERVERS", tansu.bootstrap_servers)
    monkeypatch.setenv("REFLEXARC_KAFKA__TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("REFLEXARC_LEDGER__URL", valkey.url)
    monkeypatch.setenv("REFLEXARC_LEDGER__KEY_PREFIX", topic_prefix)
    asked = CliRunner().invoke(app, ["readiness", "--json"])
    assert asked.exit_code == 0, asked.output
    found = {one["playbook"]: one for one in json.loads(asked.stdout)}
    assert found["rollback-deployment"]["successes"] == 1
    assert found["rollback-deployment"]["missing"][0] == "evidence: 1 more verified success without a failure"
    assert (found["rollback-deployment"]["agreed"], found["rollback-deployment"]["supported"]) == (0, "observe")
    shown = CliRunner().invoke(app, ["readiness", "--at", "prod/search"])
    assert "demo/checkout" in shown.stdout
    assert "prod/search" in shown.stdout
    assert CliRunner().invoke(app, ["readiness", "--at", "prod"]).exit_code == 2
    where = ["--environment", "demo", "--service", "checkout", "--playbook", "rollback-deployment"]
    early = CliRunner().invoke(app, ["ratify", "recommend", *where])
    assert "recommend is not justified yet: 1 verified successes, 0 failures" in str(early.exception)
    for number in range(2, 5):
        publish(kafka, INCIDENTS, incident(id=f"incident-{number}"))
        shadow = decision(incident(id=f"incident-{number}"), settings=PolicySettings())
        publish(kafka, DECISIONS, shadow)
        publish(kafka, CONTROLS, right(f"incident-{number}"))
    assert CliRunner().invoke(app, ["ratify", "recommend", *where, "--by", "ada"]).exit_code == 0
    (after,) = (
        one
        for one in json.loads(CliRunner().invoke(app, ["readiness", "--json"]).stdout)
        if one["playbook"] == "rollback-deployment"
    )
    assert (after["agreed"], after["disagreed"], after["tier"]) == (3, 0, "recommend")
    assert "ratified up to recommend" in after["because"]
