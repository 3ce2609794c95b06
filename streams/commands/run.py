"""Commands that run something: one role, or a whole installation."""

from __future__ import annotations

import asyncio
import logging
import signal
import sys
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from rich.console import Console

from streams.settings import load_settings

Role = Callable[[asyncio.Event], Awaitable[Any]]


def worker(
    stage: Annotated[
        list[str] | None,
        typer.Option(help="Run only this stage; may be repeated. detect, correlate, decide, act or learn."),
    ] = None,
) -> None:
    """Run stages of the arc: all of them, or those named."""
    from schemas.errors import ConfigurationError  # noqa: PLC0415 - see the module's docstring in streams.cli
    from streams.roles import stage_apps  # noqa: PLC0415
    from streams.stages import STAGES  # noqa: PLC0415
    from streams.up import end_with_parent  # noqa: PLC0415
    from streams.worker import run_worker  # noqa: PLC0415

    names = stage or list(STAGES)
    unknown = [name for name in names if name not in STAGES]
    if unknown:
        raise ConfigurationError(f"no stage {unknown[0]!r}; there are {', '.join(STAGES)}")
    # What is learnt is followed while it runs: see `streams.course`.
    settings = load_settings(learnt=False)
    end_with_parent()
    sys.exit(run_worker(lambda: stage_apps(settings, names)))


def executor() -> None:
    """Run an executor: it carries out action commands and verifies them."""
    from actions.action_to_outcome import run_executor  # noqa: PLC0415
    from streams.roles import executor_config  # noqa: PLC0415

    config = executor_config(load_settings())
    _run(lambda stop: run_executor(config, stop))


def console() -> None:
    """Run the console: the HTTP API, the page and the webhooks."""
    from console.server import serve  # noqa: PLC0415
    from streams.roles import console_config  # noqa: PLC0415

    config = console_config(load_settings())
    _run(lambda stop: serve(config, stop, listening=lambda url: typer.echo(f"console on {url}")))


def learner() -> None:
    """Learn again and again: build candidates, put them to the gate, as `reflexarc learn` does once."""
    from streams.commands.learner import run_learner  # noqa: PLC0415

    _run(run_learner)


def up() -> None:
    """Run everything on this machine; what is not configured is brought along."""
    from streams.up import ROLES, Supervisor, installation  # noqa: PLC0415

    verbose = ("--verbose",) if logging.getLogger().isEnabledFor(logging.INFO) else ()
    roles = {name: (*verbose, *arguments) for name, arguments in ROLES.items()}
    out = Console(stderr=True)
    with installation(load_settings()) as ready:
        out.print(f"Kafka  {ready.settings.kafka.bootstrap_servers}", highlight=False)
        out.print(f"Redis  {ready.settings.ledger.url}", highlight=False)
        out.print("Press Ctrl-C to stop.", style="dim")
        supervisor = Supervisor(
            ready.variables, roles=roles, say=lambda text: out.print(text, style="yellow", highlight=False)
        )
        _run(lambda stop: supervisor.run(stop, ready.check))


def add_to(app: typer.Typer) -> None:
    """Register these commands."""
    for command in (up, worker, executor, console, learner):
        app.command()(command)


def _run(role: Role) -> None:
    """Run a role until SIGINT or SIGTERM."""
    import uvloop  # noqa: PLC0415

    from streams.up import end_with_parent  # noqa: PLC0415

    async def until_signalled() -> None:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        end_with_parent()
        await role(stop)

    try:
        uvloop.run(until_signalled())
    except ExceptionGroup as errors:
        logging.getLogger(__name__).debug("failed", exc_info=True)
        raise errors.exceptions[0] from None
