"""VUS-PR: the volume under the precision-recall surface over buffer widths and thresholds.

Paparrizos et al., "Volume Under the Surface: A New Accuracy Evaluation Measure for Time-Series Anomaly Detection",
PVLDB 15(11), 2022, with the thresholds of TSB-AD (Liu & Paparrizos, NeurIPS 2024), which found it the most reliable of
the accuracy measures. Called by `benchmarks.scoreboard.multivariate`.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# TSB-AD's settings: buffers of 0 to 100 records around a labelled segment, 250 thresholds at evenly spaced ranks.
WIDEST_BUFFER = 100
THRESHOLDS = 250


def segments(labels: NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last record of each run of labelled records."""
    edges = np.flatnonzero(np.diff(np.concatenate(([False], labels, [False])).astype(np.int8)))
    return [(int(start), int(end) - 1) for start, end in zip(edges[::2], edges[1::2], strict=True)]


def vus_pr(labels: NDArray[np.bool_], score: NDArray[np.float64], widest: int = WIDEST_BUFFER) -> float:
    """Mean range-aware average precision over buffer widths 0 to `widest`."""
    order = np.argsort(-score, kind="stable")
    ranked = score[order]
    thresholds = ranked[np.linspace(0, len(score) - 1, THRESHOLDS).astype(np.int64)]
    predicted = np.searchsorted(-ranked, -thresholds, side="right")
    return float(
        np.mean([_average_precision(labels, score, order, predicted, width=width) for width in range(widest + 1)])
    )


def _average_precision(
    labels: NDArray[np.bool_],
    score: NDArray[np.float64],
    order: NDArray[np.intp],
    predicted: NDArray[np.intp],
    *,
    width: int,
) -> float:
    runs = segments(labels)
    weight = _buffered(labels, runs, width)
    buffer = np.where(labels, 0.0, weight)
    true_positives = np.concatenate(([0.0], np.cumsum(weight[order])))[predicted]
    in_buffer = np.concatenate(([0.0], np.cumsum(buffer[order])))[predicted]
    recall = np.minimum(true_positives / (labels.sum() + in_buffer / 2.0), 1.0)
    recall *= _existence(runs, score, score[order][predicted - 1], width, len(labels))
    precision = true_positives / predicted
    return float(np.dot(np.diff(recall, prepend=0.0), precision))


def _buffered(labels: NDArray[np.bool_], runs: list[tuple[int, int]], width: int) -> NDArray[np.float64]:
    """Labels with sloping shoulders of half the width on both sides of each run."""
    weight = labels.astype(np.float64)
    for start, end in runs:
        after = np.arange(end + 1, min(end + width // 2 + 1, len(labels)))
        weight[after] += np.sqrt(1.0 - (after - end) / width) if width else 0.0
        before = np.arange(max(start - width // 2, 0), start)
        weight[before] += np.sqrt(1.0 - (start - before) / width) if width else 0.0
    return np.minimum(weight, 1.0)


def _existence(
    runs: list[tuple[int, int]], score: NDArray[np.float64], thresholds: NDArray[np.float64], width: int, length: int
) -> NDArray[np.float64]:
    """Share of the buffered runs that each threshold touches; runs whose buffers meet count as one."""
    merged: list[tuple[int, int]] = []
    for start, end in runs:
        first, last = max(start - width // 2, 0), min(end + width // 2, length - 1)
        if merged and first <= merged[-1][1]:
            merged[-1] = (merged[-1][0], last)
        else:
            merged.append((first, last))
    peaks = np.sort([score[first : last + 1].max() for first, last in merged])
    found: NDArray[np.float64] = 1.0 - np.searchsorted(peaks, thresholds, side="left") / len(peaks)
    return found
