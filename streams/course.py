"""Settings in the course of event time: what people set, and over it what was learnt, from when to when.

Kernels ask for the settings of the event time at hand, so a version takes effect at one place in the stream, the same
for every partition, worker and replay: a worker hears of it before its telemetry gets there (`streams.model_watch`).
One that hears of it too late takes it up at once, and its records name the versions that made them.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import NamedTuple

from pydantic import ValidationError

from learning.timeline import Live, Timeline
from schemas.codec import describe
from schemas.model import ModelVersion
from streams.settings import LEARNT, Settings, is_set, with_learnt

log = logging.getLogger(__name__)


class InForce(NamedTuple):
    """What holds at some event time."""

    settings: Settings
    live: Live

    def models(self, group: str) -> tuple[str, ...]:
        """Name the versions that set something in a group of settings."""
        return tuple(one.id for one in self.live if any(name.startswith(f"{group}.") for name in one.parameters))


class Course:
    """What holds when."""

    def __init__(self, base: Settings, versions: Iterable[ModelVersion] = (), *, over_all: bool = False) -> None:
        """Begin with what people set, and the versions known so far.

        What people have set stands, whatever was learnt; but for `over_all`: of a day when they had not set it yet.
        """
        self.base = base
        names = (name for names in LEARNT.values() for name in names)
        self._free = frozenset(name for name in names if over_all or not is_set(base, name))
        self._timeline = Timeline(versions)
        self._known: dict[tuple[str, ...], InForce] = {}

    def hear(self, version: ModelVersion) -> None:
        """Take one more version in. May be called from another thread: kernels see all of it or nothing."""
        self._timeline = self._timeline.and_then(version)

    @property
    def held(self) -> tuple[object, ...]:
        """What tells this course from others of the same settings."""
        return self._timeline.spans

    def at(self, time_unix_nano: int) -> InForce:
        """Give what holds at an event time."""
        live = self._timeline.at(time_unix_nano)
        identities = tuple(one.id for one in live)
        found = self._known.get(identities)
        if found is None:
            found = self._known[identities] = self._make(live)
        return found

    def _make(self, live: Live) -> InForce:
        settings, effective = self.base, []
        for one in live:
            parameters = {name: value for name, value in one.parameters.items() if name in self._free}
            if parameters:
                try:
                    settings = with_learnt(settings, one.kind, parameters)
                except ValidationError as error:  # whoever wrote it: nothing stands still for it
                    log.error("%s %s is passed over: %s", one.kind, one.id, describe(error))  # noqa: TRY400 - said in full
                    continue
                effective.append(one.model_copy(update={"parameters": parameters}))
        return InForce(settings, tuple(effective))
