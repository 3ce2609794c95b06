"""The command line: `reflexarc`. Thin: each command says what it needs and calls what does the work.

Heavy imports happen inside the commands, so that `reflexarc --help` answers at once. Errors of our tree become one
line and what to do next; anything else is a bug and keeps its traceback.
"""

from __future__ import annotations

import logging
import sys
from importlib.metadata import version
from typing import Annotated

import typer
from rich.console import Console

from schemas.errors import (
    ConfigurationError,
    EmbeddedPartError,
    PermanentError,
    ReflexArcError,
    TemporaryError,
)
from streams.commands import (
    actions,
    archive,
    assess,
    backtest,
    connectors,
    control,
    evidence,
    incident,
    learn,
    models,
    playbooks,
    readiness,
    report,
    run,
    scoreboard,
    show,
    tools,
)

FAILED = 2
_NEXT: dict[type[ReflexArcError], str] = {
    ConfigurationError: "Correct it in reflexarc.toml or the environment; docs/settings.md lists every setting.",
    EmbeddedPartError: "Configure kafka.bootstrap_servers and ledger.url to use servers of your own.",
    TemporaryError: "Check that Kafka and Redis can be reached from here, then try again.",
    PermanentError: "",
}

app = typer.Typer(
    name="reflexarc",
    help="Autonomous incident response on Kafka: telemetry in, a verified and reversible mitigation out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    add_completion=False,
)
for module in (
    run,
    show,
    incident,
    control,
    actions,
    evidence,
    connectors,
    playbooks,
    assess,
    readiness,
    report,
    learn,
    models,
    archive,
    backtest,
    tools,
    scoreboard,
):
    module.add_to(app)


@app.callback(invoke_without_command=True)
def options(
    *,
    show_version: Annotated[bool, typer.Option("--version", help="Show the version and exit.")] = False,
    verbose: Annotated[bool, typer.Option("--verbose", "-v", help="Log what happens, not only what is wrong.")] = False,
) -> None:
    """Take what all commands have in common."""
    if show_version:
        typer.echo(version("reflexarc"))
        raise typer.Exit
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING, format="%(asctime)s %(levelname)s %(name)s: %(message)s"
    )
    # Their INFO is about themselves.
    for name in ("aiokafka", "faust", "mode", "httpx"):
        logging.getLogger(name).setLevel(logging.WARNING)


def main() -> None:
    """Run the command line."""
    try:
        app()
    except ReflexArcError as error:
        console = Console(stderr=True)
        console.print(f"[bold red]reflexarc:[/] {_escaped(str(error))}", highlight=False, soft_wrap=True)
        step = next((step for kind, step in _NEXT.items() if isinstance(error, kind)), "")
        if step:
            console.print(step, style="dim", highlight=False, soft_wrap=True)
        sys.exit(_exit_code(error))
    except KeyboardInterrupt:
        sys.exit(130)


def _exit_code(error: ReflexArcError) -> int:
    from streams.up import CONFIGURATION_EXIT, is_supervised  # noqa: PLC0415 - heavy, and hardly ever needed

    return CONFIGURATION_EXIT if is_supervised() and isinstance(error, ConfigurationError) else FAILED


def _escaped(text: str) -> str:
    return text.replace("[", r"\[")


if __name__ == "__main__":
    main()
