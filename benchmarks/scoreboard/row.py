"""What a row of the scoreboard is: one labelled set (or a few), one detector of ours, the figures of merit.

`benchmarks.scoreboard.registry` finds the rows, `benchmarks.scoreboard` runs them, `benchmarks.scoreboard.fit` fixes
their operating points. See `benchmarks.scoreboard` for how to add one.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Generic, TypeVar

from benchmarks.measure import Measure

Found = TypeVar("Found")
# Wraps what a row goes through, so that people see how far it is: (items, what they are, how many) -> the same items.
Track = Callable[[Iterable[Any], str, int], Iterable[Any]]


def in_silence(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:  # noqa: ARG001 - the signature of `Track`
    """Show nothing: tests and fits."""
    return items


@dataclass(frozen=True, slots=True)
class Run:
    """What a row is given: where the labelled data lie, which part of them is judged, and how to show progress."""

    data: Path
    part: str
    track: Track = in_silence

    def folders(self, name: str) -> list[Path]:
        """Folder of each part asked for (`A+B` is two) of the set of this name."""
        return [self.data / name / one for one in self.part.split("+")]


class Row(ABC, Generic[Found]):
    """One module in `benchmarks.scoreboard.rows` makes one of these and calls it `ROW`.

    `detect` is the slow part and is done once; `measure`, `fit` and `plot` only look at what it found.
    """

    numbers: tuple[int, ...]
    """Which rows of the scoreboard these are: rows that judge the same run share a module."""
    title: str
    """What the table calls it."""
    sets: tuple[str, ...]
    """Folders it reads under the data folder; the row is left out with a line where one is missing."""

    @abstractmethod
    def detect(self, run: Run) -> Found:
        """Run our detectors over the part: causal, online, event time, one configuration for all sets."""

    @abstractmethod
    def measure(self, number: int, found: Found, thresholds: Mapping[str, float], part: str) -> list[Measure]:
        """Figures of one row number, each beside its anchor, at the stored thresholds."""

    def fit(self, found: Found) -> dict[str, float]:  # noqa: ARG002 - what needs no operating point has none
        """Operating points on the part that was run; their names begin with the name of the set."""
        return {}

    def plot(self, found: Found, thresholds: Mapping[str, float], folder: Path) -> None:
        """Draw what was found, misses and false pages included, into files of this folder."""
