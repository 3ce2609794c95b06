"""Commands about playbooks: check those you write, list what there is, explain one. They need no broker."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from schemas.errors import ConfigurationError, PermanentError

if TYPE_CHECKING:
    from actions.catalog import Catalog
    from actions.playbook import Call, Playbook, Step

Paths = Annotated[
    list[Path] | None, typer.Argument(help="Playbook files, or folders of them; those shipped by default.", exists=True)
]
Folder = Annotated[
    Path | None, typer.Option(help="Folder of playbooks; those shipped by default.", exists=True, file_okay=False)
]

INVALID = 1

playbooks = typer.Typer(help="Playbooks: what may be done about which incidents.", no_args_is_help=True)


@playbooks.command()
def check(paths: Paths = None) -> None:
    """Check playbooks; name every fault with its file, line and field, and fail if there is any."""
    try:
        found = _load(*(paths or ()))
    except ConfigurationError as error:
        typer.echo(str(error), err=True)
        raise typer.Exit(INVALID) from None
    if not len(found):
        # A mistyped folder must not look like a clean one.
        typer.echo("no playbook found: their names end in .yaml", err=True)
        raise typer.Exit(INVALID)
    typer.echo(f"{len(found)} sound: {', '.join(playbook.name for playbook in found)}")


@playbooks.command(name="list")
def list_all(folder: Folder = None) -> None:
    """List playbooks with the classes they serve and their steps."""
    for playbook in _in(folder):
        steps = " > ".join(step.name for step in playbook.steps) or "calls a person"
        typer.echo(f"{playbook.name} v{playbook.version}: {', '.join(playbook.serves.classes)}: {steps}")


@playbooks.command()
def explain(name: Annotated[str, typer.Argument(help="Name of the playbook.")], folder: Folder = None) -> None:
    """Say in words what a playbook does, when, and how it is taken back."""
    catalog = _in(folder)
    playbook = catalog.get(name)
    if playbook is None:
        raise PermanentError(f"no playbook {name!r}; there are: {', '.join(known.name for known in catalog)}")
    for line in _explained(playbook):
        typer.echo(line)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.add_typer(playbooks, name="playbooks")


def _load(*paths: Path) -> Catalog:
    from actions.catalog import load  # noqa: PLC0415 - heavy: see streams.cli

    return load(*paths)


def _in(folder: Path | None) -> Catalog:
    return _load() if folder is None else _load(folder)


def _explained(playbook: Playbook) -> Iterator[str]:
    yield f"{playbook.name} version {playbook.version}"
    yield playbook.description
    yield f"serves: {', '.join(playbook.serves.classes)}"
    for condition in playbook.serves.signals:
        yield f"  only with a {condition.kind} signal named {condition.name}"
    for number, step in enumerate(playbook.steps, 1):
        yield from _step(number, step)
    if playbook.escalate is not None:
        yield f"calls a person: {playbook.escalate.reason}"
        yield from (f"  look at {what}" for what in playbook.escalate.look_at)


def _step(number: int, step: Step) -> Iterator[str]:
    yield f"step {number}: {step.name}, on the {step.target.replace('_', ' ')}, reaching one {step.risk.reach}"
    for wanted in step.preconditions:
        which = f" of {wanted.where}" if wanted.where else ""
        operand = "" if wanted.relation == "present" else f" {wanted.operand}"
        yield f"  only if {wanted.pointer}{which} {wanted.relation}{operand}"
    if step.forensics is not None:
        yield f"  written down first, where `forensics.folder` is set: {_call(step, step.forensics)}"
    yield f"  apply: {_call(step, step.apply)}"
    yield (
        "  revert: none, so a person must approve it"
        if step.revert is None
        else f"  revert: {_call(step, step.revert)}"
    )
    judged = step.verification
    yield (
        f"  verify: {', '.join(judged.signals)} must recover, judged from {judged.stabilisation_seconds:g} s "
        f"to {judged.within_seconds:g} s after it was applied"
    )
    if step.effect_seconds is not None:
        yield f"  taken back after {step.effect_seconds:g} s unless renewed"


def _call(step: Step, call: Call) -> str:
    return f"{step.connector} {call.operation} {call.params}"
