"""The role that learns on a schedule: a round of `reflexarc learn` every so often, until it is told to stop.

Started by `reflexarc learner` and `reflexarc up`. What is live changes through the gate only; running workers take it
up by themselves (`streams.course`).
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from contextlib import suppress

from schemas.errors import PermanentError, TemporaryError
from streams.commands.learn_round import Learnt, Recordings, learn_once
from streams.settings import Settings, load_settings

log = logging.getLogger(__name__)

# What has just been started has nothing to learn from yet, and better things to do.
FIRST_SECONDS = 300.0
_HOUR = 3600.0

Round = Callable[[Settings, Recordings], Learnt]


async def run_learner(stop: asyncio.Event, learn: Round = learn_once, first_seconds: float = FIRST_SECONDS) -> None:
    """Learn until `stop` is set. A round that fails is told of and left out: the next one sees the same lessons.

    Raises:
        ConfigurationError: the settings are wrong.

    """
    wait = first_seconds
    while not await _stopped(stop, wait):
        # Anew each time: what went live the time before is what the next has to beat.
        settings = load_settings()
        try:
            told = await asyncio.to_thread(learn, settings, Recordings(since=settings.learn.play))
        except (TemporaryError, PermanentError) as error:
            log.warning("nothing was learnt this time: %s", error)
        else:
            _tell(told)
        wait = settings.learn.every_hours * _HOUR


def _tell(told: Learnt) -> None:
    if not told.versions:
        log.info("no candidate: %s", told.why_not)
    for one in told.versions:
        level = logging.WARNING if one.status == "live" else logging.INFO
        log.log(level, "%s %s is %s: %s", one.kind, one.id, one.status, one.reason)


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()
