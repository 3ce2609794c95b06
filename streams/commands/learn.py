"""Commands that learn: say what was right, build candidates, and put them to the gate."""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import orjson
import typer

from learning.gate import Ruling, judge
from learning.lessons import FalseAlarms, Lesson, false_alarms, tempered
from learning.registry import POLICY_THRESHOLDS, Registry
from schemas.errors import PermanentError
from schemas.model import ModelVersion
from streams.commands.archive import Since, Until
from streams.commands.models import ID_LENGTH, By, parameters_of, publish, registry_of
from streams.settings import LEARNT, Settings, load_settings, pinned, value_of, with_learnt

if TYPE_CHECKING:
    from learning.candidates import Candidate
    from learning.thresholds import Built

_HOUR = 3600.0
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


class Recordings(NamedTuple):
    """What candidates are to be played on; nothing named: lessons alone are judged."""

    archives: tuple[Path, ...]
    since: str | None
    until: str | None
    labels: tuple[Path, ...]

    @property
    def named(self) -> bool:
        return bool(self.archives or self.since or self.until)


class Learnt(NamedTuple):
    """What came of it."""

    versions: list[ModelVersion]
    why_not: str
    lessons: Sequence[Lesson]


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
    recordings = Recordings(tuple(archive or ()), since, until, tuple(labels or ()))
    if recordings.labels and not recordings.named:
        raise PermanentError("--labels says what happened in recordings: name them by --archive, --from or --until")
    while True:
        _learn_once(load_settings(), recordings, dry_run=dry_run, json=json)
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
    from streams.cases import TOPICS, fold  # noqa: PLC0415 - heavy: see streams.cli
    from streams.commands.control import say  # noqa: PLC0415 - heavy: see streams.cli
    from streams.tail import Tail  # noqa: PLC0415 - heavy: see streams.cli

    if not (verdict or label or better or note.strip()):
        raise PermanentError("say something: --verdict, --label, --better or --note")
    with Tail(load_settings().kafka, TOPICS) as tail:
        found = fold(tail.to_end()).find(incident).incident
    about = {"environment": found.environment, "service": found.service, "incident_id": found.id}
    say("feedback", by, note, **about, verdict=verdict, label=label, playbook=better)


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.command()(learn)
    app.command()(feedback)


def _learn_once(settings: Settings, recordings: Recordings, *, dry_run: bool, json: bool) -> None:

    registry = registry_of(settings)
    learnt = _played(settings, registry, recordings) if recordings.named else _told(settings, registry)
    if not dry_run and learnt.versions:
        publish(settings, [changed for one in learnt.versions for changed in registry.add(one)])
    _say(learnt, false_alarms(learnt.lessons), json=json)
    if recordings.named and not recordings.labels and not learnt.lessons:
        why = "nobody said what really happened in these recordings, so nothing can be shown to be better"
        typer.echo(f"Note: {why}: give --labels, or say it with `reflexarc feedback`.", err=True)


def _told(settings: Settings, registry: Registry) -> Learnt:
    """Learn from what people said, and from nothing else."""
    from streams.commands.recall import recall  # noqa: PLC0415 - heavy: see streams.cli
    from streams.outcome_to_lesson import Lessons  # noqa: PLC0415 - heavy: see streams.cli

    lessons = recall(settings, Lessons.lessons)
    built = _built(settings, lessons)
    if isinstance(built, str):
        return Learnt([], built, lessons)
    return Learnt([_judged(built, registry, time.time_ns())], "", lessons)


def _played(settings: Settings, registry: Registry, asked: Recordings) -> Learnt:
    """Learn from recordings: every candidate plays them beside what is live."""
    from actions.catalog import load  # noqa: PLC0415 - heavy: see streams.cli
    from streams.commands.recall import recall  # noqa: PLC0415 - heavy: see streams.cli
    from streams.commands.recording import play_bar, recorded, workers_that_pay  # noqa: PLC0415 - heavy: see streams.cli
    from streams.histories import read_history  # noqa: PLC0415 - heavy: see streams.cli
    from streams.outcome_to_lesson import Lessons  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.backtest import Backtest  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.span import span  # noqa: PLC0415 - heavy: see streams.cli
    from streams.replay.trial import Trial, data_range, recorded_lessons, versions  # noqa: PLC0415 - heavy: see streams.cli

    meant = span(asked.since, asked.until, (), time.time_ns() // 1_000_000)
    truth = read_history(asked.labels) if asked.labels else None
    serves = {playbook.name: playbook.serves.classes for playbook in load()}
    with recorded(asked.archives, settings, meant) as archives:
        lessons = recorded_lessons(archives) if asked.archives else recall(settings, Lessons.lessons)
        found = _candidates(settings, registry, lessons)
        if not found:
            return Learnt([], "people have set, or rolled back, all that could be tried", lessons)
        played = [settings, *(with_learnt(settings, one.kind, one.parameters) for one in found)]
        with play_bar(archives, played) as moved:
            tests = [Backtest(one, workers=workers_that_pay(one), moved=moved) for one in archives]
            live, tried = Trial(tests, truth, serves).judge(settings, found)
        made = versions(live, tried, data_range(archives), version_of("reflexarc"), time.time_ns())
    return Learnt(made, "", lessons)


def _candidates(settings: Settings, registry: Registry, lessons: Sequence[Lesson]) -> list[Candidate]:
    """List what may be tried: steps of every threshold, and what lessons ask for; nothing that people rolled back."""
    from learning.candidates import Candidate, candidates  # noqa: PLC0415 - heavy: see streams.cli

    now = {name: value_of(settings, name) for names in LEARNT.values() for name in names}
    live = {kind: one.parameters for kind in LEARNT if (one := registry.live(kind)) is not None}
    found = list(candidates(now, live, pinned()))
    built = _built(settings, lessons)
    if not isinstance(built, str):
        found.append(Candidate(POLICY_THRESHOLDS, {**live.get(POLICY_THRESHOLDS, {}), **built.parameters}))
    return [
        one
        for at, one in enumerate(found)
        if one not in found[:at] and not registry.is_withdrawn(one.kind, one.parameters)
    ]


def _built(settings: Settings, lessons: Sequence[Lesson]) -> Built | str:
    from actions.catalog import load  # noqa: PLC0415 - heavy: see streams.cli
    from learning.thresholds import CONFIDENCE, build  # noqa: PLC0415 - heavy: see streams.cli

    if CONFIDENCE in pinned():
        return f"{CONFIDENCE} was set by people: a variable or a settings file says it"
    served = {label for playbook in load() for label in playbook.serves.classes}
    return build(tempered(lessons), settings.policy, served)


def _judged(built: Built, registry: Registry, now: int) -> ModelVersion:

    ruling = judge(built.live_figures, built.figures)
    if registry.is_withdrawn(POLICY_THRESHOLDS, built.parameters):
        ruling = Ruling(passed=False, reason="a person rolled back a model that set the same")
    return ModelVersion.built(
        POLICY_THRESHOLDS,
        built.parameters,
        built.data,
        code_version=version_of("reflexarc"),
        now_unix_nano=now,
        status="live" if ruling.passed else "rejected",
        reason=ruling.reason,
        figures=built.figures,
        live_figures=built.live_figures,
    )


def _say(learnt: Learnt, alarms: Sequence[FalseAlarms], *, json: bool) -> None:
    from learning.drift import ALARM, SHIFT  # noqa: PLC0415 - heavy: see streams.cli
    from learning.thresholds import drift as between  # noqa: PLC0415 - heavy: see streams.cli

    drift = between(learnt.lessons)
    if json:
        live = next((one for one in learnt.versions if one.status == "live"), None)
        document = {
            "lessons": len(learnt.lessons),
            "model": None if live is None else live.model_dump(mode="json"),
            "reason": learnt.why_not if live is None else live.reason,
            "tried": [one.model_dump(mode="json") for one in learnt.versions],
            "false_alarms": [one.model_dump() for one in alarms],
            "drift": drift.model_dump(mode="json"),
        }
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        return
    if not learnt.versions:
        typer.echo(f"No candidate: {learnt.why_not}.")
    for made in learnt.versions:
        typer.echo(f"{made.id[:ID_LENGTH]} {made.status}: {parameters_of(made.parameters)}: {made.reason}")
    for one in alarms[:10]:
        if one.false:
            typer.echo(f"{one.environment}/{one.service} {one.detector} {one.name}: false {one.false_share}")
    moved = [
        f"{name} {value:.2f} ({SHIFT:g} is a shift)" for name, value in drift.stability.items() if value is not None
    ]
    if learnt.lessons:
        moved.append(f"calibration {drift.calibration_martingale:.3g} ({ALARM:g} is an alarm)")
        typer.echo(f"Drift: {', '.join(moved)}.")
