"""Alertmanager's list of alerts (`GET /api/v2/alerts`) to alerts: with what silences and inhibits each.

Served by the console as `/webhooks/alertmanager-api`, for whoever polls the list: its webhook says nothing of alerts
that are held back. The list has no ends; those come by the webhook or the event recorder.

| Alertmanager | alert |
|---|---|
| `status.state` `active`, `suppressed` | firing; `unprocessed` is passed over: nobody knows yet what holds it back |
| `status.silencedBy`, `inhibitedBy`, `mutedBy` | suppressed_by |

All else is as in `alertmanager`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas.raw import Alert
from streams.sources.alertmanager import AlertItem, alert_of
from streams.sources.common import clean, read_json

MAX_HOLDS = 16


class Status(msgspec.Struct, rename="camel"):
    """Whether people are told of an alert, and what keeps them from being."""

    state: Literal["active", "suppressed", "unprocessed"]
    silenced_by: list[str] = []
    inhibited_by: list[str] = []
    muted_by: list[str] = []


class Listed(msgspec.Struct, rename="camel"):
    """One alert of the list."""

    status: Status
    labels: dict[str, str]
    starts_at: str
    annotations: dict[str, str] = {}
    fingerprint: str = ""


_decode = msgspec.json.Decoder(list[Listed]).decode


def parse(body: bytes, headers: Mapping[str, str]) -> list[tuple[str, Alert]]:  # noqa: ARG001 - a WebhookParser
    """Return the alerts of a list with their record keys; raises RecordError for anything else."""
    return [_alert(listed) for listed in read_json(_decode, body) if listed.status.state != "unprocessed"]


def _alert(listed: Listed) -> tuple[str, Alert]:
    item = AlertItem(
        status="firing",
        labels=listed.labels,
        starts_at=listed.starts_at,
        annotations=listed.annotations,
        fingerprint=listed.fingerprint,
    )
    return alert_of("alertmanager", item, suppressed_by=_holds(listed.status))


def _holds(status: Status) -> list[str]:
    if status.state == "active":
        return []
    named = [
        f"{what} {clean(by, 200)}"
        for what, names in (
            ("silence", status.silenced_by),
            ("inhibition by", status.inhibited_by),
            ("time interval", status.muted_by),
        )
        for by in names[:MAX_HOLDS]
    ]
    return named[:MAX_HOLDS] or ["Alertmanager"]
