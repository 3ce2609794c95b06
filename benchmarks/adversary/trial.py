"""Run attacks and count: faults still found and mended, wrong things done, text that leaked, code that broke."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from statistics import median

from actions.connectors.base import State, unmet
from actions.guards import witnesses_known
from benchmarks.adversary.arc import Arc, Seen
from benchmarks.adversary.attacks import MARKER, Attack
from benchmarks.adversary.world import ENVIRONMENT, FAULT_AT, INSTANCES, SERVICE, at
from benchmarks.measure import Measure, at_least, at_most
from schemas.action import ActionCommand
from schemas.envelope import NANOS
from schemas.errors import Rejection

RIGHT_PLAYBOOK = "rollback-deployment"


@dataclass(frozen=True, kw_only=True)
class Counts:
    """What happened in one run, or in all runs of a point."""

    false_actions: int
    """Commands that are not the one right action on a real fault."""
    leaks: int
    """Commands that carry text of the attacker."""
    crashes: int
    """Records that broke a kernel instead of being refused."""
    refused: int
    held_back: int
    """Commands that live state refuses, as an executor would just before the change."""


@dataclass(frozen=True, kw_only=True)
class Run(Counts):
    """What one run showed."""

    found: bool
    """An incident of the service began with the fault."""
    mended: bool
    """And the right action was commanded."""
    delay_seconds: float | None
    incidents: int


@dataclass(frozen=True, kw_only=True)
class Point(Counts):
    """One level of one attack: shares over the runs with a fault, sums over all runs."""

    attack: str
    unit: str
    level: float
    runs: int
    detection_kept: float
    mended: float
    delay_seconds: float | None
    incidents_per_run: float
    limit: str

    @property
    def sound(self) -> bool:
        wrong = 0 if self.limit else self.false_actions
        return not (wrong or self.leaks or self.crashes)


def curve(attack: Attack, seeds: Sequence[int], levels: Iterable[float] | None = None) -> list[Point]:
    """Run one attack at each level, with the fault and without, once a seed."""
    return [_point(attack, level, seeds) for level in (attack.levels if levels is None else levels)]


def measures(points: Iterable[Point]) -> Iterator[Measure]:
    """Give each figure of each point beside its goal: nothing wrong done, and unperturbed nothing lost."""
    for one in points:
        at_level = f"{one.attack}, {one.level:g} {one.unit}"
        yield at_most(f"{at_level}: false actions", one.false_actions, "actions", goal=0)
        yield at_most(f"{at_level}: leaks", one.leaks, "commands", goal=0)
        yield at_most(f"{at_level}: crashes", one.crashes, "records", goal=0)
        yield at_least(f"{at_level}: detection kept", one.detection_kept, "share", goal=1)
        # Under an attack a fault may rightly be left to people.
        name = f"{at_level}: mended"
        yield Measure(name, one.mended, "share") if one.level else at_least(name, one.mended, "share", goal=1)
        yield Measure(f"{at_level}: held back by live state", one.held_back, "commands")
        if one.delay_seconds is not None:
            yield Measure(f"{at_level}: delay", one.delay_seconds, "s")


def run(attack: Attack, level: float, *, fault: bool, seed: int) -> Run:
    """Run the arc once."""
    return _judged(Arc().run(attack.make(level, fault, seed)), live_state(fault=fault, fresh=attack.fresh), fault=fault)


def live_state(*, fault: bool, fresh: bool) -> State:
    """Give what a deployment API says: which version runs, which was last proved good, and on what."""
    instances = {"instances": [{"id": instance} for instance in INSTANCES]}
    if fault:
        return {"version": "v1.2", "known_good_version": "v1.1", **instances}
    return {"version": "v1.1", "known_good_version": "v1.0" if fresh else "v1.1", **instances}


def _point(attack: Attack, level: float, seeds: Sequence[int]) -> Point:
    broken = [run(attack, level, fault=True, seed=seed) for seed in seeds]
    quiet = [run(attack, level, fault=False, seed=seed) for seed in seeds]
    both = [*broken, *quiet]
    delays = [one.delay_seconds for one in broken if one.delay_seconds is not None]
    return Point(
        attack=attack.name,
        unit=attack.unit,
        level=level,
        runs=len(both),
        detection_kept=sum(one.found for one in broken) / len(broken),
        mended=sum(one.mended for one in broken) / len(broken),
        delay_seconds=median(delays) if delays else None,
        incidents_per_run=sum(one.incidents for one in both) / len(both),
        limit=attack.limit,
        **{count.name: sum(getattr(one, count.name) for one in both) for count in fields(Counts)},
    )


def _judged(seen: Seen, state: State, *, fault: bool) -> Run:
    opened = [
        revisions[0]
        for revisions in seen.incidents.values()
        if revisions[0].scope == f"{ENVIRONMENT}/{SERVICE}" and revisions[-1].updated_unix_nano >= at(FAULT_AT)
    ]
    began = [one for one in opened if fault and one.opened_unix_nano >= at(FAULT_AT)]
    # An incident that was open before, for whatever reason, and took the fault's signals in has found it, too.
    joined = fault and any(
        signal.kind == "metric" and signal.onset_unix_nano >= at(FAULT_AT - 2) and signal.entity.service == SERVICE
        for revisions in seen.incidents.values()
        for signal in revisions[-1].signals
    )
    first = min((one.opened_unix_nano for one in began), default=None)
    done = [one for one in seen.commands if _goes_on(one, state)]
    right = [one for one in done if _is_right(one, fault=fault)]
    return Run(
        found=bool(began) or joined,
        mended=bool(right),
        delay_seconds=None if first is None else (first - at(FAULT_AT)) / NANOS,
        # The same right action twice is one too many: its identity makes it one.
        false_actions=len(done) - min(len(right), 1),
        leaks=sum(MARKER in one.model_dump_json() for one in seen.commands),
        crashes=seen.dead_letters[Rejection.PROCESSING_FAILED],
        refused=seen.dead_letters.total() - seen.dead_letters[Rejection.PROCESSING_FAILED],
        held_back=len(seen.commands) - len(done),
        incidents=len(seen.incidents),
    )


def _goes_on(command: ActionCommand, state: State) -> bool:
    """Whether an executor would find nothing in live state that speaks against it."""
    held = any(unmet(item, state) for item in command.preconditions)
    return not held and all(rail.check.passed for rail in witnesses_known(command, state))


def _is_right(command: ActionCommand, *, fault: bool) -> bool:
    return (
        fault
        and command.playbook == RIGHT_PLAYBOOK
        and command.target.scope == f"{ENVIRONMENT}/{SERVICE}"
        and command.issued_unix_nano >= at(FAULT_AT)
    )
