"""The correlate stage: signals in, incident revisions out. The thinking is in `streams.kernel.correlate`.

Event time decides everything but one thing: how long to wait, by this process's clock, for a source that has fallen
silent. That is decided here, and said on the topic `signals` itself: incidents are made only of what lies there, in its
order, so that whoever reads the same partition makes the same incidents, byte for byte.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic

from detectors.inhibition import Rule, matcher
from detectors.severity import Context, Window
from detectors.topology import Calls, parse
from schemas.envelope import NANOS
from schemas.errors import ConfigurationError
from schemas.signal import Progress, Signal
from schemas.topics import INCIDENTS, SIGNALS, Topic
from streams.course import Course
from streams.kernel.base import Emit, Output, RecordKernel
from streams.kernel.correlate import Correlator, CorrelatorState, RulesAt
from streams.kernel.grouping import CorrelateRules
from streams.settings import CorrelateSettings, InhibitSettings
from streams.stage import Lane, Stage

log = logging.getLogger(__name__)


class Correlate(RecordKernel):
    """One partition of signals."""

    stage = "correlate"

    def __init__(
        self,
        rules: CorrelateRules | RulesAt,
        partition: int = 0,
        *,
        max_hold_seconds: float,
        clock: Callable[[], float] = monotonic,
        calls: Calls | None = None,
        state: bytes | None = None,
    ) -> None:
        saved = None if state is None else CorrelatorState.model_validate_json(state)
        self._correlator = Correlator(rules, saved, calls)
        self._partition = partition
        self._max_hold = max_hold_seconds
        self._clock = clock
        self._held: tuple[int | None, float] = (None, clock())  # the oldest waiting signal, and since when
        self._stood: tuple[int, float] = (self._correlator.watermark, clock())  # the watermark, and since when

    def one(self, topic: Topic, record: Signal | Progress) -> list[Output]:  # noqa: ARG002 - there is only one
        excused = isinstance(record, Progress) and record.excuses
        taken = self._correlator.excuse(record.time_unix_nano) if excused else self._correlator.take(record)
        return [Emit(INCIDENTS, incident.environment.encode(), incident) for incident in taken]

    def wake(self, quiet_seconds: float) -> list[Output]:  # noqa: ARG002 - progress records say more than silence
        return [*self._excuse_signals(), *self._excuse_timers()]

    @property
    def waits(self) -> bool:
        """Whether the passing of time alone may bring something about."""
        return self._correlator.next_signal is not None or self._correlator.next_timer is not None

    def snapshot(self) -> bytes:
        return self._correlator.snapshot().model_dump_json().encode()

    def _excuse_signals(self) -> list[Output]:
        oldest, now = self._correlator.next_signal, self._clock()
        if oldest is None or oldest != self._held[0]:
            self._held = (oldest, now)
            return []
        if now - self._held[1] <= self._max_hold:
            return []
        log.info("waited %.1f s for sources behind %d: going on without them", self._max_hold, oldest)
        self._held = (oldest, now)  # said again if it does not get here in as long
        return self._excuse(oldest)

    def _excuse_timers(self) -> list[Output]:
        """Let a timer fire that no record will: all sources are silent, and as much time has passed by the clock."""
        reached, due, now = self._correlator.watermark, self._correlator.next_timer, self._clock()
        if reached != self._stood[0]:
            self._stood = (reached, now)
        if due is None or now - self._stood[1] - self._max_hold < (due - reached) / NANOS:
            return []
        self._stood = (reached, now)
        return self._excuse(due)

    def _excuse(self, until: int) -> list[Output]:
        source = f"{self.stage}/{self._partition}"
        record = Progress(source=source, time_unix_nano=until, idle=True, excuses=True)
        return [Emit(SIGNALS, source.encode(), record, self._partition)]


def stage(course: Course) -> Stage:
    """Make the correlate stage."""
    make = maker(course)
    return Stage(Correlate.stage, (Lane("signals", (SIGNALS,), make),))


def maker(course: Course, clock: Callable[[], float] = monotonic) -> Callable[[int, bytes | None], Correlate]:
    """Tell how to make the kernel of a partition; a replay brings a clock of its own."""
    settings = course.base.correlate
    hold, calls = settings.max_hold_seconds, calls_of(settings)
    made: dict[tuple[str, ...], CorrelateRules] = {}

    def rules(time_unix_nano: int) -> CorrelateRules:
        now = course.at(time_unix_nano)
        key = now.models("correlate")
        return (
            made[key]
            if key in made
            else made.setdefault(key, rules_of(now.settings.correlate, key, now.settings.policy.rails.maintenance))
        )

    def make(partition: int, state: bytes | None) -> Correlate:
        return Correlate(rules, partition, max_hold_seconds=hold, clock=clock, calls=calls, state=state)

    return make


def calls_of(settings: CorrelateSettings) -> Calls:
    """Read the file of which services call which, if there is one.

    Raises:
        ConfigurationError: it cannot be read, or says something else.

    """
    path = settings.topology
    if path is None:
        return {}
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"correlate.topology: {error}") from None
    return parse(text, str(path))


def rules_of(
    settings: CorrelateSettings, models: tuple[str, ...] = (), maintenance: tuple[Window, ...] = ()
) -> CorrelateRules:
    """Return the settings as the kernel has them; `models` set some of them.

    Raises:
        ConfigurationError: a matcher of a rule of inhibition is none.

    """
    return CorrelateRules(
        group_wait=int(settings.group_wait_seconds * NANOS),
        group_interval=int(settings.group_interval_seconds * NANOS),
        repeat_interval=int(settings.repeat_interval_seconds * NANOS),
        lone_wait=int(settings.lone_wait_seconds * NANOS),
        change_window=int(settings.change_window_seconds * NANOS),
        resolve_after=int(settings.resolve_after_seconds * NANOS),
        recurrence_window=int(settings.recurrence_seconds * NANOS),
        join_window=int(settings.join_within_seconds * NANOS),
        split_after=int(settings.split_after_seconds * NANOS),
        alert_lag=int(settings.alert_lag_seconds * NANOS),
        learn_links=settings.learn_links,
        inhibit=tuple(_rule(one) for one in settings.inhibit),
        doubted=frozenset(settings.doubted),
        rule_records=settings.rule_records,
        models=models,
        context=Context(
            critical=settings.critical_services,
            minor=settings.minor_services,
            rehearsal=settings.rehearsal_environments,
            wide=settings.wide_instances,
            maintenance=maintenance,
            quiet_hours=settings.quiet_hours,
        ),
    )


def _rule(settings: InhibitSettings) -> Rule:
    sources, targets = (tuple(map(matcher, said)) for said in (settings.source_matchers, settings.target_matchers))
    return Rule(sources, targets, settings.equal)
