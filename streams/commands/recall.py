"""What was learnt, read from Redis by the commands that show it or build on it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import TypeVar

from redis.exceptions import RedisError

from actions.ledger import connect
from schemas.errors import TemporaryError
from streams.outcome_to_lesson import Lessons
from streams.roles import ledger_url
from streams.settings import Settings

V = TypeVar("V")


def recall(settings: Settings, what: Callable[[Lessons], Awaitable[V]]) -> V:
    """Read something of what was learnt, for a command: `recall(settings, Lessons.all)`.

    Raises:
        ConfigurationError: no Redis is configured.
        TemporaryError: it does not answer.

    """

    async def read() -> V:
        redis = connect(ledger_url(settings))
        try:
            return await what(Lessons(redis, settings.ledger.key_prefix))
        except (RedisError, OSError) as error:
            raise TemporaryError(f"Redis does not answer: {type(error).__name__}: {error}") from error
        finally:
            await redis.aclose()

    return asyncio.run(read())
