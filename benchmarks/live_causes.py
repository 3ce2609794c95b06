"""`python -m benchmarks.live_causes --data DIR`: what the live path says began it, at its own time of detection.

The telemetry of row 4 becomes raw records and goes through the kernels of the live stages as they come by default: the
detect kernels of metrics, logs and spans, then the correlator. What counts is the ranking in the first revision of an
incident; causes count among all faults, found or not, and an incident is a fault's when it is opened while row 4 would
count one. Of Nezha there are the metrics, log lines and spans of each service, the spans without a status, which the
set does not have; of PetShop latency, availability and requests of each component. Who calls whom comes from the sets'
graphs where they have one, as from a topology file, and from spans.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from operator import attrgetter, itemgetter
from pathlib import Path

import numpy as np

from benchmarks.measure import Measure
from benchmarks.scoreboard.nezha import (
    Fault,
    faults_of,
    read_calls,
    read_log_lines,
    read_samples,
    read_spans,
)
from benchmarks.scoreboard.petshop import Scenario, read_scenarios
from benchmarks.scoreboard.rows.root_cause import BEFORE, FOUND_WITHIN, MESH, TICK_SECONDS, Ranked, is_near, together
from detectors.root_cause_patterns import workload
from schemas.codec import encode
from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.raw import LogRecord, MetricSample, Span, SpanKind
from schemas.signal import Progress, Signal
from schemas.topics import RAW_METRICS
from streams.batch import Batch
from streams.course import Course
from streams.kernel.base import Emit
from streams.kernel.correlate import Correlator
from streams.kernel.detect_logs import LogDetect
from streams.kernel.detect_metrics import MetricDetect
from streams.kernel.detect_spans import SpanDetect
from streams.raw_to_signal import rules_of as detect_rules
from streams.settings import Settings
from streams.signal_to_incident import rules_of as correlate_rules

PLACES = 3


class LivePath:
    """The kernels of one partition each of metrics, logs and spans, and of one environment."""

    def __init__(self, calls: Mapping[str, Sequence[str]]) -> None:
        settings = Settings()
        rules = detect_rules(Course(settings), 1)
        self._lanes: tuple[MetricDetect | LogDetect | SpanDetect, ...] = (
            MetricDetect(rules, 0),
            LogDetect(rules, 0),
            SpanDetect(rules, 0),
        )
        self._correlate = Correlator(correlate_rules(settings.correlate), calls=calls)
        self._offset = 0
        self._seen: set[str] = set()

    def step(
        self,
        second: int,
        samples: Iterable[MetricSample],
        lines: Iterable[LogRecord] = (),
        spans: Iterable[Span] = (),
    ) -> list[Incident]:
        """Take what came in by this second; returns the first revision of each incident that it opens."""
        found: list[Incident] = []
        telemetry: tuple[list[MetricSample | LogRecord | Span], ...] = ([*samples], [*lines], [*spans])
        for lane, taken in zip(self._lanes, telemetry, strict=True):
            values = [encode(record) for record in taken]
            if not values:
                outputs = [] if lane.topic is RAW_METRICS else lane.wake(float(TICK_SECONDS))
            else:
                offsets = range(self._offset, self._offset + len(values))
                self._offset += len(values)
                keys = [str(record.resource["service.name"]).encode() for record in taken]
                batch = Batch(lane.topic.name, 0, values, keys, offsets, [second * 1000] * len(values))
                outputs = lane.take(lane.topic, batch)
            for output in outputs:
                if isinstance(output, Emit) and isinstance(output.record, Signal | Progress):
                    found += self._correlate.take(output.record)
        new = [one for one in found if one.revision == 1 and one.id not in self._seen]
        self._seen.update(one.id for one in new)
        return new


def judge_day(folder: Path) -> Ranked:
    """Play a day of Nezha."""
    faults, live = faults_of(folder), LivePath(read_calls(folder))
    lines = sorted((line for line in read_log_lines(folder) if line[0] > 0), key=itemgetter(0))
    ranks: dict[Fault, int | None] = {}
    spans = sorted(_spans(folder), key=attrgetter("time_unix_nano"))
    false, at, ended, quiet = 0, 0, 0, 0
    for second, samples in read_samples(folder):
        now: list[LogRecord] = []
        first = ended
        while ended < len(spans) and spans[ended].time_unix_nano <= second * NANOS:
            ended += 1
        while at < len(lines) and lines[at][0] <= second * NANOS:
            nanos, entity, text = lines[at]
            now.append(_line(nanos, workload(entity), text))
            at += 1
        quiet += not is_near(second, faults)
        taken = [_sample(second, workload(entity), name, value) for entity, name, value in samples]
        for incident in live.step(second, taken, now, spans[first:ended]):
            opened = incident.opened_unix_nano // NANOS
            false += not is_near(opened, faults)
            near = [fault for fault in faults if fault.second - BEFORE <= opened <= fault.second + FOUND_WITHIN]
            if near and (fault := max(near, key=lambda one: one.second)) not in ranks:
                ranks[fault] = _place(incident, workload(fault.entity))
    return Ranked([ranks.get(fault) for fault in faults], false, quiet / 1440)


def judge_scenario(scenario: Scenario) -> Ranked:
    """Play the calm days of a call graph, and each issue after a copy of them."""
    live, second, false = LivePath(scenario.calls), 1_700_000_000, 0
    for tick in scenario.calm:
        false += len(live.step(second, _served(second, tick)))
        second += TICK_SECONDS
    ranks: list[int | None] = []
    for issue in scenario.issues:
        later, at = deepcopy(live), second
        found: list[Incident] = []
        for number, tick in enumerate(issue.ticks):
            opened = later.step(at, _served(at, tick))
            # Months lie between the calm days and an issue: what differs before it begins is not its effect.
            found = found or (opened if number >= issue.calm_ticks else [])
            at += TICK_SECONDS
        ranks.append(_place(found[0], issue.cause) if found else None)
    return Ranked(ranks, false, scenario.calm_days)


def _place(incident: Incident, cause: str) -> int | None:
    """Where a service stands among the causes; one that is named twice counts once."""
    named = list(dict.fromkeys(one.entity.service for one in incident.root_causes))
    return named.index(cause) if cause in named else None


def _sample(second: int, service: str, name: str, value: float) -> MetricSample:
    return MetricSample(
        name=name, time_unix_nano=second * NANOS, value=value, resource={"service.name": service}, attributes={}
    )


def _line(nanos: int, service: str, text: str) -> LogRecord:
    severity = 17 if "ERROR" in text else 13 if "WARN" in text else 9
    return LogRecord(
        time_unix_nano=nanos, severity_number=severity, body=text, resource={"service.name": service}, attributes={}
    )


def _spans(folder: Path) -> Iterator[Span]:
    """Read the spans of a day; the set does not say which end of a call each is, but the calls between pods do."""
    for one in read_spans(folder):
        kind: SpanKind = "server" if one.enters else "client" if one.calls else "internal"
        yield Span(
            trace_id=str(one.trace),
            span_id=str(one.row),
            parent_span_id="" if one.parent < 0 else str(one.parent),
            name=one.operation,
            kind=kind,
            time_unix_nano=one.end,
            duration_nano=one.end - one.start,
            resource={"service.name": workload(one.entity)},
        )


def _served(second: int, tick: Mapping[str, object]) -> Iterator[MetricSample]:
    for name, one in tick.items():
        for field in ("latency", "availability", "requests"):
            value = float(getattr(one, field))
            if np.isfinite(value):
                yield _sample(second, name, field, value)


def main() -> None:
    """Print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, required=True, help="folder of data sets")
    parser.add_argument("--part", default="A", help="part of them")
    options = parser.parse_args()
    folders = sorted(one.parent for one in (options.data / "nezha" / options.part).glob("*/fault_list.json"))
    scenarios = read_scenarios(options.data / "petshop" / "common", [options.data / "petshop" / options.part])
    by_system = {"nezha Online Boutique": [one for one in folders if (one / MESH).exists()]}
    by_system["nezha Train-Ticket"] = [one for one in folders if one not in by_system["nezha Online Boutique"]]
    found = {"petshop": together([judge_scenario(one) for one in scenarios])}
    _print("petshop", found["petshop"])
    for system, days in by_system.items():
        _print(system, together([judge_day(day) for day in days]))


def _print(system: str, ranked: Ranked) -> None:
    measures = [
        Measure(f"live path, {system} AC@1", ranked.within(1), "share"),
        Measure(f"live path, {system} AC@{PLACES}", ranked.within(PLACES), "share"),
        Measure(f"live path, {system} found", ranked.found, "share"),
        Measure(f"live path, {system} false incidents", ranked.a_day, "per quiet day"),
    ]
    for one in measures:
        print(f"{one.name:48} {one.value:8.3f} {one.unit}", flush=True)


if __name__ == "__main__":
    main()
