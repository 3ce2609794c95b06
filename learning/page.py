"""A report as one page of HTML that needs nothing from anywhere, to be mailed or kept.

Called by `reflexarc report --html`, its parts by `streams.replay.page`. Everything that comes from records is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape

from learning.measures import ALL, Report
from learning.plots import intervals, reliability
from learning.returns import Assumptions
from learning.statistics import Estimate, short
from schemas.envelope import NANOS

_STYLE = """
:root{color-scheme:light dark;--ink:#1c2430;--soft:#66707d;--line:#d8dde4;--mark:#1665c1;--card:#f5f7fa;--page:#fff}
@media(prefers-color-scheme:dark){:root{--ink:#e6eaf0;--soft:#9aa5b3;--line:#38424f;--mark:#6cb0ff;--card:#1b222b;
--page:#11161c}}
body{font:15px/1.5 system-ui,sans-serif;color:var(--ink);background:var(--page);max-width:60rem;margin:2rem auto;
padding:0 1rem}
h1{font-size:1.5rem}h2{font-size:1.1rem;margin-top:2.2rem}.soft,td.soft,figcaption{color:var(--soft)}
.tiles{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.7rem}
.tile{background:var(--card);border-radius:.5rem;padding:.7rem 1rem}.tile b{display:block;font-size:1.5rem}
table{border-collapse:collapse;width:100%}td{padding:.25rem .6rem;border-bottom:1px solid var(--line)}
svg{width:100%;height:auto;font-size:12px}svg text{fill:var(--ink)}svg circle{fill:var(--mark)}
.range{stroke:var(--mark);stroke-width:3;opacity:.45}.bar{fill:var(--mark);opacity:.75}.axis{stroke:var(--line)}.frame{fill:none;stroke:var(--line)}
"""


def page(report: Report) -> str:
    """Write a report as HTML."""
    intro = f'<p class="soft">{_span(report)}. Intervals are 95 %; n is the number of cases.</p>'
    return document("ReflexArc report", [intro, *_tiles(report), *_sections(report)])


def document(title: str, body: Iterable[str]) -> str:
    """Put a page together. `body` is HTML, the title is not."""
    return "".join(
        [
            '<!doctype html><html lang="en"><head><meta charset="utf-8">',
            f'<meta name="viewport" content="width=device-width"><title>{escape(title)}</title>',
            f"<style>{_STYLE}</style></head><body><h1>{escape(title)}</h1>",
            *body,
            "</body></html>",
        ]
    )


def _span(report: Report) -> str:
    if report.first_unix_nano is None or report.last_unix_nano is None:
        return "No incident"
    first, last = (
        datetime.fromtimestamp(at / NANOS, UTC).strftime("%Y-%m-%d %H:%M")
        for at in (report.first_unix_nano, report.last_unix_nano)
    )
    return f"{report.incidents} incidents from {first} to {last} UTC, {report.open} still open"


def _tiles(report: Report) -> Iterator[str]:
    overall = next((one for one in report.times if (one.label, one.tier) == (ALL, ALL)), None)
    yield '<div class="tiles">'
    if overall is not None:
        yield tile("mean time to detect", overall.detect, " s")
        yield tile("mean time to acknowledge", overall.acknowledge, " s")
        yield tile("mean time to repair", overall.repair, " s")
    yield tile("false incidents", report.false_incidents)
    yield tile("harmful actions", report.harmful_actions)
    yield tile("repaired without a person", report.autonomy)
    yield plain_tile("alert compression", "-" if report.compression is None else f"{report.compression:.1%}")
    yield plain_tile("person hours saved", f"{report.returns.person_hours_saved:.1f}")
    yield "</div>"


def tile(name: str, one: Estimate, unit: str = "") -> str:
    """Show an estimate: a share, or a figure with its unit."""

    def shown(value: float) -> str:
        return f"{short(value)}{unit}" if unit else f"{value:.1%}"

    value = "-" if one.value is None else shown(one.value)
    between = "" if one.lower is None or one.upper is None else f"{shown(one.lower)} to {shown(one.upper)}, "
    return f'<div class="tile">{escape(name)}<b>{value}</b><span class="soft">{between}n={one.n}</span></div>'


def plain_tile(name: str, value: str) -> str:
    """Show a figure that has no interval."""
    return f'<div class="tile">{escape(name)}<b>{escape(value)}</b></div>'


def _sections(report: Report) -> Iterator[str]:
    by_class = [one for one in report.times if ALL not in {one.label, one.tier}]
    rows = [(f"{one.label}, {one.tier}", one) for one in by_class]
    for title, measured in (
        ("Time to detect", [(name, one.detect) for name, one in rows]),
        ("Time to acknowledge", [(name, one.acknowledge) for name, one in rows]),
        ("Time to repair", [(name, one.repair) for name, one in rows]),
    ):
        yield f"<h2>{title} by class and tier</h2>{intervals(measured, ' s')}"
    yield f"<h2>Precision by class</h2>{intervals([(one.label, one.precision) for one in report.labels], most=1)}"
    yield f"<h2>Recall by class</h2>{intervals([(one.label, one.recall) for one in report.labels], most=1)}"
    yield "<h2>Is confidence what it says</h2>"
    yield reliability(report.calibration.curve)
    if report.recalibrated is not None:
        yield "<h3>By the live record of the classifier's rules</h3>"
        yield reliability(report.recalibrated.curve)
        yield table([("Brier score (0 is perfect)", str(report.recalibrated.brier))])
    yield table(
        [
            ("Brier score (0 is perfect)", str(report.calibration.brier)),
            ("calibration error", _number(report.calibration.calibration_error)),
            ("true class in the prediction set", str(report.calibration.coverage)),
            ("bet against calibration (20 is an alarm)", _number(report.drift.calibration_martingale)),
            *((f"stability of {name} (0.25 is a shift)", _number(at)) for name, at in report.drift.stability.items()),
        ]
    )
    yield "<h2>Actions</h2>"
    yield intervals(
        [
            ("verified", report.verified_actions),
            ("harmful", report.harmful_actions),
            ("on a false positive", report.false_actions),
        ],
        most=1,
    )
    yield table([*report.results.items(), *((f"decided: {name}", n) for name, n in report.verdicts.items())])
    if report.shadow:
        yield "<h2>Proposals that people agreed with</h2>"
        yield intervals([(one.playbook, one.agreement) for one in report.shadow], most=1)
    if report.detection is not None:
        yield "<h2>Against the list of what really happened</h2>"
        yield intervals([("found", report.detection.recall), ("true", report.detection.precision)], most=1)
    yield "<h2>What it gave back</h2>"
    yield table(
        [
            ("repaired without a person", report.returns.repaired_alone),
            ("person hours saved, net", f"{report.returns.person_hours_saved:.2f}"),
            ("hours of impairment avoided", f"{report.returns.impaired_hours_avoided:.2f}"),
            ("money saved, net", f"{report.returns.money_saved:.2f}"),
        ]
    )
    yield '<p class="soft">Assumed: '
    yield "; ".join(f"{name} {value:g}" for name, value in told(report.returns.assumptions))
    yield ".</p>"


def told(assumptions: Assumptions) -> list[tuple[str, float]]:
    """Give assumptions in words."""
    return [(name.replace("_", " "), float(value)) for name, value in assumptions.model_dump().items()]


def table(rows: Iterable[Sequence[object]]) -> str:
    """Lay out rows of cells; whatever is in them is text."""
    lines = ("".join(f"<td>{escape(str(cell))}</td>" for cell in row) for row in rows)
    return f"<table>{''.join(f'<tr>{line}</tr>' for line in lines)}</table>"


def _number(value: float | None) -> str:
    return "-" if value is None else short(value)
