"""Signals to incidents, in event time: the pure kernel of the correlate stage.

One `Correlator` serves one partition of the signals topic; every environment lies in one partition. Signals are
released in event-time order behind the watermark, by the place that their source gave them, so that incidents do not
depend on how the sources interleaved. The rules, of which `streams.kernel.grouping` works out the parts:

* An incident opens when at least two independent subjects of a scope (environment/service) fire: on two instances, or
  under two names (all logs of an instance count as one). An alert of another system opens one after `group_wait`; a
  lone series only after `lone_wait`.
* It is revised at once when its class, its severity or its services change, and otherwise at most every
  `group_interval`. Within that interval a storm is looked at again only when it has grown by a sixteenth: judging every
  signal of it anew would cost more with each. One that stays as it is, is told again every `repeat_interval`.
* What fires in a service that depends on a broken one joins the incident there, if it began within `join_window` of it
  and after no change of its own; an incident that it had already is merged. Of two that call each other the earlier
  leads. When nothing of the broken service itself has fired for `split_after`, what still fires elsewhere is split off.
* An incident is resolved when nothing of it has fired for `resolve_after`. It is never reopened: a recurrence is a new
  one, and names the former if one of its subjects fires again within `recurrence_window`. What was done about the
  former did not last, and what may be done now is decided anew.
* A signal that comes after the watermark has passed it joins as of now. It is counted, and undoes nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from heapq import heapify, heappop, heappush
from operator import itemgetter

from pydantic import Field

from detectors.coincidence import WINDOW, Coincided, Coincidences
from detectors.inhibition import Inhibitions
from detectors.topology import KEPT_NANOS, Calls, Topology, called_by
from schemas.envelope import NANOS, Model
from schemas.incident import Incident
from schemas.signal import Call, Progress, Signal
from streams.kernel.grouping import (
    CorrelateRules,
    Scope,
    Ties,
    calmed,
    departed,
    ended,
    former,
    has_grown,
    has_own_cause,
    is_news,
    onset,
    opens_at,
    own_trouble,
    parted,
    revision,
    says_the_same,
    splits_at,
    with_change,
    with_inhibition,
    with_member,
    with_profile,
    with_signal,
)
from streams.kernel.watermark import EventTimeBuffer, Watermarks

# Ids of signals already taken, kept for as long as a crash may repeat them: far longer than a snapshot interval.
REPEAT_HORIZON_NANOS = 3600 * NANOS
# Looking for those to forget costs a look at each: often enough is once in a while.
SWEEPS_PER_HORIZON = 16
DAY_NANOS = 86_400 * NANOS
# An effect may be seen so much sooner than its cause: detectors need more or less evidence.
SOONER_NANOS = 60 * NANOS


# The rules in force at an event time.
RulesAt = Callable[[int], CorrelateRules]


class CorrelatorState(Model):
    """A snapshot: everything the kernel knows."""

    scopes: dict[str, Scope]
    reached: dict[str, int]
    idle: tuple[str, ...]
    waiting: tuple[Signal, ...]
    taken: dict[str, int]
    released: int
    late: int
    calls: tuple[tuple[str, str], ...] = ()
    calls_seen: tuple[int, ...] = ()
    calls_waiting: tuple[Call, ...] = ()
    coincidences: dict[str, Coincided] = Field(default_factory=dict)


class Correlator:
    """The kernel for one partition of signals."""

    def __init__(
        self,
        rules: CorrelateRules | RulesAt,
        state: CorrelatorState | None = None,
        calls: Calls | None = None,
    ) -> None:
        """Begin where `state` ended; `calls` is which services each service is known to call."""
        self._rules_at: RulesAt = rules if callable(rules) else lambda _: rules
        self.rules = self._rules_at(0)
        self._topology = Topology(calls, state.calls, state.calls_seen) if state else Topology(calls)
        self._coincidences = Coincidences(state.coincidences if state else None)
        self.late = state.late if state else 0
        self._scopes: dict[str, Scope] = dict(state.scopes) if state else {}
        self._taken: dict[str, int] = dict(state.taken) if state else {}
        self._released = state.released if state else 0
        self._swept = 0
        self._forgotten = 0  # day until which calls were looked through
        self._watermarks = Watermarks(state.reached, set(state.idle)) if state else Watermarks()
        firing = {subject: signal for scope in self._scopes.values() for subject, signal in scope.active.items()}
        self._inhibitions = Inhibitions(self.rules.inhibit, firing.values())
        # The rules may be others than they were when this was saved.
        for name in self._inhibit({subject: signal.entity.scope for subject, signal in sorted(firing.items())}):
            self._scopes[name] = self._scopes[name].model_copy(update={"due": self._released})
        self._timers = [(scope.due, name) for name, scope in self._scopes.items() if scope.due is not None]
        heapify(self._timers)
        self._waiting: EventTimeBuffer[Signal] = EventTimeBuffer()
        for signal in state.waiting if state else ():
            self._waiting.add(signal.place_unix_nano, signal.id, signal)
        self._calls: EventTimeBuffer[Call] = EventTimeBuffer()
        self._await_calls(state.calls_waiting if state else ())

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
            calls=tuple(self._topology.learnt),
            calls_seen=tuple(self._topology.learnt.values()),
            calls_waiting=tuple(self._calls.items()),
            coincidences=self._coincidences.state,
        )

    def take(self, record: Signal | Progress) -> list[Incident]:
        """Take one record; returns the incident revisions it leads to, in event-time order."""
        if isinstance(record, Progress):
            self._await_calls(record.calls)
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
            self._learn_calls(min(until, signal_at or until, timer_at or until))
            if signal_at is not None and signal_at <= until and (timer_at is None or signal_at <= timer_at):
                revisions += self._apply(self._waiting.pop(), signal_at)
            elif timer_at is not None and timer_at <= until:
                self.rules = self._rules_at(timer_at)
                revisions += self._settle(scope, self._scopes[scope].model_copy(update={"due": None}), timer_at)
            else:
                break
        self._released = max(self._released, until)
        self._forget_taken()
        return revisions

    def _await_calls(self, calls: Iterable[Call]) -> None:
        """Have calls wait for the watermark, as signals do."""
        for call in calls:
            self._calls.add(call.time_unix_nano, f"{call.caller}\0{call.called}", call)

    def _learn_calls(self, until: int) -> None:
        """Learn which calls were seen until this event time, and forget those that were not seen for long."""
        while (at := self._calls.next_time()) is not None and at <= until:
            call = self._calls.pop()
            self._topology.learn(call.caller, call.called, at)
        # By the day of what is played, not when there happens to be time for it.
        day = until // DAY_NANOS
        if day > self._forgotten:
            self._forgotten = day
            self._topology.forget(day * DAY_NANOS - KEPT_NANOS)

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
        self.rules = self._rules_at(now)
        own = signal.entity.scope
        call = called_by(signal.entity.service, signal.attributes)
        if call is not None:
            self._topology.learn(*call, now)
        if signal.kind == "change":
            return self._change(signal, own, now)
        if signal.state == "noted":
            return self._describe(signal, own, now)
        others = self._inhibit(self._inhibitions.turn(signal))
        signal = signal.model_copy(update={"inhibited_by": self._inhibitions.by(signal.subject)})
        name = self._leader(own)
        revisions = self._hold(with_signal(self._scopes.get(name, Scope()), signal, name), name, own, now)
        for other in others:
            lead = self._leader(other)  # settling one may have moved the next
            if lead in self._scopes:
                revisions += self._settle(lead, self._scopes[lead], now)
        return revisions

    def _change(self, change: Signal, own: str, now: int) -> list[Incident]:
        scope = with_change(self._scopes.get(own, Scope()), change, now, self.rules)
        if self._leader(own) == own:
            return self._settle(own, scope, now)
        self._scopes[own] = scope
        return []

    def _describe(self, profile: Signal, own: str, now: int) -> list[Incident]:
        """Take the profile of an instance of a service's own incident: its class rests on its own service."""
        scope = self._scopes.get(own, Scope())
        described = with_profile(scope, profile)
        if scope.follows is not None or not scope.active or described is scope:
            return []
        return self._settle(own, described, now)

    def _inhibit(self, subjects: Mapping[str, str]) -> list[str]:
        """Mark subjects, given with their scopes, as muted by a rule or not; returns the scopes that look another."""
        touched: dict[str, None] = {}
        for subject, own in subjects.items():
            name = self._leader(own)
            before = self._scopes.get(name, Scope())
            scope = with_inhibition(before, subject, self._inhibitions.by(subject))
            if scope is not before:
                self._put(name, scope)
                touched[name] = None
        return list(touched)

    def _hold(self, scope: Scope, name: str, own: str, now: int) -> list[Incident]:
        """Settle the scope that a signal of `own` went to; part the two if it is trouble since a change of its own."""
        incident, member = scope.incident, self._scopes.get(own, Scope())
        trouble = [] if name == own else own_trouble(scope, own, member, self.rules)
        if incident is None or not trouble:
            return self._settle(name, scope, now)
        # What it felt before stays told there; here it only fires on.
        alone = parted(scope, own, member, incident.id).model_copy(update={"evidence": {s.id: s for s in trouble}})
        self._put(own, alone)
        return [*self._settle(name, departed(scope, own, trouble), now), *self._settle(own, self._scopes[own], now)]

    def _leader(self, name: str) -> str:
        """Find the scope whose incident holds the signals of a scope: mostly that itself."""
        scope = self._scopes.get(name)
        return name if scope is None or scope.follows is None else scope.follows

    def _settle(self, name: str, scope: Scope, now: int) -> list[Incident]:
        """Bring a scope's incident in line with its signals, and set the timer for what has to wait."""
        cause = self._cause(name, scope, now)
        if cause is not None:
            return self._join(name, scope, cause, now)
        scope, alone = self._split(name, scope, now)
        scope = self._open_or_revise(name, scope, now) if scope.loud else self._calm(name, scope, now)
        if scope.alone_since is not None and scope.due is not None:
            scope = scope.model_copy(update={"due": min(scope.due, splits_at(scope, scope.alone_since, self.rules))})
        before = self._scopes.get(name)
        self._put(name, scope)
        revisions: list[Incident] = []
        revised = scope.incident
        if revised is not None and (before is None or before.incident != revised):
            revisions.append(revised)
            if revised.status == "resolved":
                self._put(name, calmed(scope, name, former(revised)))
                for member in scope.members:
                    self._put(member, parted(scope, member, self._scopes[member], revised.id))
            elif before is None or before.incident is None:
                self._note(name, revised.onset_unix_nano)
                revisions += self._gather(name, now)
        for member in alone:
            if self._scopes[member].follows is None:  # or it has just joined one of the others
                revisions += self._settle(member, self._scopes[member], now)
        return revisions

    def _put(self, name: str, scope: Scope) -> None:
        if scope == Scope():
            self._scopes.pop(name, None)
            return
        self._scopes[name] = scope
        if scope.due is not None:
            heappush(self._timers, (scope.due, name))

    def _cause(self, name: str, scope: Scope, now: int) -> Incident | None:
        """Find the open incident that this scope feels the effects of: the nearest, then the earliest."""
        if not scope.loud or has_own_cause(scope, self.rules):
            return None
        environment, _, service = name.partition("/")
        began = onset(scope)
        found: list[tuple[int, int, str, Incident]] = []
        for called, calls in self._topology.reach(service).items():
            lead = self._leader(f"{environment}/{called}")
            incident = self._leads(lead, name, scope)
            if incident is None:
                continue
            mutual = service in self._topology.reach(incident.service)
            if mutual and (incident.onset_unix_nano, lead) > (began, name):
                continue
            if -SOONER_NANOS <= began - incident.onset_unix_nano <= self.rules.join_window:
                found.append((calls, incident.onset_unix_nano, lead, incident))
        for other in self._linked(name, now):
            incident = self._leads(other, name, scope)
            if incident is None:
                continue
            # Nothing says which of the two breaks the other: the one that began first leads.
            first, since = incident.onset_unix_nano, began - incident.onset_unix_nano
            if since <= WINDOW and (first, other) <= (began, name):
                found.append((1, first, other, incident))
        return min(found, key=itemgetter(0, 1, 2))[3] if found else None

    def _leads(self, lead: str, name: str, scope: Scope) -> Incident | None:
        """Return the open incident of another scope, if something of that itself fires and this may join it."""
        held = self._scopes.get(lead)
        incident = None if held is None or lead == name or not held.fires(lead) else held.incident
        return None if incident is None or incident.id == scope.split_from else incident

    def _linked(self, name: str, now: int) -> list[str]:
        """Name the scopes whose troubles keep coinciding with those of one: only where nothing better is known."""
        environment, _, service = name.partition("/")
        if not self.rules.learn_links or self._topology.knows(service):
            return []
        others = self._coincidences.links(environment, service, now)
        return [f"{environment}/{other}" for other in others if not self._topology.knows(other)]

    def _note(self, name: str, began: int) -> None:
        if self.rules.learn_links:
            environment, _, service = name.partition("/")
            self._coincidences.note(environment, service, began)

    def _join(self, name: str, scope: Scope, cause: Incident, now: int) -> list[Incident]:
        """Give everything that a scope holds to the scope of its cause."""
        lead = cause.scope
        if scope.incident is None:
            self._note(name, onset(scope))
        merged = [] if scope.incident is None else [ended(scope.incident, now, merged_into=cause.id)]
        for member in scope.members:
            self._put(member, self._scopes[member].model_copy(update={"follows": lead}))
        self._put(name, Scope(changes=scope.changes, former=scope.former, follows=lead))
        return [*merged, *self._settle(lead, with_member(self._scopes[lead], lead, scope, name), now)]

    def _gather(self, name: str, now: int) -> list[Incident]:
        """Let what depends on a scope whose incident has just been opened join it."""
        environment, _, service = name.partition("/")
        found: list[Incident] = []
        dependants = [f"{environment}/{dependant}" for dependant in self._topology.dependants(service)]
        for other in [*dependants, *self._linked(name, now)]:
            scope = self._scopes.get(other)
            if scope is not None and self._cause(other, scope, now) is not None:
                found += self._settle(other, scope, now)
        return found

    def _split(self, name: str, scope: Scope, now: int) -> tuple[Scope, tuple[str, ...]]:
        """Part with members whose signals outlast the cause; returns what is left, and the members that still fire."""
        if scope.incident is None or not scope.members:
            return scope, ()
        if scope.fires(name) or not scope.loud:
            return scope.model_copy(update={"alone_since": None}), ()
        since = now if scope.alone_since is None else scope.alone_since
        if now < splits_at(scope, since, self.rules):
            return scope.model_copy(update={"alone_since": since}), ()
        for member in scope.members:
            self._put(member, parted(scope, member, self._scopes[member], scope.incident.id))
        alone = tuple(member for member in scope.members if member in self._scopes and self._scopes[member].loud)
        active = {subject: signal for subject, signal in scope.active.items() if signal.entity.scope == name}
        left = {"active": active, "members": (), "alone_since": None, "due": None}
        return scope.model_copy(update=left), alone

    def _open_or_revise(self, name: str, scope: Scope, now: int) -> Scope:
        if scope.incident is None:
            opens = opens_at(scope, self.rules)
            if opens > now:
                return scope.model_copy(update={"due": opens})
            return self._with_revision(scope, self._revision(name, scope, now))
        current = scope.incident
        may_at = current.updated_unix_nano + self.rules.group_interval
        if now < may_at and not has_grown(scope):
            return scope.model_copy(update={"due": may_at})
        revised = self._revision(name, scope, now)
        scope = scope.model_copy(update={"judged": scope.joined})
        repeat_at = current.updated_unix_nano + self.rules.repeat_interval
        if says_the_same(current, revised) and now < repeat_at:
            return scope.model_copy(update={"due": repeat_at})
        if now < may_at and not scope.urgent and not is_news(current, revised):
            return scope.model_copy(update={"due": may_at})
        return self._with_revision(scope, revised)

    def _with_revision(self, scope: Scope, revised: Incident) -> Scope:
        repeat_at = revised.updated_unix_nano + self.rules.repeat_interval
        return scope.model_copy(update={"incident": revised, "due": repeat_at, "urgent": False})

    def _calm(self, name: str, scope: Scope, now: int) -> Scope:
        """Nothing fires: forget what never became an incident, resolve what did once the calm has lasted."""
        if scope.incident is None:
            return calmed(scope, name, scope.former)
        if scope.incident.active_subjects:
            # The first revision that says "nothing fires" goes out at once: people wait for it.
            revised = self._revision(name, scope, now)
            return scope.model_copy(update={"incident": revised, "due": now + self.rules.resolve_after})
        if scope.due is not None:
            return scope
        return scope.model_copy(update={"incident": ended(scope.incident, now), "due": None})

    def _revision(self, name: str, scope: Scope, now: int) -> Incident:
        return revision(name, scope, now, self.rules, self._ties(name, scope))

    def _ties(self, name: str, scope: Scope) -> Ties:
        environment, _, service = name.partition("/")
        upstream = self._topology.upstream(service)
        if not scope.members:
            return Ties(upstream=upstream)
        others = (member.partition("/")[2] for member in scope.members)
        links = {o: self._coincidences.times(environment, service, o) for o in others if not self._topology.knows(o)}
        return Ties(self._topology.dependants(service), links, upstream)
