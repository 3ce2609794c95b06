"""What inbound formats have in common: strict JSON, clean text, times, severities, and labels to resources.

Used by the other modules here. All of it is written by strangers: text is cut and stripped of what a terminal or a page
would act on, and whatever is malformed raises a RecordError.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import Any, TypeVar

import msgspec

from schemas import codec
from schemas.envelope import AttributeValue, entity_of
from schemas.errors import RecordError, Rejection
from schemas.raw import Severity
from streams.decoding.native import UNUSABLE

T = TypeVar("T")

MAX_TEXT = 1024
MAX_LABELS = 50
MAX_ATTRIBUTES = 128
_MAX_DEPTH = 16
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
# ECMA-48 sequences: CSI (colours, cursor), OSC (titles, links) up to its terminator, and those of two characters.
_ANSI = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|[@-Z\\^_])")
_LINE_BREAKS = re.compile(r"[\s\x85]+")
# Control characters; formatting that hides or reverses text; halves of characters.
_HIDDEN = {"Cc", "Cf", "Cs"}
_RFC3339 = re.compile(r"(\d{4}-\d\d-\d\d)[Tt ](\d\d:\d\d:\d\d)(?:\.(\d+))?([Zz]|[+-]\d\d:\d\d)", re.ASCII)

# The words of many systems. A word that is not here is medium: neither slept through nor woken up for.
_SEVERITY_WORDS: dict[Severity, str] = {
    "critical": "critical crit page emergency emerg fatal disaster p1 sev1",
    "high": "high error major alert p2 sev2",
    "medium": "medium warning warn minor average moderate p3 sev3",
    "low": "low info informational notice debug none ok p4 p5 sev4 sev5",
}
_SEVERITIES = {word: severity for severity, words in _SEVERITY_WORDS.items() for word in words.split()}

# Label names, in order of preference, that give a resource attribute; dots of OpenTelemetry names are underscores in
# Prometheus. `job` names a scrape, which is the service more often than not.
_RESOURCE_LABELS: dict[str, tuple[str, ...]] = {
    "service.name": ("service_name", "service", "app_kubernetes_io_name", "app", "job"),
    "deployment.environment.name": ("deployment_environment_name", "deployment_environment", "environment", "env"),
    "service.instance.id": ("service_instance_id",),
    "service.namespace": ("service_namespace",),
    "k8s.cluster.name": ("k8s_cluster_name", "cluster"),
    "k8s.namespace.name": ("k8s_namespace_name", "namespace"),
    "k8s.pod.name": ("k8s_pod_name", "pod"),
    "k8s.container.name": ("k8s_container_name", "container"),
    "k8s.node.name": ("k8s_node_name", "node"),
    "host.name": ("host_name", "hostname", "host", "nodename"),
    "db.system": ("db_system",),
}


def read_json(decode: Callable[[bytes], T], value: bytes) -> T:
    """Parse strict JSON of a known shape."""
    if not value:
        raise RecordError(Rejection.EMPTY, "zero bytes")
    codec.parse_json(value)
    try:
        return decode(value)
    except UNUSABLE as error:
        raise RecordError(Rejection.INVALID_SCHEMA, str(error) or type(error).__name__) from None


def clean(text: str, limit: int = MAX_TEXT) -> str:
    """Return text on one line, without terminal sequences, control and invisible characters, cut to `limit`."""
    # Cut first, so that a megabyte is not cleaned to keep a line; twice, for what is stripped makes room.
    text = _LINE_BREAKS.sub(" ", _ANSI.sub("", text[: 4 * limit]))
    return "".join(c for c in text if unicodedata.category(c) not in _HIDDEN).strip()[:limit]


def clean_labels(labels: Mapping[str, str]) -> dict[str, str]:
    """Return at most `MAX_LABELS` labels, by name, clean and not empty."""
    kept = {clean(name): clean(value) for name, value in sorted(labels.items())[: 4 * MAX_LABELS]}
    return dict([(name, value) for name, value in kept.items() if name and value][:MAX_LABELS])


def nanos_of(timestamp: str) -> int:
    """Return an RFC 3339 time as nanoseconds since the epoch, 0 for the year 1 (Go's zero time: not set)."""
    match = _RFC3339.fullmatch(timestamp.strip())
    if match is None:
        raise RecordError(Rejection.INVALID_SCHEMA, "not an RFC 3339 time with a zone")
    day, time, fraction, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{time}{'+00:00' if zone in 'Zz' else zone}")
        elapsed = moment - _EPOCH
    except (ValueError, OverflowError):
        raise RecordError(Rejection.INVALID_SCHEMA, "no such time") from None
    nanos = (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000_000 + int((fraction or "0")[:9].ljust(9, "0"))
    if moment.year <= 1:
        return 0
    if not 0 < nanos < 2**63:
        raise RecordError(Rejection.INVALID_SCHEMA, f"the year {moment.year} is out of range")
    return nanos


def severity_of(*words: str | None) -> Severity:
    """Return the severity that the first word known says; put the more trustworthy first."""
    known = (_SEVERITIES.get(word.strip().lower()) for word in words if word)
    return next((severity for severity in known if severity), "medium")


def resource_of_labels(labels: Mapping[str, str]) -> dict[str, AttributeValue]:
    """Return the resource that Prometheus-style labels describe.

    `instance` is a scrape address. It names the instance only where no pod does: telemetry of a pod carries its name.
    """
    found: dict[str, AttributeValue] = {}
    for attribute, names in _RESOURCE_LABELS.items():
        value = next((labels[name] for name in names if labels.get(name)), None)
        if value is not None:
            found[attribute] = value
    if labels.get("instance") and "k8s.pod.name" not in found:
        found.setdefault("service.instance.id", labels["instance"])
    return found


def is_resource_label(name: str) -> bool:
    """Whether `resource_of_labels` looks at a label."""
    return name == "instance" or any(name in names for names in _RESOURCE_LABELS.values())


def key_of(resource: Mapping[str, AttributeValue]) -> str:
    """Return the record key that keeps what belongs to one entity in order."""
    return str(entity_of(resource))


def flatten(document: Mapping[str, Any]) -> dict[str, AttributeValue]:
    """Return nested objects as dotted names, and lists as JSON text; what already has dots stays as it is.

    Raises:
        RecordError: it is nested more deeply than any logger does.

    """
    try:
        return dict(_leaves("", document, _MAX_DEPTH))
    except RecursionError:  # in a list
        raise RecordError(Rejection.INVALID_SCHEMA, "nested too deeply") from None


def _leaves(prefix: str, node: Mapping[str, Any], depth: int) -> Iterator[tuple[str, AttributeValue]]:
    if not depth:
        raise RecordError(Rejection.INVALID_SCHEMA, f"nested more than {_MAX_DEPTH} deep")
    for name, value in node.items():
        if isinstance(value, Mapping):
            yield from _leaves(f"{prefix}{name}.", value, depth - 1)
        elif isinstance(value, list):
            yield f"{prefix}{name}", msgspec.json.encode(value).decode()
        elif value is not None:
            yield f"{prefix}{name}", value
