"""The one catalogue of topics: name, key, partitions, retention, model, who writes, who reads.

Topics are created from here before anything starts (never by a client's auto-creation, which races), documented
from here (`reflexarc schemas`) and decoded from here (`schemas.codec`).
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any, Literal

from pydantic import TypeAdapter

from schemas.action import ActionCommand
from schemas.control import Control
from schemas.dead_letter import DeadLetter
from schemas.decision import Decision
from schemas.incident import Incident
from schemas.model import ModelVersion
from schemas.outcome import Outcome
from schemas.raw import Alert, LogRecord, MetricBlock, MetricSample, Span
from schemas.signal import SignalRecord

_MIB = 1024 * 1024
_HOUR = 3600
_DAY = 24 * _HOUR
_FOREVER = -1

# One partition is one unit of parallelism. 12 divides by 1, 2, 3, 4, 6 and 12 workers without a remainder.
RAW_PARTITIONS = 12
# Signals are rarer by orders of magnitude; every source's watermark goes to each of these, so few is cheap.
INCIDENT_PARTITIONS = 6


@dataclass(frozen=True)
class Topic:
    """One topic. `name` has no prefix: the prefix is a setting of the deployment."""

    name: str
    purpose: str
    key: str
    model: Any
    writers: str
    readers: str
    partitions: int
    retention_seconds: int
    cleanup: Literal["delete", "compact"] = "delete"
    # What our own clients accept. Brokers refuse more than 1 MiB by default; a dead letter carries an original of
    # any size, in base64 (4/3), so its topic allows far more.
    max_message_bytes: int = _MIB
    key_required: bool = True
    # Who dates a record. Raw telemetry is dated by the broker: a producer whose clock is wrong would date the record
    # just as wrongly as the sample in it, and only the difference of the two shows it.
    timestamp_type: Literal["CreateTime", "LogAppendTime"] = "CreateTime"

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """Validator and serialiser of this topic's records."""
        return TypeAdapter(self.model)

    def full_name(self, prefix: str) -> str:
        """Name on the broker."""
        return f"{prefix}.{self.name}"

    def config(self) -> dict[str, str]:
        """Topic configuration in Kafka's own words."""
        retention = self.retention_seconds if self.retention_seconds == _FOREVER else self.retention_seconds * 1000
        return {
            "cleanup.policy": self.cleanup,
            "retention.ms": str(retention),
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": self.timestamp_type,
        }


RAW_METRICS = Topic(
    name="raw.metrics",
    purpose="Metric samples, one or many a record.",
    # All series of an instance must be in one partition, to be judged as a whole. Siblings are compared where they
    # meet: docs/detection.md says what the shorter key costs.
    key="entity: environment/service/instance; or environment/service, where instances are to be compared",
    model=MetricSample | MetricBlock,
    writers="producers",
    readers="detect",
    partitions=RAW_PARTITIONS,
    retention_seconds=_DAY,
    timestamp_type="LogAppendTime",
)
RAW_LOGS = Topic(
    name="raw.logs",
    purpose="Log records and structured events (deployment, process, connection, query).",
    key="entity: environment/service/instance",
    model=LogRecord,
    writers="producers",
    readers="detect",
    partitions=RAW_PARTITIONS,
    retention_seconds=_DAY,
    timestamp_type="LogAppendTime",
)
RAW_SPANS = Topic(
    name="raw.spans",
    purpose="Finished spans of traces.",
    # What called whom is read off a trace, so its spans have to meet; the Collector's exporter keys by trace with
    # `partition_traces_by_id`.
    key="trace id",
    model=Span,
    writers="producers",
    readers="detect",
    partitions=RAW_PARTITIONS,
    retention_seconds=_DAY,
    timestamp_type="LogAppendTime",
)
RAW_ALERTS = Topic(
    name="raw.alerts",
    purpose="Alerts of other systems, normalised.",
    key="entity: environment/service/instance",
    model=Alert,
    writers="producers, webhook adapters",
    readers="detect",
    partitions=RAW_PARTITIONS,
    retention_seconds=7 * _DAY,
    timestamp_type="LogAppendTime",
)
SIGNALS = Topic(
    name="signals",
    purpose="What departed from its normal, came back, or changed; and how far each source has been read.",
    key="environment, in which causes and effects are seen together; progress records go to every partition",
    model=SignalRecord,
    writers="detect",
    readers="correlate, executors",
    partitions=INCIDENT_PARTITIONS,
    retention_seconds=7 * _DAY,
    key_required=False,
)
INCIDENTS = Topic(
    name="incidents",
    purpose="Incidents, one record per revision.",
    key="environment, in which what limits each other is decided together",
    model=Incident,
    writers="correlate",
    readers="decide, learn, console, subscribers",
    partitions=INCIDENT_PARTITIONS,
    retention_seconds=90 * _DAY,
)
DECISIONS = Topic(
    name="decisions",
    purpose="Decision traces, hash-chained per environment/service.",
    key="environment, in which what limits each other is decided together",
    model=Decision,
    writers="decide",
    readers="act, console, audit",
    partitions=INCIDENT_PARTITIONS,
    retention_seconds=365 * _DAY,
)
ACTIONS = Topic(
    name="actions",
    purpose="Action commands for executors.",
    key="environment, in which what limits each other is decided together",
    model=ActionCommand,
    writers="act",
    readers="executors",
    partitions=INCIDENT_PARTITIONS,
    retention_seconds=_DAY,
)
LEARNING = Topic(
    name="learning",
    purpose="Outcomes of actions.",
    key="environment, in which what limits each other is decided together",
    model=Outcome,
    writers="executors",
    readers="learn, console, subscribers",
    partitions=INCIDENT_PARTITIONS,
    retention_seconds=365 * _DAY,
)
CONTROLS = Topic(
    name="controls",
    purpose="What people say: approve, reject, stop, resume, feedback; and what feedback has taught.",
    key="environment; what is said of several has * and goes to every partition",
    model=Control,
    writers="console, command line, decide",
    readers="decide, act, executors, learn",
    # As many as decisions: the act stage reads the approvals of an environment where it reads its decisions.
    partitions=INCIDENT_PARTITIONS,
    retention_seconds=365 * _DAY,
)
DEAD_LETTERS = Topic(
    name="deadletters",
    purpose="Records nobody could use: original bytes, reason, origin.",
    key="id of the dead letter (its origin)",
    model=DeadLetter,
    writers="every stage",
    readers="people",
    partitions=1,
    retention_seconds=30 * _DAY,
    max_message_bytes=32 * _MIB,
)

MODELS = Topic(
    name="models",
    purpose="Versions of what was learnt, and which is live.",
    key="kind/id",
    model=ModelVersion,
    writers="command line (learn, models)",
    readers="whoever wants to know which model was live when",
    partitions=1,
    retention_seconds=_FOREVER,
    cleanup="compact",
)

CATALOGUE: tuple[Topic, ...] = (
    RAW_METRICS,
    RAW_LOGS,
    RAW_SPANS,
    RAW_ALERTS,
    SIGNALS,
    INCIDENTS,
    DECISIONS,
    ACTIONS,
    LEARNING,
    CONTROLS,
    DEAD_LETTERS,
    MODELS,
)
# Not part of the contract: only the stage that wrote a snapshot can read it.
STATE = Topic(
    name="state",
    purpose="Snapshots of stage state with their source offsets, in chunks of binary.",
    key="stage/lane/partition, slot and chunk",
    model=bytes,
    writers="every stage",
    readers="the same stage after a restart",
    partitions=RAW_PARTITIONS,
    retention_seconds=_FOREVER,
    cleanup="compact",
)

BY_NAME = {topic.name: topic for topic in CATALOGUE}
