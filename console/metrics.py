"""The console's figures for Prometheus, read from the desk at each scrape.

Incidents and outcomes are those in the view, which is bounded: gauges, not totals since the beginning of time.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from console.desk import Desk
from console.measured import ReportCollector
from learning.measures import Report

PREFIX = "reflexarc_console"


class DeskCollector(Collector):
    """What the desk holds, as metric families."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    def collect(self) -> Iterable[Metric]:
        desk = self._desk
        yield _incidents(desk)
        yield _outcomes(desk)
        yield _gauge("stops_in_force", "Stops that nobody has lifted.", len(desk.view.stops_in_force()))
        yield _gauge("event_streams", "Open event streams: one per page that is open.", len(desk.hub))
        yield _gauge("connected", "1 while the brokers answer.", desk.feed_status.connected)
        yield _gauge("caught_up", "1 once the history has been read.", desk.feed_status.caught_up)
        yield _lag(desk)
        yield _invalid(desk)
        yield _webhooks(desk)


def render(desk: Desk, report: Report) -> bytes:
    """Write the figures in Prometheus' text format."""
    registry = CollectorRegistry()
    registry.register(DeskCollector(desk))
    registry.register(ReportCollector(report))
    return generate_latest(registry)


def _incidents(desk: Desk) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_incidents", "Incidents in the view.", labels=["status", "class"])
    counts = Counter((s.status, s.label) for s in desk.present.summaries())
    for labels, count in sorted(counts.items()):
        family.add_metric(labels, count)
    return family


def _outcomes(desk: Desk) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_outcomes", "Outcomes of actions in the view.", labels=["result"])
    counts = Counter(outcome.result.value for case in desk.view.cases() for outcome in case.outcomes.values())
    for result, count in sorted(counts.items()):
        family.add_metric([result], count)
    return family


def _lag(desk: Desk) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_consumer_lag_records", "Records not yet read.", labels=["topic"])
    for topic, records in sorted(desk.feed_status.lag.items()):
        family.add_metric([topic], records)
    return family


def _invalid(desk: Desk) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_invalid_records", "Records that could not be read.", labels=["topic"])
    for topic, records in sorted(desk.feed_status.invalid_records.items()):
        family.add_metric([topic], records)
    return family


def _webhooks(desk: Desk) -> Metric:
    family = CounterMetricFamily(f"{PREFIX}_webhooks", "Webhook requests.", labels=["source", "result"])
    for labels, requests in sorted(desk.webhooks.items()):
        family.add_metric(labels, requests)
    return family


def _gauge(name: str, meaning: str, value: float) -> Metric:
    return GaugeMetricFamily(f"{PREFIX}_{name}", meaning, value=value)
