"""Labelled telemetry through the live path: records as a producer writes them, the detect kernel, the correlate kernel.

Called by row 10 of the scoreboard. One partition a system, with the shipped settings; event time runs as fast as the
records can be read.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Self

import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.signal import Progress, Signal
from schemas.topics import RAW_METRICS
from streams.batch import Batch
from streams.course import Course
from streams.kernel.base import Emit
from streams.kernel.correlate import Correlator
from streams.kernel.detect_metrics import MetricDetect
from streams.raw_to_signal import rules_of
from streams.settings import CorrelateSettings, Settings
from streams.signal_to_incident import rules_of as correlate_rules_of

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

DAY = 86_400 * NANOS
BATCH_RECORDS = 500


@dataclass(frozen=True, slots=True)
class Subject:
    """Whose metric it is: a series."""

    service: str
    instance: str
    metric: str


@dataclass(frozen=True, slots=True)
class Fault:
    """A labelled span of time, nanoseconds, both ends inside; of one service, or of the whole system (None)."""

    start: int
    end: int
    calm_from: int
    """Until then what is raised may still be an effect: neither true nor false."""
    service: str | None = None

    def concerns(self, service: str) -> bool:
        return self.service is None or self.service == service


@dataclass(frozen=True, slots=True)
class Telemetry:
    """Samples of one system, ordered by time, and what was wrong in it."""

    subjects: Sequence[Subject]
    subject: Ints
    """`[n]` position among the subjects of each sample."""
    time: Ints
    value: Floats
    faults: Sequence[Fault] = ()

    @classmethod
    def of(cls, series: Sequence[tuple[Subject, Ints, Floats]], faults: Sequence[Fault] = ()) -> Self:
        """Merge series, each with the time and value of its samples; what is no number was not sent."""
        subject = np.concatenate([np.full(len(time), at) for at, (_, time, _) in enumerate(series)])
        time = np.concatenate([time for _, time, _ in series])
        value = np.concatenate([value for _, _, value in series])
        order = np.lexsort((subject, time))
        order = order[np.isfinite(value[order])]
        return cls([subject for subject, _, _ in series], subject[order], time[order], value[order], faults)

    @property
    def days(self) -> float:
        """How long it was watched."""
        return float(self.time[-1] - self.time[0]) / DAY

    def calm_days(self) -> float:
        """How much of that nothing labelled was going on, over all services together where faults are of one each."""
        services = sorted({subject.service for subject in self.subjects})
        whole = all(fault.service is None for fault in self.faults)
        return sum(self._calm_days(service) for service in services[: 1 if whole else None]) / (
            1 if whole else len(services)
        )

    def _calm_days(self, service: str) -> float:
        covered, until = 0, int(self.time[0])
        for fault in sorted((one for one in self.faults if one.concerns(service)), key=lambda one: one.start):
            covered += max(0, fault.calm_from - max(until, fault.start))
            until = max(until, fault.calm_from)
        return self.days - covered / DAY


@dataclass(frozen=True, slots=True)
class Raised:
    """A signal that fired, or an incident that was opened: what it is about, and from when to when it was made out."""

    service: str
    onset: int
    time: int
    detector: str = ""
    """Of a signal: who says so."""


@dataclass(slots=True)
class Tally:
    """What was raised, by its truth, and what was found."""

    true: int = 0
    false: int = 0
    found: int = 0
    faults: int = 0
    calm_days: float = 0.0

    def __add__(self, other: Tally) -> Tally:
        return Tally(
            self.true + other.true,
            self.false + other.false,
            self.found + other.found,
            self.faults + other.faults,
            self.calm_days + other.calm_days,
        )

    @property
    def false_a_day(self) -> float:
        return self.false / self.calm_days if self.calm_days else 0.0

    @property
    def false_share(self) -> float:
        return self.false / max(self.true + self.false, 1)


def tally(raised: Sequence[Raised], telemetry: Telemetry) -> Tally:
    """Judge by the labels: true where a fault of that service lies between onset and the moment it was raised."""
    found: set[int] = set()
    true = false = 0
    for one in raised:
        near = [
            (at, fault)
            for at, fault in enumerate(telemetry.faults)
            if fault.concerns(one.service) and one.onset <= fault.calm_from and fault.start <= one.time
        ]
        hit = {at for at, fault in near if one.onset <= fault.end}
        found |= hit
        true += bool(hit)
        false += not near
    return Tally(true, false, len(found), len(telemetry.faults), telemetry.calm_days())


@dataclass(slots=True)
class Played:
    """Signals that fired and incidents that were opened, in the order in which that was known."""

    signals: list[Raised] = field(default_factory=list)
    incidents: list[Raised] = field(default_factory=list)


class LivePartition:
    """The kernels that a worker would run for one partition."""

    def __init__(self, state: bytes | None = None) -> None:
        self._detect = MetricDetect(rules_of(Course(Settings()), 1), 0, state)
        self._correlate = Correlator(correlate_rules_of(CorrelateSettings()))

    def copy(self) -> LivePartition:
        """A partition that has seen the same, and whose incidents are over."""
        return LivePartition(self._detect.snapshot())

    def play(self, telemetry: Telemetry) -> Played:
        """Read the records, then let time pass until nothing is waited for."""
        found, opened = Played(), set[str]()
        for record in self._records(telemetry):
            if isinstance(record, Signal) and record.state == "firing":
                found.signals.append(_signal(record))
            for incident in self._correlate.take(record):
                if incident.id not in opened:
                    opened.add(incident.id)
                    found.incidents.append(_incident(incident))
        return found

    def revisions(self, telemetry: Telemetry) -> Iterator[Incident]:
        """Read the records; give every revision of the incidents themselves."""
        return (revision for record in self._records(telemetry) for revision in self._correlate.take(record))

    def signals(self, telemetry: Telemetry) -> Iterator[Signal]:
        """Read the records; give the signals themselves."""
        return (record for record in self._records(telemetry) if isinstance(record, Signal))

    def _records(self, telemetry: Telemetry) -> Iterator[Signal | Progress]:
        for batch in _batches(telemetry):
            for output in self._detect.take(RAW_METRICS, batch):
                if isinstance(output, Emit) and isinstance(output.record, Signal | Progress):
                    yield output.record


def _signal(signal: Signal) -> Raised:
    return Raised(signal.entity.service, signal.onset_unix_nano, signal.time_unix_nano, signal.detector)


def _incident(incident: Incident) -> Raised:
    return Raised(incident.service, incident.onset_unix_nano, incident.opened_unix_nano)


def _batches(telemetry: Telemetry) -> Iterator[Batch]:
    """One record for what an instance measured at one time."""
    instances: dict[tuple[str, str], int] = {}
    instance = np.array(
        [instances.setdefault((one.service, one.instance), len(instances)) for one in telemetry.subjects]
    )
    order = np.lexsort((telemetry.subject, instance[telemetry.subject], telemetry.time))
    subject, time, value = telemetry.subject[order], telemetry.time[order], telemetry.value[order]
    of = instance[subject]
    cuts = np.flatnonzero((np.diff(time) != 0) | (np.diff(of) != 0)) + 1
    bounds = [0, *cuts.tolist(), len(subject)]
    values: list[bytes] = []
    times: list[int] = []
    for first, until in pairwise(bounds):
        who = telemetry.subjects[subject[first]]
        values.append(
            orjson.dumps(
                {
                    "resource": {"service.name": who.service, "service.instance.id": who.instance},
                    "series": [{"name": telemetry.subjects[at].metric} for at in subject[first:until]],
                    "time_unix_nano": [int(time[first])],
                    "value": [[number] for number in value[first:until].tolist()],
                }
            )
        )
        times.append(int(time[first]) // 1_000_000)
        if len(values) == BATCH_RECORDS:
            yield _batch(values, times)
            values, times = [], []
    if values:
        yield _batch(values, times)


def _batch(values: Sequence[bytes], times: Sequence[int]) -> Batch:
    return Batch(RAW_METRICS.name, 0, values, [b"k"] * len(values), range(len(values)), times)
