"""What would change its mind: the least evidence without which an incident would be called something else.

Called by the decide stage when it decides, so that the trace can be argued with.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import chain, combinations

from detectors.classify import classify
from schemas.incident import Counterfactual
from schemas.signal import Signal

# Kinds of evidence that are tried, those that a rule cites first: 8 alone and 28 pairs are 36 classifications, some
# 70 ms for the largest incident there can be.
MAX_KINDS = 8
# What is told: more would not be read.
MAX_TOLD = 5

_Kind = tuple[str, str]


def counterfactuals(signals: Sequence[Signal], changes: Sequence[Signal]) -> tuple[Counterfactual, ...]:
    """Find what the class rests on: single kinds of evidence, or pairs where no single one decides.

    Args:
        signals: as for `classify`.
        changes: as for `classify`.

    """
    found = classify(signals, changes)
    named = {identity for hit in found.rules for identity in hit.signals}
    cited = {_kind(signal) for signal in chain(signals, changes) if signal.id in named}
    counts = Counter(_kind(signal) for signal in chain(signals, changes))
    kinds = sorted(counts, key=lambda kind: (kind not in cited, -counts[kind], kind))[:MAX_KINDS]
    for size in (1, 2):
        told = list(_flips(list(combinations(kinds, size)), signals, changes, found.label))
        if told:
            return tuple(told[:MAX_TOLD])
    return ()


def _flips(
    without: Sequence[tuple[_Kind, ...]], signals: Sequence[Signal], changes: Sequence[Signal], label: str
) -> Iterator[Counterfactual]:
    for kinds in without:
        left = [s for s in signals if _kind(s) not in kinds]
        found = classify(left, [c for c in changes if _kind(c) not in kinds]).label if left else "unknown"
        if found != label:
            gone = [s for s in chain(signals, changes) if _kind(s) in kinds]
            yield Counterfactual(
                without=tuple(sorted({s.name for s in gone})), signals=tuple(s.id for s in gone), label=found
            )


def _kind(signal: Signal) -> _Kind:
    return signal.kind, signal.name
