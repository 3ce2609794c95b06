"""Two configurations over one recording, told apart in words. Pure.

Used by `reflexarc backtest --compare`: A is how it is configured, B how it might be.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from learning.statistics import Estimate
from schemas.envelope import Model
from streams.replay.figures import Figures, Handled

# Shown of a list before it is cut.
SHOWN = 3

Pair = tuple[Handled, Handled]


class Comparison(Model):
    """Both, and what differs."""

    a: Figures
    b: Figures
    differences: tuple[str, ...]


def compare(a: Figures, b: Figures) -> Comparison:
    """Tell what B does otherwise than A."""
    pairs, only_a, only_b = _paired(a.incidents, b.incidents)
    said = [
        *_found("B", b, "A", a),
        *_found("A", a, "B", b),
        *_opened("B", only_b, "A"),
        *_opened("A", only_a, "B"),
        *_acted("B", [(theirs, mine) for mine, theirs in pairs], only_b, "A"),
        *_acted("A", pairs, only_a, "B"),
        *_otherwise(pairs),
        *_named(pairs),
        *_slower("detects", a.detection_seconds, b.detection_seconds),
        *_slower("is estimated to see repairs", a.repair.estimated, b.repair.estimated),
    ]
    if not said:
        same = "byte for byte" if a.digest == b.digest else "though not with the same words"
        said = [f"A and B open the same incidents and decide the same about them, {same}."]
    return Comparison(a=a, b=b, differences=tuple(said))


def _paired(mine: Sequence[Handled], theirs: Sequence[Handled]) -> tuple[list[Pair], list[Handled], list[Handled]]:
    """Join incidents that are the same: by id, else by scope and time."""
    left = {one.id: one for one in theirs}
    by_id = [(one, left.pop(one.id)) for one in mine if one.id in left]
    joined = {one.id for one, _ in by_id}
    pairs, alone = list(by_id), []
    for one in mine:
        if one.id in joined:
            continue
        other = next((them for them in left.values() if _overlap(one, them)), None)
        if other is None:
            alone.append(one)
        else:
            pairs.append((one, left.pop(other.id)))
    return pairs, alone, list(left.values())


def _overlap(one: Handled, other: Handled) -> bool:
    def until(incident: Handled) -> float:
        return float("inf") if incident.resolved_unix_nano is None else incident.resolved_unix_nano

    same_place = one.scope == other.scope
    return same_place and one.onset_unix_nano <= until(other) and other.onset_unix_nano <= until(one)


def _found(name: str, mine: Figures, other: str, theirs: Figures) -> Iterator[str]:
    missed = {one.id for one in mine.missed}
    more = [one for one in theirs.missed if one.id not in missed]
    if more:
        yield f"{name} finds {_incidents(len(more))} that {other} misses: {_listed(one.title for one in more)}."


def _opened(name: str, alone: Sequence[Handled], other: str) -> Iterator[str]:
    if alone:
        known = sum(one.truth is not None for one in alone)
        real = f"; {known} of them on the list of what really happened" if known else ""
        yield f"{name} opens {_incidents(len(alone))} that {other} does not{real}: {_listed(_what(i) for i in alone)}."


def _acted(name: str, pairs: Iterable[Pair], alone: Iterable[Handled], other: str) -> Iterator[str]:
    """Say on what one acts that the other leaves to people; `pairs` have the one first."""
    left = [mine for mine, theirs in pairs if mine.acts and not theirs.acts]
    new = [mine for mine in alone if mine.acts]
    for more, how in ((left, f"{other} left to people"), (new, f"{other} does not open")):
        if more:
            yield f"{name} acts on {_incidents(len(more))} that {how}; {_harm(more)}."


def _harm(acted: Sequence[Handled]) -> str:
    harmful = [one for one in acted if one.harm is not None]
    if not harmful:
        return "none of them is known to be harmful"
    why = _listed(f"{one.scope}: {one.harm}" for one in harmful)
    return f"{len(harmful)} of them {'was' if len(harmful) == 1 else 'were'} harmful ({why})"


def _otherwise(pairs: Iterable[Pair]) -> Iterator[str]:
    """Say of decisions that changed other than to or from acting."""
    changed = Counter(
        (mine.verdict or "nothing", theirs.verdict or "nothing", theirs.reason)
        for mine, theirs in pairs
        if mine.verdict != theirs.verdict and not mine.acts and not theirs.acts
    )
    for (mine, theirs, reason), count in sorted(changed.items()):
        yield f"Of {_incidents(count)}, A would {_would(mine)} and B would {_would(theirs)} ({reason})."


def _would(verdict: str) -> str:
    return {"nothing": "decide nothing", "observe": "only observe", "escalate": "call a person"}.get(verdict, verdict)


def _named(pairs: Iterable[Pair]) -> Iterator[str]:
    changed = Counter((mine.label, theirs.label) for mine, theirs in pairs if mine.label != theirs.label)
    for (mine, theirs), count in sorted(changed.items()):
        yield f"{_incidents(count).capitalize()} that A calls {mine}, B calls {theirs}."


def _slower(what: str, a: Estimate, b: Estimate) -> Iterator[str]:
    if a.value is not None and b.value is not None and abs(a.value - b.value) >= 0.05:  # shown to a tenth
        later = "later" if b.value > a.value else "sooner"
        yield f"B {what} {abs(b.value - a.value):.1f} s {later} on average: {b.value:.1f} s, A {a.value:.1f} s."


def _what(incident: Handled) -> str:
    return f"{incident.label} in {incident.scope}"


def _incidents(count: int) -> str:
    return f"{count} incident{'' if count == 1 else 's'}"


def _listed(names: Iterable[str]) -> str:
    held = list(names)
    more = f" and {len(held) - SHOWN} more" if len(held) > SHOWN else ""
    return "; ".join(held[:SHOWN]) + more
