"""`reflexarc readiness` on a real Redis and broker."""

from __future__ import annotations

import asyncio
import json

import pytest
from typer.testing import CliRunner

from actions.ledger import connect
from streams.cli import app
from streams.embedded import EmbeddedValkey
from streams.kafka_client import create_topics
from streams.outcome_to_lesson import Lessons
from streams.settings import KafkaSettings
from tests.actions.builders import command
from tests.parts import Broker
from tests.streams.test_decide import outcome

pytestmark = pytest.mark.integration


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
    shown = CliRunner().invoke(app, ["readiness", "--at", "prod/search"])
    assert "demo/checkout" in shown.stdout
    assert "prod/search" in shown.stdout
    assert CliRunner().invoke(app, ["readiness", "--at", "prod"]).exit_code == 2
