"""Commands that show what is going on: incidents, one incident explained, a live view."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.text import Text

from streams.settings import load_settings

POLL_SECONDS = 0.2
SHOWN = 50

incident = typer.Typer(help="One incident.", no_args_is_help=True)


def incidents(
    limit: Annotated[int, typer.Option("--last", help="How many to show, newest first.")] = SHOWN,
) -> None:
    """List incidents, newest first."""
    from streams.cases import TOPICS, fold  # noqa: PLC0415 - heavy: see streams.cli
    from streams.present import incident_table, screen  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    with Tail(load_settings().kafka, TOPICS) as tail:
        cases = fold(tail.to_end()).newest_first()
    screen().print(incident_table(cases[:limit]) if cases else "No incidents.")


@incident.command()
def explain(identity: Annotated[str, typer.Argument(help="Id of the incident, or how it begins.")]) -> None:
    """Say what was seen, why it was called that, and what was done about it."""
    from streams.cases import TOPICS, fold  # noqa: PLC0415
    from streams.present import explanation, screen  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    with Tail(load_settings().kafka, TOPICS) as tail:
        case = fold(tail.to_end()).find(identity)
    screen().print(explanation(case))


def watch() -> None:
    """Follow an installation: every signal, incident, decision, command and outcome from now on."""
    from schemas.signal import Progress  # noqa: PLC0415
    from schemas.topics import SIGNALS  # noqa: PLC0415
    from streams.cases import TOPICS  # noqa: PLC0415
    from streams.present import clock, describe, screen  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    out, began = screen(), time.time_ns()
    with Tail(load_settings().kafka, (SIGNALS, *TOPICS)) as tail:
        while True:
            seen = tail.poll(POLL_SECONDS)
            if seen is not None and seen.published_unix_nano >= began and not isinstance(seen.record, Progress):
                out.print(Text(f"{clock(seen.published_unix_nano)}  {seen.topic.name:<10} ", style="dim"), end="")
                out.print(describe(seen.record))


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.command()(incidents)
    app.command()(watch)
    app.add_typer(incident, name="incident")
