"""A backtest as one page of HTML that needs nothing from anywhere.

Called by `reflexarc backtest --html`. Everything that comes from records is escaped by the parts it is made of.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from itertools import pairwise

from learning.page import document, plain_tile, table, tile
from learning.plots import bars, intervals, reliability
from schemas.envelope import NANOS
from streams.replay.compare import Comparison
from streams.replay.figures import STRONGEST, Figures, Handled

# Of the histogram of delays; each reaches twice as far as the one before.
_BINS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0)


def page(found: Figures, comparison: Comparison | None = None) -> str:
    """Write a backtest as HTML."""
    others = () if comparison is None else (("B", comparison.b),)
    parts = [f'<p class="soft">{_span(found)}.</p>']
    for name, one in (("A" if others else "", found), *others):
        parts += [f"<h2>{name}</h2>" if name else "", *_tiles(one)]
    if comparison is not None:
        parts.append("<h2>What B does otherwise</h2>")
        parts.append(f"<ul>{''.join(f'<li>{escape(line)}</li>' for line in comparison.differences)}</ul>")
    sides = [("A" if others else "", found), *others]
    return document("ReflexArc backtest", [*parts, *_sections(sides)])


def moment(time_unix_nano: int) -> str:
    return datetime.fromtimestamp(time_unix_nano / NANOS, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _span(found: Figures) -> str:
    return (
        f"{found.records} records from {moment(found.first_unix_nano)} to {moment(found.last_unix_nano)} UTC, played "
        f"in {found.speed.seconds:.1f} s: {found.speed.records_per_second:.0f} records a second, "
        f"{found.speed.times_real_time:.0f} times real time. Digest {found.digest}"
    )


def _tiles(found: Figures) -> Iterator[str]:
    yield '<div class="tiles">'
    if found.found is not None:
        yield tile("found", found.found)
    yield plain_tile("incidents", str(len(found.incidents)))
    yield tile("false incidents", found.false_incidents)
    yield tile("mean time to detect", found.detection_seconds, " s")
    yield plain_tile("alert compression", "-" if found.compression is None else f"{found.compression:.1%}")
    yield plain_tile("would have acted on", str(found.would_act))
    yield tile("harmful proposals", found.harmful)
    yield tile("estimated mean time to repair", found.repair.estimated, " s")
    yield "</div>"


def _sections(sides: Sequence[tuple[str, Figures]]) -> Iterator[str]:
    yield "<h2>What would have been done</h2>"
    yield bars([(f"{verdict} {name}", n) for verdict in STRONGEST for name, one in sides if (n := _done(one, verdict))])
    yield "<h2>Decisions by tier</h2>"
    yield bars(
        [
            (f"{tier}: {verdict} {name}", count)
            for name, one in sides
            for tier, verdicts in one.decisions.items()
            for verdict, count in verdicts.items()
        ]
    )
    yield "<h2>Time to detect</h2>"
    for name, one in sides:
        yield f"<h3>{name}</h3>" if name else ""
        yield bars(_histogram(one.delays))
    yield "<h2>Time to repair, estimated</h2>"
    repairs = [("people alone", sides[0][1].repair.baseline)]
    yield intervals([*repairs, *((f"with the arc {name}", one.repair.estimated) for name, one in sides)], " s")
    yield f'<p class="soft">{escape(assumed(sides[0][1]))}</p>'
    if any(one.calibration.claims for _, one in sides):
        yield "<h2>Is confidence what it says</h2>"
        for name, one in sides:
            yield f"<h3>{name}</h3>" if name else ""
            yield reliability(one.calibration.curve)
            yield table([("Brier score (0 is perfect)", str(one.calibration.brier))])
    for name, one in sides:
        yield f"<h2>Incidents {name}</h2>{_incidents(one.incidents)}"
        if one.missed:
            yield f"<h2>Missed {name}</h2>"
            yield table([(moment(m.started_unix_nano), m.scope, m.title) for m in one.missed])
    yield "<h2>Made with</h2>"
    versions = [(f"{detector} {name}", v) for name, one in sides for detector, v in one.model_versions.items()]
    yield table([*((f"policy {name}", one.policy_version or "-") for name, one in sides), *versions])


def assumed(found: Figures) -> str:
    """Say what the estimate of repair times rests on."""
    effect = found.repair.effect_seconds
    took = "as long as the playbook waits for its effect" if effect is None else f"{effect:.1f} s, as recorded then"
    return (
        f"Assumed: without an end on the list of what happened, people take {found.repair.baseline_minutes:g} minutes; "
        f"what the arc acts on is repaired {took} after its decision; all else is left to people, as is what harms."
    )


def _done(found: Figures, verdict: str) -> int:
    return sum(one.verdict == verdict for one in found.incidents)


def _histogram(delays: Sequence[float]) -> list[tuple[str, float]]:
    if not delays:
        return []
    bounds = [0.0, *(b for b in _BINS if b < max(delays)), max(delays)]
    rows = []
    for low, high in pairwise(bounds):
        within = sum(low < one <= high or (low == 0.0 and one == 0.0) for one in delays)
        rows.append((f"{low:g} to {high:.3g} s", float(within)))
    return rows


def _incidents(handled: Sequence[Handled]) -> str:
    if not handled:
        return "<p>None.</p>"
    head = ("opened (UTC)", "scope", "class", "would", "playbook", "really", "harm")
    rows = (
        (
            moment(one.opened_unix_nano),
            one.scope,
            f"{one.label} {one.confidence:.2f}",
            one.verdict or "-",
            one.playbook or "-",
            one.truth or "-",
            one.harm or "",
        )
        for one in handled
    )
    return table([head, *rows])
