"""`python -m benchmarks.log_templates --data DIR`: do our templates part the lines of real systems as people did?

Reads Loghub-2k (`DIR/loghub2k/A/<system>/*_structured.csv.gz`, 2,000 lines each with the template that people gave
them). Printed per system: grouping accuracy, the share of lines that are together with exactly the lines that they
belong with (Zhu et al., ICSE-SEIP 2019), and the cost of a line. Where `drain3` is installed (it never is beside
ReflexArc: its last release pins libraries of 2021) it is measured in the same run.
"""

from __future__ import annotations

import argparse
import csv
import gzip
import importlib
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks.measure import Measure, write_json
from detectors.log_templates import TemplateMiner

Learn = Callable[[str], int]


def ours() -> Learn:
    """Return a miner that has seen nothing."""
    miner = TemplateMiner(max_services=1, max_templates=1000)
    return lambda line: miner.learn("loghub", 9, line, 0).number


def drain3() -> Learn | None:
    """Return the peer, where it is installed."""
    try:
        miner = importlib.import_module("drain3.drain").Drain()
    except ImportError:
        return None
    return lambda line: int(miner.add_log_message(line)[0].cluster_id)


def grouping_accuracy(found: Sequence[int], true: Sequence[str]) -> float:
    """Share of lines whose group is exactly one of the true ones."""
    groups = {frozenset(group) for group in _groups(true)}
    return sum(len(group) for group in _groups(found) if frozenset(group) in groups) / len(found)


def _groups(labels: Sequence[object]) -> list[list[int]]:
    groups: dict[object, list[int]] = defaultdict(list)
    for at, label in enumerate(labels):
        groups[label].append(at)
    return list(groups.values())


def measure(file: Path) -> list[Measure]:
    """Return the figures of one system."""
    with gzip.open(file, "rt", errors="replace", newline="") as lines:
        rows = list(csv.DictReader(lines))
    found = []
    for engine, learn in (("", ours()), (" drain3", drain3())):
        if learn is not None:
            began = time.process_time()
            groups = [learn(row["Content"]) for row in rows]
            cost = (time.process_time() - began) / len(rows)
            accuracy = grouping_accuracy(groups, [row["EventId"] for row in rows])
            found.append(Measure(f"{file.parent.name}{engine}: grouping accuracy", accuracy, "share"))
            found.append(Measure(f"{file.parent.name}{engine}: a line", cost * 1e6, "us"))
    return found


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.log_templates", description=__doc__)
    parser.add_argument("--data", type=Path, required=True, help="folder of labelled sets")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    files = sorted((arguments.data / "loghub2k" / "A").glob("*/*_structured.csv.gz"))
    if not files:
        sys.stderr.write(f"no Loghub-2k in {arguments.data}: see docs/detection-logs.md\n")
        return 2
    found = [one for file in files for one in measure(file)]
    for one in found:
        print(f"{one.name:<40} {one.value:8.3f} {one.unit}")
    if arguments.json is not None:
        write_json(found, arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
