"""Series judged one by one: NAB by its own score, and by the share of the pages that are false (rows 1 and 2).

Called by `benchmarks.scoreboard.rows.nab`; runs the detector of the live path over all series in lockstep.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.measure import Measure, at_least, at_most
from benchmarks.scoreboard import nab
from benchmarks.scoreboard.data import Series
from benchmarks.scoreboard.pages import Paged, pages, tally, total
from benchmarks.scoreboard.row import Track, in_silence
from detectors.univariate import UnivariateDetector

Floats = NDArray[np.float64]

# The paging rule's quiet time on NAB: three hours of five-minute records.
QUIET_RECORDS = 36


@dataclass(frozen=True, slots=True)
class Scored:
    """A series and what the detector said of each record (NaN while warming up), and each look's part in it."""

    series: Series
    score: Floats
    looks: Floats


def detect(corpus: Sequence[Series], track: Track = in_silence) -> list[Scored]:
    """Run the detector, tick by tick, each series by its own clock."""
    detector = UnivariateDetector(len(corpus))
    length = np.array([len(series.value) for series in corpus])
    scored: list[list[Floats]] = [[] for _ in corpus]
    looks: list[list[Floats]] = [[] for _ in corpus]
    longest = int(length.max())
    for tick in track(range(longest), "NAB: records", longest):
        rows = np.flatnonzero(length > tick)
        present = [corpus[int(row)] for row in rows]
        time = np.array([series.time_unix_nano[tick] for series in present])
        value = np.array([series.value[tick] for series in present])
        surprise = detector.step(rows, time, value)
        for line, row in enumerate(rows):
            scored[row].append(surprise.score[line])
            looks[row].append(surprise.looks[line])
    return [
        Scored(series, np.array(score), np.array(parts))
        for series, score, parts in zip(corpus, scored, looks, strict=True)
    ]


def paged(one: Scored, threshold: float) -> NDArray[np.intp]:
    """Pages of one series after NAB's probation."""
    return pages(one.score, threshold, QUIET_RECORDS, nab.probation(len(one.score)))


def score(scored: Sequence[Scored], threshold: float, profile: nab.Profile) -> float:
    """NAB score of the pages."""
    files = []
    for one in scored:
        alarms = np.zeros(len(one.score), dtype=np.bool_)
        alarms[paged(one, threshold)] = True
        files.append((alarms, one.series.windows))
    return nab.corpus_score(files, profile)


def judged(scored: Sequence[Scored], threshold: float) -> Paged:
    """Tally of the pages of a corpus."""
    return total(tally(paged(one, threshold), one.series.windows) for one in scored)


# Anchors by part (the project's scoreboard page): best standard score, best low-FP score. Goals: B and the whole.
_SCORE_ANCHORS = {"A": (78.1, 71.7), "B": (71.8, 62.5)}
_SCORE_GOALS = {"B": (72.0, 63.0)}


def row_1(scored: Sequence[Scored], thresholds: Mapping[str, float], part: str) -> list[Measure]:
    """NAB standard and low-FP score."""
    anchors, goals = _SCORE_ANCHORS.get(part, (74.9, 67.0)), _SCORE_GOALS.get(part, (75.0, 67.0))
    standard = score(scored, thresholds["nab_standard"], nab.STANDARD)
    low = score(scored, thresholds["nab_low_false_positives"], nab.LOW_FALSE_POSITIVES)
    return [
        at_least("nab standard score", standard, "points", anchor=anchors[0], goal=goals[0]),
        at_least("nab low-FP score", low, "points", anchor=anchors[1], goal=goals[1]),
    ]


def row_2(scored: Sequence[Scored], thresholds: Mapping[str, float]) -> list[Measure]:
    """Recall at a bounded share of false pages."""
    measures = []
    for percent, anchor, goal in ((20, 0.32, 0.45), (5, 0.0, 0.20)):
        found = judged(scored, thresholds[f"nab_false_share_{percent}"])
        name = f"nab at <= {percent} % false pages"
        measures += [
            at_least(f"{name}: recall", found.recall, "share", anchor=anchor, goal=goal),
            at_most(f"{name}: false share", found.false_share, "share", goal=percent / 100.0),
        ]
    return measures
