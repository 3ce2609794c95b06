"""Candidates for thresholds that recordings can judge: one step up and one step down of each that may be learnt.

Called by `streams.replay.trial`, which plays recordings with each. Pure. One threshold a candidate, so that what its
figures show is its own; a step is small, so that recordings that mislead move little before people look again.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from learning.registry import DETECTION_THRESHOLDS, POLICY_THRESHOLDS
from learning.thresholds import CONFIDENCE, HIGHEST, STEP

# Digits that are kept: settings are read by people.
_DIGITS = 4


class Reach(NamedTuple):
    """How far a threshold may be moved: by a factor at a time, and never out of bounds."""

    factor: float
    lowest: float
    highest: float


# False share: from one in a hundred, stricter than any tail is known to be, to one in two, more than people put up
# with. Seconds of lone evidence: below 10 a blip that mends itself opens an incident; above 120 a detection is late
# even by the clock of people.
DETECTION: Mapping[str, Reach] = {
    "detect.max_false_share": Reach(2.0, 0.01, 0.5),
    "correlate.lone_wait_seconds": Reach(1.5, 10.0, 120.0),
}


DOUBTED = "correlate.doubted"


class Candidate(NamedTuple):
    """What would be set."""

    kind: str
    parameters: dict[str, Any]


def candidates(
    now: Mapping[str, Any],
    learnt: Mapping[str, Mapping[str, Any]],
    pinned: Collection[str],
    doubted: Sequence[str] = (),
) -> Iterator[Candidate]:
    """Give every step there is.

    Args:
        now: the values that hold, by the names of their settings.
        learnt: what is live of each kind; a version sets all that its kind has learnt.
        pinned: settings that people have set: a version could not change them.
        doubted: what mostly raises false alarms, by the record of each detector.

    """
    if DOUBTED not in pinned and set(doubted) != set(now.get(DOUBTED, ())):
        yield Candidate(DETECTION_THRESHOLDS, {**learnt.get(DETECTION_THRESHOLDS, {}), DOUBTED: list(doubted)})
    for name, reach in DETECTION.items():
        if name not in pinned:
            for value in _steps(now[name], reach):
                yield Candidate(DETECTION_THRESHOLDS, {**learnt.get(DETECTION_THRESHOLDS, {}), name: value})
    # Up only: what a lower one lets in has to be proved by what people said (`learning.thresholds`).
    higher = min(round(now[CONFIDENCE] + STEP, _DIGITS), HIGHEST)
    if CONFIDENCE not in pinned and higher > now[CONFIDENCE]:
        yield Candidate(POLICY_THRESHOLDS, {**learnt.get(POLICY_THRESHOLDS, {}), CONFIDENCE: higher})


def _steps(now: float, reach: Reach) -> list[float]:
    """Give one step down and one up; a value that people put out of bounds is moved back only."""
    down, up = max(now / reach.factor, reach.lowest), min(now * reach.factor, reach.highest)
    return [round(value, _DIGITS) for value, there in ((down, down < now), (up, up > now)) if there]
