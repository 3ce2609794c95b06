"""The engines, each a process of its own, and what a run of one measured."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

Job = Literal["empty", "decode", "windows"]

ROOT = Path(__file__).parents[2]
PEERS = ROOT / ".build" / "peers"
# The slowest run takes half a minute on an idle machine.
_PATIENCE_SECONDS = 300


@dataclass(frozen=True)
class Engine:
    """How to start one. `records` keeps a run at some seconds."""

    name: str
    what: str
    command: tuple[str, ...]
    records: int


def _ours(module: str) -> tuple[str, ...]:
    return (sys.executable, "-m", f"benchmarks.throughput.{module}")


def _peer(script: str) -> tuple[str, ...]:
    return (str(PEERS / "bin" / "python"), str(ROOT / "benchmarks" / "peers" / f"{script}.py"))


BARE = Engine("confluent-kafka", "bare consume(10000), msgspec", _ours("bare"), 1_500_000)
REFLEXARC = Engine("ReflexArc", "the detect stage as deployed", _ours("reflexarc"), 1_500_000)
FAUST = Engine("Faust", "plain agent, uvloop, orjson, windows in a dict", _ours("plain_faust"), 100_000)
QUIX = Engine("Quix Streams", "its tumbling windows, no changelog", _peer("quix_engine"), 200_000)
BYTEWAX = Engine("Bytewax", "its event-time windows, no recovery", _peer("bytewax_engine"), 500_000)
ENGINES = (BARE, REFLEXARC, FAUST, QUIX, BYTEWAX)


@dataclass(frozen=True)
class Run:
    """What one run measured."""

    records: int
    seconds: float
    cpu_seconds: float
    scored: int

    @property
    def rate(self) -> float:
        return self.records / self.seconds

    @property
    def cpu_micros(self) -> float:
        """Processor time per record, in microseconds."""
        return self.cpu_seconds / self.records * 1e6


def run(engine: Engine, servers: str, topic: str, job: Job, records: int) -> Run:
    """Run an engine over the first records of a topic."""
    command = [*engine.command, servers, topic, job, str(records)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=_PATIENCE_SECONDS, check=False)
    if done.returncode:
        raise RuntimeError(f"{engine.name}, {job}: ended with {done.returncode}\n{done.stderr[-2000:]}")
    return Run(**json.loads(done.stdout.splitlines()[-1]))
