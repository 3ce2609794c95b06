"""The command that measures detection on labelled data: what `benchmarks.scoreboard` finds, as a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import track
from rich.table import Table

from schemas.errors import ConfigurationError

if TYPE_CHECKING:  # the one place where the product knows of its benchmarks
    from benchmarks.scoreboard import Figures


def scoreboard(
    data: Annotated[Path, typer.Option(help="Folder of the labelled data sets.", exists=True, file_okay=False)],
    part: Annotated[str, typer.Option(help="A, which thresholds were fixed on, B, or A+B.")] = "A",
    rows: Annotated[str, typer.Option(help="Rows to measure, separated by commas; by default all.")] = "",
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file, too.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw what was found into this folder.")] = None,
) -> None:
    """Measure detection on real labelled data, beside the best known figures."""
    from benchmarks.scoreboard import run, write_json  # noqa: PLC0415 - heavy
    from benchmarks.scoreboard.row import Run  # noqa: PLC0415

    console, errors = Console(), Console(stderr=True)

    def show(items: Iterable[Any], what: str, total: int) -> Iterable[Any]:
        return track(items, what, total, console=errors, transient=True)

    figures = run(Run(data, part, show), _numbers(rows), plots=plots, say=lambda line: errors.print(line, style="dim"))
    console.print(_table(figures))
    if json is not None:
        write_json(figures, part, json)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(scoreboard)


def _table(figures: Sequence[Figures]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("row", "measure", "value", "best known", "goal", ""):
        table.add_column(column, justify="left" if column in {"measure", ""} else "right")
    for one in figures:
        for measure in one.measures:
            met = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[measure.met]
            others = ("" if number is None else f"{number:g}" for number in (measure.anchor, measure.goal))
            table.add_row(str(one.row), measure.name, f"{measure.value:.4g} {measure.unit}", *others, met)
    return table


def _numbers(rows: str) -> list[int] | None:
    try:
        return [int(row) for row in rows.split(",")] if rows else None
    except ValueError:
        raise ConfigurationError(f"--rows {rows!r}: numbers separated by commas, e.g. 1,2,3") from None
