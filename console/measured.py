"""How well it goes, for Prometheus: what `reflexarc report` measures, over the incidents that the view holds.

Each figure is a gauge with `statistic` value, lower and upper (95 %), and the cases it rests on beside it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from prometheus_client.core import GaugeMetricFamily
from prometheus_client.metrics_core import Metric
from prometheus_client.registry import Collector

from console.desk import Desk
from learning.history import History, gather
from learning.measures import Report
from learning.statistics import Estimate

PREFIX = "reflexarc_report"
Rows = Mapping[tuple[str, ...], Estimate]


class ReportCollector(Collector):
    """A report, as metric families."""

    def __init__(self, report: Report) -> None:
        self._report = report

    def collect(self) -> Iterable[Metric]:
        report = self._report
        for name in ("detect", "acknowledge", "repair"):
            times: Rows = {(one.label, one.tier): getattr(one, name) for one in report.times}
            meaning = f"Mean time to {name}, by class and tier; * is all."
            yield from _estimates(f"{name}_seconds", meaning, ("class", "tier"), times)
        yield from _estimates("ratio", "Shares, see docs/measures.md.", ("measure",), _ratios(report))
        for name in ("precision", "recall"):
            classes: Rows = {(one.label,): getattr(one, name) for one in report.labels}
            yield from _estimates(f"class_{name}_ratio", f"{name.title()} by class.", ("class",), classes)
        yield from _estimates("brier_score", "Of classifications; 0 is perfect.", (), {(): report.calibration.brier})
        yield _reliability(report)
        yield _stability(report)
        martingale = report.drift.calibration_martingale
        yield _gauge("calibration_martingale", "Capital of the bet against calibration; 20 is an alarm.", martingale)
        yield _gauge("compression_ratio", "1 - incidents / signals.", report.compression)
        yield _gauge("saved_person_hours", "Net, by the shipped assumptions.", report.returns.person_hours_saved)
        yield _gauge("saved_impaired_hours", "Net of the baseline.", report.returns.impaired_hours_avoided)
        yield _gauge("saved_money", "Net, by the shipped assumptions.", report.returns.money_saved)


def history_of(desk: Desk) -> History:
    """Gather what the view holds."""
    return gather(_records(desk))


def _records(desk: Desk) -> Iterator[Any]:
    for case in desk.view.cases():
        yield case.incident
        yield from case.decisions.values()
        yield from case.outcomes.values()
        yield from desk.view.said_of(case.id)
        for decision in case.decisions:
            yield from desk.view.said_of(decision)


def _ratios(report: Report) -> Rows:
    return {
        ("false_incidents",): report.false_incidents,
        ("false_actions",): report.false_actions,
        ("harmful_actions",): report.harmful_actions,
        ("verified_actions",): report.verified_actions,
        ("autonomy",): report.autonomy,
        ("coverage",): report.calibration.coverage,
    }


def _estimates(name: str, meaning: str, labels: tuple[str, ...], rows: Rows) -> Iterator[Metric]:
    figures = GaugeMetricFamily(f"{PREFIX}_{name}", meaning, labels=[*labels, "statistic"])
    cases = GaugeMetricFamily(f"{PREFIX}_{name}_cases", f"Cases behind {PREFIX}_{name}.", labels=labels)
    for key, one in rows.items():
        cases.add_metric(key, one.n)
        for statistic, value in (("value", one.value), ("lower", one.lower), ("upper", one.upper)):
            if value is not None:
                figures.add_metric([*key, statistic], value)
    yield figures
    yield cases


def _reliability(report: Report) -> Metric:
    family = GaugeMetricFamily(
        f"{PREFIX}_reliability", "Claimed and found share of right classes, by confidence.", labels=["bin", "statistic"]
    )
    for one in report.calibration.curve:
        family.add_metric([f"{one.lower:.1f}", "claimed"], one.claimed)
        family.add_metric([f"{one.lower:.1f}", "found"], one.found.value or 0.0)
    return family


def _stability(report: Report) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_stability_index", "Drift of inputs; 0.25 is a shift.", labels=["input"])
    for name, value in report.drift.stability.items():
        if value is not None:
            family.add_metric([name], value)
    return family


def _gauge(name: str, meaning: str, value: float | None) -> Metric:
    family = GaugeMetricFamily(f"{PREFIX}_{name}", meaning)
    if value is not None:
        family.add_metric([], value)
    return family
