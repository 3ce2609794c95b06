"""How to reach Kafka, in librdkafka's vocabulary, and the topics created on it before anything starts.

Used by everything that speaks to Kafka without Faust: executors, the demo, the command line, snapshots, tests.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from time import monotonic, sleep
from typing import Any

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (  # type: ignore[attr-defined]  # exported, but not so declared
    AdminClient,
    ConfigResource,
    NewTopic,
)

from schemas.errors import ConfigurationError, TemporaryError
from schemas.topics import CATALOGUE, STATE, Topic
from streams.settings import KafkaSettings

# A metadata answer takes milliseconds; creating thirty partitions on a busy three-broker cluster took seconds.
_TIMEOUT_SECONDS = 30.0
# A new topic is known to all brokers after some hundredths of a second.
_LOOK_SECONDS = 0.05


def client_config(kafka: KafkaSettings) -> dict[str, Any]:
    """Return the connection settings of any librdkafka client."""
    if kafka.bootstrap_servers is None:
        raise ConfigurationError("kafka.bootstrap_servers is not set and no embedded broker was started")
    settings: dict[str, Any] = {
        "bootstrap.servers": kafka.bootstrap_servers,
        "security.protocol": kafka.security_protocol,
        "sasl.mechanism": kafka.sasl_mechanism,
        "sasl.username": kafka.sasl_username,
        "sasl.password": kafka.sasl_password,
        "ssl.ca.location": _text(kafka.ssl_cafile),
        "ssl.certificate.location": _text(kafka.ssl_certfile),
        "ssl.key.location": _text(kafka.ssl_keyfile),
        "ssl.endpoint.identification.algorithm": "https" if kafka.ssl_check_hostname else "none",
    }
    return {name: value for name, value in settings.items() if value is not None}


def create_topics(kafka: KafkaSettings, *, divide_partitions_by: int = 1) -> list[str]:
    """Create the topics that are missing; returns their names. The embedded profile needs fewer partitions.

    Raises:
        ConfigurationError: a topic cannot be created, or one that exists would lose data or order; says which and why.
        TemporaryError: the brokers do not answer.

    """
    admin = AdminClient(client_config(kafka))
    topics = {topic.full_name(kafka.topic_prefix): topic for topic in (*CATALOGUE, STATE)}
    existing = _existing(admin)
    created = _create(
        admin,
        [
            NewTopic(
                name,
                max(1, topic.partitions // divide_partitions_by),
                kafka.replication_factor,
                config=topic.config(),
            )
            for name, topic in topics.items()
            if name not in existing
        ],
    )
    partitions = _all_of(admin, topics)
    faults = [*_partition_faults(topics, partitions), *_config_faults(admin, topics, set(topics) - set(created))]
    if faults:
        raise ConfigurationError("; ".join(faults))
    return created


def _all_of(admin: AdminClient, topics: Iterable[str]) -> dict[str, int]:
    """Wait for new topics to be known, as whoever starts next expects; returns the partitions of each."""
    deadline = monotonic() + _TIMEOUT_SECONDS
    while not set(topics) <= (existing := _existing(admin)).keys():
        if monotonic() > deadline:
            raise TemporaryError(f"still not there: {', '.join(set(topics) - existing.keys())}")
        sleep(_LOOK_SECONDS)
    return existing


def _existing(admin: AdminClient) -> dict[str, int]:
    try:
        metadata = admin.list_topics(timeout=_TIMEOUT_SECONDS)
    except KafkaException as error:
        raise TemporaryError(f"Kafka does not answer: {error}") from error
    return {name: len(topic.partitions) for name, topic in metadata.topics.items()}


def _create(admin: AdminClient, missing: Sequence[NewTopic]) -> list[str]:
    if not missing:
        return []
    created = []
    for name, future in admin.create_topics(list(missing), operation_timeout=_TIMEOUT_SECONDS).items():
        try:
            future.result()
        except KafkaException as error:
            # Another worker, starting at the same time, was first.
            if error.args[0].code() != KafkaError.TOPIC_ALREADY_EXISTS:
                raise ConfigurationError(f"topic {name}: {error.args[0].str()}") from error
        else:
            created.append(name)
    return created


def _partition_faults(topics: Mapping[str, Topic], partitions: Mapping[str, int]) -> list[str]:
    """Name topics with unequal partitions that the catalogue gives equal ones: stages read them side by side."""
    groups: dict[int, dict[str, int]] = {}
    for name, topic in topics.items():
        if topic is not STATE:  # found by a partition's number modulo whatever it has
            groups.setdefault(topic.partitions, {})[name] = partitions[name]
    return [
        f"these topics must have the same number of partitions: {_listed(group)}"
        for group in groups.values()
        if len(set(group.values())) > 1
    ]


def _listed(group: Mapping[str, int]) -> str:
    return ", ".join(f"{name} has {count}" for name, count in group.items())


def _config_faults(admin: AdminClient, topics: Mapping[str, Topic], existing: Iterable[str]) -> list[str]:
    """Name settings of existing topics that would lose records: state expired, dead letters refused."""
    resources = [ConfigResource(ConfigResource.Type.TOPIC, name) for name in existing]
    faults = []
    for resource, future in (admin.describe_configs(resources) if resources else {}).items():
        try:
            found = {name: entry.value for name, entry in future.result(timeout=_TIMEOUT_SECONDS).items()}
        except KafkaException as error:
            raise TemporaryError(f"topic {resource.name}: {error.args[0].str()}") from error
        faults += _faults_of(topics[resource.name], resource.name, found)
    return faults


def _faults_of(topic: Topic, name: str, found: Mapping[str, str | None]) -> list[str]:
    faults = []
    policy = found.get("cleanup.policy")
    if topic.cleanup == "compact" and policy is not None and "compact" not in policy:
        faults.append(f"{name} has cleanup.policy={policy}, needs compact: its records must not expire")
    largest = found.get("max.message.bytes")
    if largest is not None and int(largest) < topic.max_message_bytes:
        faults.append(f"{name} has max.message.bytes={largest}, needs at least {topic.max_message_bytes}")
    return faults


def _text(value: object | None) -> str | None:
    return None if value is None else str(value)
