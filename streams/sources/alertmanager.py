"""Prometheus Alertmanager's webhook (payload version 4) to alerts.

Served by the console as `/webhooks/alertmanager`. One request carries a group; each alert of it has its own status, so
a group that fires may hold alerts that are resolved. Grafana sends the same shape (`grafana`). What is silenced or
inhibited is not sent: `alertmanager_events` and `alertmanager_api` tell of that.

| Alertmanager | alert |
|---|---|
| `alerts[].fingerprint`, else a hash of the labels | fingerprint |
| `alerts[].status` | status |
| `startsAt` when firing, `endsAt` when resolved; the year 1 means not set | time_unix_nano |
| label `alertname` | name |
| label `priority`, else `severity` | severity |
| annotation `summary`, else `description`, else `message` | summary |
| labels, see `common.resource_of_labels` | resource |
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Literal

import msgspec

from schemas.envelope import content_id
from schemas.errors import RecordError, Rejection
from schemas.raw import Alert
from streams.sources.common import clean, clean_labels, key_of, nanos_of, read_json, resource_of_labels, severity_of

_MAX_SUMMARY = 4096
_SUMMARIES = ("summary", "description", "message")


class AlertItem(msgspec.Struct, rename="camel"):
    """One alert of a group."""

    status: Literal["firing", "resolved"]
    labels: dict[str, str]
    starts_at: str
    ends_at: str = ""
    annotations: dict[str, str] = {}
    fingerprint: str = ""


class Group(msgspec.Struct):
    """A notification. Its status and its common labels only repeat what the alerts say."""

    version: str
    alerts: list[AlertItem]


_decode = msgspec.json.Decoder(Group).decode


def parse(body: bytes, headers: Mapping[str, str]) -> list[tuple[str, Alert]]:  # noqa: ARG001 - a WebhookParser
    """Return the alerts of a notification with their record keys.

    Raises:
        RecordError: the body is not an Alertmanager notification.

    """
    return parse_group("alertmanager", body, versions=("4",))


def parse_group(source: str, body: bytes, *, versions: tuple[str, ...]) -> list[tuple[str, Alert]]:
    """Return the alerts of a notification in Alertmanager's shape."""
    group = read_json(_decode, body)
    if group.version not in versions:
        raise RecordError(Rejection.UNKNOWN_VERSION, f"version {group.version[:50]}; known: {', '.join(versions)}")
    return [alert_of(source, item) for item in group.alerts]


def alert_of(source: str, item: AlertItem, *, suppressed_by: Iterable[str] = ()) -> tuple[str, Alert]:
    """Return one alert of Alertmanager's shape with its record key."""
    labels = clean_labels(item.labels)
    resource = resource_of_labels(labels)
    summary = next((item.annotations[name] for name in _SUMMARIES if item.annotations.get(name)), "")
    alert = Alert(
        source=source,
        fingerprint=clean(item.fingerprint) or content_id("alert", item.labels),
        status=item.status,
        name=labels.get("alertname", "unnamed alert"),
        severity=severity_of(labels.get("priority"), labels.get("severity")),
        time_unix_nano=_time(item),
        summary=clean(summary, _MAX_SUMMARY),
        resource=resource,
        labels=labels,
        suppressed_by=tuple(suppressed_by),
    )
    return key_of(resource), alert


def _time(item: AlertItem) -> int:
    """Return when the status began. A resolved alert without an end is taken to have ended as it began."""
    started = nanos_of(item.starts_at)
    ended = nanos_of(item.ends_at) if item.ends_at and item.status == "resolved" else 0
    time = ended or started
    if not time:
        raise RecordError(Rejection.INVALID_SCHEMA, "startsAt is not set")
    return time
