"""Fix operating points on one part: `python -m benchmarks.scoreboard.fit --data DIR --part A [--rows 1,2,3]`.

Run by hand when the detectors change; stores what the rows' `fit` return and leaves the points of other rows alone.
Thresholds that bound a rate are fitted with a margin, because another part is another sample.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.scoreboard import THRESHOLDS
from benchmarks.scoreboard.pages import Paged
from benchmarks.scoreboard.registry import choose
from benchmarks.scoreboard.row import Run

Floats = NDArray[np.float64]

# Candidate thresholds: ranks from 1 in 20 to 1 in 20 thousand records, evenly in log.
RANKS = 1.0 - np.logspace(-1.3, -4.3, 60)
# The score is flat around its best threshold and its very peak is luck: the middle of a plateau of five is taken.
PLATEAU = 5
# The false share asked of the fitting part is this much of the bound, to leave room for another sample.
FALSE_SHARE_MARGIN = 0.6
FALSE_PAGES_A_DAY = 0.7


def candidates(scores: Sequence[Floats]) -> Floats:
    """Thresholds worth trying, ascending."""
    joined = np.concatenate(scores)
    return np.unique(np.quantile(joined[np.isfinite(joined)], RANKS))


def best_plateau(thresholds: Floats, gain: Callable[[float], float]) -> float:
    """Middle of the run of thresholds whose mean gain is the highest."""
    gains = np.array([gain(float(threshold)) for threshold in thresholds])
    mean = np.convolve(gains, np.ones(PLATEAU) / PLATEAU, "valid")
    return float(thresholds[int(mean.argmax()) + PLATEAU // 2])


def most_recall(thresholds: Floats, judge: Callable[[float], Paged], allowed: Callable[[Paged], bool]) -> float:
    """Lowest threshold of the highest recall among those allowed."""
    best, recall = float("inf"), -1.0
    for threshold in thresholds[::-1]:
        found = judge(float(threshold))
        if allowed(found) and found.recall >= recall:
            best, recall = float(threshold), found.recall
    return best


def at_false_share(thresholds: Floats, judge: Callable[[float], Paged], bound: float) -> float:
    """Lowest threshold of the highest recall whose false share leaves room below the bound."""
    return most_recall(thresholds, judge, lambda found: found.false_share <= FALSE_SHARE_MARGIN * bound)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", default="A")
    parser.add_argument("--rows", help="numbers separated by commas; by default all there are")
    arguments = parser.parse_args()
    numbers = [int(number) for number in arguments.rows.split(",")] if arguments.rows else None
    stored = orjson.loads(THRESHOLDS.read_bytes())
    for row, _ in choose(numbers):
        stored["thresholds"] |= row.fit(row.detect(Run(arguments.data, arguments.part)))
    THRESHOLDS.write_bytes(orjson.dumps(stored, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
