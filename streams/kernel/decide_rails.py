"""What has happened so far, as far as the rails care, kept so that a look at it costs the same however much there is.

A fold of incidents and outcomes for the decide stage. Over everything means over an environment here: all of one lies
in one partition, so what is decided about it is the same whatever else the partition holds. Executors ask the memory
in Redis (`actions.rails_store`), which covers all environments, before each change.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from typing import Any

from actions.rails import RailsSettings
from schemas.envelope import NANOS, Model
from schemas.incident import Incident
from schemas.outcome import Result
from streams.kernel.decide_scopes import Ending

HOUR_NANOS = 3600 * NANOS
_SUCCESS = frozenset({Result.VERIFIED})

Moments = list[tuple[int, str]]
"""Times with the identity of what happened then, in order."""


class SavedStorms(Model):
    """What `Storms` is made of again."""

    opened: tuple[tuple[int, str], ...] = ()
    until_unix_nano: int = 0


class Storms:
    """When the newest storm is over: many incidents opened within a short time, whatever became of them since."""

    def __init__(self, limits: RailsSettings, saved: SavedStorms) -> None:
        self._many = limits.storm_incidents
        self._window = int(limits.storm_window_seconds * NANOS)
        self._cooldown = int(limits.storm_cooldown_seconds * NANOS)
        self._opened: Moments = list(saved.opened)
        self._until = saved.until_unix_nano

    @property
    def saved(self) -> SavedStorms:
        return SavedStorms(opened=tuple(self._opened), until_unix_nano=self._until)

    @property
    def until_unix_nano(self) -> int | None:
        return self._until or None

    def note(self, incident: Incident) -> None:
        """Count an open incident once, whichever of its revisions comes first."""
        opened = self._opened
        moment = (incident.opened_unix_nano, incident.id)
        at = bisect_left(opened, moment)
        if at < len(opened) and opened[at] == moment:
            return
        opened.insert(at, moment)
        # One that comes late may have completed a window that ends later.
        for last in range(max(at, self._many - 1), min(at + self._many, len(opened))):
            if opened[last][0] - opened[last - self._many + 1][0] <= self._window:
                self._until = max(self._until, opened[last][0] + self._cooldown)
        # Of what is older any storm is over.
        del opened[: bisect_left(opened, (opened[-1][0] - self._window - self._cooldown, ""))]


class Tally:
    """Actions that were tried, on any service, and the failures of each playbook."""

    def __init__(self) -> None:
        self._tried: Moments = []
        self._failed: dict[str, Moments] = {}

    def add(self, ending: Ending) -> None:
        for moments in self._about(ending):
            insort(moments, _moment(ending))

    def remove(self, ending: Ending) -> None:
        for moments in self._about(ending):
            del moments[bisect_left(moments, _moment(ending))]
        if not self._failed.get(ending.playbook, True):
            del self._failed[ending.playbook]

    def tried_since(self, unix_nano: int) -> int:
        return _since(self._tried, unix_nano)

    def failed_since(self, playbook: str, unix_nano: int) -> int:
        return _since(self._failed.get(playbook, []), unix_nano)

    def _about(self, ending: Ending) -> list[Moments]:
        if not ending.tried:
            return []
        failed = [] if ending.result in _SUCCESS else [self._failed.setdefault(ending.playbook, [])]
        return [self._tried, *failed]


class Happened:
    """What happened in one environment."""

    def __init__(self, limits: RailsSettings, storms: SavedStorms | None = None) -> None:
        self._limits = limits
        self.storms = Storms(limits, storms or SavedStorms())
        self.tally = Tally()

    def facts(self, playbook: str | None, now: int) -> dict[str, Any]:
        """Say what the rails ask of all services together, by the names of `RailsSnapshot`."""
        budget_begins = now - int(self._limits.budget_window_seconds * NANOS)
        return {
            "actions_last_hour": self.tally.tried_since(now - HOUR_NANOS),
            "storm_until_unix_nano": self.storms.until_unix_nano,
            "playbook_failures_in_window": self.tally.failed_since(playbook, budget_begins) if playbook else 0,
        }


def on_target(endings: Iterable[Ending], limits: RailsSettings, now: int) -> dict[str, Any]:
    """Say what the actions on one target tell, by the names of `RailsSnapshot`."""
    tried = sorted((ending for ending in endings if ending.tried), key=lambda ending: ending.time_unix_nano)
    good = [ending.time_unix_nano for ending in tried if ending.result in _SUCCESS]
    bad = [ending.time_unix_nano for ending in tried if ending.result not in _SUCCESS]
    last_good = good[-1] if good else None
    budget, recurrence = (int(s * NANOS) for s in (limits.budget_window_seconds, limits.recurrence_window_seconds))
    return {
        "target_actions_last_hour": sum(ending.time_unix_nano >= now - HOUR_NANOS for ending in tried),
        "last_success_unix_nano": last_good,
        "last_failure_unix_nano": bad[-1] if bad else None,
        "consecutive_failures": sum(at > (last_good or 0) for at in bad),
        "failures_in_window": sum(at >= now - budget for at in bad),
        "successes_in_window": sum(at >= now - recurrence for at in good),
    }


def _moment(ending: Ending) -> tuple[int, str]:
    return ending.time_unix_nano, ending.id


def _since(moments: Moments, unix_nano: int) -> int:
    return len(moments) - bisect_left(moments, (unix_nano, ""))
