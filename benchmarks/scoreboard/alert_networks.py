"""Networks of AIT-ADS: reading their alerts, judging them, and what came of it (row 5).

Called by `benchmarks.scoreboard.rows.alerts` and `benchmarks.alert_feedback`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from detectors.alert_memory import AlertMemory, Event, Learned, name_of
from detectors.alert_news import Alert, AlertNews
from schemas.envelope import NANOS

HARMLESS = "false_positive"
DAY_NANOS = 86_400 * NANOS


@dataclass(frozen=True, slots=True)
class Network:
    """Alerts in the order in which they are judged."""

    alerts: list[tuple[Alert, bool]]
    """Each with whether it is news."""
    phases: list[str | None]
    """Of the alert of each key, the phase of the attack."""


@dataclass(slots=True)
class Incident:
    """What was made of some alerts."""

    true: bool
    """Opened by an alert of a phase."""
    start: int
    end: int
    peak: float
    phases: set[tuple[object, str]] = field(default_factory=set)
    """Of which it holds alerts, each with the run that it was judged in."""


@dataclass(slots=True)
class Outcome:
    """What happened on one network, or on several."""

    alerts: int
    days: float
    phases: int
    telling: int
    """Phases of which an alert spoke for an attack."""
    peace: int
    """Nanoseconds of days without an attack, and how many of them an incident was open."""
    open: int
    incidents: list[Incident]

    @property
    def share_found(self) -> float:
        """Phases of which an alert is part of an incident."""
        return len(set().union(*(one.phases for one in self.incidents))) / max(1, self.phases)

    @property
    def share_lost(self) -> float:
        """Phases of which an alert spoke for an attack, none of them part of an incident."""
        return self.telling / max(1, self.phases) - self.share_found

    @property
    def false(self) -> int:
        """Incidents that nothing of a phase opened."""
        return sum(not one.true for one in self.incidents)

    @property
    def false_share(self) -> float:
        """Of all incidents."""
        return self.false / max(1, len(self.incidents))

    @property
    def false_a_day(self) -> float:
        """Per network."""
        return self.false / self.days

    @property
    def open_in_peace(self) -> float:
        """Share of the time of days without an attack."""
        return self.open / max(1, self.peace)

    @property
    def compressed(self) -> float:
        """Share of alerts that nobody has to look at one by one."""
        return 1.0 - len(self.incidents) / self.alerts

    def beyond(self, evidence: float) -> Outcome:
        """Only the incidents whose evidence reached this many decades."""
        kept = [one for one in self.incidents if one.peak >= evidence]
        return Outcome(self.alerts, self.days, self.phases, self.telling, self.peace, self.open, kept)


def read_networks(files: Iterable[Path]) -> list[Network]:
    """Read one network per file."""
    return [_read(file) for file in files]


def _read(file: Path) -> Network:
    from pyarrow import parquet  # noqa: PLC0415 - not needed to run ReflexArc, nor for the sets that are no Parquet

    table = parquet.read_table(file, columns=["time", "name", "host", "time_label"])
    columns = (table[name].to_pylist() for name in table.column_names)
    rows = sorted(zip(*columns, strict=True), key=lambda row: row[0])
    news = AlertNews()
    alerts: list[tuple[Alert, bool]] = []
    for key, (time, name, host, _) in enumerate(rows):
        alerts += news.hear(Alert(int(time * NANOS), name, host, key))
    return Network(alerts + news.rest(), [None if row[3] == HARMLESS else row[3] for row in rows])


def labelled(network: Network) -> Iterator[tuple[int, str, str | None]]:
    """Alerts as people told of them afterwards."""
    return ((one.time_unix_nano, name_of(one, new=new), network.phases[one.key]) for one, new in network.alerts)


def judge_network(network: Network, learned: Learned | None) -> Outcome:
    """Judge one network."""
    memory = AlertMemory(learned)
    events = [event for alert, new in network.alerts for event in memory.judge(alert, new=new)]
    first, last = (network.alerts[i][0].time_unix_nano for i in (0, -1))
    incidents = _incidents(network, events, last)
    attacked = {one.time_unix_nano // DAY_NANOS for one, _ in network.alerts if network.phases[one.key] is not None}
    peaceful = [
        (max(first, day * DAY_NANOS), min(last, (day + 1) * DAY_NANOS))
        for day in range(first // DAY_NANOS, last // DAY_NANOS + 1)
        if day not in attacked
    ]
    weights = {} if learned is None else learned.weights
    return Outcome(
        alerts=len(network.alerts),
        days=(last - first) / DAY_NANOS,
        phases=len(set(network.phases) - {None}),
        telling=len({phase for _, name, phase in labelled(network) if weights.get(name, 0.0) > 0.0} - {None}),
        peace=sum(end - start for start, end in peaceful),
        open=sum(max(0, min(end, one.end) - max(start, one.start)) for start, end in peaceful for one in incidents),
        incidents=incidents,
    )


def _incidents(network: Network, events: Iterable[Event], last: int) -> list[Incident]:
    incidents: list[Incident] = []
    run = object()
    for event in events:
        phase = None if event.alert is None else network.phases[event.alert.key]
        if event.told == "opens":
            incidents.append(Incident(phase is not None, event.time_unix_nano, last, event.evidence))
        incident = incidents[-1]
        incident.peak = max(incident.peak, event.evidence)
        if event.told == "ends":
            incident.end = event.time_unix_nano
        if phase is not None:
            incident.phases.add((run, phase))
    return incidents


def total(outcomes: Iterable[Outcome]) -> Outcome:
    """Sum over networks."""
    found = list(outcomes)
    return Outcome(
        alerts=sum(one.alerts for one in found),
        days=sum(one.days for one in found),
        phases=sum(one.phases for one in found),
        telling=sum(one.telling for one in found),
        peace=sum(one.peace for one in found),
        open=sum(one.open for one in found),
        incidents=[incident for one in found for incident in one.incidents],
    )
