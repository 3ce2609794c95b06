"""What `make bench` measures besides throughput: more workers, the way to the command, many series, replays.

Each part is a benchmark of its own (`python -m benchmarks.workers`, `.latency`, `.scale`, `.replay`); here they run one
after the other, with one broker, into one page and one list of figures.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks import latency, replay, scale, workers
from benchmarks.measure import Measure


@dataclass(frozen=True)
class Part:
    """A section of the page, and its figures."""

    text: str
    measures: list[Measure]


_WORKERS = """\
## More workers

`python -m benchmarks.workers`: processes of one consumer group that share the partitions of the windowed job. More of
them than there are cores, which the broker needs as well, cannot be faster: it shows what sharing costs.
"""
_LATENCY = """\
## From a broker's append to the command

`python -m benchmarks.latency`: one worker with all stages and its shipped settings, Apache Kafka and Valkey, and the
fleet that talks, all on the same cores. The clock starts with the broker's time of the record that completed the
evidence, and stops with the command's. Goal at 50,000 samples/s: p50 100 ms, p99 500 ms. With 12,500 series in a
partition one bad sample is not enough; the second comes a second later, as often as the fleet reports. Signals of all
sources are taken in the order of their time, so they wait until every partition has been read as far or is known to be
silent: sparse logs cost time, which the last line shows.
"""
_SCALE = """\
## What series cost as they grow

`python -m benchmarks.scale`: one partition of the detect stage with all its witnesses, without a broker, records of ten
series each. The cost of a sample must not grow with their number, a tick over 100 thousand is to take less than 0.2 s,
and a million are to fit into 4 GB. A re-fold after a restore is dearer than a sample in passing: how producers spell
their series is not part of a snapshot and is learned again from the first record of each.
"""
_REPLAY = """\
## Replays

`python -m benchmarks.replay`: a made recording, a sample a second of each of 1000 series for ten minutes, played from
an archive through detect, correlate, decide and act. Goal: 50 times real time; every round must give the same bytes.
"""


def parts(servers: str, rounds: int, say: Callable[[str], None]) -> Iterator[Part]:
    """Measure one after the other; the records of the throughput benchmark are there already."""
    say("more workers")
    rates = workers.rates(servers, workers.WORKERS, rounds)
    yield Part(f"{_WORKERS}\n{workers.table(rates)}", workers.measures(rates))
    say("from append to command")
    found = {offered: latency.measure(servers, offered) for offered in latency.LOADS}
    yield Part(f"{_LATENCY}\n{latency.table(found)}", latency.measures(found))
    say("many series")
    costs = scale.costs(scale.SIZES)
    yield Part(f"{_SCALE}\n{scale.table(costs)}", scale.measures(costs))
    say("replays")
    with tempfile.TemporaryDirectory(prefix="reflexarc-bench-") as scratch:
        archives = {kind: replay.record(Path(scratch) / kind, kind, 1000, 600) for kind in replay.FORMATS}
        played = replay.play(archives, rounds, workers=1)
    yield Part(f"{_REPLAY}\n{replay.table(played)}", replay.measures(played))
