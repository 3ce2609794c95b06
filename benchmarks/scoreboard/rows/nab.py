"""Rows 1 and 2: NAB by its own score, and by the share of the pages that are false."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from benchmarks.measure import Measure
from benchmarks.scoreboard import fit, nab, univariate
from benchmarks.scoreboard.data import read_nab
from benchmarks.scoreboard.row import Row, Run


class NabRows(Row[Sequence[univariate.Scored]]):
    """The univariate detector over all series in lockstep, each by its own clock."""

    numbers = (1, 2)
    title = "NAB"
    sets = ("nab",)

    def detect(self, run: Run) -> Sequence[univariate.Scored]:
        return univariate.detect(read_nab(run.folders("nab")), run.track)

    def measure(
        self, number: int, found: Sequence[univariate.Scored], thresholds: Mapping[str, float], part: str
    ) -> list[Measure]:
        if number == 1:
            return univariate.row_1(found, thresholds, part)
        return univariate.row_2(found, thresholds)

    def fit(self, found: Sequence[univariate.Scored]) -> dict[str, float]:
        looks = fit.candidates([one.score[nab.probation(len(one.score)) :] for one in found])
        return {
            "nab_standard": fit.best_plateau(looks, lambda at: univariate.score(found, at, nab.STANDARD)),
            "nab_low_false_positives": fit.best_plateau(
                looks, lambda at: univariate.score(found, at, nab.LOW_FALSE_POSITIVES)
            ),
            "nab_false_share_20": fit.at_false_share(looks, lambda at: univariate.judged(found, at), 0.20),
            "nab_false_share_5": fit.at_false_share(looks, lambda at: univariate.judged(found, at), 0.05),
        }

    def plot(self, found: Sequence[univariate.Scored], thresholds: Mapping[str, float], folder: Path) -> None:
        from benchmarks.scoreboard.plots import plot_series  # noqa: PLC0415 - needs matplotlib

        plot_series(found, thresholds, folder)


ROW = NabRows()
