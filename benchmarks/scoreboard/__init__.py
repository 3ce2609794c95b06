"""The scoreboard: real labelled data, honest metrics, one configuration for all sets.

    reflexarc scoreboard --data DIR --part A [--rows 1,2,3] [--json FILE] [--plots DIR]

runs every row there is (or those asked for) and prints each figure beside the best known one. The thresholds were fixed
on part A by `python -m benchmarks.scoreboard.fit` and are stored in `thresholds.json` beside this file; running here
fits nothing. Nothing may know a file or host name: another part has other ones, shifted clocks and rescaled values.

How to add a row: write one module `benchmarks/scoreboard/rows/<set>.py` that ends with `ROW = MyRow()`, where
`class MyRow(Row[Found])` (`benchmarks/scoreboard/row.py`) says

* `numbers`, `title`, `sets`: which rows of the scoreboard it is, what to call it, which folders of the data it reads;
* `detect(run) -> Found`: read `run.folders("<set>")`, run the code of the live path over it, in event time, and return
  scores or signals with their labels, of any type of your own. Wrap the outermost loop in
  `run.track(items, "what", total)` for a progress bar;
* `measure(number, found, thresholds, part) -> list[Measure]`: the figures of row `number`, made with
  `benchmarks.measure.at_least` / `at_most`, which hold anchor and goal (those of `part` where they differ);
* `fit(found) -> {"<set>_<what>": threshold}`: operating points on A, if it has any.
  `python -m benchmarks.scoreboard.fit --data DIR --part A --rows 5` stores them and leaves those of other rows alone;
* `plot(found, thresholds, folder)`: pictures, if it has any.

Import what reads Parquet or draws where it is used: listing the rows must not need it. A row is found by being there,
and left out with a line where its sets are not in the data folder. For pages, tallies and VUS-PR: `pages.py`, `vus.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson

from benchmarks.measure import Measure, write_rows
from benchmarks.scoreboard.registry import choose
from benchmarks.scoreboard.row import Run

THRESHOLDS = Path(__file__).with_name("thresholds.json")


@dataclass(frozen=True, slots=True)
class Figures:
    """What was measured for one row of the scoreboard."""

    row: int
    measures: Sequence[Measure]


def load_thresholds() -> dict[str, float]:
    """Read the stored operating points."""
    stored: dict[str, float] = orjson.loads(THRESHOLDS.read_bytes())["thresholds"]
    return stored


def run(
    what: Run, numbers: Sequence[int] | None = None, *, plots: Path | None = None, say: Callable[[str], None] = print
) -> list[Figures]:
    """Measure rows (None: all there are); draw what they found where a folder is given.

    Raises:
        ConfigurationError: there is no row of a number.

    """
    thresholds = load_thresholds()
    figures: list[Figures] = []
    for row, asked in choose(numbers):
        missing = [name for name in row.sets if not all(folder.is_dir() for folder in what.folders(name))]
        if missing:
            say(f"left out, for want of {', '.join(missing)} part {what.part}: {row.title}")
            continue
        found = row.detect(what)
        figures += [Figures(n, row.measure(n, found, thresholds, what.part)) for n in asked]
        if plots is not None:
            row.plot(found, thresholds, plots)
    return sorted(figures, key=lambda one: one.row)


def write_json(figures: Sequence[Figures], part: str, path: Path) -> None:
    """Write the figures as a JSON array, one object each."""
    rows = [{"row": one.row, "part": part, **asdict(measure)} for one in figures for measure in one.measures]
    write_rows(rows, path)
