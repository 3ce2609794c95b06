"""The NAB score (Lavin & Ahmad, "Evaluating Real-Time Anomaly Detection Algorithms", ICMLA 2015), our own scorer.

Called by `benchmarks.scoreboard.univariate` with the records that raised an alarm. It reproduces the published
figures of the peers from their stored scores (`tests/benchmarks/test_nab.py`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.scoreboard.pages import Window


@dataclass(frozen=True, slots=True)
class Profile:
    """What a miss and a false alarm cost, in units of a perfectly early detection."""

    false_positive: float
    false_negative: float


STANDARD = Profile(false_positive=0.11, false_negative=1.0)
LOW_FALSE_POSITIVES = Profile(false_positive=0.22, false_negative=1.0)


def probation(records: int) -> int:
    """How many records at the head of a file are not scored."""
    return int(np.floor(0.15 * min(records, 5000)))


def file_score(alarms: NDArray[np.bool_], windows: Sequence[Window], profile: Profile) -> float:
    """Raw score of one file: detections rewarded for being early, misses and false alarms charged."""
    first = probation(len(alarms))
    raised = np.flatnonzero(alarms)
    raised = raised[raised >= first]
    inside = np.zeros(len(alarms), dtype=bool)
    score = 0.0
    for start, end in windows:
        inside[start : end + 1] = True
        hits = raised[(raised >= start) & (raised <= end)]
        score += _reward(int(hits[0]), start, end) if len(hits) else -profile.false_negative
    false = raised[~inside[raised]]
    return score + profile.false_positive * float(_false_alarms(false, windows).sum())


def corpus_score(files: Sequence[tuple[NDArray[np.bool_], Sequence[Window]]], profile: Profile) -> float:
    """Score of a corpus: 0 is a detector that never raises, 100 one that raises at the start of each window."""
    count = sum(len(windows) for _, windows in files)
    null, perfect = -profile.false_negative * count, float(count)
    raw = sum(file_score(alarms, windows, profile) for alarms, windows in files)
    return 100.0 * (raw - null) / (perfect - null)


def _sigmoid(position: NDArray[np.float64] | float) -> NDArray[np.float64]:
    return np.where(np.asarray(position) > 3.0, -1.0, 2.0 / (1.0 + np.exp(5.0 * np.minimum(position, 3.0))) - 1.0)


def _reward(record: int, start: int, end: int) -> float:
    width = end - start + 1
    return float(_sigmoid(-(end - record + 1) / width) / _sigmoid(-1.0))


def _false_alarms(records: NDArray[np.intp], windows: Sequence[Window]) -> NDArray[np.float64]:
    """Charge of each false alarm: small just after a window, 1 far from any or before the first."""
    charge = -np.ones(len(records))
    for start, end in windows:
        after = records > end
        width = end - start + 1
        charge[after] = _sigmoid(np.abs(end - records[after]) / (width - 1 if width > 1 else 1))
    return charge
