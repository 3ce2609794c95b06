"""The command that says where each playbook stands on the way to autonomy, and what is missing."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Annotated

import typer
from rich.table import Table
from rich.text import Text

from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from actions.controls import Controls
    from learning.history import Case
    from learning.readiness import Standing

_STYLES = {"autonomous": "bold green", "approve": "yellow"}


def readiness(
    at: Annotated[
        list[str] | None, typer.Option(help="A place to list though nothing was done there yet: environment/service.")
    ] = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="As JSON, one object a playbook and place.")] = False,
) -> None:
    """Say where each playbook stands on the way to autonomy, per service, and what the next tier needs."""
    from streams.present import screen  # noqa: PLC0415 - heavy: see streams.cli

    settings = load_settings()
    found = standings(settings, [_place(text) for text in at or ()])
    if json:
        import orjson  # noqa: PLC0415

        typer.echo(orjson.dumps([one.model_dump() for one in found], option=orjson.OPT_INDENT_2))
    else:
        screen().print(_table(found) if found else "No action has ended yet; --at environment/service lists a place.")


def standings(settings: Settings, places: Sequence[tuple[str, str]] = ()) -> tuple[Standing, ...]:
    """Say where every playbook stands, from Redis and the topics."""
    from actions.catalog import load  # noqa: PLC0415
    from learning.readiness import readiness as assess_readiness  # noqa: PLC0415
    from streams.commands.recall import recall  # noqa: PLC0415
    from streams.outcome_to_lesson import Lessons  # noqa: PLC0415

    return assess_readiness(
        load(),
        settings.policy,
        recall(settings, Lessons.all),
        places=places,
        controls=_controls(settings),
        cases=_cases(settings),
        connectors=frozenset(_enabled(settings)),
    )


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(readiness)


def _controls(settings: Settings) -> Controls:
    from actions.controls import Controls  # noqa: PLC0415
    from schemas.topics import CONTROLS  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    said = Controls()
    with Tail(settings.kafka, [CONTROLS]) as tail:
        for seen in tail.to_end():
            said.add(seen.record)
    return said


def _cases(settings: Settings) -> tuple[Case, ...]:
    from learning.history import gather  # noqa: PLC0415
    from schemas.topics import CONTROLS, DECISIONS, INCIDENTS, LEARNING  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    with Tail(settings.kafka, (INCIDENTS, DECISIONS, LEARNING, CONTROLS)) as tail:
        return gather(seen.record for seen in tail.to_end()).cases


def _enabled(settings: Settings) -> Iterator[str]:
    """Name the connectors that may write."""
    for kind, configured in settings.connectors:
        if isinstance(configured, dict):
            yield from (f"{kind}.{name}" for name, entry in configured.items() if getattr(entry, "enabled", False))


def _place(text: str) -> tuple[str, str]:
    environment, slash, service = text.partition("/")
    if not (environment and slash and service):
        raise typer.BadParameter(f"{text!r} is no environment/service")
    return environment, service


def _table(found: tuple[Standing, ...]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("service", "playbook", "tier", "good", "bad", "sure of", "agreed", "next", "missing"):
        table.add_column(column, justify="right" if column in {"good", "bad", "sure of", "agreed"} else "left")
    for one in found:
        table.add_row(
            Text(f"{one.environment}/{one.service}"),
            one.playbook,
            Text(one.tier, style=_STYLES.get(one.tier, "")),
            str(one.successes),
            str(one.failures),
            f"{one.lower_bound:.2f}",
            f"{one.agreed}/{one.agreed + one.disagreed}",
            one.next_tier or "",
            Text("; ".join(one.missing) or ("nothing" if one.next_tier else "")),
        )
    return table
