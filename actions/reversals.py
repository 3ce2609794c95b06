"""Actions that can still be taken back, in Redis: each with what was there before it, and when its effect expires.

An executor notes an action just before its first change, and forgets it when it has come to nothing. Every executor
sweeps: what has expired, or what a person wants reverted, is issued as a command of its own on the actions topic. An
entry goes only when its undo is final, so an undo that expired or found the target locked is issued again.
"""

from __future__ import annotations

from collections.abc import Awaitable
from typing import Any, cast

import orjson
from pydantic import BaseModel, ConfigDict
from redis.asyncio import Redis
from redis.exceptions import RedisError

from actions.controls import Controls, Scope
from actions.undo import VALIDITY_SECONDS, undo
from schemas.action import ActionCommand
from schemas.envelope import NANOS, TimeUnixNano
from schemas.errors import TemporaryError
from schemas.outcome import EXPIRY

# A person may take an action back for as long as it can still be told what it did; a week spans the next review.
KEEP_SECONDS = 7 * 24 * 3600

# How long a wish to revert is followed up: an action that holds the target meanwhile has long ended by then.
WISH_SECONDS = 3600

# KEYS: issued. ARGV: action, now (ms), not before (ms). One executor issues an undo; another only when it is overdue.
_TAKE = """
local issued = redis.call('HGET', KEYS[1], ARGV[1])
if issued and tonumber(issued) > tonumber(ARGV[3]) then return 0 end
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
return 1
"""


class Reversal(BaseModel):
    """One action that can be taken back."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    command: ActionCommand
    before: dict[str, Any]
    applied_unix_nano: TimeUnixNano

    def wanted_by(self, controls: Controls, now_unix_nano: int) -> str | None:
        """Say who wants it taken back now, if anyone does."""
        scope = Scope.of_command(self.command)
        wish = controls.revert(scope, self.command.id, self.applied_unix_nano)
        if wish is not None:
            return wish.by
        expires = self.expires_unix_nano(controls)
        return EXPIRY if expires is not None and now_unix_nano >= expires else None

    def expires_unix_nano(self, controls: Controls) -> int | None:
        """Say when its effect is taken back unless it is renewed; None when it stays."""
        if self.command.effect_seconds is None:
            return None
        begun = max(self.applied_unix_nano, self.renewed_unix_nano(controls))
        return begun + int(self.command.effect_seconds * NANOS)

    def renewed_unix_nano(self, controls: Controls) -> int:
        """Say when a person last let its effect last for another term; 0 when never."""
        return controls.renewed(Scope.of_command(self.command), self.command.id)


class Reversals:
    """All of one deployment."""

    def __init__(self, redis: Redis, *, prefix: str) -> None:
        self._redis = redis
        self._entries = f"{{{prefix}}}:reversals"
        self._expiring = f"{{{prefix}}}:reversals:expiring"
        self._issued = f"{{{prefix}}}:reversals:issued"
        self._renewed = f"{{{prefix}}}:reversals:renewed"
        self._take = redis.register_script(_TAKE)

    async def note(self, command: ActionCommand, before: dict[str, Any], now_unix_nano: int) -> None:
        """Note an action that is about to make its change."""
        if command.revert is None or command.undoes is not None:
            return
        entry = Reversal(command=command, before=before, applied_unix_nano=now_unix_nano)
        pipe = self._redis.pipeline(transaction=True)
        pipe.hset(self._entries, command.id, entry.model_dump_json())
        if command.effect_seconds is not None:
            due = now_unix_nano // 1_000_000 + int(command.effect_seconds * 1000)
            pipe.zadd(self._expiring, {command.id: due})
        await _ask(pipe.execute())

    async def forget(self, action_id: str) -> None:
        """Forget an action: it came to nothing, or has been taken back."""
        pipe = self._redis.pipeline(transaction=True)
        pipe.hdel(self._entries, action_id)
        pipe.hdel(self._issued, action_id)
        pipe.hdel(self._renewed, action_id)
        pipe.zrem(self._expiring, action_id)
        await _ask(pipe.execute())

    async def due(self, controls: Controls, now_unix_nano: int) -> list[ActionCommand]:
        """Make the commands that take back what is to be taken back now; each for one caller only."""
        commands = []
        for entry in await self._candidates(controls, now_unix_nano):
            by = entry.wanted_by(controls, now_unix_nano)
            if by is not None and await self._mine(entry.command.id, now_unix_nano):
                commands.append(undo(entry.command, entry.before, by=by, now_unix_nano=now_unix_nano))
        return commands

    async def renewed(self, controls: Controls, now_unix_nano: int) -> list[Reversal]:
        """List the actions that a person lets last for another term, of which their systems have not been told yet."""
        if not controls.wishes_since(now_unix_nano - WISH_SECONDS * NANOS, "renew"):
            return []
        told = {key.decode(): int(at) for key, at in (await _ask(self._redis.hgetall(self._renewed))).items()}
        lasting = [e for e in await self.all(now_unix_nano) if (e.expires_unix_nano(controls) or 0) > now_unix_nano]
        return [e for e in lasting if e.renewed_unix_nano(controls) > told.get(e.command.id, e.applied_unix_nano)]

    async def note_renewed(self, entry: Reversal, controls: Controls) -> None:
        """Note that the system of an action knows of its renewal."""
        await _ask(self._redis.hset(self._renewed, entry.command.id, str(entry.renewed_unix_nano(controls))))

    async def all(self, now_unix_nano: int) -> list[Reversal]:
        """List what can be taken back; what is too old to be is dropped."""
        entries = _entries(await _ask(self._redis.hvals(self._entries)))
        old = now_unix_nano - KEEP_SECONDS * NANOS
        for entry in entries:
            if entry.applied_unix_nano < old and entry.command.effect_seconds is None:
                await self.forget(entry.command.id)
        return entries

    async def _candidates(self, controls: Controls, now_unix_nano: int) -> list[Reversal]:
        """Everything while a person's wish is fresh; otherwise only what has expired: sweeps are frequent."""
        if controls.wishes_since(now_unix_nano - WISH_SECONDS * NANOS):
            return await self.all(now_unix_nano)
        expired = await _ask(self._redis.zrangebyscore(self._expiring, "-inf", now_unix_nano // 1_000_000))
        return _entries(await _ask(self._redis.hmget(self._entries, expired))) if expired else []

    async def _mine(self, action_id: str, now_unix_nano: int) -> bool:
        now = now_unix_nano // 1_000_000
        arguments = (action_id, now, now - int(VALIDITY_SECONDS * 1000))
        return bool(await _ask(self._take(keys=[self._issued], args=list(arguments))))


def _entries(found: list[bytes | None]) -> list[Reversal]:
    entries = [Reversal.model_validate(orjson.loads(value)) for value in found if value is not None]
    return sorted(entries, key=lambda entry: (entry.applied_unix_nano, entry.command.id))


async def _ask(call: object) -> Any:
    try:
        return await cast("Awaitable[Any]", call)
    except (RedisError, OSError) as error:
        raise TemporaryError(f"the reversals cannot be reached: {type(error).__name__}: {error}") from error
