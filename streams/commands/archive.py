"""The command that keeps what topics hold beyond their retention, to be replayed or handed to somebody."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Literal

import typer

from streams.settings import load_settings

Since = Annotated[
    str | None, typer.Option("--from", metavar="TIME", help="Records of this time on: 2h (ago), 30d, or ISO 8601.")
]
Until = Annotated[str | None, typer.Option("--until", metavar="TIME", help="Records before this time.")]
Offsets = Annotated[
    list[str] | None,
    typer.Option(
        "--offsets",
        metavar="TOPIC[/PARTITION]:FIRST-UNTIL",
        help="Offsets of a topic or of one partition; may be repeated.",
    ),
]
Topics = Annotated[
    list[str] | None,
    typer.Option("--topic", metavar="TOPIC", help="Only this one, named without its prefix; may be repeated."),
]


def archive(
    folder: Annotated[Path, typer.Argument(help="A new folder; made if need be.", file_okay=False)],
    *,
    topic: Topics = None,
    since: Since = None,
    until: Until = None,
    offsets: Offsets = None,
    kind: Annotated[
        Literal["jsonl", "parquet"],
        typer.Option("--format", help="JSON lines, or Parquet: smaller, not to be read by eye."),
    ] = "jsonl",
) -> None:
    """Write what topics hold, by time or by offset, to a folder of files: every record as it was."""
    from streams.progress import progress_bar  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.archive import write_archive  # noqa: PLC0415
    from streams.replay.kafka_log import KafkaLog, known_topics  # noqa: PLC0415
    from streams.replay.span import span  # noqa: PLC0415

    now = time.time_ns()
    meant = span(since, until, offsets or (), now // 1_000_000)
    log = KafkaLog(load_settings().kafka, known_topics(topic or ()), meant)
    with progress_bar("archive", log.size()) as moved:
        written = write_archive(log, folder, meant, now, moved, kind=kind)
    typer.echo(f"{written.records} records of {len(written.files)} partitions are in {folder}")


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(archive)
