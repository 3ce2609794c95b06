"""Sentry's webhooks (issue alerts, metric alerts, issues) to alerts; of an assigned issue somebody takes care.

Served by the console as `/webhooks/sentry`. Sentry cannot send the console's token: set its client secret
(`console.signatures`), and its signature is checked instead. Subscribe to alerts and issues, not to `error`: every
error would be an alert.

| header `Sentry-Hook-Resource` | alert |
|---|---|
| `event_alert` | firing; fingerprint is the issue, name the rule that was triggered, summary the title of the event |
| `issue` | `created`, `unresolved`: firing; `assigned`: firing, acknowledged_by; `resolved`, `archived`: resolved |
| `metric_alert` | `critical`, `warning`: firing; `resolved`: resolved; fingerprint is the alert |
| `installation` and others | none |

An issue has no environment, and what ends it says nothing of instances. So the project alone names the entity.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

import msgspec

from schemas.errors import RecordError, Rejection
from schemas.raw import Alert
from streams.sources.common import clean, clean_labels, key_of, nanos_of, read_json, resource_of_labels, severity_of

_PROJECT = re.compile(r"/projects/[^/]+/([^/]+)/")
_OVER = frozenset({"resolved", "archived", "ignored"})
_KNOWN = frozenset({"created", "unresolved", "assigned", *_OVER})


class Named(msgspec.Struct):
    """A person, a team or a project."""

    name: str = ""
    slug: str = ""


class Event(msgspec.Struct):
    """An error, as an issue alert brings it."""

    issue_id: str
    datetime: str
    title: str = ""
    level: str = ""
    url: str = ""
    environment: str | None = None
    tags: list[tuple[str, str | None]] = []


class EventAlert(msgspec.Struct):
    """A rule was triggered by an event."""

    event: Event
    triggered_rule: str = ""


class Issue(msgspec.Struct, rename="camel"):
    """A group of errors."""

    id: str
    first_seen: str
    title: str = ""
    level: str = ""
    project: Named = msgspec.field(default_factory=Named)
    assigned_to: Named | None = None


class OfIssue(msgspec.Struct):
    """Something was done with an issue."""

    issue: Issue


class AlertRule(msgspec.Struct):
    """What a metric alert watches."""

    name: str = ""
    environment: str | None = None
    projects: list[str] = []


class MetricAlert(msgspec.Struct):
    """A metric crossed its threshold, or came back."""

    id: str | int
    date_started: str
    date_closed: str | None = None
    alert_rule: AlertRule = msgspec.field(default_factory=AlertRule)


class OfMetric(msgspec.Struct):
    """A metric alert and what Sentry says of it."""

    metric_alert: MetricAlert
    description_text: str = ""


class Delivery(msgspec.Struct):
    """A request."""

    action: str
    data: msgspec.Raw


_decode = msgspec.json.Decoder(Delivery).decode
_decode_event = msgspec.json.Decoder(EventAlert).decode
_decode_issue = msgspec.json.Decoder(OfIssue).decode
_decode_metric = msgspec.json.Decoder(OfMetric).decode


def parse(body: bytes, headers: Mapping[str, str]) -> list[tuple[str, Alert]]:
    """Return the alert with its record key; none for what is about no alert.

    Raises:
        RecordError: it is none of Sentry's requests.

    """
    resource = {name.lower(): value for name, value in headers.items()}.get("sentry-hook-resource", "")
    delivery = read_json(_decode, body)
    data = bytes(delivery.data)
    if resource == "event_alert":
        return [_of_event(read_json(_decode_event, data))]
    if resource == "metric_alert":
        return [_of_metric(delivery.action, read_json(_decode_metric, data))]
    if resource == "issue" and delivery.action in _KNOWN:
        return [_of_issue(delivery.action, read_json(_decode_issue, data).issue)]
    return []


def _of_event(found: EventAlert) -> tuple[str, Alert]:
    event = found.event
    project = _PROJECT.search(event.url)
    return _alert(
        {"service": project[1] if project else ""},
        {name: value for name, value in event.tags if value} | {"environment": event.environment or ""},
        fingerprint=event.issue_id,
        status="firing",
        name=found.triggered_rule or event.title,
        severity=severity_of(event.level),
        time_unix_nano=nanos_of(event.datetime),
        summary=event.title,
    )


def _of_issue(action: str, issue: Issue) -> tuple[str, Alert]:
    who = clean(issue.assigned_to.name if issue.assigned_to else "")
    return _alert(
        {"service": issue.project.slug or issue.project.name},
        {},
        fingerprint=issue.id,
        status="resolved" if action in _OVER else "firing",
        name=issue.title,
        severity=severity_of(issue.level),
        time_unix_nano=nanos_of(issue.first_seen),
        summary=issue.title,
        acknowledged_by=(who or "somebody") if action == "assigned" else "",
    )


def _of_metric(action: str, found: OfMetric) -> tuple[str, Alert]:
    statuses: dict[str, Literal["firing", "resolved"]] = {
        "critical": "firing",
        "warning": "firing",
        "resolved": "resolved",
    }
    if action not in statuses:
        raise RecordError(Rejection.INVALID_SCHEMA, f"action {clean(action, 50)!r} is not known")
    alert, rule = found.metric_alert, found.metric_alert.alert_rule
    over = statuses[action] == "resolved"
    return _alert(
        {"service": rule.projects[0] if rule.projects else "", "environment": rule.environment or ""},
        {},
        fingerprint=f"metric alert {alert.id}",
        status=statuses[action],
        name=rule.name,
        severity=severity_of(action),
        time_unix_nano=nanos_of((alert.date_closed if over else None) or alert.date_started),
        summary=found.description_text,
    )


def _alert(
    about: Mapping[str, str], labels: Mapping[str, str], *, name: str, summary: str, fingerprint: str, **rest: Any
) -> tuple[str, Alert]:
    resource = resource_of_labels(clean_labels(about))
    alert = Alert(
        source="sentry",
        fingerprint=clean(fingerprint) or "unnamed",
        name=clean(name) or "unnamed alert",
        summary=clean(summary, 4096),
        resource=resource,
        labels=clean_labels(labels),
        **rest,
    )
    return key_of(resource), alert
