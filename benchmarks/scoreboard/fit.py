"""Fix the operating points on one part and store them: `python -m benchmarks.scoreboard.fit --data DIR --part A`.

Run by hand when the detectors change. Thresholds that bound a rate are fitted with a margin, because another part is
another sample.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.scoreboard import THRESHOLDS, multivariate, nab, univariate
from benchmarks.scoreboard.data import read_machines, read_nab
from benchmarks.scoreboard.pages import Paged

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


def fit(data: Path, part: str) -> dict[str, float]:
    """Fit every operating point."""
    series = univariate.detect(read_nab(data, part))
    looks = candidates([one.score[nab.probation(len(one.score)) :] for one in series])
    machines = multivariate.detect(read_machines(data, part))
    days = multivariate.machine_days(machines)
    return {
        "nab_standard": best_plateau(looks, lambda at: univariate.score(series, at, nab.STANDARD)),
        "nab_low_false_positives": best_plateau(
            looks, lambda at: univariate.score(series, at, nab.LOW_FALSE_POSITIVES)
        ),
        "nab_false_share_20": _at_false_share(looks, series, 0.20),
        "nab_false_share_5": _at_false_share(looks, series, 0.05),
        "smd_one_false_page_a_day": most_recall(
            candidates([one.score for one in machines]),
            lambda at: multivariate.judged(machines, at),
            lambda found: found.false <= FALSE_PAGES_A_DAY * days,
        ),
    }


def _at_false_share(thresholds: Floats, series: Sequence[univariate.Scored], bound: float) -> float:
    return most_recall(
        thresholds,
        lambda at: univariate.judged(series, at),
        lambda found: found.false_share <= FALSE_SHARE_MARGIN * bound,
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", default="A")
    arguments = parser.parse_args()
    fitted = {
        "fitted_on": f"part {arguments.part}",
        "command": f"python -m benchmarks.scoreboard.fit --data DIR --part {arguments.part}",
        "thresholds": fit(arguments.data, arguments.part),
    }
    THRESHOLDS.write_bytes(orjson.dumps(fitted, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))


if __name__ == "__main__":
    main()
