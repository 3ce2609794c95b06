"""A progress bar for commands that may take long: on the terminal, and nowhere else."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn


@contextmanager
def progress_bar(what: str, total: int) -> Iterator[Callable[[int], None]]:
    """Show how far a command has come; what it gives is told how many more are done."""
    screen = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn())
    times = (TimeElapsedColumn(), TimeRemainingColumn())
    # Gone when it is done: what counts is printed after it.
    bar = Progress(*columns, *times, console=screen, transient=True, disable=not screen.is_terminal)
    with bar:
        task = bar.add_task(what, total=total or None)
        yield lambda more: bar.advance(task, more)
