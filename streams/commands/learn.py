"""Commands that learn: say what was right, build a candidate, put it to the gate, roll back what is live."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Iterable, Mapping, Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import orjson
import typer
from rich.table import Table
from rich.text import Text

from schemas.errors import ConfigurationError, PermanentError
from streams.settings import Settings, load_settings

if TYPE_CHECKING:
    from learning.lessons import FalseAlarms, Lesson
    from learning.registry import Registry
    from learning.thresholds import Built
    from schemas.model import ModelVersion

_HOUR = 3600.0
_ID_LENGTH = 8
_STYLES = {"live": "bold green", "rejected": "red", "withdrawn": "red", "candidate": "yellow"}
By = Annotated[str | None, typer.Option(help="Who says so; the user logged in here by default.")]
ModelId = Annotated[str, typer.Argument(help="Id of the model, or how it begins.")]
FiguresFile = Annotated[Path, typer.Option(help="JSON of its backtest: guarded figures by name.", exists=True)]

models = typer.Typer(help="Versions of what was learnt, and which is live.", no_args_is_help=True)


def learn(
    *,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Keep nothing, change nothing.")] = False,
    every: Annotated[float | None, typer.Option(min=0.01, help="Again and again, after so many hours.")] = None,
    json: Annotated[bool, typer.Option("--json", help="As JSON, with every detector's false alarms.")] = False,
) -> None:
    """Build a candidate from what people said of incidents; it goes live only if the gate lets it."""
    while True:
        _learn_once(load_settings(), dry_run=dry_run, json=json)
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
    from streams.commands.control import say  # noqa: PLC0415
    from streams.tail import Tail  # noqa: PLC0415

    if not (verdict or label or better or note.strip()):
        raise PermanentError("say something: --verdict, --label, --better or --note")
    with Tail(load_settings().kafka, TOPICS) as tail:
        found = fold(tail.to_end()).find(incident).incident
    about = {"environment": found.environment, "service": found.service, "incident_id": found.id}
    say("feedback", by, note, **about, verdict=verdict, label=label, playbook=better)


@models.command(name="list")
def list_models(
    *, json: Annotated[bool, typer.Option("--json", help="As JSON, with figures and parameters.")] = False
) -> None:
    """List all versions, the newest first."""
    from streams.present import screen  # noqa: PLC0415

    found = _registry(load_settings()).versions()
    if json:
        typer.echo(orjson.dumps([one.model_dump(mode="json") for one in found], option=orjson.OPT_INDENT_2))
    else:
        screen().print(_table(found) if found else "Nothing has been learnt yet.")


@models.command()
def rollback(
    model: Annotated[str | None, typer.Argument(help="Id of an earlier model; none: the shipped settings.")] = None,
    by: By = None,
) -> None:
    """Make an earlier model live again, or the shipped settings. Processes take it up when they start."""
    from learning.registry import POLICY_THRESHOLDS  # noqa: PLC0415

    settings = load_settings()
    registry, now, person = _registry(settings), time.time_ns(), by or getpass.getuser()
    changed = (
        registry.retire(POLICY_THRESHOLDS, by=person, now_unix_nano=now)
        if model is None
        else registry.rollback(registry.find(model), by=person, now_unix_nano=now)
    )
    _publish(settings, changed)
    typer.echo("\n".join(f"{one.id[:_ID_LENGTH]} {one.status}: {one.reason}" for one in changed))


@models.command(name="judge")
def judge_model(model: ModelId, *, live: FiguresFile, candidate: FiguresFile) -> None:
    """Put a kept candidate to the gate again, with the figures of a backtest of it and of what is live."""
    from learning.gate import judge  # noqa: PLC0415

    settings = load_settings()
    registry = _registry(settings)
    found = registry.find(model)
    if found.status not in {"candidate", "rejected"}:
        raise PermanentError(f"model {found.id} is {found.status}; only a candidate can be judged")
    figures, mine = _figures(live), _figures(candidate)
    ruling = judge(figures, mine)
    status = "live" if ruling.passed else "rejected"
    update = {"status": status, "reason": ruling.reason, "changed_unix_nano": time.time_ns()}
    _publish(settings, registry.add(found.model_copy(update={**update, "figures": mine, "live_figures": figures})))
    typer.echo(f"{found.id[:_ID_LENGTH]} {status}: {ruling.reason}")


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.command()(learn)
    app.command()(feedback)
    app.add_typer(models, name="models")


def _learn_once(settings: Settings, *, dry_run: bool, json: bool) -> None:
    from actions.catalog import load  # noqa: PLC0415
    from learning.lessons import false_alarms, tempered  # noqa: PLC0415
    from learning.thresholds import build  # noqa: PLC0415
    from streams.commands.recall import recall  # noqa: PLC0415
    from streams.outcome_to_lesson import Lessons  # noqa: PLC0415

    told = recall(settings, Lessons.lessons)
    served = {label for playbook in load() for label in playbook.serves.classes}
    built = build(tempered(told), settings.policy, served)
    registry = _registry(settings)
    made = None if isinstance(built, str) else _judged(built, registry, time.time_ns())
    alarms = false_alarms(told)
    if made is not None and not dry_run:
        _publish(settings, registry.add(made))
    _say(made, str(built), told, alarms, json=json)


def _judged(built: Built, registry: Registry, now: int) -> ModelVersion:
    from learning.gate import Ruling, judge  # noqa: PLC0415
    from learning.registry import POLICY_THRESHOLDS  # noqa: PLC0415
    from schemas.model import ModelVersion, model_id  # noqa: PLC0415

    ruling, code = judge(built.live_figures, built.figures), version_of("reflexarc")
    if registry.is_withdrawn(POLICY_THRESHOLDS, built.parameters):
        ruling = Ruling(passed=False, reason="a person rolled back a model that set the same")
    return ModelVersion(
        id=model_id(POLICY_THRESHOLDS, built.parameters, built.data, code),
        kind=POLICY_THRESHOLDS,
        status="live" if ruling.passed else "rejected",
        reason=ruling.reason,
        parameters=built.parameters,
        figures=dict(built.figures),
        live_figures=dict(built.live_figures),
        data=built.data,
        code_version=code,
        built_unix_nano=now,
        changed_unix_nano=now,
    )


def _say(
    made: ModelVersion | None, why_not: str, told: Sequence[Lesson], alarms: Sequence[FalseAlarms], *, json: bool
) -> None:
    if json:
        document = {
            "lessons": len(told),
            "model": None if made is None else made.model_dump(mode="json"),
            "reason": why_not if made is None else made.reason,
            "false_alarms": [one.model_dump() for one in alarms],
        }
        typer.echo(orjson.dumps(document, option=orjson.OPT_INDENT_2))
        return
    if made is None:
        typer.echo(f"No candidate: {why_not}.")
    else:
        typer.echo(f"{made.id[:_ID_LENGTH]} {made.status}: {made.parameters}: {made.reason}")
    for one in alarms[:10]:
        if one.false:
            typer.echo(f"{one.environment}/{one.service} {one.detector} {one.name}: false {one.false_share}")


def _registry(settings: Settings) -> Registry:
    from learning.registry import Registry  # noqa: PLC0415

    return Registry(settings.learn.registry)


def _publish(settings: Settings, changed: Iterable[ModelVersion]) -> None:
    from schemas.codec import encode  # noqa: PLC0415
    from schemas.topics import MODELS  # noqa: PLC0415
    from streams.publisher import Message, publish_once  # noqa: PLC0415

    topic = MODELS.full_name(settings.kafka.topic_prefix)
    messages = [Message(topic, f"{one.kind}/{one.id}".encode(), encode(one)) for one in changed]
    asyncio.run(publish_once(settings.kafka, messages))


def _figures(path: Path) -> dict[str, float]:
    """Read figures: numbers by name, at the top or under `figures`."""
    try:
        document: Any = orjson.loads(path.read_bytes())
        held = document.get("figures", document)
        return {name: float(value) for name, value in held.items() if isinstance(value, (int, float))}
    except (OSError, orjson.JSONDecodeError, AttributeError) as error:
        raise ConfigurationError(f"{path}: no figures by name: {error}") from None


def _table(found: Sequence[ModelVersion]) -> Table:
    from streams.present import moment  # noqa: PLC0415

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("id", "kind", "built (UTC)", "status", "sets", "records", "code", "because"):
        table.add_column(column)
    for one in found:
        table.add_row(
            one.id[:_ID_LENGTH],
            one.kind,
            moment(one.built_unix_nano),
            Text(one.status, style=_STYLES.get(one.status, "")),
            Text(_parameters(one.parameters)),
            str(one.data.records),
            one.code_version,
            Text(one.reason),
        )
    return table


def _parameters(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())[:80]
