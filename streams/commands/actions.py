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
from schemas.envelope import NANOS
from schemas.errors import PermanentError
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from rich.table import Table

    from actions.planning import PlannedAction, PlannedChange
    from actions.reversals import Reversal
    from schemas.decision import Check

actions = typer.Typer(help="Actions: what is, or would be, done.", no_args_is_help=True)


@actions.command(name="list")
def list_all(*, json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False) -> None:
    """List the targets that actions hold now, and the actions that can still be taken back."""
    from streams.present import screen  # noqa: PLC0415 - heavy: see streams.cli

    held, reversible = asyncio.run(_standing(load_settings()))
    if json:
        import orjson  # noqa: PLC0415

        typer.echo(orjson.dumps({"held": held, "reversible": reversible}, option=orjson.OPT_INDENT_2))
        return
    screen().print(_table("held", held) if held else "No target is held.")
    screen().print(_table("can be taken back", reversible) if reversible else "Nothing can be taken back.")


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


async def _standing(settings: Settings) -> tuple[list[dict[str, str]], list[dict[str, str]]]:
    from actions.action_to_outcome import equipped  # noqa: PLC0415
    from streams.roles import executor_config  # noqa: PLC0415

    async with equipped(executor_config(settings)) as tools:
        now = tools.clock()
        locks, entries = await tools.ledger.locks(), await tools.reversals.all(now)
        controls = await tools.controls()
    held = [
        {
            "target": lock.scope if lock.instance is None else f"{lock.scope}/{lock.instance}",
            "playbook": lock.by.playbook,
            "action": lock.by.action_id,
            "holder": lock.by.holder,
            "for at most": f"{lock.by.seconds:.0f} s",
        }
        for lock in locks
    ]
    return held, [_reversible(entry, entry.expires_unix_nano(controls), now) for entry in entries]


def _reversible(entry: Reversal, expires_unix_nano: int | None, now: int) -> dict[str, str]:
    command = entry.command
    return {
        "target": str(command.target),
        "playbook": f"{command.playbook} {command.step}",
        "action": command.id,
        "begun": f"{(now - entry.applied_unix_nano) / NANOS:.0f} s ago",
        "expires": "-" if expires_unix_nano is None else f"in {(expires_unix_nano - now) / NANOS:.0f} s",
    }


def _table(title: str, rows: list[dict[str, str]]) -> Table:
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    table = Table(title=title, title_justify="left", box=None, header_style="dim", pad_edge=False)
    for column in rows[0]:
        table.add_column(column, overflow="fold")
    for row in rows:
        table.add_row(*map(Text, row.values()))
    return table


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
