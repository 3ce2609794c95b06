"""`python -m benchmarks.familiarity`: does the memory of labelled incidents keep what its p-values promise?

On simulated incidents of eight classes, which share metrics with each other: how often the prediction set holds the
true class (coverage; 95 % is promised), how often a class nobody labelled is called unfamiliar, and how often a known
one is. Simulated, since coverage within a point needs thousands of labelled incidents; it says nothing of accuracy.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from math import sqrt
from random import Random

from detectors.memory import SIGNIFICANCE, IncidentMemory, Resemblance, features
from schemas.control import Example
from schemas.envelope import NANOS, Entity
from schemas.signal import Signal, signal_id

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


def wilson(hits: int, of: int) -> str:
    """A share with its 95 % score interval (Wilson, 1927)."""
    z, p = 1.96, hits / of
    middle, half = p + z * z / (2 * of), z * sqrt(p * (1 - p) / of + z * z / (4 * of * of))
    return f"{p:7.1%}  [{(middle - half) / (1 + z * z / of):.1%}, {(middle + half) / (1 + z * z / of):.1%}]  n={of}"


def main() -> int:
    known = list(asked(seed=1))
    print(f"promised coverage           {1 - SIGNIFICANCE:7.1%}")
    print(f"coverage                    {wilson(sum(label in r.prediction_set for label, r in known), len(known))}")
    print(f"one class in the set        {wilson(sum(len(r.prediction_set) == 1 for _, r in known), len(known))}")
    print(f"known, called unfamiliar    {wilson(sum(not r.prediction_set for _, r in known), len(known))}")
    for label in CLASSES:
        new = [r for _, r in asked(seed=2, held_out=label, trials=_TRIALS // 4)]
        print(f"new: {label:<22} {wilson(sum(not r.prediction_set for r in new), len(new))} called unfamiliar")
    return 0


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
