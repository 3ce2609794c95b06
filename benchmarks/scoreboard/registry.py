"""Which rows there are: every module in `benchmarks.scoreboard.rows` is one.

Read by the `reflexarc scoreboard` command and by the fit of thresholds. Nothing needs to be listed anywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from importlib import import_module
from pkgutil import iter_modules
from typing import Any

from benchmarks.scoreboard import rows
from benchmarks.scoreboard.row import Row
from schemas.errors import ConfigurationError


def all_rows() -> list[Row[Any]]:
    """Every row, in the order of their numbers."""
    found: list[Row[Any]] = [
        import_module(f"{rows.__name__}.{module.name}").ROW for module in iter_modules(rows.__path__)
    ]
    return sorted(found, key=lambda row: row.numbers)


def choose(numbers: Sequence[int] | None) -> list[tuple[Row[Any], tuple[int, ...]]]:
    """Rows of these numbers (None: all there are), each with those of its numbers that were asked for.

    Raises:
        ConfigurationError: there is no row of a number.

    """
    known = {number: row for row in all_rows() for number in row.numbers}
    asked = sorted(known) if numbers is None else list(numbers)
    unknown = [number for number in asked if number not in known]
    if unknown:
        raise ConfigurationError(f"no row {unknown[0]}: choose among {', '.join(map(str, sorted(known)))}")
    chosen = list(dict.fromkeys(known[number] for number in asked))
    return [(row, tuple(number for number in row.numbers if number in asked)) for row in chosen]
