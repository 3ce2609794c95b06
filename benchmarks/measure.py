"""One measured figure beside the figure it must beat, as every benchmark reports it.

Benchmarks return lists of `Measure`; the command line prints them as a table and writes them with `write_json`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import orjson


@dataclass(frozen=True, slots=True)
class Measure:
    """What was measured.

    `anchor` is the best known figure of a peer, `goal` what we set out to reach; None where there is none.
    """

    name: str
    value: float
    unit: str
    anchor: float | None = None
    goal: float | None = None
    met: bool | None = None


def at_least(name: str, value: float, unit: str, *, anchor: float | None = None, goal: float) -> Measure:
    """Measure of which more is better."""
    return Measure(name, value, unit, anchor, goal, value >= goal)


def at_most(name: str, value: float, unit: str, *, anchor: float | None = None, goal: float) -> Measure:
    """Measure of which less is better."""
    return Measure(name, value, unit, anchor, goal, value <= goal)


def write_json(measures: Sequence[Measure], path: Path) -> None:
    """Write measures as a JSON array, one object each."""
    write_rows([asdict(measure) for measure in measures], path)


def write_rows(rows: Sequence[Mapping[str, object]], path: Path) -> None:
    """Write what measures became, with anything that is said beside them, as a JSON array."""
    path.write_bytes(orjson.dumps(rows, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE))
