"""Row 6: which cause is at work in a database, said online from its metrics, second by second.

Causes are learnt from the labelled runs of part A; each run of A itself is judged by what the others taught. A run
counts once, by the first decision in it: before the onset it is early, whatever it says.
"""

from __future__ import annotations

import csv
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.measure import Measure, at_least, at_most
from benchmarks.scoreboard.row import Row, Run
from detectors.cause_memory import CauseDecision, CauseMemory, CauseWatch, Example, Lesson

LEARN_FROM = "A"
# What says where in the run a row is, and what the truth is, is no telemetry.
NO_METRICS = ("case", "t", "abnormal", "Epoch")


@dataclass(frozen=True, slots=True)
class JudgedRun:
    """A labelled run, and the first decision in it."""

    run: Example
    decision: CauseDecision | None

    @property
    def early(self) -> bool:
        return self.decision is not None and self.decision.decided < self.run.onset

    @property
    def detected(self) -> bool:
        return self.decision is not None and self.run.onset <= self.decision.decided < self.run.end

    @property
    def right(self) -> bool:
        return self.detected and self.decision is not None and self.decision.cause == self.run.cause


class DbsherlockRow(Row[Sequence[JudgedRun]]):
    """Each run is a system of its own, watched from its first second."""

    numbers = (6,)
    title = "DBSherlock, online"
    sets = ("dbsherlock",)

    def detect(self, run: Run) -> Sequence[JudgedRun]:
        source = run.data / "dbsherlock" / LEARN_FROM
        runs = [(folder == source, one) for folder in run.folders("dbsherlock") for one in read_runs(folder)]
        # Nobody is taught by the run it is judged on.
        teachers = [one for taught, one in runs if taught] or read_runs(source)
        lessons = {id(one): Lesson.of(one) for one in teachers}
        everything = CauseMemory.learn(list(lessons.values()))
        return [
            _judge(_without(one, lessons) if id(one) in lessons else everything, one)
            for _, one in run.track(runs, "dbsherlock: runs", len(runs))
        ]

    def measure(
        self,
        number: int,  # noqa: ARG002 - there is only one
        found: Sequence[JudgedRun],
        thresholds: Mapping[str, float],  # noqa: ARG002 - none are fitted
        part: str,  # noqa: ARG002 - the goals are the same
    ) -> list[Measure]:
        late = [
            float(one.decision.decided - one.run.onset) for one in found if one.detected and one.decision is not None
        ]
        share = 100.0 / len(found)
        return [
            at_least(
                "dbsherlock detected, right cause", share * sum(f.right for f in found), "%", anchor=65.0, goal=95
            ),
            at_most("dbsherlock decided before onset", share * sum(f.early for f in found), "%", anchor=14.0, goal=5),
            at_most(
                "dbsherlock onset to decision, median", float(np.median(late or [np.inf])), "s", anchor=7.0, goal=10
            ),
        ]


def _without(run: Example, lessons: Mapping[int, Lesson]) -> CauseMemory:
    return CauseMemory.learn([lesson for one, lesson in lessons.items() if one != id(run)])


def _judge(memory: CauseMemory, run: Example) -> JudgedRun:
    watch = CauseWatch(memory)
    decisions = (watch.step(row) for row in run.values)
    return JudgedRun(run, next((decision for decision in decisions if decision is not None), None))


def read_runs(folder: Path) -> list[Example]:
    """Every run of a part, in the order of `cases.csv`."""
    from pyarrow import parquet  # noqa: PLC0415 - not needed to list the rows

    table = parquet.read_table(folder / "tpcc16.parquet")
    metrics = [name for name in table.column_names if name not in NO_METRICS]
    values = np.column_stack([table[name].to_numpy() for name in metrics]).astype(np.float64)
    case = np.array(table["case"].to_pylist())
    with (folder / "cases.csv").open() as lines:
        # Seconds are counted from one; the last second of the incident lies in it.
        return [
            Example(row["cause"], values[case == row["case"]], int(row["start"]) - 1, int(row["end"]))
            for row in csv.DictReader(lines)
        ]


ROW = DbsherlockRow()
