"""`python -m benchmarks.adversary`: run the attacks, print their curves, and fail if anything wrong was done."""

from __future__ import annotations

import argparse
from pathlib import Path

from rich.console import Console
from rich.progress import track
from rich.table import Table

from benchmarks.adversary import poison
from benchmarks.adversary.attacks import ATTACKS
from benchmarks.adversary.page import page
from benchmarks.adversary.trial import Point, curve, measures
from benchmarks.measure import write_json

WIDE = 160


def main() -> int:
    arguments = _arguments()
    chosen = [attack for attack in ATTACKS if arguments.attack in {None, attack.name}]
    errors = Console(stderr=True)
    points = [
        point
        for attack in track(chosen, "attacking", console=errors, transient=True)
        for point in curve(attack, range(arguments.seeds))
    ]
    poisoned = [] if arguments.attack else poison.curve(0)
    out = Console() if Console().is_terminal else Console(width=WIDE)
    out.print(_table(points))
    if poisoned:
        out.print(_poisoned(poisoned))
    sound = all(point.sound for point in points) and all(one.sound for one in poisoned)
    if arguments.json is not None:
        write_json([*measures(points), *poison.measures(poisoned)], arguments.json)
    if arguments.html is not None:
        arguments.html.write_text(page(points), encoding="utf-8")
    for attack in chosen:
        if attack.limit:
            out.print(f"{attack.name}: known limit: {attack.limit}", style="dim")
    out.print("Nothing wrong was done beyond known limits." if sound else "SOMETHING WRONG WAS DONE.")
    return 0 if sound else 1


def _table(points: list[Point]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("attack", "level", "found", "mended", "delay s", "false actions", "held back", "leaks", "crashes"):
        table.add_column(column, justify="left" if column == "attack" else "right")
    for one in points:
        table.add_row(
            one.attack if one.level == 0 else f"  {one.unit}",
            f"{one.level:g}",
            f"{one.detection_kept:.2f}",
            f"{one.mended:.2f}",
            "-" if one.delay_seconds is None else f"{one.delay_seconds:.1f}",
            str(one.false_actions),
            str(one.held_back),
            str(one.leaks),
            str(one.crashes),
        )
    return table


def _poisoned(found: list[poison.Poisoned]) -> Table:
    table = Table(box=None, header_style="dim", pad_edge=False)
    for column in ("planted feedback", "liars", "min_confidence", "versions", "harm per 100 before", "after"):
        table.add_column(column, justify="right")
    for one in found:
        row = (f"{one.planted_share:.0%}", one.attackers, f"{one.min_confidence:.2f}", one.versions_live)
        table.add_row(*map(str, row), f"{one.harm_before:.2f}", f"{one.harm_after:.2f}")
    return table


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.adversary", description=__doc__)
    parser.add_argument("--attack", choices=[attack.name for attack in ATTACKS], help="only this one")
    parser.add_argument("--seeds", type=int, default=3, help="runs with the fault, and as many without, a level")
    parser.add_argument("--json", type=Path, help="write the figures to this file, too")
    parser.add_argument("--html", type=Path, help="write a page with the curves to this file, too")
    return parser.parse_args()


if __name__ == "__main__":
    raise SystemExit(main())
