"""What the rails remember, in Redis: rates, successes and failures, attempts, open incidents, storms.

The decide stage notes incidents and what it issued, and asks for a snapshot to decide by. The executor asks for a
fresh one under the target's lock, reserves its place in the rates atomically, and notes outcomes. Everything noted
has an identity, so noting it twice changes nothing. A lost Redis is a `TemporaryError`: no memory, no action.
"""

from __future__ import annotations

from collections.abc import Awaitable, Sequence
from typing import Any, NamedTuple, cast

import orjson
from redis.asyncio import Redis
from redis.exceptions import RedisError

from actions.rails import Attempt, RailsSettings, RailsSnapshot, Upstream
from actions.undo import counted
from schemas.action import ActionCommand
from schemas.envelope import NANOS, Entity
from schemas.errors import TemporaryError
from schemas.incident import Incident
from schemas.outcome import Outcome, Result

_HOUR = 3600
_MILLI = 1_000_000
# What bears on the rails is forgotten after this; longer than any window of the settings should be.
KEEP_SECONDS = 7 * 24 * _HOUR
# An incident that was never resolved because its correlate worker vanished counts as broken for so long.
STALE_INCIDENT_SECONDS = 24 * _HOUR

# Beyond its validity and its verification an action needs time to be tried, taken back and given up: see
# `steps.GIVE_UP_SECONDS`, twice.
LOST_AFTER_SECONDS = 240

_SPENT = frozenset({Result.REVERTED, Result.UNDONE_FAILED, Result.FAILED, Result.UNKNOWN})

# KEYS: all, target. ARGV: action, now (ms), hour ago (ms), allowed overall, allowed on the target, keep (ms).
# An action that has its place keeps it: a resumed one is not a second one.
_RESERVE = """
for index = 1, 2 do redis.call('ZREMRANGEBYSCORE', KEYS[index], '-inf', ARGV[3]) end
if not redis.call('ZSCORE', KEYS[1], ARGV[1]) then
  for index = 1, 2 do
    if redis.call('ZCARD', KEYS[index]) >= tonumber(ARGV[3 + index]) then return index end
  end
  for index = 1, 2 do
    redis.call('ZADD', KEYS[index], ARGV[2], ARGV[1])
    redis.call('PEXPIRE', KEYS[index], ARGV[6])
  end
end
return 0
"""

# KEYS: opened, storm. ARGV: incident, opened (ms), window begins (ms), incidents that make a storm, until (ns), keep,
# oldest that may still be one of a storm (ms).
_OPENED = """
redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', ARGV[7])
redis.call('ZADD', KEYS[1], ARGV[2], ARGV[1])
redis.call('PEXPIRE', KEYS[1], ARGV[6])
if redis.call('ZCOUNT', KEYS[1], ARGV[3], ARGV[2]) >= tonumber(ARGV[4]) then
  local until_now = redis.call('GET', KEYS[2])
  if not until_now or #until_now < #ARGV[5] or (#until_now == #ARGV[5] and until_now < ARGV[5]) then
    redis.call('SET', KEYS[2], ARGV[5], 'PX', ARGV[6])
  end
end
return 0
"""

# KEYS: attempts. ARGV: action, attempt, its decision, keep (s). A command that was not carried out may be issued again
# by another decision; one that repeats after a crash says nothing new.
_ISSUED = """
local known = redis.call('HGET', KEYS[1], ARGV[1])
if known then
  local attempt = cjson.decode(known)
  local skipped = attempt['result'] == 'expired' or attempt['result'] == 'refused'
  if attempt['decision_id'] == ARGV[3] or not skipped then return 0 end
end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('EXPIRE', KEYS[1], ARGV[4])
return 0
"""

# KEYS: target, playbook. ARGV: action, finished (ms), result, keep (ms), oldest kept (ms).
_ENDED = """
for index = 1, 2 do
  for _, member in ipairs(redis.call('ZRANGE', KEYS[index], 0, -1)) do
    if string.sub(member, 1, #ARGV[1] + 1) == ARGV[1] .. ':' then redis.call('ZREM', KEYS[index], member) end
  end
  redis.call('ZADD', KEYS[index], ARGV[2], ARGV[1] .. ':' .. ARGV[3])
  redis.call('ZREMRANGEBYSCORE', KEYS[index], '-inf', ARGV[5])
  redis.call('PEXPIRE', KEYS[index], ARGV[4])
end
return 0
"""


class _Began(NamedTuple):
    """When the open incident of a service began (ns), was last heard of (ms), and whether anything of it fires."""

    onset: int
    updated: int
    fires: bool


class RailsStore:
    """The memory of one deployment's rails."""

    def __init__(self, redis: Redis, settings: RailsSettings, *, prefix: str) -> None:
        self._redis = redis
        self._settings = settings
        self._prefix = f"{{{prefix}}}:rails"
        self._reserve = redis.register_script(_RESERVE)
        self._opened = redis.register_script(_OPENED)
        self._issued = redis.register_script(_ISSUED)
        self._ended = redis.register_script(_ENDED)

    async def snapshot(
        self,
        target: Entity,
        playbook: str,
        incident_id: str,
        now_unix_nano: int,
        depends_on: Sequence[str] = (),
    ) -> RailsSnapshot:
        """Gather what the rails need to know; stops, pins and locks are added by whoever reads those."""
        hour_ago = (now_unix_nano - _HOUR * NANOS) // _MILLI
        stale = (now_unix_nano - STALE_INCIDENT_SECONDS * NANOS) // _MILLI
        pipe = self._redis.pipeline(transaction=True)
        pipe.zcount(self._key("actions"), f"({hour_ago}", "+inf")
        pipe.zcount(self._key("actions", target.scope), f"({hour_ago}", "+inf")
        pipe.zcount(self._key("open", target.environment), f"({stale}", "+inf")
        pipe.zcard(self._key("services", target.environment))
        pipe.get(self._key("storm"))
        pipe.zrange(self._key("ended", target.scope), 0, -1, withscores=True)
        pipe.zrange(self._key("playbook", playbook), 0, -1, withscores=True)
        pipe.hgetall(self._key("attempts", incident_id))
        pipe.hmget(self._key("began", target.environment), [target.service, *depends_on])
        overall, on_target, broken, known, storm, ended, of_playbook, attempts, began = await _ask(pipe.execute())
        own, *theirs = (_began(held, stale) for held in began)
        return RailsSnapshot(
            actions_last_hour=overall,
            target_actions_last_hour=on_target,
            broken_services=broken,
            known_services=known,
            storm_until_unix_nano=int(storm) if storm else None,
            attempts=_attempts(attempts),
            onset_unix_nano=own.onset if own else None,
            upstream=tuple(
                Upstream(service=service, onset_unix_nano=held.onset if held.fires else None)
                for service, held in zip(depends_on, theirs, strict=True)
                if held is not None
            ),
            playbook_failures_in_window=self._spent(_history(of_playbook), now_unix_nano),
            **self._history_facts(_history(ended), now_unix_nano),
        )

    async def reserve(self, command: ActionCommand, now_unix_nano: int) -> str | None:
        """Take a place in the rates for an action about to be applied; say which rate is exhausted."""
        keys = [self._key("actions"), self._key("actions", command.target.scope)]
        now = now_unix_nano // _MILLI
        limits = (self._settings.max_actions_per_hour, self._settings.max_target_actions_per_hour)
        arguments = (command.id, now, now - _HOUR * 1000, *limits, KEEP_SECONDS * 1000)
        exhausted = await _ask(self._reserve(keys=keys, args=list(arguments)))
        return (None, "global_rate", "target_rate")[exhausted]

    async def note_incident(self, incident: Incident) -> None:
        """Note that a service is broken, or no longer; and whether it rains incidents."""
        await self.note_services(incident.environment, [incident.service], incident.updated_unix_nano)
        key, began = self._key("open", incident.environment), self._key("began", incident.environment)
        pipe = self._redis.pipeline(transaction=True)
        if incident.status != "open":
            pipe.zrem(key, incident.service)
            pipe.hdel(began, incident.service)
            await _ask(pipe.execute())
            return
        updated, fires = incident.updated_unix_nano // _MILLI, bool(incident.active_subjects)
        pipe.zadd(key, {incident.service: updated})
        pipe.hset(began, incident.service, orjson.dumps([*_Began(incident.onset_unix_nano, updated, fires)]))
        pipe.expire(began, KEEP_SECONDS)
        await _ask(pipe.execute())
        opened, settings = incident.opened_unix_nano, self._settings
        begins = (opened - int(settings.storm_window_seconds * NANOS)) // _MILLI
        until = opened + int(settings.storm_cooldown_seconds * NANOS)
        oldest = begins - int(settings.storm_cooldown_seconds * 1000)
        arguments = (
            incident.id,
            opened // _MILLI,
            begins,
            settings.storm_incidents,
            until,
            KEEP_SECONDS * 1000,
            oldest,
        )
        await _ask(self._opened(keys=[self._key("opened"), self._key("storm")], args=list(arguments)))

    async def note_services(self, environment: str, services: list[str], now_unix_nano: int) -> None:
        """Note services that exist, broken or not: the share of broken ones is counted against them."""
        key, now = self._key("services", environment), now_unix_nano // _MILLI
        pipe = self._redis.pipeline(transaction=True)
        pipe.zadd(key, dict.fromkeys(services, now), gt=True)
        pipe.zremrangebyscore(key, "-inf", now - KEEP_SECONDS * 1000)
        pipe.expire(key, KEEP_SECONDS)
        await _ask(pipe.execute())

    async def note_issued(self, command: ActionCommand) -> None:
        """Note that an action has been asked for, once its command is on the topic.

        The next revision of the incident then waits for its outcome instead of asking again.
        """
        within = command.verification.within_seconds
        attempt = Attempt(
            playbook=command.playbook,
            playbook_version=command.playbook_version,
            step=command.step,
            action_id=command.id,
            decision_id=command.decision_id,
            until_unix_nano=command.expires_unix_nano + int((within + LOST_AFTER_SECONDS) * NANOS),
        )
        arguments = (command.id, attempt.model_dump_json(), command.decision_id, KEEP_SECONDS)
        await _ask(self._issued(keys=[self._key("attempts", command.incident_id)], args=list(arguments)))

    async def note_outcome(self, outcome: Outcome) -> None:
        """Note how an action ended; one that a person took back counts as reverted."""
        told = counted(outcome)
        if told is not None:
            await self._note(told)

    async def _note(self, outcome: Outcome) -> None:
        finished_unix_nano = outcome.timing.finished_unix_nano
        attempt = Attempt(
            playbook=outcome.playbook,
            playbook_version=outcome.playbook_version,
            step=outcome.step,
            action_id=outcome.action_id,
            decision_id=outcome.decision_id,
            until_unix_nano=finished_unix_nano,
            result=outcome.result,
        )
        key = self._key("attempts", outcome.incident_id)
        await _ask(self._redis.hset(key, outcome.action_id, attempt.model_dump_json()))
        await _ask(self._redis.expire(key, KEEP_SECONDS))
        if outcome.result is not Result.VERIFIED and outcome.result not in _SPENT:
            return
        keys = [self._key("ended", outcome.target.scope), self._key("playbook", outcome.playbook)]
        finished = finished_unix_nano // _MILLI
        keep = KEEP_SECONDS * 1000
        arguments = (outcome.action_id, finished, str(outcome.result), keep, finished - keep)
        await _ask(self._ended(keys=keys, args=list(arguments)))

    def _history_facts(self, history: list[tuple[Result, int]], now_unix_nano: int) -> dict[str, Any]:
        """Derive the facts about one target from its outcomes, oldest first."""
        successes = [at for result, at in history if result is Result.VERIFIED]
        failures = [at for result, at in history if result in _SPENT]
        since = now_unix_nano - int(self._settings.recurrence_window_seconds * NANOS)
        return {
            "last_success_unix_nano": successes[-1] if successes else None,
            "last_failure_unix_nano": failures[-1] if failures else None,
            "consecutive_failures": sum(at > successes[-1] for at in failures) if successes else len(failures),
            "failures_in_window": self._spent(history, now_unix_nano),
            "successes_in_window": sum(at > since for at in successes),
        }

    def _spent(self, history: list[tuple[Result, int]], now_unix_nano: int) -> int:
        since = now_unix_nano - int(self._settings.budget_window_seconds * NANOS)
        return sum(at > since for result, at in history if result in _SPENT)

    def _key(self, *parts: str) -> str:
        return ":".join((self._prefix, *parts))


def _began(held: bytes | None, stale: int) -> _Began | None:
    found = None if held is None else _Began(*orjson.loads(held))
    return None if found is None or found.updated <= stale else found


def _history(members: list[tuple[bytes, float]]) -> list[tuple[Result, int]]:
    return [(Result(member.decode().rpartition(":")[2]), int(score) * _MILLI) for member, score in members]


def _attempts(found: dict[bytes, bytes]) -> tuple[Attempt, ...]:
    # Redis keeps no order that could be relied on; the identity gives one that a replay repeats.
    return tuple(Attempt.model_validate(orjson.loads(found[action])) for action in sorted(found))


async def _ask(call: object) -> Any:
    try:
        return await cast("Awaitable[Any]", call)
    except (RedisError, OSError) as error:
        raise TemporaryError(f"the rails' memory cannot be reached: {type(error).__name__}: {error}") from error
