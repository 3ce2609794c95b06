"""How a run is shown: a live screen on a terminal, plain lines everywhere else. Every figure comes from a record."""

from __future__ import annotations

import time
from collections import deque
from types import TracebackType
from typing import Protocol, Self

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.panel import Panel
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from examples.demo.story import Story
from schemas.envelope import NANOS
from streams.present import describe
from streams.tail import Seen

# A screen of 24 lines: these, the fleet, the state and their frames.
EVENTS = 12
REFRESH_PER_SECOND = 4
_STAGE = {
    "signals": "detect",
    "incidents": "correlate",
    "decisions": "decide",
    "actions": "act",
    "learning": "verify",
}
_SHOWN_METRICS = (
    ("http.server.request.rate", "{:.0f} requests/s"),
    ("http.server.request.duration.p95", "p95 {:.3f} s"),
    ("http.server.request.error_ratio", "errors {:.1%}"),
)


class View(Protocol):
    """Shows a run."""

    def __enter__(self) -> Self: ...
    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...
    def say(self, text: str) -> None:
        """Show what is being done."""

    def progress(self, share: float) -> None:
        """Show how far it is done."""

    def event(self, seen: Seen) -> None:
        """Show what a stage said."""

    def fleet(self, text: str) -> None:
        """Show what runs."""


class PlainView:
    """One line an event."""

    def __init__(self, story: Story, console: Console) -> None:
        self._story = story
        self._console = console
        self._quarters = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        return

    def say(self, text: str) -> None:
        self._quarters = 0
        self._print(Text(text))

    def progress(self, share: float) -> None:
        if int(share * 4) > self._quarters:
            self._quarters = int(share * 4)
            self._print(Text(f"  {share:.0%}"))

    def event(self, seen: Seen) -> None:
        self._print(event_line(self._story, seen))

    def fleet(self, text: str) -> None:  # noqa: ARG002 - lines would scroll the events away
        return

    def _print(self, text: Text) -> None:
        self._console.print(text, soft_wrap=True, highlight=False)


class LiveView:
    """A screen that is redrawn in place."""

    def __init__(self, story: Story, console: Console) -> None:
        self._story = story
        self._events: deque[Text] = deque(maxlen=EVENTS)
        self._state, self._share, self._fleet = "", 0.0, ""
        self._live = Live(
            console=console, get_renderable=self._render, refresh_per_second=REFRESH_PER_SECOND, transient=False
        )

    def __enter__(self) -> Self:
        self._live.start(refresh=True)
        return self

    def __exit__(self, *_: object) -> None:
        self._live.stop()

    def say(self, text: str) -> None:
        self._state, self._share = text, 0.0

    def progress(self, share: float) -> None:
        self._share = share

    def event(self, seen: Seen) -> None:
        self._events.append(event_line(self._story, seen))

    def fleet(self, text: str) -> None:
        self._fleet = text

    def _render(self) -> RenderableType:
        figures = "   ".join(
            shape.format(self._story.telemetry[name]) for name, shape in _SHOWN_METRICS if name in self._story.telemetry
        )
        bar = ProgressBar(total=1.0, completed=min(self._share, 1.0)) if self._share else Text()
        lines = Group(*(_one_line(event) for event in self._events)) if self._events else Text("nothing abnormal yet")
        return Group(
            Panel(Group(Text(self._fleet), Text(figures)), title="checkout", title_align="left"),
            Panel(lines, title="what each stage says", title_align="left", height=EVENTS + 2),
            Text(self._state, style="bold"),
            bar,
        )


def event_line(story: Story, seen: Seen) -> Text:
    """When, since the fault and by which stage; how old the evidence was when it was published; and what."""
    since = story.seconds_since_fault(seen.published_unix_nano)
    told = "        " if since is None else f"{since:+7.2f}s"
    evidence = getattr(seen.record, "time_unix_nano", None) or getattr(seen.record, "updated_unix_nano", None)
    latency = "" if evidence is None else f"{(seen.published_unix_nano - evidence) / NANOS:5.2f}s"
    stage = _STAGE.get(seen.topic.name, seen.topic.name)
    head = (f"{told} {latency:>7} {stage:<10} ", "dim")
    return Text.assemble(head, describe(seen.record))


def summary(story: Story) -> RenderableType:
    """The closing table: each step, how long after the fault, and how long after the step before."""
    table = Table(title="From the fault to recovery", title_justify="left", box=None, header_style="dim")
    for column, justify in (("step", "left"), ("after the fault", "right"), ("step took", "right"), ("", "left")):
        table.add_column(column, justify=justify)  # type: ignore[arg-type]  # the two literals above
    before: int | None = None
    for milestone in story.milestones:
        since = story.seconds_since_fault(milestone.time_unix_nano) or 0.0
        took = "" if before is None else f"{(milestone.time_unix_nano - before) / NANOS:.2f} s"
        table.add_row(milestone.name, f"{since:.2f} s", took, Text(milestone.what))
        before = milestone.time_unix_nano
    return table


def open_view(story: Story) -> View:
    """The screen where there is one, lines elsewhere."""
    console = Console()
    return LiveView(story, console) if console.is_terminal else PlainView(story, console)


def elapsed(since: float) -> float:
    """Seconds on the monotonic clock."""
    return time.monotonic() - since


def _one_line(text: Text) -> Text:
    shown = text.copy()
    shown.no_wrap, shown.overflow = True, "ellipsis"
    return shown
