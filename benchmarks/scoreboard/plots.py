"""Pictures of what the detectors said: scores, labelled windows, pages right and wrong.

Called by `benchmarks.scoreboard.run` where a folder for plots is given. The pictures show the misses and the false
pages as plainly as the hits.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import matplotlib as mpl
import numpy as np

mpl.use("Agg")  # files only: no display is needed, and none may be asked for
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from benchmarks.scoreboard import multivariate, univariate
from benchmarks.scoreboard.pages import Window, pages, tally
from benchmarks.scoreboard.vus import segments

# A machine's two weeks of minutes as this many points: the highest score of each stretch is what pages.
POINTS = 2000


def plot_series(scored: Sequence[univariate.Scored], thresholds: Mapping[str, float], folder: Path) -> None:
    """One picture a series: values above, score and pages of the standard operating point below."""
    threshold = thresholds["nab_standard"]
    for number, one in enumerate(scored):
        figure, (top, bottom) = plt.subplots(2, 1, figsize=(11, 5), sharex=True, layout="constrained")
        top.plot(one.series.value, linewidth=0.6)
        bottom.plot(one.score, linewidth=0.6)
        found = univariate.paged(one, threshold)
        _mark(bottom, found, one.series.windows, threshold)
        _shade((top, bottom), one.series.windows)
        judged = tally(found, one.series.windows)
        top.set_title(
            f"{one.series.name}: {judged.found} of {judged.windows} windows found, {judged.false} false pages",
            fontsize=9,
        )
        bottom.set_ylabel("score, decades")
        _save(figure, folder, f"nab_{number:02d}.png")
    _trade_off(scored, folder)


def plot_machines(scored: Sequence[multivariate.ScoredMachine], thresholds: Mapping[str, float], folder: Path) -> None:
    """One picture a machine: energy, labelled segments and pages."""
    threshold = thresholds["smd_one_false_page_a_day"]
    for one in scored:
        windows = segments(one.machine.anomalous)
        found = pages(one.score, threshold, multivariate.QUIET_RECORDS)
        judged = tally(found, windows)
        figure, axes = plt.subplots(figsize=(11, 3), layout="constrained")
        stretch = max(1, len(one.score) // POINTS)
        whole = one.score[: len(one.score) // stretch * stretch].reshape(-1, stretch).max(axis=1)
        axes.semilogy(np.arange(len(whole)) * stretch, whole, linewidth=0.6)
        _mark(axes, found, windows, threshold)
        _shade((axes,), windows)
        axes.set_title(
            f"{one.machine.name}: {judged.found} of {judged.windows} events found, {judged.false} false pages",
            fontsize=9,
        )
        axes.set_ylabel("energy, spreads")
        _save(figure, folder, f"smd_{one.machine.name}.png")


def _trade_off(scored: Sequence[univariate.Scored], folder: Path) -> None:
    """Recall against the share of false pages over all thresholds."""
    joined = np.concatenate([one.score for one in scored])
    ranks = 1.0 - np.logspace(-1.5, -4.5, 80)
    tallies = [univariate.judged(scored, float(at)) for at in np.nanquantile(joined, ranks)]
    figure, axes = plt.subplots(figsize=(5, 4), layout="constrained")
    axes.plot([one.false_share for one in tallies], [one.recall for one in tallies], marker=".")
    axes.set_xlabel("share of pages that are false")
    axes.set_ylabel("recall of windows")
    _save(figure, folder, "nab_trade_off.png")


def _mark(axes: Axes, found: np.ndarray, windows: Sequence[Window], threshold: float) -> None:
    axes.axhline(threshold, color="grey", linewidth=0.6)
    for page in found:
        true = any(start <= page <= end for start, end in windows)
        axes.plot([page], [threshold], marker="^", color="green" if true else "red")


def _shade(panels: Sequence[Axes], windows: Sequence[Window]) -> None:
    for axes in panels:
        for start, end in windows:
            axes.axvspan(start, end, color="orange", alpha=0.3, linewidth=0)


def _save(figure: Figure, folder: Path, name: str) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    figure.savefig(folder / name, dpi=80)
    plt.close(figure)
