"""Records of Alertmanager's event recorder to alerts: what was told, what was silenced and by whom.

Alertmanager (0.33 or newer) writes them to Kafka or posts them; the console takes them one by one as
`/webhooks/alertmanager-events`. Written with protojson: 64-bit integers are strings, names in either spelling.

| event | alert |
|---|---|
| `notification` | those of `firingAlerts` fire and are held back by nothing, those of `resolvedAlerts` are over |
| `alertResolved` | over |
| `silenceMutedAlert` | fires, suppressed_by the silence: its id, author and comment |
| `inhibitionMutedAlert` | fires, suppressed_by an inhibition |
| all others | none: an alert just created may turn out to be silenced when its group is looked at |
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Any

import msgspec

from schemas.errors import RecordError, Rejection
from schemas.raw import Alert
from streams.decoding.native import UNUSABLE
from streams.sources.alertmanager import AlertItem, alert_of
from streams.sources.common import clean, read_json

_SNAKE = re.compile(r"_([a-z])")
_MAX_DEPTH = 12


class Pair(msgspec.Struct):
    """One label; what is empty is not written."""

    key: str = ""
    value: str = ""


class Pairs(msgspec.Struct):
    """Labels or annotations."""

    labels: list[Pair] = []

    @property
    def as_dict(self) -> dict[str, str]:
        return {pair.key: pair.value for pair in self.labels}


class Details(msgspec.Struct, rename="camel"):
    """An alert as it was when the event was recorded."""

    labels: Pairs
    fingerprint: str = ""
    annotations: Pairs = msgspec.field(default_factory=Pairs)
    starts_at: str = ""
    ends_at: str = ""


class Reference(msgspec.Struct):
    """An alert of a group, with its details where the recorder has them."""

    details: Details | None = None


class Resolved(msgspec.Struct):
    """An alert is over."""

    alert: Reference


class Notification(msgspec.Struct, rename="camel"):
    """People were told of these."""

    firing_alerts: list[Reference] = []
    resolved_alerts: list[Reference] = []


class Silence(msgspec.Struct, rename="camel"):
    """Somebody has decided not to be told."""

    id: str = ""
    created_by: str = ""
    comment: str = ""


class Silenced(msgspec.Struct, rename="camel"):
    """A silence holds an alert back."""

    silence: Silence
    muted_alert: Details


class Inhibited(msgspec.Struct, rename="camel"):
    """Another alert holds an alert back."""

    muted_alert: Details
    inhibiting_fingerprints: list[str] = []


class Data(msgspec.Struct, rename="camel"):
    """One of them, or an event of another kind."""

    notification: Notification | None = None
    alert_resolved: Resolved | None = None
    silence_muted_alert: Silenced | None = None
    inhibition_muted_alert: Inhibited | None = None


class Event(msgspec.Struct):
    """One record."""

    timestamp: str = msgspec.field(name="@timestamp")
    data: Data = msgspec.field(default_factory=Data)


_decode = msgspec.json.Decoder(dict[str, Any]).decode


def parse(body: bytes, headers: Mapping[str, str]) -> list[tuple[str, Alert]]:  # noqa: ARG001 - a WebhookParser
    """Return the alerts that one event speaks of with their record keys.

    Raises:
        RecordError: it is no event of the recorder.

    """
    try:
        event = msgspec.convert(_camel(read_json(_decode, body), _MAX_DEPTH), Event)
    except UNUSABLE as error:
        raise RecordError(Rejection.INVALID_SCHEMA, str(error)) from None
    return list(_alerts(event))


def _alerts(event: Event) -> Iterable[tuple[str, Alert]]:
    data, now = event.data, event.timestamp
    if data.notification is not None:
        yield from (_fires(one.details, now) for one in data.notification.firing_alerts if one.details)
        yield from (_over(one.details, now) for one in data.notification.resolved_alerts if one.details)
    if data.alert_resolved is not None and data.alert_resolved.alert.details is not None:
        yield _over(data.alert_resolved.alert.details, now)
    if data.silence_muted_alert is not None:
        muted = data.silence_muted_alert
        yield _fires(muted.muted_alert, now, [_told(muted.silence)])
    if data.inhibition_muted_alert is not None:
        inhibited = data.inhibition_muted_alert
        by = ", ".join(map(_hex, inhibited.inhibiting_fingerprints[:4]))
        yield _fires(inhibited.muted_alert, now, [f"inhibition by {by or 'another alert'}"])


def _told(silence: Silence) -> str:
    of = f" of {clean(silence.created_by, 100)}" if silence.created_by else ""
    comment = f": {clean(silence.comment, 200)}" if silence.comment else ""
    return f"silence {clean(silence.id, 40)}{of}{comment}"


def _fires(details: Details, now: str, suppressed_by: Iterable[str] = ()) -> tuple[str, Alert]:
    return alert_of("alertmanager", _item(details, now, "firing"), suppressed_by=suppressed_by)


def _over(details: Details, now: str) -> tuple[str, Alert]:
    return alert_of("alertmanager", _item(details, now, "resolved"))


def _item(details: Details, now: str, status: Any) -> AlertItem:
    return AlertItem(
        status=status,
        labels=details.labels.as_dict,
        starts_at=details.starts_at or now,
        ends_at=details.ends_at or now,
        annotations=details.annotations.as_dict,
        fingerprint=_hex(details.fingerprint) if details.fingerprint else "",
    )


def _hex(fingerprint: str) -> str:
    """Write a fingerprint as the webhook does, so that both speak of the same alert."""
    if fingerprint.isdecimal() and fingerprint.isascii() and len(fingerprint) <= 20:
        return f"{int(fingerprint):016x}"
    return clean(fingerprint, 100)


def _camel(node: Any, depth: int) -> Any:
    if not depth:
        raise RecordError(Rejection.INVALID_SCHEMA, f"nested more than {_MAX_DEPTH} deep")
    if isinstance(node, dict):
        return {_SNAKE.sub(lambda m: m[1].upper(), key): _camel(value, depth - 1) for key, value in node.items()}
    if isinstance(node, list):
        return [_camel(value, depth - 1) for value in node]
    return node
