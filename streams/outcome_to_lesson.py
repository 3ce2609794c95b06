"""The learn stage: outcomes and feedback in, what they teach kept in Redis.

Every outcome is folded into the reliability of its playbook at its place (`actions.autonomy`), which the console shows
and people promote by. The decide stage folds the same outcomes for itself. What people say of an incident becomes a
lesson with its provenance (`learning.lessons`), and where nobody says anything, what became of its action; `reflexarc
learn` builds candidates from them. Nothing comes out on a topic. The kernel remembers incidents, feedback and outcomes
until they belong together, whichever topic is read first.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable
from typing import Any, TypeVar

from pydantic import Field
from redis.asyncio import Redis
from redis.exceptions import RedisError

from actions.autonomy import Reliability, fold
from learning.lessons import Lesson, Sketch, lesson, outcome_lesson, sketch, tells
from schemas.control import Control
from schemas.envelope import Model, Record
from schemas.errors import TemporaryError
from schemas.incident import Incident
from schemas.outcome import Outcome
from schemas.topics import CONTROLS, INCIDENTS, LEARNING, Topic
from streams.kernel.base import Keep, Output, RecordKernel
from streams.stage import Lane, Stage

# Of each per partition. People judge what they have seen lately; a sketch takes about half a kilobyte.
REMEMBERED = 2048

V = TypeVar("V")


class _Saved(Model):
    sketches: dict[str, Sketch] = Field(default_factory=dict)
    said: dict[str, Control] = Field(default_factory=dict)
    ended: dict[str, Outcome] = Field(default_factory=dict)


class Learn(RecordKernel):
    """One partition of outcomes, incidents and controls."""

    stage = "learn"
    inputs = (LEARNING, INCIDENTS, CONTROLS)

    def __init__(self, _partition: int = 0, state: bytes | None = None) -> None:
        saved = _Saved.model_validate_json(state) if state else _Saved()
        self._sketches = dict(saved.sketches)
        self._said = dict(saved.said)
        self._ended = dict(saved.ended)

    def one(self, topic: Topic, record: Outcome | Incident | Control) -> list[Output]:  # noqa: ARG002 - types tell
        if isinstance(record, Outcome):
            return [Keep(record), *self._came_of(record)]
        if isinstance(record, Incident):
            return self._seen(record)
        return self._heard(record)

    def snapshot(self) -> bytes:
        return _Saved(sketches=self._sketches, said=self._said, ended=self._ended).model_dump_json().encode()

    def _seen(self, incident: Incident) -> list[Output]:
        known = self._sketches.pop(incident.id, None)
        now = sketch(incident) if known is None else known.revised(incident)
        _remember(self._sketches, incident.id, now)
        return [] if now == known else self._lesson(incident.id)

    def _came_of(self, outcome: Outcome) -> list[Output]:
        """Remember the last word on what was done about an incident; its states are of no use here."""
        known = self._ended.get(outcome.incident_id)
        if not tells(outcome) or (known is not None and _finished(known) >= _finished(outcome)):
            return []
        _remember(self._ended, outcome.incident_id, outcome.model_copy(update={"before": {}, "after": {}}))
        return self._lesson(outcome.incident_id)

    def _heard(self, control: Control) -> list[Output]:
        identity = control.incident_id
        if control.kind != "feedback" or identity is None:
            return []
        known = self._said.get(identity)
        if known is not None and (known.time_unix_nano, known.id) >= (control.time_unix_nano, control.id):
            return []
        _remember(self._said, identity, control)
        return self._lesson(identity)

    def _lesson(self, identity: str) -> list[Output]:
        about, control, ended = self._sketches.get(identity), self._said.get(identity), self._ended.get(identity)
        if about is None:
            return []
        made = None if control is None else lesson(control, about)
        if made is None and ended is not None:
            made = outcome_lesson(ended, about)
        return [] if made is None else [Keep(made)]


class Lessons:
    """What was learnt, in Redis.

    Reliabilities are one key each: `{prefix}:reliability:environment/service/playbook`; lessons are the fields of
    `{prefix}:lessons`, by incident.
    """

    def __init__(self, redis: Redis, prefix: str) -> None:
        self._redis = redis
        self._prefix = f"{{{prefix}}}:reliability"
        self._lessons = f"{{{prefix}}}:lessons"

    async def learn(self, record: Record) -> None:
        """Fold one outcome or lesson in; the same one again changes nothing.

        Raises:
            TemporaryError: Redis cannot be reached.

        """
        if isinstance(record, Outcome):
            await _kept(self._fold(record))
        elif isinstance(record, Lesson):
            await _kept(self._note(record))

    async def of(self, environment: str, service: str, playbook: str) -> Reliability:
        """Read what is known of a playbook at a place."""
        return _parse(await self._redis.get(self._key(environment, service, playbook)), environment, service, playbook)

    async def all(self) -> list[Reliability]:
        """Read everything that is known, by place and playbook."""
        keys = [key async for key in self._redis.scan_iter(match=f"{_literal(self._prefix)}:*", count=1000)]
        found = [await self._redis.get(key) for key in sorted(keys)]
        return [Reliability.model_validate_json(one) for one in found if one is not None]

    async def lessons(self) -> list[Lesson]:
        """Read every lesson, oldest first."""
        held = await self._redis.hgetall(self._lessons)
        found = [Lesson.model_validate_json(value) for value in held.values()]
        return sorted(found, key=lambda one: (one.time_unix_nano, one.control_id))

    async def _fold(self, outcome: Outcome) -> None:
        place = (outcome.target.environment, outcome.target.service, outcome.playbook)
        key = self._key(*place)

        async def fold_in(pipe: Any) -> None:
            known = _parse(await pipe.get(key), *place)
            pipe.multi()
            pipe.set(key, fold(known, outcome).model_dump_json())

        # Optimistic: a worker that has lost its partition and does not know it yet must not undo its successor's work.
        await self._redis.transaction(fold_in, key)

    async def _note(self, told: Lesson) -> None:
        async def note(pipe: Any) -> None:
            found = await pipe.hget(self._lessons, told.incident_id)
            known = None if found is None else Lesson.model_validate_json(found)
            pipe.multi()
            if known is None or _moment(known) <= _moment(told):
                pipe.hset(self._lessons, told.incident_id, told.model_dump_json())

        await self._redis.transaction(note, self._lessons)

    def _key(self, environment: str, service: str, playbook: str) -> str:
        return f"{self._prefix}:{environment}/{service}/{playbook}"


def stage(lessons: Lessons) -> Stage:
    """Make the learn stage."""
    return Stage(Learn.stage, (Lane("outcomes", Learn.inputs, Learn, lessons.learn),))


async def _kept(work: Awaitable[None]) -> None:
    try:
        await work
    except (RedisError, OSError) as error:
        raise TemporaryError(f"lessons cannot be kept: {type(error).__name__}: {error}") from error


def _moment(told: Lesson) -> tuple[bool, int, str, int]:
    """Order lessons of one incident: what people say goes before what became of an action."""
    return told.worked is None, told.time_unix_nano, told.control_id, told.about.revision


def _finished(outcome: Outcome) -> tuple[int, str]:
    return outcome.timing.finished_unix_nano, outcome.id


def _remember(held: dict[str, V], key: str, value: V) -> None:
    """Keep the newest: what was touched longest ago goes first."""
    held.pop(key, None)
    held[key] = value
    if len(held) > REMEMBERED:
        del held[next(iter(held))]


def _literal(text: str) -> str:
    """Escape what a Redis pattern would read as one."""
    return re.sub(r"([\\*?\[\]])", r"\\\1", text)


def _parse(found: bytes | str | None, environment: str, service: str, playbook: str) -> Reliability:
    if found is None:
        return Reliability(environment=environment, service=service, playbook=playbook)
    return Reliability.model_validate_json(found)
