"""The attacks as one page: for each, what is kept as it gets worse, and what goes wrong.

Called by `python -m benchmarks.adversary --html`.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from itertools import groupby

from benchmarks.adversary.trial import Point
from learning.page import document
from learning.plots import Curve, curves


def page(points: Sequence[Point]) -> str:
    """Write the curves as HTML."""
    return document("ReflexArc under attack", list(_parts(points)))


def _parts(points: Sequence[Point]) -> Iterator[str]:
    for name, group in groupby(points, key=lambda one: one.attack):
        found = list(group)
        wrong = sum(one.false_actions + one.leaks + one.crashes for one in found)
        yield f"<h2>{escape(name)}</h2>"
        yield f'<p class="soft">{wrong} wrong things done in {sum(one.runs for one in found)} runs.</p>'
        lines = [
            Curve("found", tuple((one.level, one.detection_kept) for one in found)),
            Curve("mended", tuple((one.level, one.mended) for one in found)),
            Curve("wrongly acted on", tuple((one.level, min(1.0, one.false_actions / one.runs)) for one in found)),
        ]
        yield curves(lines, found[0].unit)
