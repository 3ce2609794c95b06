"""Run the demo: `python -m examples.demo [--fault bad-deploy|none] [--report FILE] [--archive DIR]`.

Exit code 0: the fault was mitigated and recovery verified; with `--fault none`, nothing was done. 1: otherwise. 2: the
demo could not be run.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import signal
import sys
import tempfile
import time
from pathlib import Path

from rich.console import Console

from examples.demo.scenario import Scenario
from examples.demo.story import Story
from examples.demo.view import open_view, summary
from schemas.errors import ReflexArcError
from streams.replay.archive import write_archive
from streams.replay.kafka_log import KafkaLog, known_topics
from streams.replay.span import Span
from streams.settings import load_settings
from streams.up import installation

CONFIG = Path(__file__).with_name("reflexarc.toml")


def main() -> int:
    """Run one scenario."""
    parser = argparse.ArgumentParser(prog="python -m examples.demo", description=__doc__)
    parser.add_argument("--fault", choices=("bad-deploy", "none"), default="bad-deploy")
    parser.add_argument("--report", type=Path, help="write the figures to this file, as JSON")
    parser.add_argument("--archive", type=Path, help="keep what the topics held in this folder, to be backtested")
    options = parser.parse_args()
    os.environ.setdefault("REFLEXARC_CONFIG", str(CONFIG))
    try:
        return asyncio.run(_run(options.fault, options.report, options.archive))
    except ReflexArcError as error:
        Console(stderr=True).print(f"demo: {error}", style="red", highlight=False, soft_wrap=True)
        return 2


async def _run(fault: str, report: Path | None, archive: Path | None) -> int:
    stop = asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, stop.set)
    story, console = Story(), Console()
    logs = Path(tempfile.mkdtemp(prefix="reflexarc-demo-")) / "roles.log"
    with installation(load_settings()) as ready, open_view(story) as view, logs.open("w") as output:
        scenario = Scenario(ready, story, view, output)
        passed = await scenario.run(fault, stop)
        if archive is not None:
            log = KafkaLog(ready.settings.kafka, known_topics(()), Span())
            await asyncio.to_thread(write_archive, log, archive, Span(), time.time_ns(), lambda _: None)
    console.print()
    if fault != "none":
        console.print(summary(story))
    console.print(scenario.verdict, style="bold green" if passed else "bold red", highlight=False, soft_wrap=True)
    if archive is not None:
        told = f"Kept in {archive}. Play it again: REFLEXARC_CONFIG={CONFIG} reflexarc backtest {archive}"
        console.print(told, highlight=False, soft_wrap=True)
    if report is not None:
        await asyncio.to_thread(report.write_bytes, scenario.report(passed=passed))
    if passed:
        logs.unlink()
        logs.parent.rmdir()
    else:
        console.print(f"What the roles logged: {logs}", highlight=False, soft_wrap=True)
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
