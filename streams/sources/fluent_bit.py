"""Fluent Bit's Kafka output (format json) to log records.

The time is `@timestamp`: seconds as a double by default, or ISO 8601. The message is `log` where the tail input wrote
it, `message` elsewhere. With the kubernetes filter, the pod is in `kubernetes`.
"""

from __future__ import annotations

from schemas.raw import LogRecord
from streams.sources import json_logs

_LAYOUT = json_logs.Layout(
    times=("@timestamp", "date", "timestamp", "time"),
    bodies=("log", "message", "msg"),
    resource={
        "service.name": (
            "service.name",
            "service",
            "kubernetes.labels.app.kubernetes.io/name",
            "kubernetes.labels.app",
            "kubernetes.labels.k8s-app",
            "kubernetes.container_name",
        ),
        "deployment.environment.name": ("deployment.environment.name", "kubernetes.labels.environment", "environment"),
        "k8s.cluster.name": ("cluster_name",),
        "k8s.namespace.name": ("kubernetes.namespace_name",),
        "k8s.pod.name": ("kubernetes.pod_name",),
        "k8s.container.name": ("kubernetes.container_name",),
        "k8s.node.name": ("kubernetes.host",),
        "host.name": ("hostname", "host"),
    },
)


def read(value: bytes) -> tuple[str, LogRecord]:
    """Return the record key and the log record; raises RecordError for what Fluent Bit does not write."""
    return json_logs.read(_LAYOUT, value)
