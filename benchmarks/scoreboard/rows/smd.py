"""Row 3: SMD by VUS-PR, and by event recall at a bounded number of false pages a day."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Measure
from benchmarks.scoreboard import fit, multivariate
from benchmarks.scoreboard.data import read_machines
from benchmarks.scoreboard.row import Row, Run


class SmdRow(Row[Sequence[multivariate.ScoredMachine]]):
    """The entity detector over all machines in lockstep."""

    numbers = (3,)
    title = "SMD"
    sets = ("smd",)

    def detect(self, run: Run) -> Sequence[multivariate.ScoredMachine]:
        return multivariate.detect(read_machines(run.folders("smd")), run.track)

    def measure(
        self,
        number: int,  # noqa: ARG002 - there is only one
        found: Sequence[multivariate.ScoredMachine],
        thresholds: Mapping[str, float],
        part: str,  # noqa: ARG002 - the goals are the same
    ) -> list[Measure]:
        return multivariate.row_3(found, thresholds)

    def fit(self, found: Sequence[multivariate.ScoredMachine]) -> dict[str, float]:
        days = multivariate.machine_days(found)
        threshold = fit.most_recall(
            fit.candidates([one.score for one in found]),
            lambda at: multivariate.judged(found, at),
            lambda judged: judged.false <= fit.FALSE_PAGES_A_DAY * days,
        )
        return {"smd_one_false_page_a_day": threshold}

    def plot(self, found: Sequence[multivariate.ScoredMachine], thresholds: Mapping[str, float], folder: Path) -> None:
        from benchmarks.scoreboard.plots import plot_machines  # noqa: PLC0415 - needs matplotlib

        plot_machines(found, thresholds, folder)


ROW = SmdRow()
