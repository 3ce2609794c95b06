"""Commands about connectors: what rights they need, and whether those configured here hold them. Nothing is changed."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import PermanentError, TemporaryError
from streams.settings import load_settings

if TYPE_CHECKING:
    from actions.connectors.base import Connector

MISSING = 1

connectors = typer.Typer(help="Connectors: the systems that actions are carried out on.", no_args_is_help=True)


@connectors.command()
def rights(kind: Annotated[str | None, typer.Argument(help="One kind; all by default.")] = None) -> None:
    """List the rights that each kind of connector needs, and what for."""
    from actions.connectors.registry import KINDS  # noqa: PLC0415 - heavy: see streams.cli

    if kind is not None and kind not in KINDS:
        raise PermanentError(f"no such kind of connector; there are: {', '.join(KINDS)}")
    for name in KINDS if kind is None else (kind,):
        typer.echo(name)
        for item in KINDS[name].permissions:
            typer.echo(f"  {item.access}: {item.resource} ({item.why})")


@connectors.command()
def check() -> None:
    """Ask each configured system which rights are held, without using them; fail if one is missing."""
    from actions.connectors import registry  # noqa: PLC0415

    configured = registry.build(load_settings().connectors)
    if not configured:
        typer.echo("no connector is configured; docs/connectors.md says how")
        return
    if not asyncio.run(_all_well(configured)):
        raise typer.Exit(MISSING)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.add_typer(connectors, name="connectors")


async def _all_well(configured: dict[str, Connector]) -> bool:
    from actions.connectors import registry  # noqa: PLC0415

    try:
        return all([await _well(name, connector) for name, connector in configured.items()])
    finally:
        await registry.close(configured)


async def _well(name: str, connector: Connector) -> bool:
    typer.echo(f"{name}: {'enabled' if connector.enabled else 'read-only'}")
    try:
        findings = await connector.check()
    except (PermanentError, TemporaryError) as error:
        typer.echo(f"  cannot be asked: {error}")
        return False
    if not findings:
        typer.echo("  cannot be told before it is used")
    for item in findings:
        missing = "without" if item.optional else "MISSING"
        typer.echo(f"  {'held   ' if item.held else missing} {item.right}: {item.why}")
    return all(item.held or item.optional for item in findings)
