"""`reflexarc actions plan` on a real broker and Valkey."""

from __future__ import annotations

import asyncio
import json
from time import time_ns

import pytest
from typer.testing import CliRunner, Result

from actions.ledger import Lease, Ledger, connect
from actions.reversals import Reversals
from schemas.action import ActionCommand
from schemas.codec import encode
from schemas.decision import Decision
from schemas.topics import DECISIONS
from streams.cli import app
from streams.embedded import EmbeddedValkey
from streams.kafka_client import create_topics
from streams.publisher import Message, publish_once
from streams.settings import KafkaSettings
from tests.actions.builders import command, decision
from tests.parts import Broker

pytestmark = pytest.mark.integration


@pytest.fixture
def kafka(tansu: Broker, valkey: EmbeddedValkey, topic_prefix: str, monkeypatch: pytest.MonkeyPatch) -> KafkaSettings:
    found = KafkaSettings(bootstrap_servers=tansu.bootstrap_servers, topic_prefix=topic_prefix)
    create_topics(found, divide_partitions_by=6)
    monkeypatch.setenv("REFLEXARC_KAFKA__BOOTSTRAP_SERVERS", tansu.bootstrap_servers)
    monkeypatch.setenv("REFLEXARC_KAFKA__TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("REFLEXARC_LEDGER__URL", valkey.url)
    monkeypatch.setenv("REFLEXARC_LEDGER__KEY_PREFIX", topic_prefix)
    return found


def decided(kafka: KafkaSettings, made: Decision) -> None:
    message = Message(DECISIONS.full_name(kafka.topic_prefix), b"demo/checkout", encode(made))
    asyncio.run(publish_once(kafka, [message]))


def run(*arguments: str) -> Result:
    return CliRunner().invoke(app, ["actions", "plan", *arguments])


def listed(*arguments: str) -> str:
    found = CliRunner().invoke(app, ["actions", "list", *arguments])
    assert found.exit_code == 0, found.output
    return found.stdout


async def act(url: str, prefix: str) -> ActionCommand:
    """Leave what an executor does that is at work on an action."""
    redis = connect(url)
    wanted = command().model_copy(update={"effect_seconds": 1800.0})
    lease = await Ledger(redis, prefix=prefix, lease_seconds=5).claim(wanted, "executor-1")
    assert isinstance(lease, Lease)
    assert await lease.lock(wanted, 60) is None
    await Reversals(redis, prefix=prefix).note(wanted, {}, time_ns())
    await redis.aclose()
    return wanted


def test_every_guard_is_named_and_so_is_what_stops_it(kafka: KafkaSettings) -> None:
    made = decision()
    decided(kafka, made)
    shown = run("incident-1")
    assert shown.exit_code == 0, shown.output
    assert f"decided: act: {made.reason}" in shown.output
    assert "stops  connector_configured: connector http.deployments is not configured" in shown.output
    assert "passes not_stopped: no stop in force" in shown.output
    assert "passes global_rate: 0 actions within the hour, 20 allowed" in shown.output
    assert "It would not be done: connector_configured" in shown.output
    told = json.loads(run(made.actions[0].id, "--json").stdout)
    (planned,) = told["planned"]
    assert planned["command"]["id"] == made.actions[0].id
    assert {check["name"] for check in planned["checks"]} >= {"permitted", "within_failure_budget", "still_firing"}


def test_what_is_held_and_what_can_be_taken_back_is_listed(
    kafka: KafkaSettings, valkey: EmbeddedValkey, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Characters that a pattern of Redis takes for something else, and another deployment's locks beside ours.
    monkeypatch.setenv("REFLEXARC_LEDGER__KEY_PREFIX", f"{kafka.topic_prefix}[a]*")
    assert listed() == "No target is held.\nNothing can be taken back.\n"
    asyncio.run(act(valkey.url, f"{kafka.topic_prefix}a-other"))
    assert listed() == "No target is held.\nNothing can be taken back.\n"
    wanted = asyncio.run(act(valkey.url, f"{kafka.topic_prefix}[a]*"))
    told = json.loads(listed("--json"))
    (held,), (reversible,) = told["held"], told["reversible"]
    assert (held["target"], held["holder"], held["action"]) == ("demo/checkout", "executor-1", wanted.id)
    assert (reversible["action"], reversible["expires"][:4]) == (wanted.id, "in 1")
    assert "rollback-deployment" in listed()


def test_an_incident_nobody_knows_is_an_error(kafka: KafkaSettings) -> None:
    decided(kafka, decision())
    found = run("none-such")
    assert found.exit_code == 1
    assert "no incidents or actions begin with 'none-such'" in str(found.exception)
