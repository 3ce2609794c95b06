"""`reflexarc learn`, `models` and `feedback` on a real Redis and broker."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from actions.ledger import connect
from benchmarks.adversary.world import FAULT_AT, at
from learning.lessons import Lesson
from schemas.codec import encode
from schemas.envelope import NANOS
from schemas.model import ModelVersion
from schemas.topics import CONTROLS, INCIDENTS, MODELS
from streams.cli import app
from streams.embedded import EmbeddedValkey
from streams.kafka_client import create_topics
from streams.outcome_to_lesson import Lessons
from streams.publisher import Message, Publisher
from streams.settings import KafkaSettings, load_settings
from streams.tail import Tail
from tests.console.records import incident
from tests.learning.lessons import told
from tests.parts import Broker
from tests.streams.replay.recorded import kept, slow_instance

pytestmark = pytest.mark.integration

Run = Callable[..., str]


@pytest.fixture
def kafka(
    tansu: Broker, valkey: EmbeddedValkey, topic_prefix: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> KafkaSettings:
    settings = KafkaSettings(bootstrap_servers=tansu.bootstrap_servers, topic_prefix=topic_prefix)
    create_topics(settings, divide_partitions_by=6)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("REFLEXARC_KAFKA__BOOTSTRAP_SERVERS", tansu.bootstrap_servers)
    monkeypatch.setenv("REFLEXARC_KAFKA__TOPIC_PREFIX", topic_prefix)
    monkeypatch.setenv("REFLEXARC_LEDGER__URL", valkey.url)
    monkeypatch.setenv("REFLEXARC_LEDGER__KEY_PREFIX", topic_prefix)
    return settings


def run(*words: str) -> str:
    asked = CliRunner().invoke(app, words)
    assert asked.exit_code == 0, f"{asked.output} {asked.exception}"
    return asked.stdout


async def keep(url: str, prefix: str, lessons: list[Lesson]) -> list[Lesson]:
    redis = connect(url)
    store = Lessons(redis, prefix)
    for one in [*lessons, *lessons]:
        await store.learn(one)
    found = await store.lessons()
    await redis.aclose()
    return found


def on_topic(kafka: KafkaSettings) -> list[ModelVersion]:
    with Tail(kafka, [MODELS]) as tail:
        return [seen.record for seen in tail.to_end()]


def test_a_candidate_is_learnt_goes_live_and_is_rolled_back(
    kafka: KafkaSettings, valkey: EmbeddedValkey, topic_prefix: str, tmp_path: Path
) -> None:
    assert "0 lessons with a verdict" in run("learn")
    # Every third of those just above the threshold was false.
    lessons = [told(n, 0.81 if n % 3 == 0 else 0.95, right=n % 3 != 0, by=f"p{n % 4}") for n in range(90)]
    assert asyncio.run(keep(valkey.url, topic_prefix, lessons)) == lessons
    assert json.loads(run("learn", "--dry-run", "--json"))["model"]["status"] == "live"
    assert load_settings().policy.min_confidence == 0.8, "a dry run changes nothing"
    found: dict[str, Any] = json.loads(run("learn", "--json"))
    assert (found["lessons"], found["false_alarms"][0]["false"]) == (90, 30)
    # Two of three were right, said with 0.81 to 0.95: whoever bets against that wins.
    assert found["drift"]["calibration_martingale"] > 20
    assert load_settings().policy.min_confidence == 0.82
    assert "policy.min_confidence = 0.82" in run("models", "list")
    again = run("learn")
    assert "No candidate" in again, "it is live already"
    assert "(20 is an alarm)" in again
    assert "withdrawn: rolled back to the shipped settings by ada" in run("models", "rollback", "--by", "ada")
    assert load_settings().policy.min_confidence == 0.8
    assert "rejected" in run("learn"), "a person has rolled it back"
    live, candidate = tmp_path / "live.json", tmp_path / "candidate.json"
    figures = {"false_positive_rate": 0.1, "missed_incidents": 0.1, "harmful_proposals": 0.1}
    live.write_text(json.dumps({"figures": figures}))
    candidate.write_text(json.dumps(figures | {"missed_incidents": 0.0}))
    identity = found["model"]["id"]
    judged = run("models", "judge", identity[:6], "--live", str(live), "--candidate", str(candidate))
    assert "live: better: missed_incidents 0.1 -> 0" in judged
    assert [one.status for one in on_topic(kafka)] == ["live", "withdrawn", "rejected", "live"]
    assert json.loads(run("models", "list", "--json"))[0]["id"] == identity


def test_what_a_recording_shows_to_be_better_goes_live_and_is_rolled_back(kafka: KafkaSettings, tmp_path: Path) -> None:
    kept(tmp_path / "missed", slow_instance(FAULT_AT, FAULT_AT + 25))
    began = at(FAULT_AT) // NANOS
    (tmp_path / "happened.csv").write_text(
        f"id,service,environment,started,ended\n1,checkout,prod,{began},{began + 25}"
    )
    told = run("learn", "--archive", "missed", "--labels", "happened.csv")
    assert "live: correlate.lone_wait_seconds = 20.0: better: missed_incidents 1 -> 0; none worse" in told
    assert load_settings().correlate.lone_wait_seconds == 20.0
    kept_now = on_topic(kafka)
    assert [one.status for one in kept_now].count("live") == 1
    assert len(kept_now) == len(told.splitlines())
    assert "withdrawn" in run("models", "rollback")
    assert load_settings().correlate.lone_wait_seconds == 30.0
    assert "no model is live" in str(CliRunner().invoke(app, ["models", "rollback"]).exception)


def test_candidates_play_a_span_of_the_topics_themselves(
    kafka: KafkaSettings, valkey: EmbeddedValkey, topic_prefix: str
) -> None:
    lessons = [told(n, 0.81 if n % 3 == 0 else 0.95, right=n % 3 != 0, by=f"p{n % 4}") for n in range(90)]
    asyncio.run(keep(valkey.url, topic_prefix, lessons))
    sent = slow_instance(0, 0)

    async def publish() -> None:
        publisher = Publisher(kafka)
        await publisher.publish([Message(one.topic.full_name(topic_prefix), one.key, one.value) for one in sent])
        await publisher.close()

    asyncio.run(publish())
    found: dict[str, Any] = json.loads(run("learn", "--from", "1h", "--json"))
    assert found["lessons"] == 90
    assert {one["data"]["records"] for one in found["tried"]} == {len(sent)}
    # What lessons ask for is tried beside the steps; a calm recording proves nothing of either.
    asked = {one["parameters"].get("policy.min_confidence") for one in found["tried"]} - {None}
    assert asked == {0.82, 0.85}
    assert {one["reason"] for one in found["tried"]} == {"no guarded figure is better"}


def test_feedback_names_its_incident_and_goes_to_its_environment(kafka: KafkaSettings) -> None:
    about = incident(1)

    async def publish() -> None:
        publisher = Publisher(kafka)
        topic = INCIDENTS.full_name(kafka.topic_prefix)
        await publisher.publish([Message(topic, about.environment.encode(), encode(about))])
        await publisher.close()

    asyncio.run(publish())
    run("feedback", about.id[:8], "--verdict", "true_positive", "--label", "traffic_surge", "--better", "scale-out")
    with Tail(kafka, [CONTROLS]) as tail:
        (said,) = [seen.record for seen in tail.to_end()]
    assert (said.incident_id, said.verdict, said.label) == (about.id, "true_positive", "traffic_surge")
    assert (said.playbook, said.key) == ("scale-out", about.environment)
    assert "say something" in str(CliRunner().invoke(app, ["feedback", about.id]).exception)
