"""Plots as SVG text, for pages that need nothing from anywhere: no script, no font, no library.

Used by `learning.page` and `streams.replay.page`. Colours come from the page's variables, so that both themes are
readable.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from html import escape
from typing import NamedTuple

from learning.calibration import Bin
from learning.statistics import Estimate, short

_WIDTH, _ROW, _LEFT, _RIGHT = 720, 26, 280, 120
_SIDE, _MARGIN, _HEIGHT = 300, 40, 120
# So that curves can be told apart without colour, and where they lie on each other.
_DASHES = ("none", "8 5", "2 4")


def intervals(rows: Sequence[tuple[str, Estimate]], unit: str = "", most: float | None = None) -> str:
    """Draw estimates one under the other: a dot, and its interval as a line."""
    shown = [(name, one) for name, one in rows if one.value is not None]
    if not shown:
        return "<p>No case.</p>"
    widest = most or max((one.upper or one.value or 0.0) for _, one in shown) or 1.0
    height = _ROW * len(shown) + 10
    parts = [f'<svg viewBox="0 0 {_WIDTH} {height}" role="img">']
    for number, (name, one) in enumerate(shown):
        parts += _interval(name, one, _ROW * number + _ROW / 2 + 5, widest, unit)
    return "".join([*parts, "</svg>"])


def _interval(name: str, one: Estimate, y: float, widest: float, unit: str) -> list[str]:
    def x(value: float) -> float:
        return round(_LEFT + (_WIDTH - _LEFT - _RIGHT) * min(value / widest, 1.0), 1)

    value = one.value or 0.0
    low, high = one.lower if one.lower is not None else value, one.upper if one.upper is not None else value
    return [
        f'<text x="{_LEFT - 10}" y="{y + 4}" text-anchor="end">{escape(name[:38])}</text>',
        f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" class="axis"/>',
        f'<line x1="{x(low)}" x2="{x(high)}" y1="{y}" y2="{y}" class="range"/>',
        f'<circle cx="{x(value)}" cy="{y}" r="5"/>',
        f'<text x="{_WIDTH - _RIGHT + 10}" y="{y + 4}">{short(value)}{unit} (n={one.n})</text>',
    ]


def bars(rows: Sequence[tuple[str, float]], unit: str = "") -> str:
    """Draw numbers as bars, one under the other."""
    if not rows:
        return "<p>No case.</p>"
    widest = max(value for _, value in rows) or 1.0
    parts = [f'<svg viewBox="0 0 {_WIDTH} {_ROW * len(rows) + 10}" role="img">']
    for number, (name, value) in enumerate(rows):
        y = _ROW * number + 5
        width = round((_WIDTH - _LEFT - _RIGHT) * value / widest, 1)
        parts += [
            f'<text x="{_LEFT - 10}" y="{y + 17}" text-anchor="end">{escape(name[:38])}</text>',
            f'<rect x="{_LEFT}" y="{y + 4}" width="{width}" height="{_ROW - 8}" class="bar"/>',
            f'<text x="{_LEFT + width + 8}" y="{y + 17}">{value:.4g}{unit}</text>',
        ]
    return "".join([*parts, "</svg>"])


class Curve(NamedTuple):
    """How a share changes along something."""

    name: str
    points: tuple[tuple[float, float], ...]


def curves(lines: Sequence[Curve], along: str) -> str:
    """Draw shares along levels; levels are set apart evenly, as they often double."""
    levels = sorted({level for line in lines for level, _ in line.points})
    apart = (_WIDTH - _MARGIN - _RIGHT) / max(1, len(levels) - 1)

    def place(level: float, share: float) -> tuple[float, float]:
        return round(_MARGIN + apart * levels.index(level), 1), round(10 + _HEIGHT * (1 - share), 1)

    parts = [f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT + 60}" role="img">']
    for share in (0.0, 0.5, 1.0):
        y = place(levels[0], share)[1]
        parts.append(f'<line x1="{_MARGIN}" x2="{_WIDTH - _RIGHT}" y1="{y}" y2="{y}" class="axis"/>')
        parts.append(f'<text x="{_MARGIN - 8}" y="{y + 4}" text-anchor="end">{share:g}</text>')
    parts += [
        *(f'<text x="{place(one, 0)[0]}" y="{_HEIGHT + 30}" text-anchor="middle">{one:g}</text>' for one in levels),
        f'<text x="{_MARGIN}" y="{_HEIGHT + 52}">{escape(along)}</text>',
    ]
    for line, dashes in zip(lines, itertools.cycle(_DASHES)):
        dots = [place(*point) for point in line.points]
        told = " ".join(f"{x},{y}" for x, y in dots)
        parts.append(f'<polyline points="{told}" fill="none" class="range" stroke-dasharray="{dashes}"/>')
        parts += [f'<circle cx="{x}" cy="{y}" r="4"/>' for x, y in dots]
    return "".join([*parts, *_names(lines, place), "</svg>"])


def _names(lines: Sequence[Curve], place: Callable[[float, float], tuple[float, float]]) -> list[str]:
    """Name each curve at its end; what ends at the same height is written side by side."""
    ends: dict[tuple[float, float], list[str]] = {}
    for line in lines:
        ends.setdefault(place(*line.points[-1]), []).append(line.name)
    return [f'<text x="{x + 10}" y="{y + 4}">{escape(", ".join(names))}</text>' for (x, y), names in ends.items()]


def reliability(curve: Sequence[Bin]) -> str:
    """Draw what was found against what was claimed; the diagonal is perfect."""
    if not curve:
        return "<p>No case.</p>"

    def place(claimed: float, found: float) -> tuple[float, float]:
        return round(_MARGIN + _SIDE * claimed, 1), round(10 + _SIDE * (1 - found), 1)

    size = _SIDE + _MARGIN + 20
    (x0, y0), (x1, y1) = place(0, 0), place(1, 1)
    parts = [
        f'<svg viewBox="0 0 {size} {size}" role="img" style="max-width:{size}px">',
        f'<rect x="{x0}" y="{y1}" width="{_SIDE}" height="{_SIDE}" class="frame"/>',
        f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" class="axis"/>',
        f'<text x="{x0 + _SIDE / 2}" y="{y0 + 30}" text-anchor="middle">claimed</text>',
        f'<text transform="translate(14 {y1 + _SIDE / 2}) rotate(-90)" text-anchor="middle">found</text>',
    ]
    for one in curve:
        x, y = place(one.claimed, one.found.value or 0.0)
        _, low = place(0, one.found.lower or 0.0)
        _, high = place(0, one.found.upper if one.found.upper is not None else 1.0)
        parts.append(f'<line x1="{x}" x2="{x}" y1="{low}" y2="{high}" class="range"/><circle cx="{x}" cy="{y}" r="5"/>')
    return "".join([*parts, "</svg>"])
