"""The command that says where to begin: recurring patterns of a history, ranked as candidates for automation."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from learning.assess import Assessment, Pattern
    from learning.occurrence import Occurrence

Files = Annotated[
    list[Path] | None,
    typer.Argument(help="CSV, JSON, JSON lines or archives; our own topics where none is given.", exists=True),
]
_STYLES = {"automate": "bold green", "pause_alert": "cyan", "write_down_the_fix": "yellow"}
SHOWN = 20


def assess(
    files: Files = None,
    *,
    last: Annotated[int, typer.Option(min=1, help="How many patterns to show, best first.")] = SHOWN,
    json: Annotated[bool, typer.Option("--json", help="All of it as JSON, with the evidence.")] = False,
) -> None:
    """Rank what recurs in a history of incidents or alerts by what automating it would give back."""
    from actions.catalog import load  # noqa: PLC0415 - heavy: see streams.cli
    from learning.assess import assess as assess_history  # noqa: PLC0415
    from streams.histories import read_history  # noqa: PLC0415
    from streams.present import screen  # noqa: PLC0415

    found = assess_history(read_history(files) if files else _from_topics(), load().acting())
    if json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        screen().print(_shown(found, last))


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(assess)


def _from_topics() -> list[Occurrence]:
    from schemas.topics import INCIDENTS, LEARNING  # noqa: PLC0415
    from streams.histories import of_topics  # noqa: PLC0415
    from streams.settings import load_settings  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    with Tail(load_settings().kafka, (INCIDENTS, LEARNING)) as tail:
        return list(of_topics(seen.record for seen in tail.to_end()))


def _shown(found: Assessment, last: int) -> RenderableType:
    summary = Text(
        f"{found.occurrences} occurrences of {len(found.patterns)} patterns in {found.span_days:.0f} days, "
        f"{found.hours_spent:.1f} hours spent; {found.automatable_hours_per_week:.1f} hours a week could be given back."
    )
    return Group(_table(found.patterns[:last]), Text(), summary)


def _table(patterns: tuple[Pattern, ...]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("", "verdict", "service", "what recurs", "times", "hours", "remedy", "sure", "undo", "playbook"):
        table.add_column(column, justify="right" if column in {"times", "hours", "sure"} else "left")
    for one in patterns:
        table.add_row(
            str(one.rank),
            Text(one.verdict.replace("_", " "), style=_STYLES.get(one.verdict, "dim")),
            Text(f"{one.environment}/{one.service}"),
            Text(one.template),
            str(one.occurrences),
            f"{one.hours_spent:.1f}",
            one.remedy or "",
            f"{one.predictability:.2f}" if one.known_resolutions else "",
            one.reversibility,
            one.playbook or "",
        )
        table.add_row("", "", "", Text(one.because, style="dim"))
    return table
