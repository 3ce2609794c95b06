"""The detect stage: raw metrics, logs and alerts in, signals and watermarks out. The thinking is in the kernels."""

from __future__ import annotations

from functools import partial

from detectors.bank import BankSettings
from schemas.envelope import NANOS
from schemas.topics import RAW_ALERTS, RAW_LOGS, RAW_METRICS
from streams.kernel.detect import STAGE, DetectRules, MetricDetect
from streams.kernel.detect_alerts import AlertDetect
from streams.kernel.detect_logs import LogDetect
from streams.settings import DetectSettings, Settings
from streams.stage import Lane, Stage


def stage(settings: Settings, signal_partitions: int) -> Stage:
    """Make the detect stage.

    Args:
        settings: all settings.
        signal_partitions: how many partitions the signals topic has on the broker: each gets every watermark.

    """
    rules = rules_of(settings.detect, signal_partitions)
    return Stage(
        STAGE,
        (
            Lane("metrics", (RAW_METRICS,), partial(MetricDetect, rules)),
            Lane("logs", (RAW_LOGS,), partial(LogDetect, rules)),
            Lane("alerts", (RAW_ALERTS,), partial(AlertDetect, rules)),
        ),
    )


def rules_of(settings: DetectSettings, signal_partitions: int) -> DetectRules:
    """Durations and sizes as the kernels count them."""
    return DetectRules(
        signal_partitions=signal_partitions,
        bank=BankSettings(
            tick_nanos=int(settings.tick_seconds * NANOS),
            lateness_nanos=int(settings.lateness_seconds * NANOS),
            window=settings.window,
            warmup=settings.warmup,
            false_signals_per_day=settings.false_signals_per_day,
            adapt_ticks=int(settings.adapt_seconds / settings.tick_seconds),
        ),
        max_series=settings.max_series,
        series_ttl=int(settings.series_ttl_seconds * NANOS),
        future_limit=int(settings.future_seconds * NANOS),
        quiet_after=int(settings.quiet_seconds * NANOS),
    )
