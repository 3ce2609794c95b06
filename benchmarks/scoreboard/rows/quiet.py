"""Row 10: what the live path raises where nothing is wrong, and what it still finds.

Signals of the detect kernel and incidents of the correlate kernel, at the shipped settings. A signal or an incident is
true where a labelled fault lies between its onset and the moment it was raised, false otherwise.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.measure import Measure, at_most
from benchmarks.scoreboard import telemetry
from benchmarks.scoreboard.live import LivePartition, Played, Raised, Tally, Telemetry, tally
from benchmarks.scoreboard.row import Row, Run
from detectors.entity_watch import BY as ENTITY
from streams.kernel.detect import COARSE_DETECTOR, DETECTOR
from streams.settings import DetectSettings


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one set led to; `early`: systems in which something was raised before the only fault of each."""

    name: str
    signals: Tally
    incidents: Tally
    entities: Tally
    """Those of the signals that are about instances as a whole."""
    own: Tally
    """Those that judge a series by its own past: what `detect.max_false_share` is about."""
    early: int | None = None
    systems: int = 1


class QuietRow(Row[Sequence[Outcome]]):
    """Sets one after the other, each system through a partition of its own."""

    numbers = (10,)
    title = "No fault, through the live path"
    sets = ("nab", "ms_cloud", "nezha", "petshop", "dbsherlock")

    def detect(self, run: Run) -> Sequence[Outcome]:
        outcomes = _outcomes(run)
        return list(run.track(outcomes, "live path: sets", 7))

    def measure(
        self,
        number: int,  # noqa: ARG002 - there is only one
        found: Sequence[Outcome],
        thresholds: Mapping[str, float],  # noqa: ARG002 - none are fitted
        part: str,  # noqa: ARG002 - the goals are the same
    ) -> list[Measure]:
        return [measure for outcome in found for measure in _measures(outcome)]


def _outcomes(run: Run) -> Iterator[Outcome]:
    nab, cloud = telemetry.nab(run.folders("nab")), telemetry.ms_cloud(run.folders("ms_cloud"))
    yield _judge("nab, series without a window", [telemetry.only_calm(nab)])
    yield _judge("nab", [nab])
    yield _judge("ms_cloud, series without a segment", [telemetry.only_calm(cloud)])
    yield _judge("ms_cloud", [cloud])
    yield _judge("nezha", telemetry.nezha(run.folders("nezha")))
    yield _petshop(run)
    yield _judge("dbsherlock", telemetry.dbsherlock(run.folders("dbsherlock")), young=True)


def _judge(name: str, systems: Iterator[Telemetry] | Sequence[Telemetry], *, young: bool = False) -> Outcome:
    signals, incidents, entities, own = Tally(), Tally(), Tally(), Tally()
    early = count = 0
    for system in systems:
        played = LivePartition().play(system)
        signals += tally(played.signals, system)
        incidents += tally(played.incidents, system)
        entities += tally(_of_entities(played), system)
        own += tally(_of_series(played), system)
        early += _is_early(played, system)
        count += 1
    return Outcome(name, signals, incidents, entities, own, early if young else None, count)


def _of_series(played: Played) -> list[Raised]:
    return [one for one in played.signals if one.detector in {DETECTOR, COARSE_DETECTOR}]


def _of_entities(played: Played) -> list[Raised]:
    return [one for one in played.signals if one.detector == ENTITY]


def _is_early(played: Played, system: Telemetry) -> bool:
    first = min((fault.start for fault in system.faults), default=0)
    return any(one.time < first for one in _of_series(played))


def _petshop(run: Run) -> Outcome:
    signals, incidents, entities, own, count = Tally(), Tally(), Tally(), Tally(), 0
    for calm, issues in telemetry.petshop(run.data / "petshop" / "common", run.folders("petshop")):
        partition = LivePartition()
        played = partition.play(calm)
        signals += tally(played.signals, calm)
        incidents += tally(played.incidents, calm)
        entities += tally(_of_entities(played), calm)
        own += tally(_of_series(played), calm)
        count += 1
        for issue in issues:
            later = partition.copy().play(issue)
            signals += tally(later.signals, issue)
            incidents += tally(later.incidents, issue)
            entities += tally(_of_entities(later), issue)
            own += tally(_of_series(later), issue)
    return Outcome("petshop", signals, incidents, entities, own, systems=count)


def _measures(outcome: Outcome) -> Iterator[Measure]:
    name, signals, incidents = outcome.name, outcome.signals, outcome.incidents
    allowed, own = DetectSettings().max_false_share, outcome.own
    yield at_most(f"{name}: false signals of series", own.false_a_day, "per calm day", goal=allowed)
    if own.faults:
        share = own.false_share
        yield at_most(f"{name}: false share of them", share, f"of {own.true + own.false}", goal=allowed)
        yield Measure(f"{name}: faults found by them", own.found, f"of {own.faults}")
    yield Measure(f"{name}: false signals", signals.false_a_day, "per calm day")
    yield Measure(f"{name}: false signals of all", signals.false, f"of {signals.true + signals.false}")
    if outcome.entities.true + outcome.entities.false:
        yield Measure(f"{name}: false signals of instances as a whole", outcome.entities.false_a_day, "per calm day")
        yield Measure(f"{name}: faults found by instances", outcome.entities.found, f"of {outcome.entities.faults}")
    yield Measure(f"{name}: false incidents", incidents.false_a_day, "per calm day")
    if signals.faults:
        yield Measure(f"{name}: faults with a signal", signals.found, f"of {signals.faults}")
        yield Measure(f"{name}: faults with an incident", incidents.found, f"of {incidents.faults}")
        yield Measure(f"{name}: false incidents of all", incidents.false, f"of {incidents.true + incidents.false}")
    if outcome.early is not None:
        yield Measure(f"{name}: systems with a signal before the fault", outcome.early, f"of {outcome.systems}")


ROW = QuietRow()
