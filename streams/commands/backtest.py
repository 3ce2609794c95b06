"""The command that says what would have been done: recorded telemetry through the arc as it is, or as it might be."""

from __future__ import annotations

import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from streams.commands.archive import Offsets, Since, Until
from streams.commands.report import BASELINE_MINUTES
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from learning.occurrence import Occurrence
    from schemas.model import ModelVersion
    from streams.replay.backtest import Backtest
    from streams.replay.compare import Comparison
    from streams.replay.figures import Figures

SHOWN = 20


def backtest(
    archive: Annotated[
        Path | None, typer.Argument(help="An archive; the topics themselves where none is given.", exists=True)
    ] = None,
    *,
    since: Since = None,
    until: Until = None,
    offsets: Offsets = None,
    labels: Annotated[
        Path | None, typer.Option(help="What really happened, in any format that `assess` reads.", exists=True)
    ] = None,
    compare: Annotated[
        Path | None,
        typer.Option(metavar="OTHER-SETTINGS", help="TOML with the settings to try; all others stay.", exists=True),
    ] = None,
    as_it_was: Annotated[
        bool,
        typer.Option(help="With what learnt models had set at each time, instead of what is live today."),
    ] = False,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with every incident.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file, too.")] = None,
    baseline_minutes: Annotated[
        float, typer.Option(min=0.1, help="Onset to resolution without the arc.")
    ] = BASELINE_MINUTES,
    workers: Annotated[int, typer.Option(min=0, help="Processes that detect; 0: as many as pay.")] = 0,
) -> None:
    """Play recorded topics through the arc as fast as possible; nothing is published, nothing is executed."""
    from streams.commands.recording import (  # noqa: PLC0415 - heavy: see streams.cli
        decided_then,
        play_bar,
        recorded,
        versions_of_then,
        workers_that_pay,
    )
    from streams.course import Course  # noqa: PLC0415 - heavy: see streams.cli
    from streams.histories import read_history  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.backtest import Backtest  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.compare import compare as tell_apart  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.incident import settings_of  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.page import page  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.span import span  # noqa: PLC0415 - heavy: see streams.cli

    meant = span(since, until, offsets or (), time.time_ns() // 1_000_000)
    settings = load_settings(learnt=not as_it_was)
    other = None if compare is None else load_settings(compare, learnt=not as_it_was)
    versions = versions_of_then(archive, settings) if as_it_was else []
    truth = None if labels is None else read_history([labels])
    folders = [] if archive is None else [archive]
    played = [settings] if other is None else [settings, other]
    with recorded(folders, settings, meant) as (recording,), play_bar([recording], played) as moved:
        test = Backtest(recording, workers=workers or workers_that_pay(recording), moved=moved)
        mine = _measured(test, settings, versions, truth, baseline_minutes)
        theirs = None if other is None else tell_apart(mine, _measured(test, other, versions, truth, baseline_minutes))
        said = settings_of(decided_then(recording), Course(settings, versions)) if as_it_was else ""
    if html is not None:
        html.write_text(page(mine, theirs), encoding="utf-8")
    if json:
        typer.echo((theirs or mine).model_dump_json(indent=2))
    else:
        _print(mine, theirs)
    if said:
        typer.echo(said, err=True)


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(backtest)


def _measured(
    test: Backtest,
    settings: Settings,
    versions: Sequence[ModelVersion],
    truth: list[Occurrence] | None,
    baseline_minutes: float,
) -> Figures:
    from actions.catalog import load  # noqa: PLC0415 - heavy: see streams.cli
    from learning.returns import Assumptions  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.figures import figures  # noqa: PLC0415 - heavy: see streams.cli

    began = time.perf_counter()
    replayed = test.play(settings, versions)
    took = time.perf_counter() - began
    serves = {playbook.name: playbook.serves.classes for playbook in load()}
    return figures(replayed, truth, serves, Assumptions(baseline_repair_minutes=baseline_minutes), took)


def _print(mine: Figures, theirs: Comparison | None) -> None:
    from streams.present import screen  # noqa: PLC0415 - heavy: see streams.cli

    sides = [mine] if theirs is None else [mine, theirs.b]
    parts: list[RenderableType] = [_incidents(mine), Text(), _figures(sides)]
    if theirs is not None:
        parts += [Text(), *(Text(line) for line in theirs.differences)]
    screen().print(Group(*parts))


def _incidents(found: Figures) -> Table:
    from streams.replay.page import moment  # noqa: PLC0415 - heavy: see streams.cli

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("opened (UTC)", "scope", "class", "would", "playbook", "really", "harm"):
        table.add_column(column)
    for one in found.incidents[:SHOWN]:
        label, would = f"{one.label} {one.confidence:.2f}", one.verdict or "-"
        cells = (one.scope, label, would, one.playbook or "-", one.truth or "-", one.harm or "")
        table.add_row(moment(one.opened_unix_nano), *(Text(cell) for cell in cells))
    if len(found.incidents) > SHOWN:
        table.add_row(f"and {len(found.incidents) - SHOWN} more")
    return table


def _figures(sides: list[Figures]) -> Table:
    table = Table(box=None, show_header=len(sides) > 1, header_style="dim", pad_edge=False)
    for name in ("", "A", "B")[: len(sides) + 1]:
        table.add_column(name)
    for rows in zip(*(_rows(one) for one in sides), strict=True):
        table.add_row(Text(rows[0][0], style="dim"), *(Text(value) for _, value in rows))
    # Of the first alone: the second may have shared its detection.
    speed = sides[0].speed
    played = f"{speed.records_per_second:.0f} records a second, {speed.times_real_time:.0f} times real time"
    table.add_row(Text("played", style="dim"), played)
    return table


def _rows(found: Figures) -> list[tuple[str, str]]:
    by_tier = (f"{tier} {', '.join(f'{v} {n}' for v, n in told.items())}" for tier, told in found.decisions.items())
    return [
        ("found of the list", "-" if found.found is None else str(found.found)),
        ("missed", ", ".join(one.title for one in found.missed[:SHOWN]) or "-"),
        ("incidents", str(len(found.incidents))),
        ("false incidents", str(found.false_incidents)),
        ("seconds to detect", str(found.detection_seconds)),
        (
            "alert compression",
            "-" if found.compression is None else f"{found.compression:.1%} of {found.signals} signals",
        ),
        ("decisions by tier", "; ".join(by_tier) or "-"),
        ("would have acted on", str(found.would_act)),
        ("commands", str(found.commands)),
        ("harmful proposals", str(found.harmful)),
        ("Brier score of confidence", str(found.calibration.brier)),
        ("seconds to repair, people alone", str(found.repair.baseline)),
        ("seconds to repair, estimated", str(found.repair.estimated)),
        ("dead letters", ", ".join(f"{reason} {n}" for reason, n in found.dead_letters.items()) or "none"),
        ("records", str(found.records)),
        ("digest", found.digest),
    ]
