"""Vector's Kafka sink (codec json) to log records.

The time is `timestamp`, RFC 3339 with nanoseconds; the message is `message`. The kubernetes_logs source puts the pod in
`kubernetes`, which may be nested or written with dots.
"""

from __future__ import annotations

from schemas.raw import LogRecord
from streams.sources import json_logs

_LAYOUT = json_logs.Layout(
    times=("timestamp", "@timestamp"),
    bodies=("message", "msg"),
    resource={
        "service.name": (
            "service.name",
            "service",
            "kubernetes.pod_labels.app.kubernetes.io/name",
            "kubernetes.pod_labels.app",
            "kubernetes.pod_labels.k8s-app",
            "kubernetes.container_name",
            "container_name",
        ),
        "deployment.environment.name": (
            "deployment.environment.name",
            "kubernetes.pod_labels.environment",
            "environment",
        ),
        "k8s.namespace.name": ("kubernetes.pod_namespace",),
        "k8s.pod.name": ("kubernetes.pod_name",),
        "k8s.container.name": ("kubernetes.container_name",),
        "k8s.node.name": ("kubernetes.pod_node_name",),
        "container.id": ("kubernetes.container_id", "container_id"),
        "host.name": ("host",),
    },
)


def read(value: bytes) -> tuple[str, LogRecord]:
    """Return the record key and the log record; raises RecordError for what Vector does not write."""
    return json_logs.read(_LAYOUT, value)
