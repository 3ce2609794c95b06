"""Log sessions and traces of system calls: reading them, judging them, and operating points (rows 7 and 8).

Called by `benchmarks.scoreboard.rows.logs` and `rows.zero_day`. What is judged is never what was learned: another part
is judged by what part A taught; part A itself by its own earlier half, or by folds of it.
"""

from __future__ import annotations

import gzip
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import orjson
from numpy.typing import NDArray

from benchmarks.scoreboard.row import Run
from detectors.sequences import SequenceNovelty
from schemas.envelope import NANOS
from streams.kernel.detect_sessions import MAX_EVENTS, SessionWatch

Floats = NDArray[np.float64]
Bools = NDArray[np.bool_]

# What is learned when another part is judged.
TAUGHT_BY = "A"


@dataclass(frozen=True, slots=True)
class Session:
    """One labelled sequence of events."""

    events: list[int]
    bad: bool
    name: str = ""
    """Of the block or instance."""


@dataclass(frozen=True, slots=True)
class Judged:
    """Scores with their labels."""

    scores: Floats
    bad: Bools

    def flagged(self, threshold: float) -> Bools:
        """Which are said to be bad."""
        return self.scores >= threshold

    def recall(self, threshold: float) -> float:
        """Share of the bad ones that are flagged."""
        return float(self.flagged(threshold)[self.bad].mean())

    def false_positive_rate(self, threshold: float) -> float:
        """Share of the good ones that are flagged."""
        return float(self.flagged(threshold)[~self.bad].mean())

    def f1(self, threshold: float) -> float:
        """Harmonic mean of precision and recall."""
        flagged = self.flagged(threshold)
        return float(2 * (flagged & self.bad).sum() / max(1, flagged.sum() + self.bad.sum()))


def teacher(run: Run, name: str) -> list[Path]:
    """Folder that teaches what is usual; none where it is judged itself, or is not there."""
    folder = run.data / name / TAUGHT_BY
    return [] if TAUGHT_BY in run.part.split("+") or not folder.is_dir() else [folder]


def read_sessions(folders: Sequence[Path], file: str) -> list[Session]:
    """Sessions in their order in time."""
    lines = [line for folder in folders for line in gzip.decompress((folder / file).read_bytes()).splitlines()]
    rows = [orjson.loads(line) for line in lines]
    return [Session(row["events"], bool(int(row["label"])), str(row.get("block", row.get("id", "")))) for row in rows]


def judge_sessions(run: Run, name: str, file: str) -> tuple[Judged, list[Session]]:
    """Learn good sessions, then judge the rest; where nothing teaches, the earlier half of the good ones does."""
    taught = [one for one in read_sessions(teacher(run, name), file) if not one.bad]
    judged = read_sessions(run.folders(name), file)
    if not taught:
        cut = _half_of_the_good(judged)
        taught, judged = [one for one in judged[:cut] if not one.bad], judged[cut:]
    novelty = SequenceNovelty().fit(one.events for one in taught)
    return Judged(novelty.score([one.events for one in judged]), np.array([one.bad for one in judged])), judged


def judge_live(run: Run, name: str, file: str) -> Judged:
    """Judge sessions by what judges them live, which is told no label and learns what it is given, bad ones too.

    What teaches is another part, or the earlier half, as above; each session begins a second after the one before.
    """
    taught, judged = read_sessions(teacher(run, name), file), read_sessions(run.folders(name), file)
    if not taught:
        cut = _half_of_the_good(judged)
        taught, judged = judged[:cut], judged[cut:]
    watch = SessionWatch(NANOS // 2, lambda _, event: str(event))
    scores = [_heard(watch, one, at) for at, one in enumerate((*taught, *judged))]
    return Judged(np.array(scores[len(taught) :]), np.array([one.bad for one in judged]))


def _heard(watch: SessionWatch, session: Session, second: int) -> float:
    """Score of a session, when it was clear or at its end."""
    now = (second + 1) * NANOS
    at_once = [watch.hear("set", f"{second}", 0, event, now) for event in session.events[:MAX_EVENTS]]
    ended = list(watch.pass_time(now + NANOS // 2))
    return next(one.score for one in (*at_once, *ended) if one is not None)


def _half_of_the_good(sessions: Sequence[Session]) -> int:
    good = np.cumsum([not one.bad for one in sessions])
    return int(np.searchsorted(good, good[-1] // 2)) + 1


def ceiling(sessions: Sequence[Session], allowed: float) -> float:
    """F1 that nothing that sees a session's events alone can exceed, at this false-positive rate.

    Whoever sees only the events must say the same of equal sequences. The best that can be said is to flag sequences in
    the order of their share of bad ones, which no detector is told.
    """
    bad, good = (Counter(tuple(s.events) for s in sessions if s.bad is kind) for kind in (True, False))
    order = sorted(bad, key=lambda events: -bad[events] / (bad[events] + good[events]))
    true, false = (np.cumsum([of[events] for events in order]) for of in (bad, good))
    f1 = 2 * true / (true + false + bad.total())
    return float(f1[false <= allowed * good.total()].max(initial=0.0))


def widest_plateau(scores: Floats, gain: Callable[[float], float]) -> float:
    """Middle of the widest run of thresholds of the highest gain: farthest from where a score would change sides."""
    ordered = np.unique(scores)
    between = (ordered[1:] + ordered[:-1]) / 2
    gains = np.array([gain(float(threshold)) for threshold in between])
    best = np.flatnonzero(gains >= gains.max() - 1e-12)
    runs = np.split(best, np.flatnonzero(np.diff(best) > 1) + 1)
    lows, highs = ordered[[one[0] for one in runs]], ordered[[one[-1] + 1 for one in runs]]
    widest = int((highs - lows).argmax())
    return float((lows[widest] + highs[widest]) / 2)
