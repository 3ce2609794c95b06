"""What the detect stage costs as the number of series grows: time, memory, a tick, and coming back after a crash.

Run as `python -m benchmarks.scale [--series N ...] [--json FILE]`. Drives the kernel of one partition as the stage
does, without a broker, each size in a fresh process so that none inherits the memory of another. Series are of
services with ten metrics an instance, a record an instance.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from time import process_time

import numpy as np
import orjson

from benchmarks.measure import Measure, at_most, write_json
from benchmarks.ready import compile_all
from detectors.bank import BankSettings
from schemas.topics import RAW_METRICS
from streams.batch import Batch
from streams.kernel.detect import DetectRules
from streams.kernel.detect_metrics import MetricDetect
from streams.worker import collect_garbage_rarely

SIZES = (1_000, 10_000, 100_000, 1_000_000)
METRICS = 10
# Past the warm-up of instances and peers, 64 looks, so that all that is judged is paid for.
WARM_TICKS = 66
TIMED_TICKS = 5
REFOLD_TICKS = 3
# Seconds between samples, so that a tick can be closed by itself.
APART = 3
T0 = 1_700_000_000
SECOND = 1_000_000_000
TICK_GOAL_SECONDS = 0.2
MEMORY_GOAL_GIB = 4.0
# "Flat or falling", with what two runs of one size differ by.
GROWTH_GOAL = 1.15


@dataclass(frozen=True, slots=True)
class Cost:
    """What one size cost. Times are of the processor, on one core."""

    series: int
    micros_per_sample: float
    tick_seconds: float
    gib: float
    restore_seconds: float
    refold_seconds_per_million: float
    snapshot_mib: float


def measure(series: int) -> Cost:
    """Fold some ticks of this many series, then take a snapshot and come back from it."""
    rng = np.random.default_rng(series)
    before = _resident_gib()
    rules = DetectRules(signal_partitions=4, max_series=series, bank=BankSettings())
    kernel = MetricDetect(rules, 0)
    for second in range(WARM_TICKS):
        for batch in _batches(series, second, rng):
            kernel.take(RAW_METRICS, batch)
    gib = _resident_gib() - before
    spent, ticks = [], []
    for second in range(WARM_TICKS, WARM_TICKS + TIMED_TICKS):
        spent.append(_taken(kernel, _batches(series, second, rng)))
        ticks.append(_tick(kernel, second))
    state = kernel.snapshot()
    started = process_time()
    back = MetricDetect(rules, 0, state)
    restored = process_time() - started
    first = WARM_TICKS + TIMED_TICKS
    refolded = sum(_taken(back, _batches(series, second, rng)) for second in range(first, first + REFOLD_TICKS))
    return Cost(
        series=series,
        micros_per_sample=median(spent) / series * 1e6,
        tick_seconds=median(ticks),
        gib=gib,
        restore_seconds=restored,
        refold_seconds_per_million=refolded / (REFOLD_TICKS * series) * 1e6,
        snapshot_mib=len(state) / 2**20,
    )


def _taken(kernel: MetricDetect, batches: Iterator[Batch]) -> float:
    """Take batches in, each as soon as it is made, as a worker gets it from the network; returns the time of that."""
    spent = 0.0
    for batch in batches:
        started = process_time()
        kernel.take(RAW_METRICS, batch)
        spent += process_time() - started
    return spent


def _tick(kernel: MetricDetect, second: int) -> float:
    """Close the tick of this second alone: features, scores, calibration and baselines of every series in it."""
    started = process_time()
    list(kernel.bank.advance((T0 + second * APART + 2) * SECOND))
    return process_time() - started


def _batches(series: int, second: int, rng: np.random.Generator) -> Iterator[Batch]:
    values = []
    for first in range(0, series, METRICS):
        count = min(METRICS, series - first)
        block = {
            "resource": {"service.name": f"svc-{first // 1000}", "service.instance.id": f"i-{first // METRICS}"},
            "series": [{"name": f"metric.{j}"} for j in range(count)],
            "time_unix_nano": [(T0 + second * APART) * SECOND],
            "value": rng.normal(100.0, 5.0, (count, 1)).round(3).tolist(),
        }
        values.append(orjson.dumps(block))
        if len(values) == 1000:
            yield _batch(values)
            values = []
    if values:
        yield _batch(values)


def _batch(values: Sequence[bytes]) -> Batch:
    return Batch("t", 0, list(values), [b"k"] * len(values), range(len(values)), [0] * len(values))


def _resident_gib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * 4096 / 2**30


def _work(series: int, to: Connection) -> None:
    collect_garbage_rarely()
    compile_all()
    to.send(measure(series))


def costs(sizes: Sequence[int]) -> list[Cost]:
    """Measure every size in a process of its own."""
    found = []
    for series in sizes:
        print(f"{series:,} series", file=sys.stderr, flush=True)
        ours, theirs = get_context("spawn").Pipe()
        process = get_context("spawn").Process(target=_work, args=(series, theirs))
        process.start()
        theirs.close()
        found.append(ours.recv())
        process.join()
    return found


def measures(found: Sequence[Cost]) -> list[Measure]:
    """Return the figures with their goals."""
    first, rows = found[0], []
    for cost in found:
        size = f"{cost.series:,} series"
        growth = cost.micros_per_sample / first.micros_per_sample
        rows.append(Measure(f"cost of a sample, {size}", cost.micros_per_sample, "µs"))
        rows.append(at_most(f"cost against {first.series:,} series, {size}", growth, "ratio", goal=GROWTH_GOAL))
        tick = f"one tick, {size}"
        tick_row = Measure(tick, cost.tick_seconds, "s")
        rows.append(at_most(tick, cost.tick_seconds, "s", goal=TICK_GOAL_SECONDS) if cost.series == 10**5 else tick_row)
        memory = f"memory, {size}"
        memory_row = Measure(memory, cost.gib, "GiB")
        rows.append(at_most(memory, cost.gib, "GiB", goal=MEMORY_GOAL_GIB) if cost.series == 10**6 else memory_row)
        rows.append(Measure(f"restore from a snapshot of {cost.snapshot_mib:.0f} MiB", cost.restore_seconds, "s"))
        rows.append(Measure(f"re-fold a million samples, {size}", cost.refold_seconds_per_million, "s"))
    return rows


def table(found: Sequence[Cost]) -> str:
    """Return the figures as Markdown."""
    lines = [
        "| series | µs a sample | one tick, s | memory, GiB | restore, s | re-fold of 10⁶ samples, s | snapshot, MiB |",
        "| ---: | ---: | ---: | ---: | ---: | ---: | ---: |",
    ]
    lines.extend(
        f"| {c.series:,} | {c.micros_per_sample:.2f} | {c.tick_seconds:.3f} | {c.gib:.2f} | {c.restore_seconds:.2f} | "
        f"{c.refold_seconds_per_million:.2f} | {c.snapshot_mib:.0f} |"
        for c in found
    )
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.scale", description=__doc__)
    parser.add_argument("--series", type=int, nargs="+", default=list(SIZES), help="how many series to try")
    parser.add_argument("--json", type=Path, help="write the figures here")
    arguments = parser.parse_args()
    found = costs(arguments.series)
    print(table(found))
    if arguments.json is not None:
        write_json(measures(found), arguments.json)
    return 0


if __name__ == "__main__":
    sys.exit(main())
