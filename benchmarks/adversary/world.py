"""A small service and its telemetry: three instances, a harmless rollout, and, if asked for, a bad one that hurts.

Made, not recorded: seeded noise around plain levels. `Weather` is what an attack may change of the fault itself.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from benchmarks.adversary.arc import Sent
from schemas.codec import encode
from schemas.envelope import NANOS, Record
from schemas.raw import LogRecord, MetricBlock, Series
from schemas.topics import RAW_LOGS, RAW_METRICS, Topic

T0 = 1_800_000_000 * NANOS
SERVICE, ENVIRONMENT = "checkout", "prod"
INSTANCES = ("checkout-1", "checkout-2", "checkout-3")
SECONDS = 240
HARMLESS_ROLLOUT_AT, FAULT_AT = 50, 110
# Seconds between the reports of one instance and the next.
STAGGER = 0.2
INFO, ERROR = 9, 17
_SERIES = (
    Series(name="http.server.request.duration.p95", unit="s"),
    Series(name="http.server.request.error_ratio", unit="1"),
    Series(name="http.server.request.rate", unit="{request}/s"),
    Series(name="process.cpu.utilization", unit="1"),
)
# Level, noise and how far the fault takes it.
_CALM = np.array([0.10, 0.010, 100.0, 0.40])
_NOISE = np.array([0.008, 0.002, 4.0, 0.02])
_HURT = np.array([0.70, 0.30, 0.0, 0.0])


@dataclass(frozen=True)
class Weather:
    """How the fault comes: at once or slowly, with how much traffic beside it."""

    fault: bool = True
    ramp_seconds: float = 0.0
    severity: float = 1.0
    traffic: float = 1.0


def telemetry(weather: Weather, seed: int) -> list[Sent]:
    """Make all records, in the order of their times."""
    generator = np.random.default_rng(seed)
    records: list[Sent] = []
    for second in range(SECONDS):
        level = _CALM + _share(weather, second) * weather.severity * _HURT
        level[2] *= weather.traffic if weather.fault and second >= FAULT_AT else 1.0
        for number, instance in enumerate(INSTANCES):
            values = np.maximum(level + generator.normal(0, _NOISE), 0.0)
            records.append(
                sent(RAW_METRICS, _block(instance, second + number * STAGGER, values), second + number * STAGGER)
            )
        records += _logs(weather, second)
    return records


def sent(topic: Topic, record: Record, second: float, key: str = f"{ENVIRONMENT}/{SERVICE}") -> Sent:
    """Send a record at a second of the run; brokers date what they get."""
    return Sent(topic, key.encode(), encode(record), (T0 + int(second * NANOS)) // 1_000_000)


def resource(instance: str | None = None, service: str = SERVICE) -> dict[str, str]:
    about = {"deployment.environment.name": ENVIRONMENT, "service.name": service}
    return about if instance is None else about | {"service.instance.id": instance}


def rollout(second: float, name: str, service: str = SERVICE) -> Sent:
    """Send the event of a finished deployment."""
    event = LogRecord(
        time_unix_nano=at(second),
        severity_number=INFO,
        body=f"rollout of {service} to {name} finished",
        event_name="deployment.finished",
        resource=resource(service=service),
        attributes={"deployment.id": name, "deployment.kind": "rollout", "service.version": name},
    )
    return sent(RAW_LOGS, event, second)


def at(second: float) -> int:
    return T0 + int(second * NANOS)


def _share(weather: Weather, second: int) -> float:
    if not weather.fault or second < FAULT_AT:
        return 0.0
    return min(1.0, (second - FAULT_AT + 1) / weather.ramp_seconds) if weather.ramp_seconds else 1.0


def _block(instance: str, second: float, values: np.ndarray) -> MetricBlock:
    return MetricBlock(
        resource=resource(instance),
        series=_SERIES,
        time_unix_nano=(at(second),),
        value=tuple((float(value),) for value in values),
    )


def _logs(weather: Weather, second: int) -> Iterator[Sent]:
    yield sent(RAW_LOGS, _line(second + 0.7, "served", INFO), second + 0.7)
    if second == HARMLESS_ROLLOUT_AT:
        yield rollout(second + 0.1, "v1.1")
    if weather.fault and second == FAULT_AT - 2:
        yield rollout(second + 0.1, "v1.2")


def _line(second: float, body: str, severity: int) -> LogRecord:
    return LogRecord(time_unix_nano=at(second), severity_number=severity, body=body, resource=resource(INSTANCES[0]))
