"""Commands around an installation: topics, and what documents it: schemas and settings."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from streams.settings import load_settings


def topics() -> None:
    """Create the topics that are missing and check those that exist."""
    from streams.kafka_client import create_topics  # noqa: PLC0415 - heavy: see streams.cli

    created = create_topics(load_settings().kafka)
    for name in created:
        typer.echo(f"created {name}")
    typer.echo("All topics are there and fit the catalogue.")


def schemas(
    out: Annotated[Path, typer.Option(help="Directory to write to; made if need be.")] = Path("docs/schemas"),
) -> None:
    """Write JSON Schema files and an AsyncAPI document for everyone who produces or consumes."""
    from schemas.export import write_schemas  # noqa: PLC0415

    for path in write_schemas(out):
        typer.echo(str(path))


def settings() -> None:
    """Print all settings as a page of Markdown."""
    from streams.settings_doc import markdown  # noqa: PLC0415

    typer.echo(markdown(), nl=False)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    for command in (topics, schemas, settings):
        app.command()(command)
