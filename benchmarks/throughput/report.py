"""docs/performance.md: the tables, the machine they were measured on, and what each engine did."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from datetime import date
from importlib.metadata import version
from pathlib import Path

from benchmarks.throughput.compare import GOALS, JOBS, Key, Runs, cpu_micros, rate, ratio
from benchmarks.throughput.engines import BARE, ENGINES, REFLEXARC, Job
from benchmarks.throughput.records import BLOCK, SERIES, SINGLE

_HEAD = """\
# Throughput, latency, scale

Written by `make bench` on {today}: {machine}, with Apache Kafka 4 on the same machine, {rounds} rounds, medians.
Every engine is one process; rounds go through all engines in turn. A record is one sample of about 190 bytes of one
of {series} series, in {partitions} partitions. The clock runs from the first records that reach an engine's code to
the last.

Ratios compare within a round; absolute figures depend on the machine. Processor time per record counts all threads of
the engine, also those that work beside Python's: it is what a busy machine pays.

{versions}
"""

_WHAT: dict[Job, str] = {
    "empty": "Consume: nothing is done with a record",
    "decode": "Decode: every record parsed (ReflexArc: validated, its series looked up)",
    "windows": "The job: decode, ten-second event-time windows per series, an anomaly score per window",
}

_NOTES = """\
## What is compared

| engine | what runs |
|---|---|
{engines}

Where they differ, they differ in favour of the others: their score is an exponentially weighted deviation where
ReflexArc computes its robust baseline and calibrated evidence; Faust's windows are kept in a dict, not in its tables,
each write of which is a record to Kafka; Quix Streams writes no changelog and Bytewax no recovery store, while
ReflexArc publishes signals and watermarks, commits offsets and saves its state to Kafka all the while. All engines on
librdkafka run with `fetch.queue.backoff.ms=5`: with the default of 1000 a consumer whose queue was full once waits a
second, which made the bare one eight times slower. The bare consumer commits nothing and keeps nothing: it is the limit
of what Python can read and parse record by record. ReflexArc comes near it, or beyond, because it parses a series
once: from then on its records are found by their bytes, and their two numbers read, in a compiled loop beside Python's
lock (`streams/decoding/skeletons.py`). The series of a window are judged in compiled loops as well
(`detectors/compiled.py`). Compiling takes a minute the first time on a machine and seconds from then on, beside the
work, which goes on more slowly meanwhile; like every engine's start it is not timed.
"""


def page(runs: Runs, beyond: Sequence[str] = ()) -> str:
    """Return the page; `beyond` are sections about other things than throughput."""
    rounds = len(runs[Key(REFLEXARC, "windows", SINGLE)])
    head = _HEAD.format(
        today=date.today().isoformat(),  # noqa: DTZ011  # the day on which someone ran it
        machine=machine(),
        rounds=rounds,
        series=SERIES,
        partitions=4,
        versions=_versions(),
    )
    tables = [_goals(runs), *(_table(runs, job) for job in JOBS), _samples(runs)]
    engines = "\n".join(f"| {engine.name} | {engine.what} |" for engine in ENGINES)
    return "\n".join([head, *tables, _NOTES.format(engines=engines), *beyond])


def machine() -> str:
    """Say what this machine is."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{_processor()}, {os.cpu_count()} cores, {memory:.0f} GiB, Python {platform.python_version()}"


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.machine()
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _versions() -> str:
    ours = ("faust-streaming", "aiokafka", "confluent-kafka", "msgspec", "orjson", "numpy", "numba", "uvloop")
    return (
        "Versions: " + ", ".join(f"{name} {version(name)}" for name in ours) + "; peers as in requirements/peers.lock."
    )


def _goals(runs: Runs) -> str:
    rows = [(e.name, f"{ratio(runs, 'windows', e):.2f}", f"{goal:g}") for e, goal in GOALS.items()]
    return "## Ratios on the windowed job\n\n" + _rows(("ReflexArc is this many times", "measured", "goal"), rows)


def _table(runs: Runs, job: Job) -> str:
    rows = []
    for engine in ENGINES:
        key = Key(engine, job, SINGLE)
        rates = [found.rate for found in runs[key]]
        spread = f"{min(rates):,.0f} - {max(rates):,.0f}"
        rows.append((engine.name, f"{rate(runs, key):,.0f}", spread, f"{cpu_micros(runs, key):.2f}"))
    heads = ("engine", "records/s", "lowest - highest", "processor µs/record")
    return f"## {_WHAT[job]}\n\n" + _rows(heads, rows)


def _samples(runs: Runs) -> str:
    rows = []
    for key in (Key(BARE, "decode", BLOCK), Key(REFLEXARC, "windows", BLOCK)):
        records = rate(runs, key)
        samples = records * BLOCK.samples_per_record
        rows.append((key.engine.name, key.job, f"{records:,.0f}", f"{samples:,.0f}"))
    title = f"## Fat records: {BLOCK.samples_per_record} samples each\n\n"
    return title + _rows(("engine", "job", "records/s", "samples/s"), rows)


def _rows(heads: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"
