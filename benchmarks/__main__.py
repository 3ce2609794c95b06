"""`make bench`: throughput beside other engines, then latency, scale and replays; docs/performance.md and JSON."""

from __future__ import annotations

import argparse
import sys
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from benchmarks.beyond import parts
from benchmarks.measure import write_json
from benchmarks.throughput.compare import compare, measures
from benchmarks.throughput.engines import PEERS, ROOT
from benchmarks.throughput.report import page
from tests.parts.kafka import JARS, ApacheKafka


def main() -> int:
    arguments = _arguments()
    if not PEERS.exists():
        sys.stderr.write("the other engines are not installed: run `make bench`, which does it\n")
        return 2
    why_not = None if arguments.servers else JARS.obstacle()
    if why_not is not None:
        sys.stderr.write(f"{why_not}\n")
        return 2
    broker = nullcontext() if arguments.servers else ApacheKafka(heap="1g")
    with broker as started:
        servers = arguments.servers or (started.bootstrap_servers if started is not None else "")
        say = partial(print, flush=True)
        runs = compare(servers, arguments.rounds, arguments.scale, say)
        beyond = list(parts(servers, min(3, arguments.rounds), say)) if arguments.all else []
    text = page(runs, [part.text for part in beyond])
    print(text)
    if arguments.docs:
        (ROOT / "docs" / "performance.md").write_text(text)
    if arguments.json is not None:
        write_json([*measures(runs), *(row for part in beyond for row in part.measures)], arguments.json)
    return 0


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--scale", type=float, default=1.0, help="share of the records; figures count only with 1")
    parser.add_argument("--json", type=Path, help="write the figures here")
    parser.add_argument("--servers", help="brokers to use; by default Apache Kafka is started")
    parser.add_argument("--all", action="store_true", help="more workers, latency, scale and replays, too")
    parser.add_argument("--docs", action="store_true", help="write docs/performance.md")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
