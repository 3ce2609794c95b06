"""Row 5: attacks among the alerts of a network (AIT-ADS), alerts of other systems and their names only."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.measure import Measure, at_least, at_most
from benchmarks.scoreboard.row import Row, Run
from detectors.alert_memory import AlertMemory, Heard, weights
from schemas.envelope import NANOS

HARMLESS = "false_positive"
DAY_NANOS = 86_400 * NANOS
# What the names were learned to mean is stored with the thresholds, under names that begin so.
STORED = "ait_ads name "
FITTED_ON = "A"


@dataclass(frozen=True, slots=True)
class Judged:
    """What happened on one network."""

    alerts: int
    days: float
    phases: int
    found: int
    """Phases of which an alert opened an incident or joined one."""
    true: int
    """Incidents that were opened by an alert of a phase."""
    false: int


class AlertRow(Row[Sequence[Sequence[Heard]]]):
    """`AlertMemory` per network, knowing what people said of the alerts of other networks."""

    numbers = (5,)
    title = "alerts"
    sets = ("ait_ads",)

    def detect(self, run: Run) -> Sequence[Sequence[Heard]]:
        files = [file for folder in run.folders("ait_ads") for file in sorted(folder.glob("*.parquet"))]
        return [_read(file) for file in run.track(files, "networks", len(files))]

    def measure(
        self,
        number: int,  # noqa: ARG002 - there is only one
        found: Sequence[Sequence[Heard]],
        thresholds: Mapping[str, float],
        part: str,
    ) -> list[Measure]:
        stored = {name.removeprefix(STORED): weight for name, weight in thresholds.items() if name.startswith(STORED)}
        judged = [
            # On the part that the names were learned on, each network is judged by the others.
            _judge(network, weights(_others(found, i)) if FITTED_ON in part.split("+") else stored)
            for i, network in enumerate(found)
        ]
        phases = sum(one.found for one in judged) / max(1, sum(one.phases for one in judged))
        true, false = sum(one.true for one in judged), sum(one.false for one in judged)
        a_day = false / sum(one.days for one in judged)
        kept = (true + false) / sum(one.alerts for one in judged)
        return [
            at_least("ait_ads phases found", phases, "share", anchor=17 / 39, goal=31 / 39),
            at_most("ait_ads false incidents a day", a_day, "incidents", anchor=1.1, goal=1.0),
            at_most("ait_ads false share of incidents", false / max(1, true + false), "share", anchor=0.70, goal=0.30),
            # Its goal of 0.95 holds only where no phase is lost, so it is not met while the first measure is below 1.
            Measure("ait_ads alerts compressed", 1.0 - kept, "share"),
        ]

    def fit(self, found: Sequence[Sequence[Heard]]) -> dict[str, float]:
        return {f"{STORED}{name}": round(weight, 4) for name, weight in sorted(weights(found).items())}


def _others(networks: Sequence[Sequence[Heard]], i: int) -> list[Sequence[Heard]]:
    return [*networks[:i], *networks[i + 1 :]]


def _read(file: Path) -> list[Heard]:
    """Alerts in the order of time: when, name, phase."""
    from pyarrow import parquet  # noqa: PLC0415 - not needed to run ReflexArc, nor for the sets that are no Parquet

    table = parquet.read_table(file, columns=["time", "name", "time_label"])
    rows = zip(*(table[name].to_pylist() for name in ("time", "name", "time_label")), strict=True)
    heard = ((int(time * NANOS), name, None if phase == HARMLESS else phase) for time, name, phase in rows)
    return sorted(heard, key=lambda alert: alert[0])


def _judge(network: Sequence[Heard], learned: Mapping[str, float]) -> Judged:
    memory = AlertMemory(learned)
    found: set[str | None] = set()
    opened: list[str | None] = []
    for time, name, phase in network:
        verdict = memory.judge(name, time)
        if verdict is not None:
            found.add(phase)
        if verdict == "opens":
            opened.append(phase)
    return Judged(
        alerts=len(network),
        days=(network[-1][0] - network[0][0]) / DAY_NANOS,
        phases=len({phase for *_, phase in network} - {None}),
        found=len(found - {None}),
        true=sum(phase is not None for phase in opened),
        false=opened.count(None),
    )


ROW = AlertRow()
