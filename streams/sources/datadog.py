"""Datadog's webhooks to alerts. Datadog sends whatever its template says; this is the template that we read.

Served by the console as `/webhooks/datadog`. Make a webhook in Datadog's integration with this payload, the console's
token as a custom header, and name it in the monitors' messages (`@webhook-reflexarc`):

    {"id": "$ALERT_ID", "cycle": "$ALERT_CYCLE_KEY", "transition": "$ALERT_TRANSITION", "priority": "$ALERT_PRIORITY",
     "type": "$ALERT_TYPE", "title": "$ALERT_TITLE", "scope": "$ALERT_SCOPE", "tags": "$TAGS", "host": "$HOSTNAME",
     "text": "$TEXT_ONLY_MSG", "date": "$LAST_UPDATED"}

| Datadog | alert |
|---|---|
| `cycle` (one from a trigger to its recovery), else `id` and `scope` | fingerprint |
| `transition`: `Triggered`, `Warn`, `Renotify` and `Re-...` of them | firing |
| `transition`: `Recovered`, `Warn Recovered` | resolved |
| `transition`: anything with `No Data` | none: what is not known neither fires nor is over |
| `priority` (`P1`), else `type` (`error`, `warning`) | severity |
| `tags` (`service:shop,env:prod`) | labels and resource |
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas.envelope import NANOS
from schemas.errors import RecordError, Rejection
from schemas.raw import Alert
from streams.sources.common import clean, clean_labels, key_of, read_json, resource_of_labels, severity_of

_TRANSITIONS: dict[str, Literal["firing", "resolved"]] = {
    "triggered": "firing",
    "warn": "firing",
    "renotify": "firing",
    "recovered": "resolved",
    "warn recovered": "resolved",
}
_NANOS_PER_MILLI = NANOS // 1000


class Payload(msgspec.Struct):
    """What our template makes."""

    transition: str
    id: str = ""
    cycle: str = ""
    priority: str = ""
    type: str = ""
    title: str = ""
    scope: str = ""
    tags: str = ""
    host: str = ""
    text: str = ""
    date: str = ""


_decode = msgspec.json.Decoder(Payload).decode


def parse(body: bytes, headers: Mapping[str, str]) -> list[tuple[str, Alert]]:  # noqa: ARG001 - a WebhookParser
    """Return the alert with its record key; none where Datadog has no data.

    Raises:
        RecordError: it is not what our template makes.

    """
    payload = read_json(_decode, body)
    transition = payload.transition.strip().lower()
    if "no data" in transition:
        return []
    status = _TRANSITIONS.get(transition.removeprefix("re-"))
    if status is None:
        raise RecordError(Rejection.INVALID_SCHEMA, f"transition {clean(payload.transition, 50)!r} is not known")
    if not payload.cycle and not payload.id:
        raise RecordError(Rejection.INVALID_SCHEMA, "neither cycle nor id")
    labels = clean_labels(_tags(payload))
    resource = resource_of_labels(labels)
    alert = Alert(
        source="datadog",
        fingerprint=clean(payload.cycle or f"{payload.id} {payload.scope}"),
        status=status,
        name=clean(payload.title) or f"monitor {clean(payload.id)}",
        severity=severity_of(payload.priority, payload.type, "warning" if "warn" in transition else None),
        time_unix_nano=_millis(payload.date),
        summary=clean(payload.text, 4096),
        resource=resource,
        labels=labels,
    )
    return [(key_of(resource), alert)]


def _tags(payload: Payload) -> dict[str, str]:
    tags = (tag.strip().partition(":") for tag in f"{payload.tags},{payload.scope}".split(","))
    found = {name: value for name, _, value in tags if name and value}
    return {"host": payload.host, **found} if payload.host else found


def _millis(date: str) -> int:
    if not (date.isascii() and date.isdigit() and 0 < int(date[:20]) * _NANOS_PER_MILLI < 2**63):
        raise RecordError(Rejection.INVALID_SCHEMA, "date is not in milliseconds since 1970")
    return int(date) * _NANOS_PER_MILLI
