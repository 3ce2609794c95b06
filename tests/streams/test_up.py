from __future__ import annotations

import asyncio

import pytest

from schemas.errors import ConfigurationError, EmbeddedPartError
from streams.settings import load_settings
from streams.up import Supervisor, installation

# Quick commands of the real command line take the place of roles.
ENDS_AT_ONCE = {"role": ("--version",)}
# No broker is configured.
MISCONFIGURED = {"role": ("topics",)}


async def test_a_role_that_ends_is_started_again_with_back_off() -> None:
    said: list[str] = []
    stop = asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        if len(said) == 2:
            stop.set()

    async with asyncio.timeout(60):
        await Supervisor({}, roles=ENDS_AT_ONCE, say=say).run(stop)
    assert said == [f"role ended with code 0; starting it again in {n} s" for n in (1, 2)]


async def test_a_role_whose_settings_are_wrong_is_not_started_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFLEXARC_KAFKA__BOOTSTRAP_SERVERS", raising=False)
    said: list[str] = []
    with pytest.raises(ConfigurationError):
        async with asyncio.timeout(60):
            await Supervisor({}, roles=MISCONFIGURED, say=said.append).run(asyncio.Event())
    assert said == []


async def test_a_role_that_cannot_reach_kafka_yet_is_started_again() -> None:
    said: list[str] = []
    stop = asyncio.Event()

    def say(text: str) -> None:
        said.append(text)
        stop.set()

    nowhere = {"REFLEXARC_KAFKA__BOOTSTRAP_SERVERS": "127.0.0.1:1"}
    async with asyncio.timeout(90):
        await Supervisor(nowhere, roles={"role": ("incidents",)}, say=say).run(stop)
    assert said == ["role ended with code 2; starting it again in 1 s"]


async def test_everything_ends_when_an_embedded_part_has_died() -> None:
    def check() -> None:
        raise EmbeddedPartError("the broker has died")

    with pytest.raises(EmbeddedPartError):
        async with asyncio.timeout(60):
            await Supervisor({}, roles=ENDS_AT_ONCE, say=lambda _: None).run(asyncio.Event(), check)


@pytest.mark.integration
def test_an_installation_brings_what_is_missing_and_takes_it_away_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("REFLEXARC_LEDGER__URL", raising=False)
    settings = load_settings()
    with installation(settings) as ready:
        ready.check()
        assert ready.variables["REFLEXARC_KAFKA__BOOTSTRAP_SERVERS"] == ready.settings.kafka.bootstrap_servers
        assert ready.variables["REFLEXARC_LEDGER__URL"] == ready.settings.ledger.url
        assert ready.settings.kafka.session_timeout_seconds < settings.kafka.session_timeout_seconds
    with pytest.raises(EmbeddedPartError):
        ready.check()


@pytest.mark.integration
def test_what_is_configured_is_used_and_a_chosen_setting_stands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLEXARC_LEDGER__URL", "redis://127.0.0.1:1/0")
    monkeypatch.setenv("REFLEXARC_KAFKA__SESSION_TIMEOUT_SECONDS", "7")
    with installation(load_settings()) as ready:
        assert ready.settings.ledger.url == "redis://127.0.0.1:1/0"
        assert ready.settings.kafka.session_timeout_seconds == 7
        assert "REFLEXARC_LEDGER__URL" not in ready.variables
