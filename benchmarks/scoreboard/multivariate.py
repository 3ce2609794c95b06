"""Machines judged whole: SMD by VUS-PR, and by event recall at a bounded number of false pages a day (row 3).

Called by `benchmarks.scoreboard.rows.smd`; runs the detector of the live path over all machines in lockstep.
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
from detectors.multivariate import EntityDetector

Floats = NDArray[np.float64]

# The paging rule's quiet time on SMD: half an hour of minutes.
QUIET_RECORDS = 30
RECORDS_A_DAY = 1440


@dataclass(frozen=True, slots=True)
class ScoredMachine:
    """A machine and what the detector said of each judged record."""

    machine: Machine
    score: Floats


def detect(machines: Sequence[Machine], track: Track = in_silence) -> list[ScoredMachine]:
    """Fit on the histories, which end together, and run the detector over the judged parts tick by tick."""
    entity = np.repeat(np.arange(len(machines)), [machine.value.shape[1] for machine in machines])
    detector = EntityDetector(entity)
    detector.fit(_side_by_side([machine.history for machine in machines], at_end=True))
    judged_ticks = _side_by_side([machine.value for machine in machines], at_end=False)
    scores = np.array([detector.step(tick).smooth for tick in track(judged_ticks, "SMD: minutes", len(judged_ticks))])
    return [ScoredMachine(machine, scores[: len(machine.value), row]) for row, machine in enumerate(machines)]


def _side_by_side(blocks: Sequence[Floats], *, at_end: bool) -> Floats:
    """Blocks of rows beside each other, the shorter ones filled up with NaN before or after."""
    height = max(len(block) for block in blocks)
    return np.hstack(
        [
            np.pad(
                block,
                ((height - len(block), 0) if at_end else (0, height - len(block)), (0, 0)),
                constant_values=np.nan,
            )
            for block in blocks
        ]
    )


def judged(scored: Sequence[ScoredMachine], threshold: float) -> Paged:
    """Tally of the pages of all machines."""
    return total(tally(pages(one.score, threshold, QUIET_RECORDS), segments(one.machine.anomalous)) for one in scored)


def machine_days(scored: Sequence[ScoredMachine]) -> float:
    """Judged time of all machines together."""
    return sum(len(one.score) for one in scored) / RECORDS_A_DAY


def row_3(scored: Sequence[ScoredMachine], thresholds: Mapping[str, float]) -> list[Measure]:
    """VUS-PR and event recall."""
    volume = float(np.mean([vus_pr(one.machine.anomalous, one.score) for one in scored]))
    found = judged(scored, thresholds["smd_one_false_page_a_day"])
    name = "smd at <= 1 false page a machine-day"
    return [
        at_least("smd mean VUS-PR", volume, "share", anchor=0.391, goal=0.45),
        at_least(f"{name}: event recall", found.recall, "share", anchor=0.25, goal=0.40),
        at_most(f"{name}: false pages", found.false / machine_days(scored), "per machine-day", anchor=1.3, goal=1.0),
    ]
