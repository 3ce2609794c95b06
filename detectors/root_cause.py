"""Which signal or change most likely began it: candidates ranked by how near before the onset they lie.

Called by the correlate kernel at every revision. Changes before the onset come first, the later the likelier; then
signals in order of their onset, the stronger first among equals. What services that depend on the broken one show
weighs the less the more calls lie between: a fault moves against the calls.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from schemas.incident import RootCause
from schemas.signal import Signal

# Most regressions show within minutes of their change: the odds of a change halve every two minutes of distance.
CHANGE_HALF_LIFE_SECONDS = 120.0
MAX_CANDIDATES = 5


def rank_causes(
    signals: Sequence[Signal], changes: Sequence[Signal], calls: Mapping[str, int] | None = None
) -> tuple[RootCause, ...]:
    """Rank candidate causes.

    Args:
        signals: firing signals; at least one of the service that the incident is of.
        changes: changes in the scope before now.
        calls: how many calls lie between that service and others that signals are of; none: all signals are its own.

    Returns:
        At most five candidates with shares that sum to one.

    """
    calls = calls or {}
    onset = min(signal.onset_unix_nano for signal in signals if not calls.get(signal.entity.service))
    weighed: list[tuple[float, Signal, str]] = []
    for change in changes:
        seconds = (onset - change.onset_unix_nano) / 1e9
        if seconds >= 0:
            # A change weighs as much as all symptoms together when it coincides with the onset: symptoms follow.
            weight = 2.0 * 0.5 ** (seconds / CHANGE_HALF_LIFE_SECONDS)
            weighed.append((weight, change, f"change {seconds:.1f} s before the onset"))
    for signal in signals:
        seconds = (signal.onset_unix_nano - onset) / 1e9
        between = calls.get(signal.entity.service, 0)
        weight = 0.5**between / (1.0 + max(seconds, 0.0)) / len(signals)
        because = "first to depart" if seconds <= 0 else f"departed {seconds:.1f} s after the first"
        if between:
            because = f"{because}, {between} call{'s' * (between > 1)} from it"
        weighed.append((weight, signal, because))
    weighed.sort(key=lambda item: (-item[0], item[1].onset_unix_nano, item[1].id))
    top = weighed[:MAX_CANDIDATES]
    total = sum(weight for weight, _, _ in top)
    return tuple(
        RootCause(entity=s.entity, what=s.name, signal_id=s.id, score=weight / total, because=because)
        for weight, s, because in top
    )
