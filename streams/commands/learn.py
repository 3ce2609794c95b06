"""Commands that learn: say what was right, build candidates, and put them to the gate."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import orjson
import typer

from schemas.errors import PermanentError
from streams.commands.archive import Since, Until
from streams.commands.models import ID_LENGTH, By, parameters_of
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from learning.calibration import Calibration
    from streams.commands.learn_round import Learnt, Recordings

_HOUR = 3600.0
SHOWN = 10
Archives = Annotated[
    list[Path] | None,
    typer.Option(
        "--archive",
        metavar="DIR",
        help="Play this archive; may be repeated: incidents, quiet periods.",
        exists=True,
        file_okay=False,
    ),
]
Labels = Annotated[
    list[Path] | None,
    typer.Option("--labels", help="What really happened in the recordings; may be repeated.", exists=True),
]


def learn(
    *,
    archive: Archives = None,
    since: Since = None,
    until: Until = None,
    labels: Labels = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Keep nothing, change nothing.")] = False,
    every: Annotated[float | None, typer.Option(min=0.01, help="Again and again, after so many hours.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with every detector's false alarms.")] = False,
) -> None:
    """Build candidates; one goes live only if the gate lets it.

    With --archive, --from or --until, what is live and each candidate play the same recordings side by side. Without,
    one candidate is built from what people said of incidents, and judged by what they said last.
    """
    from streams.commands.learn_round import Recordings  # noqa: PLC0415 - heavy: see streams.cli

    recordings = Recordings(tuple(archive or ()), since, until, tuple(labels or ()))
    if recordings.labels and not recordings.named:
        raise PermanentError("--labels says what happened in recordings: name them by --archive, --from or --until")
    while True:
        _round(load_settings(), recordings, dry_run=dry_run, json=json)
        if every is None:
            return
        time.sleep(every * _HOUR)


def feedback(
    incident: Annotated[str, typer.Argument(help="Id of the incident, or how it begins.")],
    verdict: Annotated[
        Literal["true_positive", "false_positive"] | None, typer.Option(help="Whether it was one.")
    ] = None,
    *,
    label: Annotated[str | None, typer.Option(help="Its right class.")] = None,
    better: Annotated[str | None, typer.Option(help="The playbook that would have been right.")] = None,
    note: Annotated[str, typer.Option(help="Anything else.")] = "",
    by: By = None,
) -> None:
    """Say what an incident was: whether it was one, its right class, the better playbook."""
    from streams.commands.control import of_incident, say  # noqa: PLC0415 - heavy: see streams.cli

    if not (verdict or label or better or note.strip()):
        raise PermanentError("say something: --verdict, --label, --better or --note")
    say("feedback", by, note, **of_incident(incident), verdict=verdict, label=label, playbook=better)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.command()(learn)
    app.command()(feedback)


def _round(settings: Settings, recordings: Recordings, *, dry_run: bool, json: bool) -> None:
    from streams.commands.learn_round import learn_once  # noqa: PLC0415 - heavy: see streams.cli

    learnt = learn_once(settings, recordings, dry_run=dry_run)
    if json:
        typer.echo(orjson.dumps(_document(learnt), option=orjson.OPT_INDENT_2))
    else:
        _say(learnt)
    if recordings.named and not recordings.labels and not learnt.lessons:
        why = "nobody said what really happened in these recordings, so nothing can be shown to be better"
        typer.echo(f"Note: {why}: give --labels, or say it with `reflexarc feedback`.", err=True)


def _document(learnt: Learnt) -> dict[str, object]:
    from learning.lessons import false_alarms  # noqa: PLC0415 - heavy: see streams.cli
    from learning.thresholds import drift  # noqa: PLC0415 - heavy: see streams.cli

    live = next((one for one in learnt.versions if one.status == "live"), None)
    return {
        "lessons": len(learnt.lessons),
        "model": None if live is None else live.model_dump(mode="json"),
        "reason": learnt.why_not if live is None else live.reason,
        "tried": [one.model_dump(mode="json") for one in learnt.versions],
        "false_alarms": [one.model_dump() for one in false_alarms(learnt.lessons)],
        "drift": drift(learnt.lessons).model_dump(mode="json"),
        "calibration": {name: one.model_dump(mode="json") for name, one in learnt.calibrations().items()},
    }


def _say(learnt: Learnt) -> None:
    from learning.drift import ALARM, SHIFT  # noqa: PLC0415 - heavy: see streams.cli
    from learning.lessons import false_alarms  # noqa: PLC0415 - heavy: see streams.cli
    from learning.thresholds import drift as between  # noqa: PLC0415 - heavy: see streams.cli

    if not learnt.versions:
        typer.echo(f"No candidate: {learnt.why_not}.")
    for made in learnt.versions:
        typer.echo(f"{made.id[:ID_LENGTH]} {made.status}: {parameters_of(made.parameters)}: {made.reason}")
    for one in false_alarms(learnt.lessons)[:SHOWN]:
        if one.false:
            doubted = "; doubted" if one.mostly_false else ""
            typer.echo(f"{one.environment}/{one.service} {one.detector} {one.name}: false {one.false_share}{doubted}")
    if not learnt.lessons:
        return
    drift = between(learnt.lessons)
    moved = [
        f"{name} {value:.2f} ({SHIFT:g} is a shift)" for name, value in drift.stability.items() if value is not None
    ]
    moved.append(f"calibration {drift.calibration_martingale:.3g} ({ALARM:g} is an alarm)")
    typer.echo(f"Drift: {', '.join(moved)}.")
    for name, found in learnt.calibrations().items():
        typer.echo(f"Confidence {name}: {_worth(found)}.")


def _worth(found: Calibration) -> str:
    curve = ", ".join(f"{one.claimed:.2f} was {one.found.value or 0:.2f} (n={one.found.n})" for one in found.curve)
    return f"Brier score {found.brier}; {curve}"
