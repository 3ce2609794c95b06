"""The learn stage: outcomes in, what they teach kept in Redis.

Every outcome is folded into the reliability of its playbook at its place (`actions.autonomy`), which the console shows
and people promote by. The decide stage folds the same outcomes for itself. Nothing comes out on a topic.
"""

from __future__ import annotations

import re
from typing import Any

from redis.asyncio import Redis
from redis.exceptions import RedisError

from actions.autonomy import Reliability, fold
from schemas.envelope import Record
from schemas.errors import TemporaryError
from schemas.outcome import Outcome
from schemas.topics import LEARNING, Topic
from streams.kernel.base import Keep, Output, RecordKernel
from streams.stage import Lane, Stage


class Learn(RecordKernel):
    """One partition of outcomes. It knows nothing by itself: the lessons are in the store."""

    stage = "learn"

    def one(self, topic: Topic, record: Outcome) -> list[Output]:  # noqa: ARG002 - there is only one
        return [Keep(record)]


class Lessons:
    """Reliabilities in Redis, one key each: `{prefix}:reliability:environment/service/playbook`."""

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = f"{{{prefix}}}:reliability"

    async def learn(self, record: Record) -> None:
        """Fold one outcome in; the same one again changes nothing.

        Raises:
            TemporaryError: Redis cannot be reached.

        """
        if isinstance(record, Outcome):
            try:
                await self._fold(record)
            except (RedisError, OSError) as error:
                raise TemporaryError(f"lessons cannot be kept: {type(error).__name__}: {error}") from error

    async def of(self, environment: str, service: str, playbook: str) -> Reliability:
        """Read what is known of a playbook at a place."""
        return _parse(await self._redis.get(self._key(environment, service, playbook)), environment, service, playbook)

    async def all(self) -> list[Reliability]:
        """Read everything that is known, by place and playbook."""
        keys = [key async for key in self._redis.scan_iter(match=f"{_literal(self._prefix)}:*", count=1000)]
        found = [await self._redis.get(key) for key in sorted(keys)]
        return [Reliability.model_validate_json(one) for one in found if one is not None]

    async def _fold(self, outcome: Outcome) -> None:
        place = (outcome.target.environment, outcome.target.service, outcome.playbook)
        key = self._key(*place)

        async def fold_in(pipe: Any) -> None:
            known = _parse(await pipe.get(key), *place)
            pipe.multi()
            pipe.set(key, fold(known, outcome).model_dump_json())

        # Optimistic: a worker that has lost its partition and does not know it yet must not undo its successor's work.
        await self._redis.transaction(fold_in, key)

    def _key(self, environment: str, service: str, playbook: str) -> str:
        return f"{self._prefix}:{environment}/{service}/{playbook}"


def _literal(text: str) -> str:
    """Escape what a Redis pattern would read as one."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def stage(lessons: Lessons) -> Stage:
    """Make the learn stage."""
    return Stage(Learn.stage, (Lane("outcomes", (LEARNING,), lambda _partition, _state: Learn(), lessons.learn),))


def _parse(found: bytes | str | None, environment: str, service: str, playbook: str) -> Reliability:
    if found is None:
        return Reliability(environment=environment, service=service, playbook=playbook)
    return Reliability.model_validate_json(found)
