"""Commands on versions of what was learnt: list them, judge one again, roll back what is live."""

from __future__ import annotations

import asyncio
import getpass
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any

import orjson
import typer
from rich.table import Table
from rich.text import Text

from learning.gate import judge
from learning.registry import Registry
from schemas.errors import ConfigurationError, PermanentError
from schemas.model import ModelVersion
from streams.settings import Settings, load_settings

ID_LENGTH = 8
_STYLES = {"live": "bold green", "rejected": "red", "withdrawn": "red", "candidate": "yellow"}
By = Annotated[str | None, typer.Option(help="Who says so; the user logged in here by default.")]
ModelId = Annotated[str, typer.Argument(help="Id of the model, or how it begins.")]
FiguresFile = Annotated[Path, typer.Option(help="JSON of its backtest: guarded figures by name.", exists=True)]

models = typer.Typer(help="Versions of what was learnt, and which is live.", no_args_is_help=True)


@models.command(name="list")
def list_models(
    *, json: Annotated[bool, typer.Option("--json", help="As JSON, with figures and parameters.")] = False
) -> None:
    """List all versions, the newest first."""
    from streams.present import screen  # noqa: PLC0415 - heavy: see streams.cli

    found = registry_of(load_settings()).versions()
    if json:
        typer.echo(orjson.dumps([one.model_dump(mode="json") for one in found], option=orjson.OPT_INDENT_2))
    else:
        screen().print(_table(found) if found else "Nothing has been learnt yet.")


@models.command()
def rollback(
    model: Annotated[str | None, typer.Argument(help="Id of an earlier model; none: the shipped settings.")] = None,
    by: By = None,
) -> None:
    """Make an earlier model live again, or the shipped settings. Running workers take it up within seconds."""
    settings = load_settings()
    registry, now, person = registry_of(settings), time.time_ns(), by or getpass.getuser()
    if model is not None:
        changed = registry.rollback(registry.find(model), by=person, now_unix_nano=now)
    else:
        live = [one.kind for one in registry.versions() if one.status == "live"]
        if not live:
            raise PermanentError("no model is live: the shipped settings hold")
        changed = [one for kind in live for one in registry.retire(kind, by=person, now_unix_nano=now)]
    publish(settings, changed)
    typer.echo("\n".join(f"{one.id[:ID_LENGTH]} {one.status}: {one.reason}" for one in changed))


@models.command(name="judge")
def judge_model(model: ModelId, *, live: FiguresFile, candidate: FiguresFile) -> None:
    """Put a kept candidate to the gate again, with the figures of a backtest of it and of what is live."""
    settings = load_settings()
    registry = registry_of(settings)
    found = registry.find(model)
    if found.status not in {"candidate", "rejected"}:
        raise PermanentError(f"model {found.id} is {found.status}; only a candidate can be judged")
    figures, mine = _figures(live), _figures(candidate)
    ruling = judge(figures, mine, found.kind)
    status = "live" if ruling.passed else "rejected"
    update = {"status": status, "reason": ruling.reason, "changed_unix_nano": time.time_ns()}
    publish(settings, registry.add(found.model_copy(update={**update, "figures": mine, "live_figures": figures})))
    typer.echo(f"{found.id[:ID_LENGTH]} {status}: {ruling.reason}")


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    app.add_typer(models, name="models")


def registry_of(settings: Settings) -> Registry:
    return Registry(settings.learn.registry)


def publish(settings: Settings, changed: Iterable[ModelVersion]) -> None:
    from schemas.codec import encode  # noqa: PLC0415 - heavy: see streams.cli
    from schemas.topics import MODELS  # noqa: PLC0415 - heavy: see streams.cli
    from streams.publisher import Message, publish_once  # noqa: PLC0415 - heavy: see streams.cli

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
    from streams.present import moment  # noqa: PLC0415 - heavy: see streams.cli

    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("id", "kind", "built (UTC)", "status", "sets", "records", "code", "because"):
        table.add_column(column)
    for one in found:
        table.add_row(
            one.id[:ID_LENGTH],
            one.kind,
            moment(one.built_unix_nano),
            Text(one.status, style=_STYLES.get(one.status, "")),
            Text(parameters_of(one.parameters)),
            str(one.data.records),
            one.code_version,
            Text(one.reason),
        )
    return table


def parameters_of(parameters: Mapping[str, Any]) -> str:
    return ", ".join(f"{name} = {value}" for name, value in parameters.items())[:80]
