"""What kinds of evidence speak for an incident, and how long a lone subject has to last.

Called by `streams.kernel.grouping`. Kinds are independent where they can err apart: what a series was itself, what its
siblings are now, what people said it must be, another type of telemetry, and time. Two subjects of a service are
enough to open an incident whatever speaks for each. A lone subject has to last, the shorter the more kinds speak for
it: each beyond the first halves the wait.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import get_args

from schemas.incident import Support
from schemas.signal import Signal

_TYPES = {"metric", "log", "alert"}


def kinds(signals: Iterable[Signal]) -> int:
    """How many kinds of comparison speak for them; one at least."""
    return max(1, len({signal.support for signal in signals if signal.support}))


def wait(signals: Sequence[Signal], alone: int) -> int:
    """Return how long a lone subject has to last; `alone`: where one kind of evidence speaks for it."""
    return int(alone >> (kinds(signals) - 1))


def support(signals: Sequence[Signal], at: int, alone: int) -> tuple[Support, ...]:
    """Name what speaks for an incident at a time.

    Args:
        signals: the firing signals of its own service.
        at: now.
        alone: how long a lone subject has to last.

    """
    found: set[str] = {signal.support for signal in signals if signal.support}
    if len({signal.kind for signal in signals} & _TYPES) > 1:
        found.add("another signal type")
    if signals and at - min(signal.time_unix_nano for signal in signals) >= alone:
        found.add("persistence")
    return tuple(kind for kind in get_args(Support) if kind in found)
