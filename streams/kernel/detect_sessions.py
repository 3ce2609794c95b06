"""Sessions of log lines: what belongs together by an id, judged as a sequence of templates when it ends.

Called by `streams.kernel.detect_logs` for records that carry an id of a session. A session ends when nothing of it was
heard for a while of event time; it is told at once where what was heard already suffices. `detectors.sequences` judges
it by the sessions of its service so far, then learns it; an unusual one only after an hour, so that a fault does not
become the normal while it lasts. Unusual sessions are counted, and the count judged as any series: one is an everyday
matter.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import msgspec

from detectors.sequences import END, START, SequenceNovelty
from schemas.envelope import NANOS
from streams.kernel.text import one_line

# Decades of surprise beyond which a session is unusual: the point fixed on HDFS (row 7), rounded.
UNUSUAL = 12.0
# Bounds of a partition: open sessions, events of one, services whose sessions are remembered.
MAX_SESSIONS = 20_000
MAX_EVENTS = 256
MAX_SERVICES = 64
# Unusual sessions are learned this long after they ended; more than so many at a time are not learned at all.
LEARNED_AFTER = 3600 * NANOS
MAX_PENDING = 2048
# What is said of an unusual session.
REASONS = 3
_EDGES = {START: "the start", END: "the last"}


@dataclass(frozen=True, slots=True)
class Judged:
    """A session that ended, or that was clear at once."""

    scope: str
    row: int
    """Of the entity's errors: where it was heard first."""
    events: tuple[int, ...]
    score: float
    """Decades; NaN while its service has had too few sessions."""
    reasons: tuple[str, ...]
    """Of an unusual one, strongest first."""

    @property
    def unusual(self) -> bool:
        """Whether it is counted."""
        return self.score >= UNUSUAL


class _Session(msgspec.Struct, array_like=True):
    row: int
    last: int
    events: list[int]
    told: bool = False


class _Saved(msgspec.Struct):
    sessions: list[tuple[tuple[str, str], _Session]]
    models: list[tuple[str, bytes]]
    pending: list[tuple[int, str, list[int]]]


class SessionWatch:
    """Sessions of one partition.

    Args:
        idle: nanoseconds of event time without a line after which a session has ended.
        name: what a template of a service says, by its number.
        state: what `freeze` returned.

    """

    def __init__(self, idle: int, name: Callable[[str, int], str], state: bytes | None = None) -> None:
        self._idle, self._name = idle, name
        saved = _Saved([], [], []) if state is None else msgspec.msgpack.decode(state, type=_Saved)
        self._sessions = OrderedDict(saved.sessions)  # in the order of their last line
        self._models = OrderedDict((scope, SequenceNovelty().thaw(model)) for scope, model in saved.models)
        self._pending = deque(saved.pending)  # when to learn, of which service, what

    def freeze(self) -> bytes:
        """State to go on from."""
        models = [(scope, model.freeze()) for scope, model in self._models.items()]
        return msgspec.msgpack.encode(_Saved(list(self._sessions.items()), models, list(self._pending)))

    def hear(self, scope: str, session_id: str, row: int, event: int, now: int) -> Judged | None:
        """Add a line; return the session where it is clear at once that it is unusual."""
        key = (scope, session_id)
        session = self._sessions.get(key)
        if session is None:
            session = self._sessions[key] = _Session(row, now, [])
            if len(self._sessions) > MAX_SESSIONS:
                # Not judged: that it ended is not known.
                self._sessions.popitem(last=False)
        self._sessions.move_to_end(key)
        session.last = now
        if len(session.events) >= MAX_EVENTS:
            return None
        session.events.append(event)
        if session.told:
            return None
        model = self._model(scope)
        if model.usual_so_far(session.events) or model.settled(session.events) < UNUSUAL:
            return None
        session.told = True
        return self._judged(scope, session, model, model.settled(session.events))

    def pass_time(self, now: int) -> Iterator[Judged]:
        """Judge the sessions that have ended by this event time, then learn them."""
        while self._pending and self._pending[0][0] <= now:
            _, scope, events = self._pending.popleft()
            self._model(scope).learn(events)
        while self._sessions:
            key = next(iter(self._sessions))
            session = self._sessions[key]
            if now - session.last < self._idle:
                return
            del self._sessions[key]
            model = self._model(key[0])
            judged = self._judged(key[0], session, model, float(model.score([session.events])[0]))
            if not session.told and not judged.unusual:
                model.learn(session.events)
            elif len(self._pending) < MAX_PENDING:
                self._pending.append((now + LEARNED_AFTER, key[0], session.events))
            if not session.told:
                yield judged

    def _model(self, scope: str) -> SequenceNovelty:
        model = self._models.get(scope)
        if model is None:
            model = self._models[scope] = SequenceNovelty()
            if len(self._models) > MAX_SERVICES:
                self._models.popitem(last=False)
        self._models.move_to_end(scope)
        return model

    def _judged(self, scope: str, session: _Session, model: SequenceNovelty, score: float) -> Judged:
        return Judged(scope, session.row, tuple(session.events), score, self._reasons(scope, session, model, score))

    def _reasons(self, scope: str, session: _Session, model: SequenceNovelty, score: float) -> tuple[str, ...]:
        if score < UNUSUAL:
            return ()
        said = model.explain(session.events, lambda event: self._say(scope, event))
        return tuple(f"{one.name} ({one.weight:.1f} decades)" for one in said[:REASONS])

    def _say(self, scope: str, event: int) -> str:
        if event in _EDGES:
            return _EDGES[event]
        return f'"{one_line(self._name(scope, event))}"'
