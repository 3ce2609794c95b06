"""Row 4: what began it, in microservices and in a call graph, said at the system's own time of detection.

Nezha days are watched minute by minute from their first; PetShop issues after the calm days of their scenario. Causes
count among all faults, found or not. What was opened while no labelled fault was near is a false incident.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass

from benchmarks.measure import Measure, at_least, at_most
from benchmarks.scoreboard.nezha import MINUTE, Day, Fault, read_day
from benchmarks.scoreboard.petshop import Scenario, read_scenarios
from benchmarks.scoreboard.row import Row, Run
from detectors.root_cause_graph import CALM_TICKS, FEWEST_TICKS, CallGraphWatch
from detectors.root_cause_watch import RootCauseWatch

# An incident is a fault's when it is opened between the minute before, for telemetry comes by the minute, and six
# minutes after: the next fault follows after four to ten. Until a quarter of an hour after a fault nothing is quiet.
BEFORE, FOUND_WITHIN, QUIET_AFTER = MINUTE, 6 * MINUTE, 15 * MINUTE
SECONDS_A_DAY = 86_400
TICK_SECONDS = 300
# Where the set has the mesh's own graph the system is Online Boutique; that goal is another one.
MESH = "dependency.csv.gz"


@dataclass(frozen=True, slots=True)
class Ranked:
    """Where the true cause stood among the suspects of each fault (None: not among them), and false incidents."""

    ranks: Sequence[int | None]
    false: int
    quiet_days: float

    def within(self, places: int) -> float:
        return sum(rank is not None and rank < places for rank in self.ranks) / max(len(self.ranks), 1)

    @property
    def found(self) -> float:
        """Share of faults of which the cause is among the suspects."""
        return sum(rank is not None for rank in self.ranks) / max(len(self.ranks), 1)

    @property
    def a_day(self) -> float:
        """False incidents a quiet day."""
        return self.false / self.quiet_days if self.quiet_days > 0 else float(self.false)


@dataclass(frozen=True, slots=True)
class FoundCauses:
    """What was found, by system."""

    boutique: Ranked
    trains: Ranked
    petshop: Ranked


class RootCauseRow(Row[FoundCauses]):
    """Metrics, logs and traces of Nezha; connection summaries of PetShop."""

    numbers = (4,)
    title = "Nezha and PetShop, root cause"
    sets = ("nezha", "petshop")

    def detect(self, run: Run) -> FoundCauses:
        folders = [path.parent for one in run.folders("nezha") for path in sorted(one.glob("*/fault_list.json"))]
        boutique: list[Ranked] = []
        trains: list[Ranked] = []
        for folder in run.track(folders, "nezha: days", len(folders)):
            (boutique if (folder / MESH).exists() else trains).append(judge_day(read_day(folder)))
        scenarios = read_scenarios(run.data / "petshop" / "common", run.folders("petshop"))
        issues = [judge_scenario(one) for one in run.track(scenarios, "petshop: scenarios", len(scenarios))]
        return FoundCauses(together(boutique), together(trains), together(issues))

    def measure(
        self,
        number: int,  # noqa: ARG002 - there is only one
        found: FoundCauses,
        thresholds: Mapping[str, float],  # noqa: ARG002 - none are fitted
        part: str,  # noqa: ARG002 - the goals are the same
    ) -> list[Measure]:
        nezha = together([found.boutique, found.trains])
        return [
            at_least("nezha Train-Ticket AC@1", found.trains.within(1), "share", anchor=0.867, goal=0.87),
            Measure("nezha Train-Ticket AC@3", found.trains.within(3), "share", anchor=0.978),
            at_least("nezha Online Boutique AC@1", found.boutique.within(1), "share", anchor=0.643, goal=0.65),
            Measure("nezha Online Boutique AC@3", found.boutique.within(3), "share"),
            at_most("nezha false incidents", nezha.a_day, "per quiet day", goal=1.0),
            at_least("petshop top-1", found.petshop.within(1), "share", anchor=0.65, goal=0.65),
            at_least("petshop top-3", found.petshop.within(3), "share", anchor=0.83, goal=0.90),
            at_most("petshop false incidents", found.petshop.a_day, "per quiet day", goal=1.0),
        ]


def judge_day(day: Day) -> Ranked:
    """Watch a day of microservices."""
    watch = RootCauseWatch()
    ranks: dict[Fault, int | None] = {}
    false = 0
    for _, tick in day.ticks:
        found = watch.step(tick)
        if found is None:
            continue
        opened = day.ticks[found.opened][0]
        near = [fault for fault in day.faults if fault.second - BEFORE <= opened <= fault.second + FOUND_WITHIN]
        false += not is_near(opened, day.faults)
        if near and (fault := max(near, key=lambda one: one.second)) not in ranks:
            suspects = [suspect.entity for suspect in found.suspects]
            ranks[fault] = suspects.index(fault.entity) if fault.entity in suspects else None
    quiet = sum(not is_near(second, day.faults) for second, _ in day.ticks)
    return Ranked([ranks.get(fault) for fault in day.faults], false, quiet * MINUTE / SECONDS_A_DAY)


def is_near(second: int, faults: Sequence[Fault]) -> bool:
    """Whether a fault is at work, or was a short while ago."""
    return any(fault.second - BEFORE <= second <= fault.second + QUIET_AFTER for fault in faults)


def judge_scenario(scenario: Scenario) -> Ranked:
    """Watch the calm days of a call graph, then each issue on its own."""
    watch = CallGraphWatch(scenario.calls)
    false = sum(bool(watch.step(tick)) for tick in scenario.calm)
    ranks: list[int | None] = []
    for issue in scenario.issues:
        later = deepcopy(watch)
        # Months lie between the calm days and an issue: what went on at their end is over.
        for _ in range(CALM_TICKS):
            later.step({})
        blamed = next((found for tick in issue.ticks if (found := later.step(tick))), ())
        names = [one.component for one in blamed]
        ranks.append(names.index(issue.cause) if issue.cause in names else None)
    watched = scenario.calm_days - FEWEST_TICKS * TICK_SECONDS / SECONDS_A_DAY
    return Ranked(ranks, false, max(watched, 0.0))


def together(parts: Sequence[Ranked]) -> Ranked:
    """Count several systems as one."""
    return Ranked(
        [rank for part in parts for rank in part.ranks],
        sum(part.false for part in parts),
        sum(part.quiet_days for part in parts),
    )


ROW = RootCauseRow()
