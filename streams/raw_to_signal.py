"""The detect stage: raw telemetry in, signals and watermarks out. The thinking is in the kernels."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from math import inf

from detectors.bank import BankSettings, Thresholds
from detectors.objectives import Objective
from detectors.witnesses import WitnessSettings
from schemas.envelope import NANOS
from schemas.topics import RAW_ALERTS, RAW_LOGS, RAW_METRICS, RAW_SPANS
from streams.course import Course
from streams.kernel.detect import STAGE, DetectRules
from streams.kernel.detect_alerts import AlertDetect
from streams.kernel.detect_logs import LogDetect
from streams.kernel.detect_metrics import MetricDetect
from streams.kernel.detect_spans import SpanDetect
from streams.settings import ObjectiveSettings
from streams.stage import Lane, Stage

# Telemetry never pauses. Of a steady stream a shorter pace makes smaller batches, which cost more than they hold: at
# 50,000 samples/s half of it took a fifth more of the processor and gained no latency (`python -m benchmarks.latency`).
PACE_SECONDS = 0.02


def stage(course: Course, signal_partitions: int) -> Stage:
    """Make the detect stage.

    Args:
        course: all settings, over event time.
        signal_partitions: how many partitions the signals topic has on the broker: each gets every watermark.

    """
    rules = rules_of(course, signal_partitions)
    return Stage(
        STAGE,
        (
            Lane("metrics", (RAW_METRICS,), partial(MetricDetect, rules)),
            Lane("logs", (RAW_LOGS,), partial(LogDetect, rules)),
            Lane("spans", (RAW_SPANS,), partial(SpanDetect, rules)),
            Lane("alerts", (RAW_ALERTS,), partial(AlertDetect, rules)),
        ),
        PACE_SECONDS,
    )


def rules_of(course: Course, signal_partitions: int) -> DetectRules:
    """Durations and sizes as the kernels count them."""
    settings = course.base.detect
    return DetectRules(
        signal_partitions=signal_partitions,
        bank=BankSettings(
            tick_nanos=int(settings.tick_seconds * NANOS),
            lateness_nanos=int(settings.lateness_seconds * NANOS),
            window=settings.window,
            warmup=settings.warmup,
            adapt_ticks=int(settings.adapt_seconds / settings.tick_seconds),
            thresholds_at=_thresholds(course),
        ),
        witnesses=WitnessSettings(
            max_entities=settings.max_entities,
            max_metrics=settings.max_metrics_per_entity,
            false_signals_per_day=settings.witness_false_signals_per_day,
            objectives=tuple(_objective(one) for one in settings.objectives),
        ),
        max_series=settings.max_series,
        series_ttl=int(settings.series_ttl_seconds * NANOS),
        future_limit=int(settings.future_seconds * NANOS),
        quiet_after=int(settings.quiet_seconds * NANOS),
        process_learning=int(settings.process_learning_seconds * NANOS),
        session_attributes=tuple(settings.session_attributes),
        session_idle=int(settings.session_idle_seconds * NANOS),
        span_tick=int(settings.span_tick_seconds * NANOS),
        span_wait=int(settings.span_wait_seconds * NANOS),
        max_spans=settings.max_spans,
        max_span_names=settings.max_span_names_per_service,
        max_calls=settings.max_calls,
    )


def _thresholds(course: Course) -> Callable[[int], Thresholds]:
    """Tell the bank what may be learnt; everything else of it stays as it was made."""

    def at(time_unix_nano: int) -> Thresholds:
        now = course.at(time_unix_nano)
        return Thresholds(now.settings.detect.max_false_share, now.models("detect"))

    return at


def _objective(said: ObjectiveSettings) -> Objective:
    return Objective(
        metric=said.metric,
        service=said.service,
        above=inf if said.above is None else said.above,
        below=-inf if said.below is None else said.below,
    )
