"""The command that rebuilds one incident, step by step, from what was recorded of it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from streams.commands.show import incident
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from streams.replay.incident import Replay, Step
    from streams.tail import Seen

_STYLES = {"same": "green", "other": "bold red", "not rebuilt": "yellow"}
_WORDS = {
    "same": "made again: the same",
    "other": "made again: otherwise",
    "not rebuilt": "not made again: its signals are no longer kept, or today's rules do not lead to it",
}


@incident.command()
def replay(
    identity: Annotated[str, typer.Argument(help="Id of the incident, or how it begins.")],
    *,
    archive: Annotated[
        Path | None, typer.Option(help="An archive; the topics themselves where none is given.", exists=True)
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Make an incident again from its signals, step by step, beside what was recorded of it that day."""
    from streams.replay.incident import rebuild  # noqa: PLC0415 - heavy: see streams.cli

    settings = load_settings(learnt=False)
    partitions, seen = _from_topics(settings) if archive is None else _from_archive(archive)
    found = rebuild(identity, seen, settings, partitions)
    if json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        _print(found)


def add_to(_: typer.Typer) -> None:
    """Do nothing more: being imported has put the command into the group `incident`."""


def _from_topics(settings: Settings) -> tuple[int, list[Seen]]:
    from schemas.topics import (  # noqa: PLC0415
        ACTIONS,
        CONTROLS,
        DECISIONS,
        INCIDENTS,
        LEARNING,
        MODELS,
        SIGNALS,
    )
    from streams.roles import partition_count  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    topics = (SIGNALS, INCIDENTS, DECISIONS, ACTIONS, CONTROLS, LEARNING, MODELS)
    with Tail(settings.kafka, topics) as tail:
        return partition_count(settings.kafka, SIGNALS), list(tail.to_end())


def _from_archive(folder: Path) -> tuple[int, list[Seen]]:
    from schemas.topics import INCIDENT_PARTITIONS, SIGNALS  # noqa: PLC0415
    from streams.replay.archive import Archive  # noqa: PLC0415
    from streams.replay.span import Span  # noqa: PLC0415

    archive = Archive(folder, Span())
    return archive.partitions().get(SIGNALS.name, INCIDENT_PARTITIONS), list(archive.seen())


def _print(found: Replay) -> None:
    from streams.present import screen  # noqa: PLC0415

    out = screen()
    out.print(Text(found.incident_id, style="bold"))
    out.print(Text(found.settings, style="dim"))
    for step in found.steps:
        out.print()
        for line in _lines(step):
            out.print(line)


def _lines(step: Step) -> Iterator[Text]:
    from streams.present import clock  # noqa: PLC0415

    by = f"  by {step.made_by}" if step.made_by else ""
    head = Text.assemble((clock(step.time_unix_nano), "dim"), f"  {step.what}", (by, "dim"))
    if step.rebuilt is not None:
        head.append(f"  {_WORDS[step.rebuilt]}", _STYLES[step.rebuilt])
    yield head
    yield from (Text(f"    {line}") for line in step.told)
    yield from (Text(f"    {line}", style="red") for line in step.differs)
