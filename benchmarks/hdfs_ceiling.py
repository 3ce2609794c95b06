"""How well anything could do on hdfs_100k that is told the labels: `python -m benchmarks.hdfs_ceiling --data DIR`.

The set holds of each session its block, its label and its events in the order of time; neither times nor the words of
the lines. What can be made of that and is not the identity of a session is given to a supervised model: how many of
each event, which after which, where the session stands in the file (time, as far as it is known) with the lengths of
its neighbours, and the number of its block. Gradient boosting, five folds, each judged by a model of the others. A
detector without labels cannot be expected to do better.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.model_selection import StratifiedKFold, cross_val_predict

from benchmarks.scoreboard.sessions import Session, ceiling, read_sessions

Floats = NDArray[np.float64]
FALSE_POSITIVES = 0.005


def composition(sessions: Sequence[Session], kinds: int) -> Floats:
    """How many of each event, `[session, kind]`, and how many in all."""
    counts = np.array([np.bincount(one.events, minlength=kinds) for one in sessions], np.float64)
    return np.column_stack((counts, counts.sum(axis=1)))


def order(sessions: Sequence[Session], kinds: int) -> Floats:
    """How often each event follows each, the first and last event, and where each kind comes first and last."""
    rows = []
    for one in sessions:
        events = np.array(one.events)
        after = np.bincount(events[:-1] * kinds + events[1:], minlength=kinds * kinds)
        first = [int(np.argmax(events == kind)) if kind in one.events else -1 for kind in range(kinds)]
        rows.append([*after, *first, events[0], events[-1]])
    return np.array(rows, np.float64)


def place(sessions: Sequence[Session]) -> Floats:
    """Where it stands in the file, and how long its five neighbours on each side are."""
    lengths = np.array([len(one.events) for one in sessions], np.float64)
    padded = np.pad(lengths, 5, mode="edge")
    return np.column_stack((np.arange(len(sessions)), *(padded[i : i + len(lengths)] for i in range(11))))


def blocks(sessions: Sequence[Session]) -> Floats:
    """Its number: sign, size, last digits."""
    numbers = np.array([float(one.name.removeprefix("blk_")) for one in sessions])
    return np.column_stack((np.sign(numbers), np.abs(numbers), np.abs(numbers) % 1024))


def highest_f1(scores: Floats, bad: NDArray[np.bool_]) -> float:
    """Highest F1 of any threshold whose false-positive rate is allowed."""
    best = 0.0
    for threshold in np.unique(scores):
        flagged = scores >= threshold
        if flagged[~bad].mean() <= FALSE_POSITIVES:
            best = max(best, 2 * float((flagged & bad).sum()) / float(flagged.sum() + bad.sum()))
    return best


def judged(features: Floats, bad: NDArray[np.bool_]) -> Floats:
    """Probability of each session of being bad, by a model of the other folds."""
    model = HistGradientBoostingClassifier(max_iter=100, random_state=0)
    folds = StratifiedKFold(5, shuffle=True, random_state=0)
    found: Floats = cross_val_predict(model, features, bad, cv=folds, method="predict_proba")[:, 1]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--part", default="A")
    arguments = parser.parse_args()
    sessions = read_sessions([arguments.data / "hdfs_100k" / arguments.part], "sessions.jsonl.gz")
    bad = np.array([one.bad for one in sessions])
    kinds = max(max(one.events) for one in sessions) + 1
    sets = {"counts": composition(sessions, kinds), "order": order(sessions, kinds), "place": place(sessions)}
    sets["block"] = blocks(sessions)
    print("| what the labelled model sees | highest F1 at <= 0.5 % false |")
    print("|---|---|")
    seen: list[str] = []
    for name in sets:
        seen.append(name)
        scores = judged(np.column_stack([sets[one] for one in seen]), bad)
        print(f"| {' + '.join(seen)} | {highest_f1(scores, bad):.3f} |")
    print(f"| the events themselves, in sample: the oracle | {ceiling(sessions, FALSE_POSITIVES):.3f} |")


if __name__ == "__main__":
    main()
