"""The stages by name, in the order of the picture: what `reflexarc worker --stage NAME` chooses from."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from redis.asyncio import Redis

from actions.rails_store import RailsStore
from streams import (
    decision_to_action,
    incident_to_decision,
    outcome_to_lesson,
    raw_to_signal,
    signal_to_incident,
)
from streams.course import Course
from streams.settings import Settings
from streams.stage import Stage


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What stages are made from."""

    course: Course
    signal_partitions: int
    control_partitions: int
    redis: Redis

    @property
    def settings(self) -> Settings:
        return self.course.base

    @property
    def rails(self) -> RailsStore:
        return RailsStore(self.redis, self.settings.policy.rails, prefix=self.settings.ledger.key_prefix)

    @property
    def lessons(self) -> outcome_to_lesson.Lessons:
        return outcome_to_lesson.Lessons(self.redis, self.settings.ledger.key_prefix)


STAGES: Mapping[str, Callable[[Surroundings], Stage]] = {
    "detect": lambda around: raw_to_signal.stage(around.course, around.signal_partitions),
    "correlate": lambda around: signal_to_incident.stage(around.course),
    "decide": lambda around: incident_to_decision.stage(around.course, around.rails, around.control_partitions),
    "act": lambda around: decision_to_action.stage(around.settings, around.rails),
    "learn": lambda around: outcome_to_lesson.stage(around.lessons),
}
