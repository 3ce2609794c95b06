"""PagerDuty's webhooks (version 3) to alerts: also who has acknowledged an incident.

Served by the console as `/webhooks/pagerduty`; its signature is checked where its secret is set
(`console.signatures`); otherwise a custom header of the subscription carries the console's token.

| PagerDuty | alert |
|---|---|
| `event.data.id` | fingerprint |
| `incident.triggered`, `reopened`, `unacknowledged` | firing |
| `incident.escalated`, `delegated`, `reassigned` | firing, if its status is `triggered` |
| `incident.acknowledged` | firing, acknowledged_by `event.agent` |
| `incident.resolved` | resolved |
| `data.title` | name and summary |
| `data.priority`, else `data.urgency` | severity |
| `data.service` | service.name |

Everything else that PagerDuty tells (notes, responders, a test of the connection) gives no alert.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas.raw import Alert
from streams.sources.common import clean, clean_labels, key_of, nanos_of, read_json, severity_of

_FIRES = frozenset({"incident.triggered", "incident.reopened", "incident.unacknowledged"})
# These hand an incident on. Whoever had acknowledged it no longer has when it is triggered again.
_HANDED_ON = frozenset({"incident.escalated", "incident.delegated", "incident.reassigned"})
_ACKNOWLEDGED, _RESOLVED = "incident.acknowledged", "incident.resolved"


class Named(msgspec.Struct):
    """A reference to something, by the name that people see."""

    summary: str | None = None


class Incident(msgspec.Struct):
    """An incident of PagerDuty."""

    id: str
    status: str = ""
    title: str = ""
    number: int | None = None
    created_at: str = ""
    urgency: str = ""
    incident_key: str | None = None
    service: Named | None = None
    priority: Named | None = None


class Event(msgspec.Struct):
    """What happened to something."""

    event_type: str
    occurred_at: str
    agent: Named | None = None
    data: msgspec.Raw = msgspec.Raw(b"{}")


class Delivery(msgspec.Struct):
    """A request."""

    event: Event


_decode = msgspec.json.Decoder(Delivery).decode
_decode_incident = msgspec.json.Decoder(Incident).decode


def parse(body: bytes, headers: Mapping[str, str]) -> list[tuple[str, Alert]]:  # noqa: ARG001 - a WebhookParser
    """Return the alert that an event is about, if it is about one, with its record key.

    Raises:
        RecordError: it is no event of PagerDuty.

    """
    event = read_json(_decode, body).event
    if event.event_type not in {*_FIRES, *_HANDED_ON, _ACKNOWLEDGED, _RESOLVED}:
        return []
    incident = read_json(_decode_incident, bytes(event.data))
    if event.event_type in _HANDED_ON and incident.status != "triggered":
        return []
    return [_alert(event, incident)]


def _alert(event: Event, incident: Incident) -> tuple[str, Alert]:
    status: Literal["firing", "resolved"] = "resolved" if event.event_type == _RESOLVED else "firing"
    service = clean((incident.service and incident.service.summary) or "")
    title = clean(incident.title)
    resource = {"service.name": service} if service else {}
    labels = {"number": str(incident.number or ""), "urgency": incident.urgency, "key": incident.incident_key or ""}
    alert = Alert(
        source="pagerduty",
        fingerprint=clean(incident.id) or "unnamed",
        status=status,
        name=title or "unnamed incident",
        severity=severity_of(incident.priority.summary if incident.priority else None, incident.urgency),
        time_unix_nano=nanos_of((incident.created_at if status == "firing" else "") or event.occurred_at),
        summary=title,
        resource=resource,
        labels=clean_labels(labels),
        acknowledged_by=_who(event) if event.event_type == _ACKNOWLEDGED else "",
    )
    return key_of(resource), alert


def _who(event: Event) -> str:
    return clean((event.agent and event.agent.summary) or "") or "somebody"
