"""The rails: limits that hold whatever the tier. On by default.

`evaluate` is pure: it takes what has happened so far (`RailsSnapshot`), the limits and the time, and gives one check
a rail. The policy calls it to decide; the executor calls it again, with a fresh snapshot, before the first change. A
rail that fails either holds the action (a person said so, or waiting helps) or escalates (a person is needed).
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, time, timedelta
from fnmatch import fnmatchcase
from typing import Annotated, Literal, NamedTuple

from pydantic import AwareDatetime, BaseModel, ConfigDict, Field

from schemas.action import Tier
from schemas.decision import Check
from schemas.envelope import NANOS, Entity, TimeUnixNano
from schemas.outcome import Result

Seconds = Annotated[float, Field(gt=0)]
Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(gt=0, le=1)]
Weekday = Literal["monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday"]

_DAYS: tuple[Weekday, ...] = ("monday", "tuesday", "wednesday", "thursday", "friday", "saturday", "sunday")


class Group(BaseModel):
    """A group of settings: a misspelt name is an error, not a silent default."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class MaintenanceWindow(Group):
    """A time at which nothing is touched: once (`begins`, `ends`), or every week (`days`, `at`, `hours`; UTC)."""

    environment: str = "*"
    """Pattern of the environments it holds in."""
    service: str = "*"
    """Pattern of the services it holds for."""
    begins: AwareDatetime | None = None
    """When it begins, if it is once."""
    ends: AwareDatetime | None = None
    """When it ends, if it is once."""
    days: tuple[Weekday, ...] = ()
    """Weekdays on which it begins, if it is every week."""
    at: time = time(0)
    """Time of day at which it begins on those days."""
    hours: Annotated[float, Field(gt=0, le=24)] = 24.0
    """How long it lasts from then."""

    def covers(self, target: Entity, now: datetime) -> bool:
        """Whether it holds for the target at this time."""
        if not (fnmatchcase(target.environment, self.environment) and fnmatchcase(target.service, self.service)):
            return False
        if self.begins is not None and self.ends is not None and self.begins <= now < self.ends:
            return True
        return any(self._begun_on(now.date().toordinal() - back, now) for back in (0, 1))

    def _begun_on(self, ordinal: int, now: datetime) -> bool:
        day = datetime.combine(datetime.fromordinal(ordinal), self.at, UTC)
        return _DAYS[day.weekday()] in self.days and day <= now < day + timedelta(hours=self.hours)


class RailsSettings(Group):
    """Limits on what is done automatically or by approval."""

    protected: tuple[str, ...] = ()
    """Targets never touched: patterns of environment/service or environment/service/instance."""
    freeze: bool = False
    """Nothing is touched anywhere."""
    maintenance: tuple[MaintenanceWindow, ...] = ()
    max_actions_per_hour: Count = 20
    """Over everything."""
    max_target_actions_per_hour: Count = 3
    """On one service."""
    cooldown_seconds: Annotated[float, Field(ge=0)] = 300.0
    """After a verified success the target is left alone for this long: alerts lag behind the repair."""
    backoff_seconds: Seconds = 60.0
    """After one failure; doubled by each further one in a row."""
    max_backoff_seconds: Seconds = 600.0
    """However many failures in a row, no longer than this."""
    failure_budget: Count = 3
    """Failed, reverted and inconclusive actions on one target within `budget_window_seconds`; then it is blocked."""
    budget_window_seconds: Seconds = 3600.0
    """How long a failure counts."""
    playbook_failure_budget: Count = 5
    """The same for one playbook over all targets: then the playbook is at fault."""
    recurrence_limit: Count = 5
    """Successes on one target within `recurrence_window_seconds`: it keeps coming back, so a person is needed."""
    recurrence_window_seconds: Seconds = 4 * 3600.0
    """How long a success counts."""
    max_broken_services: Count = 10
    """More open incidents than this at a time mean something more fundamental: a person, not an action."""
    max_broken_share: Share = 0.4
    """The same, of the services known in the environment; counted from `min_known_services` on."""
    min_known_services: Count = 5
    """Below this a share says nothing: one of two services is half of them."""
    storm_incidents: Count = 10
    """Incidents opened within `storm_window_seconds` that make a storm: no new action until it is over."""
    storm_window_seconds: Seconds = 60.0
    """Within which incidents are counted."""
    storm_cooldown_seconds: Seconds = 300.0
    """A storm is over when this long has passed since the last time it was one."""
    max_unavailable_share: Share = 0.34
    """Of a service's instances, at most this share out of service at a time, the one acted on included."""
    dependency_window_seconds: Seconds = 600.0
    """What a service depends on comes first where its trouble began within this long of the service's own."""
    redundancy_floor: Count = 1
    """At least this many of a service's instances stay in service."""


class Attempt(Group):
    """An action already asked for on behalf of the incident at hand; no result while it is at work."""

    playbook: str
    playbook_version: int
    step: str
    action_id: str
    decision_id: str
    until_unix_nano: TimeUnixNano
    """Without a result by then it was lost on the way: the same action may be asked for again."""
    result: Result | None = None


class Upstream(Group):
    """A service that the target depends on, and that has an open incident."""

    service: str
    onset_unix_nano: TimeUnixNano | None
    """When that began; None while nothing of it fires."""
    at_work: bool = False
    """Whether an action is at work on it."""


class RailsSnapshot(Group):
    """What has happened so far, as far as the rails care. All about one target, but for the first group."""

    actions_last_hour: int = 0
    broken_services: int = 0
    known_services: int = 0
    storm_until_unix_nano: TimeUnixNano | None = None

    stops: tuple[str, ...] = ()
    """Controls in force at the target's scope, in words."""
    pin: Tier | None = None
    """Tier that a person pinned for the playbook on this scope."""
    locked_by: str | None = None
    target_actions_last_hour: int = 0
    last_success_unix_nano: TimeUnixNano | None = None
    last_failure_unix_nano: TimeUnixNano | None = None
    consecutive_failures: int = 0
    failures_in_window: int = 0
    successes_in_window: int = 0
    playbook_failures_in_window: int = 0
    """Of the playbook, on any target."""
    attempts: tuple[Attempt, ...] = ()
    """Of this incident, oldest first."""
    onset_unix_nano: TimeUnixNano | None = None
    """When this incident began; None where it is not known."""
    upstream: tuple[Upstream, ...] = ()
    """What of that which the target depends on has an open incident."""
    refused: str = ""
    """Why an executor refused the action for this incident, if it did so for good."""
    not_served: frozenset[str] = frozenset()
    """Playbooks whose system did not know the target when it was last asked."""


# `hold`: waiting helps, or a person said so; `escalate`: a person is needed; `expire`: the command is too old; `busy`:
# another action is in the way. The policy knows the first two, the executor all of them.
OnFailure = Literal["hold", "escalate", "expire", "busy"]


class Rail(NamedTuple):
    """One check and what its failure means."""

    check: Check
    on_failure: OnFailure


def evaluate(target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, now_unix_nano: int) -> tuple[Rail, ...]:
    """Check every rail."""
    return tuple(rail(target, snapshot, settings, now_unix_nano) for rail in _RAILS)


def redundancy_kept(healthy: int, total: int, taken_by_others: int, settings: RailsSettings) -> Rail:
    """Check that a service can spare one more instance.

    Args:
        healthy: instances in service now, the one to be acted on included.
        total: all instances.
        taken_by_others: instances that other actions are about to take out, which may not show yet.
        settings: the share and the floor.

    """
    left = healthy - taken_by_others - 1
    share = (total - left) / total if total else 1.0
    enough = left >= settings.redundancy_floor and share <= settings.max_unavailable_share
    detail = (
        f"{left} of {total} instances would stay in service; {settings.redundancy_floor} needed, "
        f"and at most {settings.max_unavailable_share:.0%} out"
    )
    return _rail("redundancy_kept", enough, detail, "escalate")


def _rail(name: str, holds: bool, detail: str, on_failure: OnFailure = "hold") -> Rail:
    return Rail(Check(name=name, passed=holds, detail=detail), on_failure)


def _not_stopped(_target: Entity, snapshot: RailsSnapshot, _settings: RailsSettings, _now: int) -> Rail:
    return _rail("not_stopped", not snapshot.stops, "; ".join(snapshot.stops) or "no stop in force")


def _not_frozen(_target: Entity, _snapshot: RailsSnapshot, settings: RailsSettings, _now: int) -> Rail:
    return _rail("not_frozen", not settings.freeze, "freeze is set" if settings.freeze else "no freeze")


def _not_protected(target: Entity, _snapshot: RailsSnapshot, settings: RailsSettings, _now: int) -> Rail:
    names = {target.scope, str(target)}
    hit = next((pattern for pattern in settings.protected if any(fnmatchcase(name, pattern) for name in names)), None)
    detail = f"{target} matches no protected pattern" if hit is None else f"{target} is protected by {hit!r}"
    return _rail("not_protected", hit is None, detail, "escalate")


def _no_maintenance(target: Entity, _snapshot: RailsSnapshot, settings: RailsSettings, now: int) -> Rail:
    moment = datetime.fromtimestamp(now / NANOS, UTC)
    covered = any(window.covers(target, moment) for window in settings.maintenance)
    return _rail("no_maintenance", not covered, f"{target} is in maintenance" if covered else "no window is open")


def _not_too_much_broken(_target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, _now: int) -> Rail:
    broken, known = snapshot.broken_services, snapshot.known_services
    allowed = settings.max_broken_services
    if known >= settings.min_known_services:
        allowed = min(allowed, int(known * settings.max_broken_share))
    detail = f"{broken} of {known} services have an open incident, {allowed} allowed"
    return _rail("not_too_much_broken", broken <= allowed, detail, "escalate")


def _no_storm(_target: Entity, snapshot: RailsSnapshot, _settings: RailsSettings, now: int) -> Rail:
    until = snapshot.storm_until_unix_nano or 0
    storm = now < until
    return _rail("no_storm", not storm, f"storm for {_seconds(until - now)} more" if storm else "no storm")


def _global_rate(_target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, _now: int) -> Rail:
    done, allowed = snapshot.actions_last_hour, settings.max_actions_per_hour
    return _rail("global_rate", done < allowed, f"{done} actions within the hour, {allowed} allowed", "escalate")


def _target_rate(target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, _now: int) -> Rail:
    done, allowed = snapshot.target_actions_last_hour, settings.max_target_actions_per_hour
    detail = f"{done} actions on {target.scope} within the hour, {allowed} allowed"
    return _rail("target_rate", done < allowed, detail, "escalate")


def _cooled_down(_target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, now: int) -> Rail:
    until = (snapshot.last_success_unix_nano or 0) + int(settings.cooldown_seconds * NANOS)
    early = snapshot.last_success_unix_nano is not None and now < until
    return _rail("cooled_down", not early, f"{_seconds(until - now)} of cool-down left" if early else "no cool-down")


def _backed_off(_target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, now: int) -> Rail:
    failures = snapshot.consecutive_failures
    # 2 ** 30 backs off for a thousand years of any setting: the cap below is what counts.
    wait = min(settings.backoff_seconds * 2 ** min(max(failures - 1, 0), 30), settings.max_backoff_seconds)
    until = (snapshot.last_failure_unix_nano or 0) + int(wait * NANOS)
    early = failures > 0 and now < until
    detail = f"{failures} failures in a row, {_seconds(until - now)} of back-off left" if early else "no back-off"
    return _rail("backed_off", not early, detail)


def _within_failure_budget(_target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, _now: int) -> Rail:
    spent, allowed = snapshot.failures_in_window, settings.failure_budget
    detail = f"{spent} of {allowed} failures spent within {settings.budget_window_seconds:g} s"
    return _rail("within_failure_budget", spent < allowed, detail, "escalate")


def _within_playbook_budget(_target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, _now: int) -> Rail:
    spent, allowed = snapshot.playbook_failures_in_window, settings.playbook_failure_budget
    detail = f"the playbook failed {spent} times on any target within {settings.budget_window_seconds:g} s"
    return _rail("within_playbook_budget", spent < allowed, f"{detail}, {allowed} allowed", "escalate")


def _not_recurring(_target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, _now: int) -> Rail:
    times, allowed = snapshot.successes_in_window, settings.recurrence_limit
    detail = f"mitigated {times} times within {settings.recurrence_window_seconds:g} s, {allowed} allowed"
    return _rail("not_recurring", times < allowed, detail, "escalate")


def _target_free(_target: Entity, snapshot: RailsSnapshot, _settings: RailsSettings, _now: int) -> Rail:
    return _rail("target_free", snapshot.locked_by is None, snapshot.locked_by or "no other action holds the target")


def _dependency_order(_target: Entity, snapshot: RailsSnapshot, settings: RailsSettings, _now: int) -> Rail:
    window, began = settings.dependency_window_seconds, snapshot.onset_unix_nano
    first: dict[str, str] = {}
    for one in snapshot.upstream:
        if one.at_work:
            first[one.service] = "an action is at work on it"
        elif one.onset_unix_nano and (began is None or abs(one.onset_unix_nano - began) <= window * NANOS):
            first[one.service] = f"it fires, and began within {window:g} s of this"
    told = "; ".join(f"{service} comes first: {why}" for service, why in first.items())
    return _rail("dependency_order", not first, told or "nothing that it depends on comes first")


def _not_refused(_target: Entity, snapshot: RailsSnapshot, _settings: RailsSettings, _now: int) -> Rail:
    told = f"an executor refused it: {snapshot.refused}" if snapshot.refused else "no executor has refused it for good"
    return _rail("not_refused", not snapshot.refused, told, "escalate")


def _seconds(nanos: int) -> str:
    return f"{nanos / NANOS:.1f} s"


_RAILS: tuple[Callable[[Entity, RailsSnapshot, RailsSettings, int], Rail], ...] = (
    _not_stopped,
    _not_frozen,
    _not_protected,
    _no_maintenance,
    _not_too_much_broken,
    _no_storm,
    _global_rate,
    _target_rate,
    _cooled_down,
    _backed_off,
    _within_failure_budget,
    _within_playbook_budget,
    _not_recurring,
    _target_free,
    _dependency_order,
    _not_refused,
)
