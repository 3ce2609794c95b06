"""How bad an incident is where it happens: what signals say, weighed by what the service is and how far it reaches.

Called by `streams.kernel.correlate` for every revision. Each step is one of few, and told in words: a severity that
nobody can explain is one that nobody acts by.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from typing import Protocol, get_args

from schemas.envelope import NANOS, Entity
from schemas.raw import Severity
from schemas.signal import Signal

# Lowest first.
LADDER: tuple[Severity, ...] = tuple(reversed(get_args(Severity)))
# Environments by their usual names. One of another name is taken for production: on the safe side.
REHEARSAL = ("dev*", "test*", "qa*", "stag*", "sandbox*", "preview*")
# So many instances in trouble at once are no matter of one machine.
WIDE = 5
# One that others feel as well is still one; from here on it is an outage.
MANY_SERVICES = 3


class Window(Protocol):
    """Times at which something holds, at some services."""

    def covers(self, target: Entity, now: datetime) -> bool:
        """Whether it holds there and then; `now` has its zone."""


@dataclass(frozen=True, slots=True)
class Context:
    """What the people who run the services say about them. Patterns are shell-style; scopes are environment/service."""

    critical: tuple[str, ...] = ()
    minor: tuple[str, ...] = ()
    rehearsal: tuple[str, ...] = REHEARSAL
    wide: int = WIDE
    maintenance: tuple[Window, ...] = ()
    quiet_hours: tuple[Window, ...] = ()


def assess(
    scope: str,
    signals: Sequence[Signal],
    changes: Sequence[Signal],
    context: Context,
    began_unix_nano: int | None = None,
) -> tuple[Severity, tuple[str, ...]]:
    """Return the severity of an incident and what it was raised or lowered for.

    The time of day counts as of when it began: an incident does not become another as a window opens or closes.

    >>> assess("staging/shop", (), (), Context())
    ('low', ('medium: something is abnormal', 'lowered: staging is no production'))

    """
    level, why = _said(signals)
    environment = scope.partition("/")[0]
    instances = {signal.entity.instance for signal in signals if signal.entity.instance is not None}
    scopes = [scope, *sorted({signal.entity.scope for signal in signals} - {scope})]
    critical = [one for one in scopes if _matches(one, context.critical)]
    if critical:
        level, why = level + 1, [*why, f"raised: {critical[0]} is critical"]
    if len(instances) >= context.wide:
        level, why = level + 1, [*why, f"raised: {len(instances)} instances are abnormal"]
    if len(scopes) >= MANY_SERVICES:
        level, why = level + 1, [*why, f"raised: {len(scopes)} services are abnormal"]
    if _matches(environment, context.rehearsal):
        level, why = level - 1, [*why, f"lowered: {environment} is no production"]
    if all(_matches(one, context.minor) for one in scopes):
        level, why = level - 1, [*why, f"lowered: {scope} is minor"]
    if began_unix_nano is not None and (what := _window(scope, began_unix_nano, context)):
        level, why = level - 1, [*why, f"lowered: it began in {what}"]
    if running := _running(changes):
        why = [*why, f"while {running} was under way"]
    return LADDER[min(max(level, 0), len(LADDER) - 1)], tuple(why)


def _said(signals: Sequence[Signal]) -> tuple[int, list[str]]:
    """Take what alerts say, and at least high when users see errors."""
    found = [(1, "something is abnormal")]
    if any("error" in signal.name for signal in signals):
        found.append((2, "errors are seen"))
    alerts = ((signal.name, signal.attributes.get("severity")) for signal in signals if signal.kind == "alert")
    found += [(LADDER.index(said), f"alert {name} says so") for name, said in alerts if said in LADDER]
    level, because = max(found, key=lambda pair: pair[0])
    return level, [f"{LADDER[level]}: {because}"]


def _window(scope: str, began_unix_nano: int, context: Context) -> str:
    """Name the window that something began in; empty where it is none."""
    environment, _, service = scope.partition("/")
    here, then = Entity(environment=environment, service=service), datetime.fromtimestamp(began_unix_nano / NANOS, UTC)
    named = (("a maintenance window", context.maintenance), ("quiet hours", context.quiet_hours))
    return next((what for what, windows in named if any(one.covers(here, then) for one in windows)), "")


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def _running(changes: Sequence[Signal]) -> str:
    """Name the change that began and was not told to have ended; empty where there is none."""
    under_way: dict[str, str] = {}
    for change in sorted(changes, key=lambda change: change.onset_unix_nano):
        what, _, step = change.name.rpartition(".")
        if step == "started":
            under_way[what] = f"a {what}"
        else:
            under_way.pop(what, None)
    return next(iter(under_way.values()), "")
