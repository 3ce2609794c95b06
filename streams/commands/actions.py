"""Commands about actions: what would be done for an incident, against live state, without doing it."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from schemas.decision import Decision
from schemas.errors import PermanentError
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from actions.planning import PlannedAction, PlannedChange
    from schemas.decision import Check

actions = typer.Typer(help="Actions: what is, or would be, done.", no_args_is_help=True)


@actions.callback()
def group() -> None:
    """Keep `plan` a word of its own."""


@actions.command(name="plan")
def plan(
    identity: Annotated[str, typer.Argument(help="Id of the incident or of the action, or how it begins.")],
    *,
    json: Annotated[bool, typer.Option("--json", help="As JSON: the decision and what is planned.")] = False,
) -> None:
    """Show what would be done now and what every guard says to it, against live state, without doing it."""
    from streams.present import screen  # noqa: PLC0415 - heavy: see streams.cli

    settings = load_settings()
    decision = _newest(settings, identity)
    planned = asyncio.run(_planned(settings, decision))
    if json:
        import orjson  # noqa: PLC0415

        told = {"decision": decision.model_dump(mode="json"), "planned": [p.model_dump(mode="json") for p in planned]}
        typer.echo(orjson.dumps(told, option=orjson.OPT_INDENT_2))
        return
    for line in _told(decision, planned):
        screen().print(line, soft_wrap=True, highlight=False)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.add_typer(actions, name="actions")


def _newest(settings: Settings, identity: str) -> Decision:
    """Find what was decided last about the incident, or that proposes the action."""
    from schemas.topics import DECISIONS  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    found: dict[str, Decision] = {}
    with Tail(settings.kafka, [DECISIONS]) as tail:
        for seen in tail.to_end():
            names = (seen.record.incident_id, *(command.id for command in seen.record.actions))
            if any(name.startswith(identity) for name in names):
                found[seen.record.incident_id] = seen.record
    if len(found) != 1:
        raise PermanentError(
            f"{len(found) or 'no'} incidents or actions begin with {identity!r}; `reflexarc incidents` shows them"
        )
    return next(iter(found.values()))


async def _planned(settings: Settings, decision: Decision) -> list[PlannedAction]:
    from actions.action_to_outcome import equipped  # noqa: PLC0415
    from actions.planning import as_of_now  # noqa: PLC0415
    from actions.planning import plan as planned  # noqa: PLC0415
    from streams.roles import executor_config  # noqa: PLC0415

    commands = as_of_now(decision, settings.policy, getpass.getuser(), time.time_ns())
    if not commands:
        return []
    async with equipped(executor_config(settings)) as tools:
        return [await planned(command, tools) for command in commands]


def _told(decision: Decision, planned: list[PlannedAction]) -> Iterator[str]:
    yield f"[bold]{decision.environment}/{decision.service}[/] incident {decision.incident_id}"
    yield f"decided: {decision.verdict}: {escape(decision.reason)}"
    if not planned:
        yield "No action is proposed."
    for action in planned:
        yield from _action(action)


def _action(action: PlannedAction) -> Iterator[str]:
    command = action.command
    yield ""
    yield f"[bold]{command.playbook} v{command.playbook_version} {command.step}[/] on {command.target}"
    yield f"action {command.id}"
    yield from _change("would do", action.change)
    yield from _change("taken back by", action.undo)
    yield from _checks(action.checks)
    names = ", ".join(check.name for check in action.failed)
    yield f"[bold red]It would not be done: {names}.[/]" if names else "[bold green]Nothing stands in its way.[/]"


def _change(word: str, change: PlannedChange | None) -> Iterator[str]:
    if change is not None:
        yield f"{word}: {change.connector} {change.operation} {escape(str(change.params))}"
        if change.summary:
            yield f"  {escape(change.summary)}"


def _checks(checks: Iterable[Check]) -> Iterator[str]:
    for check in checks:
        mark = "[green]passes[/]" if check.passed else "[bold red]stops [/]"
        yield f"  {mark} {check.name}: {escape(check.detail)}"
