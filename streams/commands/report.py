"""The command that says how well it goes: from the topics or from archives, in the terminal, as JSON or as a page."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from learning.measures import Report

Archives = Annotated[
    list[Path] | None,
    typer.Argument(help="Files of our topics or archives; the topics themselves where none is given.", exists=True),
]
BASELINE_MINUTES = 30.0
HANDS_ON_MINUTES = 20.0
COST_PER_HOUR = 100.0


def report(
    archives: Archives = None,
    *,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with every interval.")] = False,
    html: Annotated[Path | None, typer.Option(help="Write a page with plots to this file, too.")] = None,
    labels: Annotated[
        Path | None, typer.Option(help="What really happened, in any format that `assess` reads.", exists=True)
    ] = None,
    baseline_minutes: Annotated[
        float, typer.Option(min=0.1, help="Onset to resolution without the arc.")
    ] = BASELINE_MINUTES,
    hands_on_minutes: Annotated[
        float, typer.Option(min=0, help="Of people's time, for one incident.")
    ] = HANDS_ON_MINUTES,
    cost_per_hour: Annotated[float, typer.Option(min=0, help="Of one person, in any currency.")] = COST_PER_HOUR,
    downtime_cost: Annotated[float, typer.Option(min=0, help="Per minute that a service is impaired.")] = 0.0,
) -> None:
    """Measure times, errors, calibration, compression, autonomy and savings, each with its interval."""
    from learning.confidence import by  # noqa: PLC0415 - heavy: see streams.cli
    from learning.history import gather  # noqa: PLC0415
    from learning.measures import measure  # noqa: PLC0415
    from learning.page import page  # noqa: PLC0415
    from learning.returns import Assumptions  # noqa: PLC0415
    from streams.histories import read_history  # noqa: PLC0415
    from streams.present import screen  # noqa: PLC0415
    from streams.settings import load_settings  # noqa: PLC0415

    assumptions = Assumptions(
        baseline_repair_minutes=baseline_minutes,
        hands_on_minutes=hands_on_minutes,
        cost_per_hour=cost_per_hour,
        downtime_cost_per_minute=downtime_cost,
    )
    truth = None if labels is None else read_history([labels])
    records = load_settings().correlate.rule_records
    found = measure(gather(_records(archives)), assumptions, truth, by(records) if records else None)
    if html is not None:
        html.write_text(page(found), encoding="utf-8")
    if json:
        typer.echo(found.model_dump_json(indent=2))
    else:
        screen().print(_shown(found))


def add_to(app: typer.Typer) -> None:
    """Register the command."""
    app.command()(report)


def _records(archives: Iterable[Path] | None) -> Iterator[Any]:
    from schemas.topics import CONTROLS, DECISIONS, INCIDENTS, LEARNING, SIGNALS  # noqa: PLC0415
    from streams.archived import read_records  # noqa: PLC0415
    from streams.settings import load_settings  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    if archives:
        yield from read_records(archives)
        return
    with Tail(load_settings().kafka, (INCIDENTS, DECISIONS, LEARNING, CONTROLS, SIGNALS)) as tail:
        yield from (seen.record for seen in tail.to_end())


def _shown(found: Report) -> RenderableType:
    if not found.incidents:
        return Text("No incidents.")
    return Group(_times(found), Text(), _figures(found), Text(), _labels(found), Text(), _curve(found))


def _times(found: Report) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("class", "tier", "incidents", "detect s", "acknowledge s", "repair s"):
        table.add_column(column, justify="right" if column == "incidents" else "left")
    for one in found.times:
        times = (str(one.detect), str(one.acknowledge), str(one.repair))
        table.add_row(Text(one.label), one.tier, str(one.incidents), *times)
    return table


def _figures(found: Report) -> Table:
    from learning.page import told  # noqa: PLC0415

    table = Table(box=None, show_header=False, pad_edge=False)
    back = found.returns
    compression = "-" if found.compression is None else f"{found.compression:.1%} of {found.signals} signals"
    rows = [
        ("false incidents", found.false_incidents),
        ("actions on a false positive", found.false_actions),
        ("harmful actions", found.harmful_actions),
        ("verified actions", found.verified_actions),
        ("repaired without a person", found.autonomy),
        ("alert compression", compression),
        ("Brier score", found.calibration.brier),
        *([] if found.recalibrated is None else [("Brier score by the live record", found.recalibrated.brier)]),
        ("true class in the prediction set", found.calibration.coverage),
        ("drift of inputs (0.25 is a shift)", _stability(found)),
        ("drift of calibration (20 is an alarm)", f"{found.drift.calibration_martingale:.3g}"),
        *((f"agreement with {one.playbook}", f"{one.agreement}{_deeds(one.by_deeds)}") for one in found.shadow),
        ("person hours saved, net", f"{back.person_hours_saved:.2f}"),
        ("hours of impairment avoided", f"{back.impaired_hours_avoided:.2f}"),
        ("money saved, net", f"{back.money_saved:.2f}"),
        ("assumed", "; ".join(f"{name} {value:g}" for name, value in told(back.assumptions))),
    ]
    if found.detection is not None:
        rows += [("found of the list", found.detection.recall), ("true by the list", found.detection.precision)]
    for name, value in rows:
        table.add_row(Text(name, style="dim"), Text(str(value)))
    return table


def _curve(found: Report) -> Table:
    """Show what was claimed beside what was found, and what the live record would claim."""
    table = Table(box=None, header_style="dim", pad_edge=False)
    sides = [
        ("", found.calibration),
        *([] if found.recalibrated is None else [("by the live record ", found.recalibrated)]),
    ]
    for column in ("confidence", "claimed", "right"):
        table.add_column(column)
    for name, one in sides:
        for part in one.curve:
            table.add_row(f"{name}{part.lower:.1f} to {part.upper:.1f}", f"{part.claimed:.2f}", str(part.found))
    return table


def _deeds(number: int) -> str:
    return f", {number} by what people did" if number else ""


def _stability(found: Report) -> str:
    known = found.drift.stability.items()
    return ", ".join(f"{name} {'-' if value is None else f'{value:.2f}'}" for name, value in known)


def _labels(found: Report) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("class", "precision", "recall"):
        table.add_column(column)
    for one in found.labels:
        table.add_row(Text(one.label), str(one.precision), str(one.recall))
    return table
