"""What the correlate kernel knows of one service, and what its signals amount to: pure functions of both.

Called by `streams.kernel.correlate`, which decides when. Everything here is told the time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from pydantic import Field

from detectors import corroboration
from detectors.classify import classify
from detectors.inhibition import Rule
from detectors.root_cause import rank_causes
from detectors.rules import RuleRecord
from detectors.severity import Context, assess
from schemas.envelope import NANOS, Model
from schemas.incident import Classification, Incident, heard, incident_id
from schemas.signal import Signal
from streams.kernel.detect_silence import NAME as SILENCE
from streams.kernel.detect_witnesses import ENTITY

# What one incident record carries, and what one scope remembers: a storm must not grow either without bound.
MAX_CHANGES = 32
MAX_SIGNALS = 256 - MAX_CHANGES
# An incident of up to so many signals is judged at each; a larger one when a share of 1 in so many has come since.
JUDGEMENTS_PER_DOUBLING = 16


@dataclass(frozen=True, slots=True)
class CorrelateRules:
    """Durations of event time, in nanoseconds."""

    group_wait: int = 2 * NANOS
    group_interval: int = 5 * NANOS
    repeat_interval: int = 4 * 3600 * NANOS
    lone_wait: int = 30 * NANOS
    change_window: int = 600 * NANOS
    resolve_after: int = 10 * NANOS
    recurrence_window: int = 3600 * NANOS
    join_window: int = 600 * NANOS
    split_after: int = 60 * NANOS
    alert_lag: int = 300 * NANOS
    doubted: frozenset[str] = frozenset()
    """Scope and name of what mostly raises false alarms: `environment/service:name`."""
    rule_records: Mapping[str, RuleRecord] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    """The learnt models that set any of it."""
    context: Context = field(default_factory=Context)
    inhibit: tuple[Rule, ...] = ()
    learn_links: bool = True


@dataclass(frozen=True, slots=True)
class Ties:
    """Why the signals of other services are held with those of one."""

    calls: Mapping[str, int] = field(default_factory=dict)
    """How many calls away each is that depends on it."""
    links: Mapping[str, int] = field(default_factory=dict)
    """How often the troubles of each began with its own; only of those of which no call is known."""
    upstream: tuple[str, ...] = ()
    """What its own service depends on, the nearest first."""

    def why(self, other: str, service: str) -> str:
        """Say why the signals of another service are held with those of one."""
        if other in self.calls:
            return f"{other} depends on {service}, {self.calls[other]} call{'s' * (self.calls[other] > 1)} away"
        if self.links.get(other):
            return f"{other}: {self.links[other]} times its troubles and those of {service} began together"
        return f"{other} came along with one of these"


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
    urgent: bool = Field(default=False, description="another incident holds some of this now: no interval may hide it")
    incident: Incident | None = None
    former: Former | None = None
    due: int | None = None
    follows: str | None = Field(default=None, description="the scope whose incident holds the signals of this one")
    members: tuple[str, ...] = Field(default=(), description="the scopes that follow this one, sorted")
    alone_since: int | None = Field(default=None, description="since when only members fire")
    split_from: str | None = Field(default=None, description="the incident that its signals outlasted")
    profile: Signal | None = Field(default=None, description="what the worst of its own instances looks like")

    def fires(self, name: str) -> bool:
        """Whether something of its own does, and not of its members only. `name` is its own."""
        return any(signal.entity.scope == name for signal in self.loud)

    @property
    def loud(self) -> list[Signal]:
        """What fires and is not muted: the rest is context, and neither opens an incident nor keeps it open."""
        return [signal for signal in self.active.values() if not signal.muted]


def with_change(scope: Scope, change: Signal, now: int, rules: CorrelateRules) -> Scope:
    """Note a change."""
    recent = [c for c in scope.changes if c.onset_unix_nano >= now - rules.change_window]
    update: dict[str, object] = {"changes": (*recent, change)[-MAX_CHANGES:], "judged": None}
    if not scope.members:
        # What was over before the change is no effect of it, and must not date its effects back before it.
        update["evidence"] = {i: s for i, s in scope.evidence.items() if s.subject in scope.active}
    return scope.model_copy(update=update)


def with_signal(scope: Scope, signal: Signal, name: str) -> Scope:
    """Note that a subject fires, or no longer does; `name` is the scope's own."""
    if signal.state != "firing":
        active = {subject: s for subject, s in scope.active.items() if subject != signal.subject}
        return scope.model_copy(update={"active": active})
    before = scope.active.get(signal.subject)
    if before is not None and before.onset_unix_nano == signal.onset_unix_nano:
        return _retold(scope, before, signal)
    return scope.model_copy(
        update={
            "active": {**scope.active, signal.subject: signal},
            "evidence": strongest({**scope.evidence, signal.id: signal}, name),
            "joined": scope.joined + 1,
        }
    )


def with_profile(scope: Scope, profile: Signal) -> Scope:
    """Note what an instance looks like: a later look at the same, or an instance that is farther from its usual."""
    before = scope.profile
    again = before is not None and (before.subject, before.onset_unix_nano) == (
        profile.subject,
        profile.onset_unix_nano,
    )
    if before is None or again or (profile.observed or 0.0) > (before.observed or 0.0):
        return scope.model_copy(update={"profile": profile, "judged": None})
    return scope


def with_inhibition(scope: Scope, subject: str, rule: str | None) -> Scope:
    """Note that a rule of inhibition mutes a subject that fires, or that none does any more."""
    before = scope.active.get(subject)
    if before is None or before.inhibited_by == rule:
        return scope
    return _retold(scope, before, before.model_copy(update={"inhibited_by": rule}))


def _retold(scope: Scope, before: Signal, signal: Signal) -> Scope:
    """Put the same firing, of which something else is said now, in the place of what was said before."""
    evidence = {signal.id if i == before.id else i: signal if i == before.id else s for i, s in scope.evidence.items()}
    active = {**scope.active, signal.subject: signal}
    return scope.model_copy(update={"active": active, "evidence": evidence, "judged": None})


def calmed(scope: Scope, name: str, former: Former | None) -> Scope:
    """Return what is left of a scope when its incident is over, or never was: what is muted may fire on."""
    active = {subject: signal for subject, signal in scope.active.items() if signal.entity.scope == name}
    return Scope(
        changes=scope.changes,
        former=former,
        active=active,
        evidence={signal.id: signal for signal in active.values()},
        joined=len(active),
    )


def with_member(lead: Scope, cause: str, member: Scope, name: str) -> Scope:
    """Give the scope of the cause what another scope holds, members of its own included."""
    return lead.model_copy(
        update={
            "active": {**lead.active, **member.active},
            "evidence": strongest({**lead.evidence, **member.evidence}, cause),
            "joined": lead.joined + member.joined,
            "judged": None,
            "members": tuple(sorted({*lead.members, name, *member.members})),
        }
    )


def parted(lead: Scope, name: str, member: Scope, incident: str) -> Scope:
    """Give a member back what of its own still fires."""
    active = {subject: signal for subject, signal in lead.active.items() if signal.entity.scope == name}
    return member.model_copy(
        update={
            "follows": None,
            "active": active,
            "evidence": {signal.id: signal for signal in active.values()},
            "joined": len(active),
            "split_from": incident if active else None,
        }
    )


def own_trouble(lead: Scope, name: str, member: Scope, rules: CorrelateRules) -> list[Signal]:
    """Return what fires in a member since a change of its own: where it would open an incident, it is one."""
    changes = member.changes
    since = [s for s in lead.loud if s.entity.scope == name and _came_after(s.onset_unix_nano, changes, rules)]
    return since if len({signal.witness for signal in since}) > 1 else []


def departed(lead: Scope, name: str, trouble: Sequence[Signal]) -> Scope:
    """Take what fires in a member, and its own trouble, out of the scope that it has followed."""
    theirs = {signal.id for signal in trouble}
    return lead.model_copy(
        update={
            "active": {subject: signal for subject, signal in lead.active.items() if signal.entity.scope != name},
            "evidence": {i: signal for i, signal in lead.evidence.items() if i not in theirs},
            "members": tuple(member for member in lead.members if member != name),
            "judged": None,
            "urgent": True,
        }
    )


def splits_at(scope: Scope, since: int, rules: CorrelateRules) -> int:
    """Event time at which what only members fire since `since` is no effect any more.

    What is measured here clears by itself. Of an alert another system tells the end, and it takes its time.
    """
    alerts_alone = all(signal.kind == "alert" for signal in scope.loud)
    return since + rules.split_after + (rules.alert_lag if alerts_alone else 0)


def onset(scope: Scope) -> int:
    """Event time of the first abnormal evidence."""
    if scope.incident is not None:
        return scope.incident.onset_unix_nano
    return min(signal.onset_unix_nano for signal in heard(tuple(scope.evidence.values())))


# Of evidence that supports and never suffices: an instance that handed its work to another is silent, too.
NEVER = 2**63 - 1


def opens_at(scope: Scope, rules: CorrelateRules) -> int:
    """Event time at which this evidence suffices to open an incident."""
    active = scope.loud
    # What mostly raises false alarms is no witness: it has to last, whatever else like it there is.
    believed = [s for s in active if f"{s.entity.scope}:{s.name}" not in rules.doubted]
    if len({signal.witness for signal in active}) > 1 and believed:
        # Instances judged as a whole say that something is wrong, not what: a series that does may be on its way.
        named = any(signal.name != ENTITY for signal in active)
        return 0 if named else min(signal.time_unix_nano for signal in active) + rules.group_wait
    if all(s.name == SILENCE for s in active):
        return NEVER
    if any(s.kind == "alert" for s in believed):
        return min(s.time_unix_nano for s in believed) + rules.group_wait
    return min(s.time_unix_nano for s in active) + corroboration.wait(active, rules.lone_wait)


def has_own_cause(scope: Scope, rules: CorrelateRules) -> bool:
    """Whether a change of its own came before its trouble: then it is no effect of another's."""
    return _came_after(onset(scope), scope.changes, rules)


def revision(name: str, scope: Scope, now: int, rules: CorrelateRules, ties: Ties) -> Incident:
    """Make the next revision of a scope's incident; `ties` are those of its members' services with its own."""
    signals = sorted(scope.evidence.values(), key=lambda s: (s.time_unix_nano, s.id))
    own = heard([signal for signal in signals if signal.entity.scope == name])
    loud = heard(signals)
    first, current = own[0], scope.incident
    # A signal may be played before the watermark has reached its time; nothing is known before it is seen.
    at = max(now, *(s.time_unix_nano for s in signals))
    began = onset(scope)
    # Counted from the onset, not from now: a cause does not cease to be one because its effects last.
    changes = [c for c in scope.changes if c.onset_unix_nano >= began - rules.change_window]
    classification = classify(own, changes, rules.rule_records)
    severity, because = assess(name, loud, changes, rules.context, began)
    former = _recurs(scope.former, own, began, rules)
    others = dict.fromkeys(signal.entity.service for signal in loud)
    return Incident(
        id=current.id if current else incident_id(name, began, scope.split_from),
        revision=current.revision + 1 if current else 1,
        status="open",
        environment=first.entity.environment,
        service=first.entity.service,
        onset_unix_nano=began,
        opened_unix_nano=current.opened_unix_nano if current else at,
        updated_unix_nano=at,
        severity=severity,
        severity_because=because,
        support=corroboration.support(own, at, rules.lone_wait),
        recurrence=former.recurrence + 1 if former else 0,
        recurrence_of=former.id if former else None,
        split_from=scope.split_from,
        services=tuple(dict.fromkeys([first.entity.service, *others])),
        services_because=tuple(
            ties.why(other, name.partition("/")[2]) for other in others if other != first.entity.service
        ),
        title=_title(name, own, classification, len(others) - 1),
        profile={} if scope.profile is None else dict(scope.profile.attributes),
        classification=classification,
        root_causes=rank_causes(loud, changes, ties.calls, ties.upstream),
        depends_on=ties.upstream,
        signals=tuple(sorted((*changes, *signals), key=lambda s: (s.time_unix_nano, s.id))),
        signal_count=scope.joined,
        active_subjects=tuple(sorted(signal.subject for signal in scope.loud)),
        acknowledged_by=tuple(sorted({s.acknowledged_by for s in signals if s.acknowledged_by})),
        models=rules.models,
    )


def ended(incident: Incident, now: int, *, merged_into: str | None = None) -> Incident:
    """Make the last revision of an incident."""
    at = max(now, incident.updated_unix_nano)
    update = {"revision": incident.revision + 1, "updated_unix_nano": at}
    if merged_into is not None:
        return incident.model_copy(update={**update, "status": "merged", "merged_into": merged_into})
    return incident.model_copy(update={**update, "status": "resolved", "resolved_unix_nano": at})


def former(resolved: Incident) -> Former:
    """Return what is kept of an incident that is over."""
    firing = frozenset(signal.subject for signal in resolved.signals if signal.state == "firing")
    at = resolved.resolved_unix_nano or resolved.updated_unix_nano
    return Former(id=resolved.id, resolved_unix_nano=at, recurrence=resolved.recurrence, subjects=firing)


def has_grown(scope: Scope) -> bool:
    """Tell whether enough has come since the last judgement for the class to be another."""
    return scope.judged is None or scope.joined - scope.judged > scope.judged // JUDGEMENTS_PER_DOUBLING


def says_the_same(one: Incident, other: Incident) -> bool:
    """Whether nothing that matters to a subscriber differs."""
    return _state(one) == _state(other)


def is_news(one: Incident, other: Incident) -> bool:
    """Whether a revision says what cannot wait: another class, another severity, other services."""
    return _news(one) != _news(other)


def strongest(evidence: dict[str, Signal], name: str) -> dict[str, Signal]:
    """At most `MAX_SIGNALS` signals: the least probable under calm, ties by id; half of the room is for its own."""
    if len(evidence) <= MAX_SIGNALS:
        return evidence
    ranked = sorted(evidence.values(), key=lambda s: (1.0 if s.p_value is None else s.p_value, s.id))
    own = [signal for signal in ranked if signal.entity.scope == name]
    others = [signal for signal in ranked if signal.entity.scope != name]
    others = others[: max(MAX_SIGNALS // 2, MAX_SIGNALS - len(own))]
    return {signal.id: signal for signal in (*own[: MAX_SIGNALS - len(others)], *others)}


def _news(incident: Incident) -> tuple[object, ...]:
    contested = tuple(signal.id for signal in incident.signals if signal.contested)
    return incident.classification.label, incident.severity, incident.services, contested


def _state(incident: Incident) -> tuple[object, ...]:
    return (
        incident.active_subjects,
        incident.signal_count,
        incident.acknowledged_by,
        incident.classification,
        incident.profile,
        *_news(incident),
    )


def _came_after(began: int, changes: Sequence[Signal], rules: CorrelateRules) -> bool:
    return any(began - rules.change_window <= change.onset_unix_nano <= began for change in changes)


def _recurs(former: Former | None, signals: Sequence[Signal], began: int, rules: CorrelateRules) -> Former | None:
    """Return the former incident if this one is the same trouble again."""
    if former is None or began - former.resolved_unix_nano > rules.recurrence_window:
        return None
    return former if any(signal.subject in former.subjects for signal in signals) else None


def _title(scope: str, signals: Sequence[Signal], classification: Classification, others: int) -> str:
    names = list(dict.fromkeys(s.name for s in signals))
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    felt = f", felt by {others} other{'s' * (others > 1)}" if others else ""
    return f"{classification.label.replace('_', ' ')} in {scope}: {shown}{felt}"[:1024]
