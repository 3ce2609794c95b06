"""`python -m benchmarks.storm`: how many incidents a storm of alerts becomes, and whether each cause has one.

A fleet of services that call each other (a shop, each service on three to eight instances). One breaks, or two of which
neither depends on the other: their alerts and those of all that feel it come as webhooks of Alertmanager, grouped and
repeated, some of them flapping. They go through the adapter, the codec, and the kernels of detection and correlation as
live, in event time.

Printed: alerts and deliveries of them beside incidents, those included that were merged, and how often each cause has
exactly one incident that lasts, led by the service that broke.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from random import Random

from benchmarks.familiarity import wilson
from detectors.topology import Topology
from schemas.codec import encode
from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.signal import Progress, Signal
from schemas.topics import RAW_ALERTS
from streams.batch import Batch
from streams.course import Course
from streams.kernel.base import Emit
from streams.kernel.correlate import Correlator
from streams.kernel.detect_alerts import AlertDetect
from streams.raw_to_signal import rules_of as detect_rules
from streams.settings import CorrelateSettings, Settings
from streams.signal_to_incident import rules_of as correlate_rules
from streams.sources import alertmanager

CALLS = {
    "web": ["shop", "search", "account"],
    "shop": ["cart", "checkout"],
    "checkout": ["payment", "orders", "stock"],
    "cart": ["cache"],
    "orders": ["orders-db"],
    "stock": ["stock-db"],
    "search": ["index"],
    "account": ["users-db"],
}
SERVICES = tuple(sorted({*CALLS, *(called for all_ in CALLS.values() for called in all_)}))
NAMES = ("HighLatency", "HighErrorRate", "PodNotReady", "QueueGrows", "CPUThrottled", "SLOBurn")
START = 1_700_000_000
# Alertmanager groups for this long, and tells what still fires again after this long; seconds.
GROUP_WAIT, REPEAT = 30, 300
LASTS = 1200
STORMS = 100


@dataclass(frozen=True, slots=True)
class Alarm:
    """One alert of one instance, and when it fires; seconds."""

    service: str
    instance: int
    name: str
    begins: float
    ends: float

    def at(self, status: str) -> dict[str, object]:
        return {
            "status": status,
            "labels": {
                "alertname": self.name,
                "service": self.service,
                "pod": f"{self.service}-{self.instance}",
                "env": "prod",
                "severity": "warning",
            },
            "annotations": {},
            "startsAt": _clock(self.begins),
            "endsAt": _clock(self.ends) if status == "resolved" else "0001-01-01T00:00:00Z",
            "fingerprint": f"{self.service}/{self.instance}/{self.name}/",
        }


@dataclass(slots=True)
class Storm:
    """What was broken, and the alerts that it led to."""

    causes: tuple[str, ...]
    alarms: list[Alarm] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Made:
    """What became of a storm."""

    storm: Storm
    deliveries: int
    incidents: Sequence[Incident]

    @property
    def right(self) -> bool:
        """Whether each cause has one incident, and what it is felt by has none of its own that lasts."""
        kept = [one for one in self.incidents if one.status != "merged" and one.service in _concerned(self.storm)]
        return sorted(one.service for one in kept) == sorted(self.storm.causes)


def storm(random: Random) -> Storm:
    """Break one service, or two of which neither depends on the other."""
    graph = Topology(CALLS)
    first = random.choice(SERVICES)
    apart = [s for s in SERVICES if s not in {first, *graph.dependants(first), *graph.reach(first)}]
    causes = (first, random.choice(apart)) if apart and random.random() < 0.5 else (first,)
    made = Storm(causes)
    for cause in causes:
        broke = random.uniform(60, 120)
        made.alarms += _alarms(cause, broke, random)
        for service, hops in graph.dependants(cause).items():
            if random.random() < 0.8:
                made.alarms += _alarms(service, broke + hops * random.uniform(-10, 40), random)
    return made


def play(made: Storm, random: Random) -> Made:
    """Let the alerts come as webhooks, and give the last revision of each incident."""
    detect = AlertDetect(detect_rules(Course(Settings()), 1), 0)
    correlate = Correlator(correlate_rules(CorrelateSettings()), calls=CALLS)
    last: dict[str, Incident] = {}
    deliveries = 0
    webhooks = sorted(_webhooks(made, random), key=lambda told: told[0])
    for offset, (at, body) in enumerate(webhooks):
        records = alertmanager.parse(body, {})
        deliveries += len(records)
        values, keys = [encode(alert) for _, alert in records], [key.encode() for key, _ in records]
        places = range(1000 * offset, 1000 * offset + len(records))
        batch = Batch(RAW_ALERTS.name, 0, values, keys, places, [int((START + at) * 1000)] * len(records))
        for output in detect.take(RAW_ALERTS, batch):
            if isinstance(output, Emit) and isinstance(output.record, Signal | Progress):
                last |= {one.id: one for one in correlate.take(output.record)}
    last |= {one.id: one for one in correlate.excuse((START + 10_000) * NANOS)}
    return Made(made, deliveries, list(last.values()))


def main() -> int:
    random = Random(1)
    made = [play(storm(random), random) for _ in range(STORMS)]
    alarms, deliveries = sum(len(one.storm.alarms) for one in made), sum(one.deliveries for one in made)
    incidents = [incident for one in made for incident in one.incidents]
    merged = sum(one.status == "merged" for one in incidents)
    print(f"storms                      {len(made)}, of {sum(len(one.storm.causes) for one in made)} causes")
    print(f"alerts, deliveries of them  {alarms}, {deliveries}")
    print(f"incidents, merged of them   {len(incidents)}, {merged}")
    print(f"alerts compressed           {1 - len(incidents) / alarms:.1%}")
    print(f"deliveries compressed       {1 - len(incidents) / deliveries:.1%}")
    print(f"one incident for each cause {wilson(sum(one.right for one in made), len(made))}")
    return 0


def _alarms(service: str, begins: float, random: Random) -> list[Alarm]:
    found = []
    for instance in range(random.randint(3, 8)):
        for name in random.sample(NAMES, random.randint(1, 4)):
            at = begins + random.uniform(0, 90)
            while at < LASTS:
                # One in ten comes and goes.
                ends = at + random.uniform(120, 400) if random.random() < 0.1 else LASTS + random.uniform(0, 60)
                found.append(Alarm(service, instance, name, at, ends))
                at = ends + random.uniform(60, 200)
    return found


def _webhooks(made: Storm, random: Random) -> Iterator[tuple[float, bytes]]:
    """Groups by service, as Alertmanager would tell them: what fires at each repetition, and what has ended since."""
    for service in sorted({alarm.service for alarm in made.alarms}):
        mine = [alarm for alarm in made.alarms if alarm.service == service]
        before, at = 0.0, min(alarm.begins for alarm in mine) + GROUP_WAIT
        while before < LASTS + 120:
            told = [a.at("firing") for a in mine if a.begins <= at < a.ends]
            told += [a.at("resolved") for a in mine if before <= a.ends <= at]
            random.shuffle(told)
            if told:
                yield at, json.dumps({"version": "4", "alerts": told}).encode()
            new = min((a.begins for a in mine if a.begins > at), default=at + REPEAT)
            before, at = at, min(at + REPEAT, max(new, at) + GROUP_WAIT)


def _concerned(made: Storm) -> set[str]:
    return {alarm.service for alarm in made.alarms}


def _clock(seconds: float) -> str:
    return datetime.fromtimestamp(START + seconds, UTC).isoformat().replace("+00:00", "Z")


if __name__ == "__main__":
    sys.exit(main())
