"""CloudWatch alarms, as Amazon SNS delivers them over HTTPS, to alerts.

Served by the console as `/webhooks/cloudwatch`. SNS cannot send the console's token: put a proxy before it that checks
the sender and adds it. When SNS asks whether the subscription is wanted, the address to open is written to the log of
the console, if it is one of Amazon's; nothing is opened from here.

| CloudWatch | alert |
|---|---|
| account, region and name of the alarm | fingerprint |
| `NewStateValue` `ALARM`, `OK` | firing, resolved |
| `NewStateValue` `INSUFFICIENT_DATA` | none: what is not known neither fires nor is over |
| `AlarmName`; `NewStateReason` | name; summary |
| dimensions of the metric: `ServiceName`, `FunctionName`, `DBInstanceIdentifier`, `InstanceId`, ... | resource |
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Literal

import msgspec

from schemas.errors import RecordError, Rejection
from schemas.raw import Alert
from streams.sources.common import clean, clean_labels, key_of, nanos_of, read_json, resource_of_labels, severity_of

log = logging.getLogger(__name__)

_CONFIRMATION = re.compile(r"https://sns\.[a-z0-9-]{1,40}\.amazonaws\.com(\.cn)?/[A-Za-z0-9?&=:/._%~+-]{1,2000}")
# CloudWatch writes the zone without a colon.
_ZONE = re.compile(r"([+-]\d\d)(\d\d)$")
_STATES: dict[str, Literal["firing", "resolved"]] = {"ALARM": "firing", "OK": "resolved"}
# Dimensions by the labels that `resource_of_labels` knows; the first that is there names the service.
_SERVICES = ("ServiceName", "FunctionName", "DBInstanceIdentifier", "LoadBalancer", "QueueName", "TableName")
_LABELS = {"InstanceId": "service_instance_id", "ClusterName": "k8s_cluster_name", "PodName": "pod"}


class Envelope(msgspec.Struct, rename="pascal"):
    """What SNS sends."""

    type: Literal["Notification", "SubscriptionConfirmation", "UnsubscribeConfirmation"]
    message: str
    topic_arn: str = ""
    subscribe_url: str = msgspec.field(name="SubscribeURL", default="")


class Dimension(msgspec.Struct):
    """What a metric is about."""

    name: str
    value: str


class Trigger(msgspec.Struct, rename="pascal"):
    """The metric that an alarm watches."""

    namespace: str = ""
    metric_name: str = ""
    dimensions: list[Dimension] = []


class Alarm(msgspec.Struct, rename="pascal"):
    """An alarm changed its state."""

    alarm_name: str
    new_state_value: Literal["ALARM", "OK", "INSUFFICIENT_DATA"]
    state_change_time: str
    new_state_reason: str = ""
    region: str = ""
    account: str = msgspec.field(name="AWSAccountId", default="")
    trigger: Trigger = msgspec.field(default_factory=Trigger)


_decode = msgspec.json.Decoder(Envelope).decode
_decode_alarm = msgspec.json.Decoder(Alarm).decode


def parse(body: bytes, headers: Mapping[str, str]) -> list[tuple[str, Alert]]:  # noqa: ARG001 - a WebhookParser
    """Return the alert with its record key; none where the state is not known, or SNS speaks of the subscription.

    Raises:
        RecordError: it is no message of SNS with an alarm.

    """
    envelope = read_json(_decode, body)
    if envelope.type == "SubscriptionConfirmation":
        _confirm(envelope)
    if envelope.type != "Notification":
        return []
    alarm = read_json(_decode_alarm, envelope.message.encode())
    status = _STATES.get(alarm.new_state_value)
    return [] if status is None else [_alert(alarm, status)]


def _confirm(envelope: Envelope) -> None:
    if _CONFIRMATION.fullmatch(envelope.subscribe_url) is None:
        raise RecordError(Rejection.INVALID_SCHEMA, "SubscribeURL is none of Amazon SNS")
    log.warning("to let %s send alarms here, open %s", clean(envelope.topic_arn, 300), envelope.subscribe_url)


def _alert(alarm: Alarm, status: Literal["firing", "resolved"]) -> tuple[str, Alert]:
    about = {dimension.name: dimension.value for dimension in alarm.trigger.dimensions}
    labels = about | {label: about[name] for name, label in _LABELS.items() if name in about}
    service = next((about[name] for name in _SERVICES if about.get(name)), "")
    labels |= {"service": service} if service else {}
    labels |= {"aws_account": alarm.account, "region": alarm.region, "namespace_of_metric": alarm.trigger.namespace}
    kept = clean_labels(labels)
    resource = resource_of_labels(kept)
    alert = Alert(
        source="cloudwatch",
        fingerprint=clean(f"{alarm.account} {alarm.region} {alarm.alarm_name}"),
        status=status,
        name=clean(alarm.alarm_name) or "unnamed alarm",
        severity=severity_of(None),
        time_unix_nano=nanos_of(_ZONE.sub(r"\1:\2", alarm.state_change_time)),
        summary=clean(alarm.new_state_reason, 4096),
        resource=resource,
        labels=kept,
    )
    return key_of(resource), alert
