"""Machines judged whole: SMD by VUS-PR, and by event recall at a bounded number of false pages a day (row 3).

Called by `benchmarks.scoreboard.rows.smd`; runs the detector of the live path over all machines in lockstep, as one
partition. What that would have raised live is told beside it: `detectors.entity_watch` over history and judged part,
warming up, taking its spreads anew and standing still while it fires, at the shipped dial and at one false page a day
of each machine.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Measure, at_least, at_most
from benchmarks.scoreboard.data import Machine
from benchmarks.scoreboard.pages import Paged, pages, tally, total
from benchmarks.scoreboard.row import Track, in_silence
from benchmarks.scoreboard.vus import segments, vus_pr
from detectors.bank import BankSettings, Change
from detectors.entity_watch import EntityWatch
from detectors.multivariate import EntityDetector
from schemas.envelope import NANOS

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

# The paging rule's quiet time on SMD: half an hour of minutes.
QUIET_RECORDS = 30
RECORDS_A_DAY = 1440
MINUTE = 60 * NANOS
# Positions of the live path's dial.
SHIPPED = "one false signal a day of all machines"
ONE_A_DAY = "one false signal a machine-day"


@dataclass(frozen=True, slots=True)
class ScoredMachine:
    """A machine, what the detector said of each judged record, and at which of them the live path would fire."""

    machine: Machine
    score: Floats
    live: Mapping[str, NDArray[np.intp]]
    """By the name of the dial's position."""


def detect(machines: Sequence[Machine], track: Track = in_silence) -> list[ScoredMachine]:
    """Learn from the histories, which end together, then judge the rest tick by tick with spreads that stand still."""
    sizes = [machine.value.shape[1] for machine in machines]
    rows = np.arange(sum(sizes))
    entity = np.repeat(np.arange(len(machines)), sizes)
    detector = EntityDetector()
    detector.admit(rows, entity)
    dials = {SHIPPED: 1.0, ONE_A_DAY: float(len(machines))}
    watches = {name: _watch(rows, entity, allowed) for name, allowed in dials.items()}
    before = max(len(machine.history) for machine in machines)
    scores: list[list[float]] = [[] for _ in machines]
    fired: dict[str, list[list[int]]] = {name: [[] for _ in machines] for name in dials}
    ticks = [*_ticks([machine.history for machine in machines], at_end=True)]
    ticks += _ticks([machine.value for machine in machines], at_end=False)
    for tick, (here, value) in enumerate(track(ticks, "SMD: minutes", len(ticks))):
        found = detector.step(here, value)
        for name, watch in watches.items():
            for verdict in watch.look(tick, here, value, np.full(len(here), tick * MINUTE), 0):
                if tick >= before and verdict.change is Change.FIRING:
                    fired[name][entity[verdict.series]].append(tick - before)
        if tick < before:
            detector.learn(here, value, found)
        else:
            for one, score in zip(found.entity.tolist(), found.smooth.tolist(), strict=True):
                scores[one].append(score)
        if tick == before - 1:
            detector.fit(rows)
    return [
        ScoredMachine(machine, np.array(scores[i]), {name: np.array(fired[name][i], np.intp) for name in dials})
        for i, machine in enumerate(machines)
    ]


def _watch(rows: Ints, entity: Ints, allowed: float) -> EntityWatch:
    watch = EntityWatch(BankSettings(tick_nanos=MINUTE, adapt_ticks=RECORDS_A_DAY), allowed)
    watch.admit(rows, entity)
    return watch


def _ticks(blocks: Sequence[Floats], *, at_end: bool) -> list[tuple[Ints, Floats]]:
    """Rows and values of each tick of blocks beside each other, which end together or begin together."""
    height = max(len(block) for block in blocks)
    first = [height - len(block) if at_end else 0 for block in blocks]
    offset = np.concatenate(([0], np.cumsum([block.shape[1] for block in blocks])))
    found = []
    for tick in range(height):
        here = [i for i, block in enumerate(blocks) if 0 <= tick - first[i] < len(block)]
        rows = np.concatenate([np.arange(offset[i], offset[i + 1]) for i in here])
        found.append((rows, np.concatenate([blocks[i][tick - first[i]] for i in here])))
    return found


def judged(scored: Sequence[ScoredMachine], threshold: float) -> Paged:
    """Tally of the pages of all machines."""
    return total(tally(pages(one.score, threshold, QUIET_RECORDS), segments(one.machine.anomalous)) for one in scored)


def machine_days(scored: Sequence[ScoredMachine]) -> float:
    """Judged time of all machines together."""
    return sum(len(one.score) for one in scored) / RECORDS_A_DAY


def row_3(scored: Sequence[ScoredMachine], thresholds: Mapping[str, float]) -> list[Measure]:
    """VUS-PR and event recall; what the live path would have raised, beside them."""
    volume = float(np.mean([vus_pr(one.machine.anomalous, one.score) for one in scored]))
    found = judged(scored, thresholds["smd_one_false_page_a_day"])
    name = "smd at <= 1 false page a machine-day"
    return [
        at_least("smd mean VUS-PR", volume, "share", anchor=0.391, goal=0.45),
        at_least(f"{name}: event recall", found.recall, "share", anchor=0.25, goal=0.40),
        at_most(f"{name}: false pages", found.false / machine_days(scored), "per machine-day", anchor=1.3, goal=1.0),
        *[measure for dial in (SHIPPED, ONE_A_DAY) for measure in _live(scored, dial)],
    ]


def _live(scored: Sequence[ScoredMachine], dial: str) -> list[Measure]:
    found = total(tally(one.live[dial], segments(one.machine.anomalous)) for one in scored)
    return [
        Measure(f"smd live, {dial}: event recall", found.recall, "share"),
        Measure(f"smd live, {dial}: false signals", found.false / machine_days(scored), "per machine-day"),
        Measure(f"smd live, {dial}: false share", found.false_share, "share"),
    ]
