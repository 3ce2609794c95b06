"""The same records and the same job through every engine, side by side, on Apache Kafka.

Called by `python -m benchmarks`. Rounds go through all engines in turn, so that a slow moment of the machine hits all
of them; what counts is the median.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median

from benchmarks.measure import Measure, at_least
from benchmarks.throughput.engines import BARE, BYTEWAX, ENGINES, FAUST, QUIX, REFLEXARC, Engine, Job, Run, run
from benchmarks.throughput.records import BLOCK, SINGLE, Load, fill

JOBS: tuple[Job, ...] = ("empty", "decode", "windows")
# Ten million samples through fat records.
BLOCK_RECORDS = 60_000
# What the windowed job is to reach against each of the others.
GOALS: Mapping[Engine, float] = {FAUST: 25.0, QUIX: 3.0, BYTEWAX: 4.0, BARE: 0.5}


@dataclass(frozen=True)
class Key:
    """One line of the table."""

    engine: Engine
    job: Job
    load: Load


Runs = Mapping[Key, Sequence[Run]]


def keys() -> list[Key]:
    """Return everything that is measured in a round."""
    side_by_side = [Key(engine, job, SINGLE) for job in JOBS for engine in ENGINES]
    return [*side_by_side, Key(BARE, "decode", BLOCK), Key(REFLEXARC, "windows", BLOCK)]


def compare(servers: str, rounds: int, scale: float, say: Callable[[str], None]) -> Runs:
    """Publish the records and run all engines over them. `scale` shortens it, for a try."""
    most = max(engine.records for engine in ENGINES)
    for load, records in ((SINGLE, most), (BLOCK, BLOCK_RECORDS)):
        say(f"publishing {int(records * scale):,} records to {load.topic}")
        fill(servers, load, int(records * scale))
    runs: dict[Key, list[Run]] = defaultdict(list)
    for number in range(rounds):
        for key in keys():
            records = BLOCK_RECORDS if key.load is BLOCK else key.engine.records
            found = run(key.engine, servers, key.load.topic, key.job, int(records * scale))
            runs[key].append(found)
            say(f"round {number + 1}: {key.engine.name}, {key.job}, {key.load.prefix}: {found.rate:,.0f} records/s")
    return runs


def rate(runs: Runs, key: Key) -> float:
    """Return the median of records per second."""
    return median(found.rate for found in runs[key])


def cpu_micros(runs: Runs, key: Key) -> float:
    """Return the median of processor time per record."""
    return median(found.cpu_micros for found in runs[key])


def ratio(runs: Runs, job: Job, other: Engine) -> float:
    """Return how many times as fast ReflexArc is: the median over rounds of the ratio within a round."""
    ours, theirs = runs[Key(REFLEXARC, job, SINGLE)], runs[Key(other, job, SINGLE)]
    return median(mine.rate / its.rate for mine, its in zip(ours, theirs, strict=True))


def measures(runs: Runs) -> list[Measure]:
    """Return the figures with their goals."""
    found = [at_least(f"windows vs {e.name}", ratio(runs, "windows", e), "ratio", goal=g) for e, g in GOALS.items()]
    for key in keys():
        name = f"{key.engine.name}, {key.job}, {key.load.samples_per_record} samples a record"
        found.append(Measure(name, rate(runs, key), "records/s"))
        if key.load.samples_per_record > 1:
            found.append(Measure(name, rate(runs, key) * key.load.samples_per_record, "samples/s"))
    return found
