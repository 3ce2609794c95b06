"""The command that measures detection on labelled data. It needs the repository: benchmarks are not installed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from schemas.errors import ConfigurationError

ROWS = (1, 2, 3)


def scoreboard(
    data: Annotated[Path, typer.Option(help="Folder of the labelled data sets.", exists=True, file_okay=False)],
    part: Annotated[str, typer.Option(help="A, which thresholds were fixed on, B, or A+B.")] = "B",
    rows: Annotated[str, typer.Option(help="Rows to measure, separated by commas.")] = "1,2,3",
    json: Annotated[Path | None, typer.Option(help="Write the figures to this file, too.")] = None,
    plots: Annotated[Path | None, typer.Option(help="Draw what was found into this folder.")] = None,
) -> None:
    """Measure detection on real labelled data, beside the best known figures."""
    try:
        from benchmarks.measure import write_json  # noqa: PLC0415 - heavy, and absent from an installed package
        from benchmarks.scoreboard import run  # noqa: PLC0415
    except ImportError as error:
        raise ConfigurationError(
            f"the scoreboard needs a checkout of the repository and `make test`: {error}"
        ) from None
    measures = run(data, part, _numbers(rows), plots)
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("measure", "value", "best known", "goal", ""):
        table.add_column(column, justify="left" if column in {"measure", ""} else "right")
    for measure in measures:
        met = {True: "[green]met[/]", False: "[red]missed[/]", None: ""}[measure.met]
        others = ("" if number is None else f"{number:g}" for number in (measure.anchor, measure.goal))
        table.add_row(measure.name, f"{measure.value:.4g} {measure.unit}", *others, met)
    Console().print(table)
    if json is not None:
        write_json(measures, json)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(scoreboard)


def _numbers(rows: str) -> list[int]:
    try:
        chosen = [int(row) for row in rows.split(",")]
    except ValueError:
        chosen = []
    if not chosen or not set(chosen) <= set(ROWS):
        raise ConfigurationError(f"--rows {rows!r}: choose among {', '.join(map(str, ROWS))}")
    return chosen
