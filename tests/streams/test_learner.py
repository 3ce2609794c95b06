"""The role that learns on a schedule."""

from __future__ import annotations

import asyncio
import logging

import pytest

from schemas.errors import ConfigurationError, TemporaryError
from streams.commands.learn_round import Learnt, Recordings
from streams.commands.learner import run_learner
from streams.settings import Settings


async def rounds(results: list[Learnt | Exception]) -> list[Recordings]:
    """Let the role go through as many rounds as there are results."""
    stop, asked = asyncio.Event(), list[Recordings]()
    loop = asyncio.get_running_loop()

    def learn(_: Settings, recordings: Recordings) -> Learnt:
        asked.append(recordings)
        result = results.pop(0)
        if not results:
            loop.call_soon_threadsafe(stop.set)
        if isinstance(result, Exception):
            raise result
        return result

    async with asyncio.timeout(30):
        await run_learner(stop, learn, first_seconds=0.0)
    return asked


@pytest.fixture(autouse=True)
def often(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLEXARC_LEARN__EVERY_HOURS", "0.000001")


async def test_it_learns_again_and_again_from_what_it_is_told_to_play(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLEXARC_LEARN__PLAY", "24h")
    nothing = Learnt([], "3 lessons with a verdict, 40 needed", [], {})
    assert await rounds([nothing, nothing]) == [Recordings(since="24h")] * 2


async def test_a_round_that_fails_is_told_and_left_out(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        assert len(await rounds([TemporaryError("no broker"), Learnt([], "", [], {})])) == 2
    assert "no broker" in caplog.text


async def test_wrong_settings_end_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFLEXARC_LEARN__EVERY_HOURS", "never")
    with pytest.raises(ConfigurationError):
        await rounds([Learnt([], "", [], {})])


async def test_a_stop_ends_it_before_the_first_round() -> None:
    stop = asyncio.Event()
    stop.set()
    await run_learner(stop, lambda *_: pytest.fail("learnt"))
