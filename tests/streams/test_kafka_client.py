"""Connection settings for librdkafka, and the topics it creates on real brokers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from confluent_kafka import Consumer
from confluent_kafka.admin import AdminClient, NewTopic  # type: ignore[attr-defined]  # exported, not so declared

from schemas.errors import ConfigurationError, TemporaryError
from schemas.topics import CATALOGUE, STATE
from streams.kafka_client import client_config, create_topics
from streams.settings import KafkaSettings
from tests.parts import Broker


def test_librdkafka_accepts_every_setting(tmp_path: Path) -> None:
    config = client_config(
        KafkaSettings(
            bootstrap_servers="broker:9093",
            security_protocol="SASL_SSL",
            sasl_mechanism="SCRAM-SHA-256",
            sasl_username="u",
            sasl_password="p",
            ssl_check_hostname=False,
        )
    )
    assert config["ssl.endpoint.identification.algorithm"] == "none"
    Consumer({**config, "group.id": "g", "log_level": 0}).close()


def test_what_is_not_set_is_left_to_librdkafka() -> None:
    assert set(client_config(KafkaSettings(bootstrap_servers="broker:9092"))) == {
        "bootstrap.servers",
        "security.protocol",
        "ssl.endpoint.identification.algorithm",
    }


def test_without_a_broker_there_is_no_connection() -> None:
    with pytest.raises(ConfigurationError, match=r"kafka\.bootstrap_servers"):
        client_config(KafkaSettings())


@pytest.fixture
def kafka(broker: Broker, topic_prefix: str) -> KafkaSettings:
    return KafkaSettings(bootstrap_servers=broker.bootstrap_servers, topic_prefix=topic_prefix)


def partitions(kafka: KafkaSettings) -> dict[str, int]:
    topics = AdminClient(client_config(kafka)).list_topics(timeout=10).topics
    prefix = f"{kafka.topic_prefix}."
    return {name.removeprefix(prefix): len(t.partitions) for name, t in topics.items() if name.startswith(prefix)}


def create(kafka: KafkaSettings, name: str, count: int, **config: str) -> None:
    new = NewTopic(f"{kafka.topic_prefix}.{name}", count, 1, config={k.replace("_", "."): v for k, v in config.items()})
    admin = AdminClient(client_config(kafka))  # while it lives, so does its answer
    admin.create_topics([new])[new.topic].result(30)


def test_the_catalogue_is_created_once(kafka: KafkaSettings) -> None:
    created = create_topics(kafka)
    assert sorted(created) == sorted(topic.full_name(kafka.topic_prefix) for topic in (*CATALOGUE, STATE))
    assert partitions(kafka) == {topic.name: topic.partitions for topic in (*CATALOGUE, STATE)}
    assert create_topics(kafka) == []


def test_a_laptop_needs_fewer_partitions(kafka: KafkaSettings) -> None:
    create_topics(kafka, divide_partitions_by=3)
    assert partitions(kafka) == {topic.name: max(1, topic.partitions // 3) for topic in (*CATALOGUE, STATE)}
    # Partitions in another number than the catalogue's are the operator's business, as long as they agree.
    assert create_topics(kafka) == []


def test_topics_read_side_by_side_must_have_equal_partitions(kafka: KafkaSettings) -> None:
    create(kafka, "raw.metrics", 24)
    with pytest.raises(ConfigurationError, match=r"raw\.metrics has 24.*raw\.logs has 12"):
        create_topics(kafka)


@pytest.mark.parametrize(
    ("name", "settings", "fault"),
    [
        ("state", {"cleanup_policy": "delete"}, r"state has cleanup\.policy=delete, needs compact"),
        ("deadletters", {"max_message_bytes": "1048588"}, r"deadletters has max\.message\.bytes=1048588, needs"),
    ],
)
def test_settings_that_would_lose_records_are_named(
    kafka: KafkaSettings, name: str, settings: dict[str, Any], fault: str
) -> None:
    count = next(topic.partitions for topic in (*CATALOGUE, STATE) if topic.name == name)
    create(kafka, name, count, **settings)
    with pytest.raises(ConfigurationError, match=fault):
        create_topics(kafka)


def test_brokers_that_do_not_answer_may_later(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("streams.kafka_client._TIMEOUT_SECONDS", 0.2)
    with pytest.raises(TemporaryError, match="does not answer"):
        create_topics(KafkaSettings(bootstrap_servers="127.0.0.1:1"))
