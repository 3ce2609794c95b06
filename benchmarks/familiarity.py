"""`python -m benchmarks.familiarity [--data DIR --part A]`: does the memory of labelled incidents keep its promises?

On simulated incidents of eight classes, which share metrics with each other: how often the prediction set holds the
true class (coverage; 95 % is promised), how often it holds nothing else, how often a class nobody labelled is called
unfamiliar, and how often a known one is (5 % are promised). Simulated, since coverage within a point needs thousands of
labelled incidents; it says nothing of accuracy.

With `--data`, the same of real ones: the runs of DBSherlock with one cause, as the signals that the live detection
raises while it is at work. Each is judged by a memory of all others, and by one that never saw its class.
"""

from __future__ import annotations

import re
import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Iterator, Sequence
from math import sqrt
from pathlib import Path
from random import Random

from benchmarks.scoreboard import telemetry
from benchmarks.scoreboard.live import LivePartition
from benchmarks.scoreboard.rows.dbsherlock import read_runs
from detectors.memory import SIGNIFICANCE, IncidentMemory, Resemblance, features, profile_of
from schemas.control import Example
from schemas.envelope import NANOS, Entity
from schemas.signal import Signal, signal_id
from streams.kernel.grouping import Scope, with_profile

# What rises in each class, and how many decades it surprises by, on average.
CLASSES: dict[str, dict[str, float]] = {
    "deployment_regression": {"http.server.request.duration": 6, "http.server.request.error_ratio": 8, "change": 1},
    "traffic_surge": {"http.server.request.rate": 9, "http.server.request.duration": 5, "process.cpu.utilization": 5},
    "database_overload": {
        "db.client.connection.count": 9,
        "db.client.operation.duration": 8,
        "http.server.request.duration": 4,
    },
    "memory_pressure": {"process.memory.usage": 10, "http.server.request.duration": 4, "jvm.gc.pause": 6},
    "network_fault": {"system.network.retransmits": 9, "http.server.request.duration": 6, "http.client.error": 3},
    "dependency_failure": {
        "http.client.request.duration": 9,
        "http.client.request.error_ratio": 7,
        "http.server.request.error_ratio": 4,
    },
    "disk_full": {"system.filesystem.utilization": 10, "log.write.failures": 9, "http.server.request.error_ratio": 4},
    "queue_backlog": {"messaging.consumer.lag": 11, "messaging.process.wait": 8, "http.server.request.duration": 2},
}
_T0 = 1_700_000_000 * NANOS
# Labels of runs in which more than one cause is at work.
_SEVERAL = re.compile(r"[+,]")
_PER_CLASS = 40
_TRIALS = 40  # memories drawn
_ASKED = 8  # incidents of every class that each is asked about
Signals = tuple[list[Signal], list[Signal]]


def simulated(label: str, random: Random) -> Signals:
    """One incident: what its class shows on one to six instances, of varying strength, and a stray signal at times."""
    shows = dict(CLASSES[label])
    changes = [_signal("deployment.finished", None, 1.0, "change")] if shows.pop("change", None) else []
    if random.random() < 0.3:
        shows.setdefault(
            random.choice(("process.cpu.utilization", "http.server.request.duration", "thread.count")), 2.0
        )
    instances = random.randint(1, 6)
    return [
        _signal(name, f"i-{i}", max(1.0, random.gauss(decades, 0.25 * decades)))
        for name, decades in shows.items()
        for i in range(random.randint(1, instances))
    ], changes


def memory(labels: tuple[str, ...], random: Random, per_class: int = _PER_CLASS) -> IncidentMemory:
    """Remember so many incidents of each class."""
    return IncidentMemory(
        Example(incident_id=f"{label}-{n}", label=label, features=features(*simulated(label, random)))
        for label in labels
        for n in range(per_class)
    )


def asked(seed: int, held_out: str | None = None, trials: int = _TRIALS) -> Iterator[tuple[str, Resemblance]]:
    """Ask memories about incidents they have not seen, a few of every class.

    Args:
        seed: of all that is drawn.
        held_out: the class that the memory has never seen.
        trials: how many memories.

    """
    random = Random(seed)
    known = tuple(label for label in CLASSES if label != held_out)
    for _ in range(trials):
        remembered = memory(known, random)
        for label in _ASKED * (tuple(CLASSES) if held_out is None else (held_out,)):
            identity = f"asked-{random.random()}"
            yield label, remembered.resemblance(features(*simulated(label, random)), identity)


def labelled(folders: Sequence[Path]) -> Iterator[Example]:
    """Describe each run of DBSherlock with one cause by what the live detection raised while that was at work."""

    runs = [run for folder in folders for run in read_runs(folder)]
    for number, (run, told) in enumerate(zip(runs, telemetry.dbsherlock(folders), strict=True)):
        if _SEVERAL.search(run.cause):
            continue
        (fault,) = told.faults
        raised = [s for s in LivePartition().signals(told) if fault.start <= s.time_unix_nano <= fault.end]
        during = [s for s in raised if s.state == "firing"]
        if not during:  # of what is not seen there is no incident
            continue
        scope = Scope()
        for profile in (s for s in raised if s.state == "noted"):
            scope = with_profile(scope, profile)
        departures = {name: float(far) for name, far in scope.profile.attributes.items()} if scope.profile else {}
        yield Example(
            incident_id=f"run-{number}",
            label=run.cause,
            features=features(during, []),
            profile=profile_of(departures),
        )


def left_out(examples: Sequence[Example]) -> tuple[list[tuple[str, Resemblance]], list[tuple[str, Resemblance]]]:
    """Ask about each example a memory of all others, and one of all other classes."""
    known = [
        (one.label, IncidentMemory(examples).resemblance(one.features, one.incident_id, one.profile))
        for one in examples
    ]
    new = [
        (
            one.label,
            IncidentMemory(e for e in examples if e.label != one.label).resemblance(
                one.features, one.incident_id, one.profile
            ),
        )
        for one in examples
    ]
    return known, new


def wilson(hits: int, of: int) -> str:
    """A share with its 95 % score interval (Wilson, 1927)."""
    z, p = 1.96, hits / of
    middle, half = p + z * z / (2 * of), z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return f"{p:7.1%}  [{(middle - half) / (1 + z * z / of):.1%}, {(middle + half) / (1 + z * z / of):.1%}]  n={of}"


def main(arguments: Sequence[str] | None = None) -> int:
    parser = ArgumentParser(description=__doc__, formatter_class=RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, help="folder of labelled data")
    parser.add_argument("--part", default="A")
    asked_for = parser.parse_args(arguments)
    if asked_for.data is not None:
        known, new = left_out(list(labelled([asked_for.data / "dbsherlock" / asked_for.part])))
        _print_known(known)
        _print_share("new, called unfamiliar", [not r.familiar for _, r in new])
        return 0
    _print_known(list(asked(seed=1)))
    for label in CLASSES:
        new = list(asked(seed=2, held_out=label, trials=_TRIALS // 4))
        _print_share(f"new: {label}, called unfamiliar", [not r.familiar for _, r in new])
    return 0


def _print_known(known: Sequence[tuple[str, Resemblance]]) -> None:
    print(f"{'promised coverage':<46}{1 - SIGNIFICANCE:7.1%}")
    _print_share("coverage", [label in r.prediction_set for label, r in known])
    _print_share("one class in the set", [len(r.prediction_set) == 1 for _, r in known])
    _print_share("the right one first", [max(r.p_values, key=lambda c: r.p_values[c]) == label for label, r in known])
    _print_share("known, called unfamiliar", [not r.familiar for _, r in known])


def _print_share(name: str, of: Sequence[bool]) -> None:
    print(f"{name:<46}{wilson(sum(of), len(of))}")


def _signal(name: str, instance: str | None, decades: float, kind: str = "metric") -> Signal:
    subject = f"{name}/{instance}"
    return Signal.model_validate(
        {
            "id": signal_id(subject, "firing", _T0),
            "kind": kind,
            "state": "noted" if kind == "change" else "firing",
            "entity": Entity(service="checkout", instance=instance),
            "subject": subject,
            "name": name,
            "time_unix_nano": _T0,
            "onset_unix_nano": _T0,
            "p_value": 10.0**-decades,
            "observed": 2.0,
            "expected": 1.0,
            "detector": "simulated",
            "model_version": "1",
            "reasons": ("simulated",),
        }
    )


if __name__ == "__main__":
    sys.exit(main())
