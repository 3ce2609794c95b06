"""What the settings of a deployment become in Faust. The apps themselves are run in test_transport_reading."""

from __future__ import annotations

import ssl
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import faust
import pytest
from faust.types.enums import ProcessingGuarantee

from schemas.errors import ConfigurationError
from streams.app import StageApp, create_app
from streams.batch import Batch
from streams.settings import KafkaSettings, Settings
from streams.transport import Partition, Transport


async def handle(batch: Batch) -> None:
    raise NotImplementedError(batch)


async def assigned(partitions: Sequence[Partition]) -> dict[Partition, int]:
    raise NotImplementedError(partitions)


async def revoked(partitions: Sequence[Partition]) -> None:
    raise NotImplementedError(partitions)


def app(**kafka: Any) -> StageApp:
    settings = Settings(kafka=KafkaSettings(**{"bootstrap_servers": "a:1,b:2", "topic_prefix": "prod", **kafka}))
    return create_app(
        settings, "detect", topics=["prod.raw.metrics"], handle=handle, assigned=assigned, revoked=revoked
    )


def test_a_stage_is_a_consumer_group_of_its_own_on_all_brokers() -> None:
    made = app()
    assert made.name == "prod-detect"
    assert [str(url) for url in made.conf.broker] == ["reflexarc://a:1", "reflexarc://b:2"]
    assert isinstance(made.transport, Transport)
    assert made.transport.batching.topics == {"prod.raw.metrics"}


def test_without_a_broker_there_is_no_app() -> None:
    with pytest.raises(ConfigurationError, match=r"kafka\.bootstrap_servers"):
        app(bootstrap_servers=None)


def test_group_timing_is_the_deployments() -> None:
    conf = app(rebalance_timeout_seconds=7, session_timeout_seconds=6, heartbeat_interval_seconds=1).conf
    assert (conf.broker_rebalance_timeout, conf.broker_session_timeout, conf.broker_heartbeat_interval) == (7, 6, 1)
    assert conf.broker_request_timeout > conf.broker_session_timeout


def test_plain_variables_of_the_environment_do_not_reach_faust(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BROKER_COMMIT_INTERVAL", "999")
    monkeypatch.setenv("TOPIC_ALLOW_DECLARE", "1")
    conf = app().conf
    assert conf.broker_commit_interval == 1.0
    assert not conf.topic_allow_declare


def test_what_would_lose_or_double_records_is_off() -> None:
    conf = app().conf
    guarantee: Any = conf.processing_guarantee  # Faust types it as the class of its values
    assert guarantee is ProcessingGuarantee.AT_LEAST_ONCE
    assert (conf.web_enabled, conf.topic_disable_leader, conf.stream_wait_empty) == (False, True, False)


def test_plaintext_needs_no_credentials() -> None:
    assert credentials() is None


def credentials(**kafka: Any) -> Any:
    return app(**kafka).conf.broker_credentials


def test_sasl_goes_through_with_and_without_tls() -> None:
    login = {"sasl_mechanism": "SCRAM-SHA-512", "sasl_username": "u", "sasl_password": "p"}
    plain = credentials(security_protocol="SASL_PLAINTEXT", **login)
    secured = credentials(security_protocol="SASL_SSL", **login)
    for found in (plain, secured):
        assert isinstance(found, faust.SASLCredentials)
        assert (found.mechanism.value, found.username, found.password) == ("SCRAM-SHA-512", "u", "p")
    assert plain.protocol.value == "SASL_PLAINTEXT"
    assert secured.protocol.value == "SASL_SSL"
    assert secured.ssl_context.verify_mode is ssl.CERT_REQUIRED


def test_tls_verifies_the_broker_unless_told_not_to_look_at_its_name() -> None:
    strict = credentials(security_protocol="SSL")
    lenient = credentials(security_protocol="SSL", ssl_check_hostname=False)
    assert isinstance(strict, faust.SSLCredentials)
    assert (strict.context.check_hostname, lenient.context.check_hostname) == (True, False)
    assert lenient.context.verify_mode is ssl.CERT_REQUIRED


def test_a_missing_certificate_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        app(security_protocol="SSL", ssl_cafile=tmp_path / "missing.pem")
