"""Signals to incidents, in event time: the pure kernel of the correlate stage.

One `Correlator` serves one partition of the signals topic; every scope (environment/service) lies in one partition.
Signals are released in event-time order behind the watermark, by the place that their source gave them, so that
incidents do not depend on how the sources interleaved. The rules:

* An incident opens when at least two independent subjects of a scope fire: on two instances, or under two names (all
  logs of an instance count as one). An alert of another system opens one after `group_wait`; a lone series only after
  `lone_wait`.
* It is revised when its class changes, and otherwise at most every `group_interval`. Within that interval a storm is
  looked at again only when it has grown by a sixteenth: judging every signal of it anew would cost more with each.
* It is resolved when nothing of it has fired for `resolve_after`. It is never reopened: a recurrence is a new one, and
  names the former if one of its subjects fires again within `recurrence_window`. What was done about the former did
  not last, and what may be done now is decided anew.
* A signal that comes after the watermark has passed it joins as of now. It is counted, and undoes nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

from pydantic import Field

from detectors.classify import classify
from detectors.root_cause import rank_causes
from detectors.severity import Context, assess
from schemas.envelope import NANOS, Model
from schemas.incident import Classification, Incident, incident_id
from schemas.signal import Progress, Signal
from streams.kernel.watermark import EventTimeBuffer, Watermarks

# What one incident record carries, and what one scope remembers: a storm must not grow either without bound.
MAX_CHANGES = 32
MAX_SIGNALS = 256 - MAX_CHANGES
# An incident of up to so many signals is judged at each; a larger one when a share of 1 in so many has come since.
JUDGEMENTS_PER_DOUBLING = 16
# Ids of signals already taken, kept for as long as a crash may repeat them: far longer than a snapshot interval.
REPEAT_HORIZON_NANOS = 3600 * NANOS
# Looking for those to forget costs a look at each: often enough is once in a while.
SWEEPS_PER_HORIZON = 16


@dataclass(frozen=True, slots=True)
class CorrelateRules:
    """Durations of event time, in nanoseconds."""

    group_wait: int = 2 * NANOS
    group_interval: int = 5 * NANOS
    lone_wait: int = 30 * NANOS
    change_window: int = 600 * NANOS
    resolve_after: int = 10 * NANOS
    recurrence_window: int = 3600 * NANOS
    context: Context = field(default_factory=Context)


class Former(Model):
    """What is remembered of the last incident of a scope."""

    id: str
    resolved_unix_nano: int
    recurrence: int
    subjects: frozenset[str]


class Scope(Model):
    """What is known of one environment/service. Replaced, never mutated."""

    changes: tuple[Signal, ...] = ()
    active: dict[str, Signal] = Field(default_factory=dict)
    evidence: dict[str, Signal] = Field(default_factory=dict)
    joined: int = 0
    judged: int | None = Field(default=None, description="signals joined when last judged; None: judge at once")
    incident: Incident | None = None
    former: Former | None = None
    due: int | None = None


class CorrelatorState(Model):
    """A snapshot: everything the kernel knows."""

    scopes: dict[str, Scope]
    reached: dict[str, int]
    idle: tuple[str, ...]
    waiting: tuple[Signal, ...]
    taken: dict[str, int]
    released: int
    late: int


class Correlator:
    """The kernel for one partition of signals."""

    def __init__(self, rules: CorrelateRules, state: CorrelatorState | None = None) -> None:
        self.rules = rules
        self.late = state.late if state else 0
        self._scopes: dict[str, Scope] = dict(state.scopes) if state else {}
        self._taken: dict[str, int] = dict(state.taken) if state else {}
        self._released = state.released if state else 0
        self._swept = 0
        self._watermarks = Watermarks(state.reached, set(state.idle)) if state else Watermarks()
        self._timers = [(scope.due, name) for name, scope in self._scopes.items() if scope.due is not None]
        heapify(self._timers)
        self._waiting: EventTimeBuffer[Signal] = EventTimeBuffer()
        for signal in state.waiting if state else ():
            self._waiting.add(signal.place_unix_nano, signal.id, signal)

    @property
    def holding(self) -> int:
        """Signals that wait for the watermark."""
        return len(self._waiting)

    def snapshot(self) -> CorrelatorState:
        """Everything needed to go on from here."""
        return CorrelatorState(
            scopes=self._scopes,
            reached=self._watermarks.reached,
            idle=tuple(sorted(self._watermarks.idle)),
            waiting=tuple(self._waiting.items()),
            taken=self._taken,
            released=self._released,
            late=self.late,
        )

    def take(self, record: Signal | Progress) -> list[Incident]:
        """Take one record; returns the incident revisions it leads to, in event-time order."""
        if isinstance(record, Progress):
            self._watermarks.observe(record.source, record.time_unix_nano, idle=record.idle)
            return self._release()
        if record.id in self._taken:
            return []
        self._taken[record.id] = record.time_unix_nano
        if record.place_unix_nano <= self._released:
            self.late += 1
            return self._apply(record, self._released)
        self._waiting.add(record.place_unix_nano, record.id, record)
        return self._release()

    @property
    def watermark(self) -> int:
        """Event time up to which everything has been played."""
        return self._watermarks.current

    @property
    def next_signal(self) -> int | None:
        """Place of the oldest signal that waits for the watermark, in event time."""
        return self._waiting.next_time()

    @property
    def next_timer(self) -> int | None:
        """Event time at which something is due although nothing more may come."""
        return self._next_timer()[0]

    def excuse(self, until: int) -> list[Incident]:
        """Stop waiting for the sources that are behind `until`, and play up to there."""
        self._watermarks.excuse(until)
        if self._watermarks.current < until:  # no other source has come that far
            self._watermarks.observe("-", until, idle=True)
        return self._release()

    def _release(self) -> list[Incident]:
        """Play signals and timers up to the watermark, in event-time order; at equal times signals go first."""
        until = self._watermarks.current
        revisions: list[Incident] = []
        while True:
            signal_at = self._waiting.next_time()
            timer_at, scope = self._next_timer()
            if signal_at is not None and signal_at <= until and (timer_at is None or signal_at <= timer_at):
                revisions += self._apply(self._waiting.pop(), signal_at)
            elif timer_at is not None and timer_at <= until:
                revisions += self._settle(scope, self._scopes[scope].model_copy(update={"due": None}), timer_at)
            else:
                break
        self._released = max(self._released, until)
        self._forget_taken()
        return revisions

    def _next_timer(self) -> tuple[int | None, str]:
        """Find the earliest timer that still stands; timers moved or dropped since they were set are skipped."""
        while self._timers:
            at, name = self._timers[0]
            if name in self._scopes and self._scopes[name].due == at:
                return at, name
            heappop(self._timers)
        return None, ""

    def _forget_taken(self) -> None:
        horizon = self._released - REPEAT_HORIZON_NANOS
        if horizon - self._swept < REPEAT_HORIZON_NANOS // SWEEPS_PER_HORIZON:
            return
        self._swept = horizon
        for identity in [i for i, time in self._taken.items() if time < horizon]:
            del self._taken[identity]

    def _apply(self, signal: Signal, now: int) -> list[Incident]:
        name = signal.entity.scope
        scope = self._scopes.get(name, Scope())
        if signal.kind == "change":
            recent = [c for c in scope.changes if c.onset_unix_nano >= now - self.rules.change_window]
            # What was over before the change is no effect of it, and must not date its effects back before it.
            still = {i: s for i, s in scope.evidence.items() if s.subject in scope.active}
            update = {"changes": (*recent, signal)[-MAX_CHANGES:], "evidence": still, "judged": None}
            scope = scope.model_copy(update=update)
        elif signal.state == "firing":
            scope = scope.model_copy(
                update={
                    "active": {**scope.active, signal.subject: signal},
                    "evidence": _strongest({**scope.evidence, signal.id: signal}),
                    "joined": scope.joined + 1,
                }
            )
        else:
            active = {subject: s for subject, s in scope.active.items() if subject != signal.subject}
            scope = scope.model_copy(update={"active": active})
        return self._settle(name, scope, now)

    def _settle(self, name: str, scope: Scope, now: int) -> list[Incident]:
        """Bring a scope's incident in line with its signals, and set the timer for what has to wait."""
        scope = self._open_or_revise(scope, now) if scope.active else self._calm(scope, now)
        before = self._scopes.get(name)
        if scope == Scope():
            self._scopes.pop(name, None)
        else:
            self._scopes[name] = scope
            if scope.due is not None:
                heappush(self._timers, (scope.due, name))
        revised = scope.incident
        if revised is None or (before is not None and before.incident == revised):
            return []
        if revised.status == "resolved":
            self._scopes[name] = Scope(changes=scope.changes, former=_former(revised))
        return [revised]

    def _open_or_revise(self, scope: Scope, now: int) -> Scope:
        if scope.incident is None:
            opens_at = self._opens_at(scope)
            if opens_at > now:
                return scope.model_copy(update={"due": opens_at})
            return scope.model_copy(update={"incident": self._revision(scope, now), "due": None})
        current = scope.incident
        may_at = current.updated_unix_nano + self.rules.group_interval
        if now < may_at and not _has_grown(scope):
            return scope.model_copy(update={"due": may_at})
        revised = self._revision(scope, now)
        scope = scope.model_copy(update={"judged": scope.joined})
        if _says_the_same(current, revised):
            return scope
        if now < may_at and revised.classification.label == current.classification.label:
            return scope.model_copy(update={"due": may_at})
        return scope.model_copy(update={"incident": revised, "due": None})

    def _calm(self, scope: Scope, now: int) -> Scope:
        """Nothing fires: forget what never became an incident, resolve what did once the calm has lasted."""
        if scope.incident is None:
            return Scope(changes=scope.changes, former=scope.former)
        if scope.due is not None and not scope.incident.active_subjects:
            return scope
        if scope.incident.active_subjects:
            # The first revision that says "nothing fires" goes out at once: people wait for it.
            revised = self._revision(scope, now)
            return scope.model_copy(update={"incident": revised, "due": now + self.rules.resolve_after})
        at = max(now, scope.incident.updated_unix_nano)
        resolved = scope.incident.model_copy(
            update={
                "revision": scope.incident.revision + 1,
                "status": "resolved",
                "updated_unix_nano": at,
                "resolved_unix_nano": at,
            }
        )
        return scope.model_copy(update={"incident": resolved, "due": None})

    def _opens_at(self, scope: Scope) -> int:
        """Event time at which this evidence suffices to open an incident."""
        active = list(scope.active.values())
        if len({signal.witness for signal in active}) > 1:
            return 0
        if any(s.kind == "alert" for s in active):
            return min(s.time_unix_nano for s in active) + self.rules.group_wait
        return min(s.time_unix_nano for s in active) + self.rules.lone_wait

    def _revision(self, scope: Scope, now: int) -> Incident:
        signals = sorted(scope.evidence.values(), key=lambda s: (s.time_unix_nano, s.id))
        first, current = signals[0], scope.incident
        # A signal may be played before the watermark has reached its time; nothing is known before it is seen.
        at = max(now, *(s.time_unix_nano for s in signals))
        onset = current.onset_unix_nano if current else min(s.onset_unix_nano for s in signals)
        # Counted from the onset, not from now: a cause does not cease to be one because its effects last.
        changes = [c for c in scope.changes if c.onset_unix_nano >= onset - self.rules.change_window]
        classification = classify(signals, changes)
        severity, because = assess(first.entity.scope, signals, changes, self.rules.context)
        former = self._recurs(scope.former, signals, onset)
        return Incident(
            id=current.id if current else incident_id(first.entity.scope, onset),
            revision=current.revision + 1 if current else 1,
            status="open",
            environment=first.entity.environment,
            service=first.entity.service,
            onset_unix_nano=onset,
            opened_unix_nano=current.opened_unix_nano if current else at,
            updated_unix_nano=at,
            severity=severity,
            severity_because=because,
            recurrence=former.recurrence + 1 if former else 0,
            recurrence_of=former.id if former else None,
            title=_title(first.entity.scope, signals, classification),
            classification=classification,
            root_causes=rank_causes(signals, changes),
            signals=tuple(sorted((*changes, *signals), key=lambda s: (s.time_unix_nano, s.id))),
            signal_count=scope.joined,
            active_subjects=tuple(sorted(scope.active)),
        )

    def _recurs(self, former: Former | None, signals: Sequence[Signal], onset: int) -> Former | None:
        """Return the former incident if this one is the same trouble again."""
        if former is None or onset - former.resolved_unix_nano > self.rules.recurrence_window:
            return None
        return former if any(signal.subject in former.subjects for signal in signals) else None


def _former(resolved: Incident) -> Former:
    firing = frozenset(signal.subject for signal in resolved.signals if signal.state == "firing")
    ended = resolved.resolved_unix_nano or resolved.updated_unix_nano
    return Former(id=resolved.id, resolved_unix_nano=ended, recurrence=resolved.recurrence, subjects=firing)


def _has_grown(scope: Scope) -> bool:
    """Tell whether enough has come since the last judgement for the class to be another."""
    return scope.judged is None or scope.joined - scope.judged > scope.judged // JUDGEMENTS_PER_DOUBLING


def _says_the_same(one: Incident, other: Incident) -> bool:
    return (one.active_subjects, one.signal_count, one.classification) == (
        other.active_subjects,
        other.signal_count,
        other.classification,
    )


def _strongest(evidence: dict[str, Signal]) -> dict[str, Signal]:
    """At most `MAX_SIGNALS` signals: the least probable under calm, ties by id."""
    if len(evidence) <= MAX_SIGNALS:
        return evidence
    kept = sorted(evidence.values(), key=lambda s: (1.0 if s.p_value is None else s.p_value, s.id))[:MAX_SIGNALS]
    return {signal.id: signal for signal in kept}


def _title(scope: str, signals: Sequence[Signal], classification: Classification) -> str:
    names = list(dict.fromkeys(s.name for s in signals))
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return f"{classification.label.replace('_', ' ')} in {scope}: {shown}"[:1024]
