"""What other systems say that people did about alerts: silences, inhibitions and acknowledgements."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from schemas.codec import decode, encode
from schemas.errors import RecordError, Rejection
from schemas.raw import Alert
from schemas.topics import RAW_ALERTS
from streams.sources import WEBHOOKS

TIME = "2023-11-14T22:13:20Z"
NANOS = 1_700_000_000_000_000_000


def read(source: str, body: Any, headers: Mapping[str, str] | None = None) -> list[Alert]:
    found = WEBHOOKS[source](json.dumps(body).encode(), headers or {})
    for key, alert in found:
        assert decode(RAW_ALERTS, key.encode(), encode(alert)) == alert
    return [alert for _, alert in found]


# -- Alertmanager


def listed(state: str, **status: Any) -> dict[str, Any]:
    return {
        "status": {"state": state, "silencedBy": [], "inhibitedBy": [], "mutedBy": [], **status},
        "labels": {"alertname": "DiskFull", "service": "orders-db", "severity": "warning"},
        "annotations": {"summary": "97 % used"},
        "startsAt": TIME,
        "endsAt": "2023-11-14T22:18:20Z",
        "updatedAt": TIME,
        "fingerprint": "00000000a1b2c3d4",
        "receivers": [{"name": "team"}],
    }


def test_the_list_of_alerts_says_what_holds_each_back() -> None:
    silenced = listed("suppressed", silencedBy=["7f3a"], inhibitedBy=["00ff"])
    found = read("alertmanager-api", [listed("active"), silenced, listed("unprocessed"), listed("suppressed")])
    assert [alert.suppressed_by for alert in found] == [
        (),
        ("silence 7f3a", "inhibition by 00ff"),
        ("Alertmanager",),
    ]
    assert {(alert.status, alert.time_unix_nano, alert.source) for alert in found} == {
        ("firing", NANOS, "alertmanager")
    }


DETAILS = {
    "labels": {"labels": [{"key": "alertname", "value": "DiskFull"}, {"key": "service", "value": "orders-db"}]},
    "fingerprint": str(0xA1B2C3D4),
}
FIRING = {"hash": "1", "details": {**DETAILS, "name": "DiskFull", "starts_at": TIME, "ends_at": "2030-01-01T00:00:00Z"}}
OVER = {"hash": "1", "details": {**FIRING["details"], "ends_at": "2023-11-14T22:13:21Z", "resolved": True}}  # type: ignore[dict-item]
SILENCE = {"id": "7f3a", "created_by": "anna", "comment": "planned\nreboot", "matchers": []}


def event(**data: Any) -> dict[str, Any]:
    return {"@timestamp": TIME, "instance": "am-0", "cluster_position": 0, "data": data}


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            {"silence_muted_alert": {"silence": SILENCE, "muted_alert": DETAILS}},
            ["silence 7f3a of anna: planned reboot"],
        ),
        (
            {"inhibition_muted_alert": {"muted_alert": DETAILS, "inhibiting_fingerprints": ["255"]}},
            ["inhibition by 00000000000000ff"],
        ),
        ({"notification": {"firing_alerts": [FIRING], "alerts": [FIRING]}}, []),
    ],
)
def test_the_event_recorder_says_who_held_an_alert_back(data: dict[str, Any], expected: list[str]) -> None:
    for spelt in (data, _camel(data)):
        (alert,) = read("alertmanager-events", event(**spelt))
        assert alert.fingerprint == "00000000a1b2c3d4"  # as the webhook writes it
        assert (alert.name, alert.status, alert.time_unix_nano) == ("DiskFull", "firing", NANOS)
        assert list(alert.suppressed_by) == expected


def _camel(node: Any) -> Any:
    if isinstance(node, dict):
        return {
            "".join([p if i == 0 else p.title() for i, p in enumerate(k.split("_"))]): _camel(v)
            for k, v in node.items()
        }
    return [_camel(one) for one in node] if isinstance(node, list) else node


@pytest.mark.parametrize(
    "data", [{"alert_resolved": {"alert": OVER}}, {"notification": {"resolved_alerts": [OVER, {"hash": "2"}]}}]
)
def test_the_event_recorder_says_when_an_alert_is_over(data: dict[str, Any]) -> None:
    (alert,) = read("alertmanager-events", event(**data))
    assert (alert.status, alert.time_unix_nano) == ("resolved", NANOS + 1_000_000_000)


@pytest.mark.parametrize(
    "data", [{}, {"alert_created": {"alert": FIRING["details"]}}, {"silence_created": {"silence": SILENCE}}]
)
def test_what_nobody_was_told_of_is_no_alert_yet(data: dict[str, Any]) -> None:
    assert read("alertmanager-events", event(**data)) == []


# -- PagerDuty


def pagerduty(event_type: str, **changes: Any) -> dict[str, Any]:
    data = {
        "id": "PGR0VU2",
        "type": "incident",
        "number": 2,
        "status": "triggered",
        "incident_key": "d3640fbd",
        "created_at": "2023-11-14T22:13:19Z",
        "title": "Checkout is slow",
        "service": {"id": "PF9KMXH", "summary": "checkout", "type": "service_reference"},
        "priority": {"id": "PSO75BM", "summary": "P1"},
        "urgency": "low",
        "assignees": [{"summary": "Boris"}],
    }
    return {
        "event": {
            "id": "5ac64822",
            "event_type": event_type,
            "resource_type": "incident",
            "occurred_at": TIME,
            "agent": {"id": "PLH1HKV", "summary": "Anna Ops", "type": "user_reference"},
            "client": None,
            "data": data | changes,
        }
    }


def test_pagerduty_says_who_acknowledged() -> None:
    (fired,) = read("pagerduty", pagerduty("incident.triggered"))
    (acked,) = read("pagerduty", pagerduty("incident.acknowledged", status="acknowledged"))
    (over,) = read("pagerduty", pagerduty("incident.resolved", status="resolved"))
    assert {one.fingerprint for one in (fired, acked, over)} == {"PGR0VU2"}
    assert {one.resource["service.name"] for one in (fired, acked, over)} == {"checkout"}
    assert [one.acknowledged_by for one in (fired, acked, over)] == ["", "Anna Ops", ""]
    assert [one.status for one in (fired, acked, over)] == ["firing", "firing", "resolved"]
    assert (fired.severity, fired.name) == ("critical", "Checkout is slow")
    assert over.time_unix_nano == NANOS == fired.time_unix_nano + 1_000_000_000


@pytest.mark.parametrize(
    ("event_type", "status", "alerts"),
    [
        ("incident.reassigned", "triggered", 1),
        ("incident.reassigned", "acknowledged", 0),
        ("incident.annotated", "triggered", 0),
        ("pagey.ping", "", 0),
    ],
)
def test_not_everything_pagerduty_tells_is_an_alert(event_type: str, status: str, alerts: int) -> None:
    assert len(read("pagerduty", pagerduty(event_type, status=status))) == alerts


# -- Sentry


def sentry(resource: str, action: str, **data: Any) -> list[Alert]:
    return read("sentry", {"action": action, "data": data, "actor": {}}, {"Sentry-Hook-Resource": resource})


EVENT = {
    "event_id": "e1",
    "issue_id": "1170820242",
    "title": "ReferenceError: blooopy is not defined",
    "level": "error",
    "datetime": "2023-11-14T22:13:20.000000Z",
    "url": "https://sentry.example/api/0/projects/org/front-end/events/e1/",
    "environment": "prod",
    "tags": [["browser", "Chrome"], ["server_name", "fe-1"], ["none", None]],
}
ISSUE = {
    "id": "1170820242",
    "title": EVENT["title"],
    "level": "error",
    "firstSeen": TIME,
    "project": {"id": "1", "name": "Front", "slug": "front-end"},
    "assignedTo": {"name": "Anna", "type": "user"},
}
METRIC = {
    "id": "4",
    "date_started": TIME,
    "date_closed": "2023-11-14T22:13:21Z",
    "alert_rule": {"name": "Too many errors", "projects": ["front-end"], "environment": None},
}


def test_what_ends_an_issue_ends_its_alert() -> None:
    (fired,) = sentry("event_alert", "triggered", event=EVENT, triggered_rule="Very important")
    (taken,) = sentry("issue", "assigned", issue=ISSUE)
    (over,) = sentry("issue", "resolved", issue=ISSUE)
    assert {(one.fingerprint, one.resource["service.name"]) for one in (fired, taken, over)} == {
        ("1170820242", "front-end")
    }
    assert {frozenset(one.resource) for one in (fired, taken, over)} == {frozenset({"service.name"})}
    assert (fired.name, fired.summary, fired.labels["browser"]) == ("Very important", EVENT["title"], "Chrome")
    assert [one.acknowledged_by for one in (fired, taken, over)] == ["", "Anna", ""]
    assert [one.status for one in (fired, taken, over)] == ["firing", "firing", "resolved"]


def test_metric_alerts_of_sentry() -> None:
    (fired,) = sentry("metric_alert", "critical", metric_alert=METRIC, description_text="over 100")
    (over,) = sentry("metric_alert", "resolved", metric_alert=METRIC)
    assert (fired.severity, fired.name, fired.summary) == ("critical", "Too many errors", "over 100")
    assert (fired.fingerprint, fired.time_unix_nano) == (over.fingerprint, NANOS)
    assert (over.status, over.time_unix_nano) == ("resolved", NANOS + 1_000_000_000)


def test_not_everything_sentry_tells_is_an_alert() -> None:
    assert sentry("installation", "created") == sentry("issue", "seen") == []


# -- Datadog


def datadog(transition: str, **changes: str) -> dict[str, str]:
    return {
        "id": "7",
        "cycle": "120394",
        "transition": transition,
        "priority": "P2",
        "type": "error",
        "title": "p99 of checkout",
        "scope": "service:checkout,pod:c-1",
        "tags": "env:prod,monitor,team:pay",
        "host": "node-3",
        "text": "p99 > 2 s",
        "date": "1700000000000",
    } | changes


@pytest.mark.parametrize(
    ("transition", "status"),
    [
        ("Triggered", "firing"),
        ("Re-Triggered", "firing"),
        ("Warn", "firing"),
        ("Renotify", "firing"),
        ("Recovered", "resolved"),
        ("Warn Recovered", "resolved"),
    ],
)
def test_datadog(transition: str, status: str) -> None:
    (alert,) = read("datadog", datadog(transition))
    assert (alert.fingerprint, alert.status, alert.time_unix_nano) == ("120394", status, NANOS)
    assert alert.resource == {
        "service.name": "checkout",
        "deployment.environment.name": "prod",
        "k8s.pod.name": "c-1",
        "host.name": "node-3",
    }
    assert alert.severity == "high"


def test_datadog_without_data_says_nothing() -> None:
    assert read("datadog", datadog("No Data")) == read("datadog", datadog("Re-No Data")) == []


# -- CloudWatch


def cloudwatch(state: str, **changes: Any) -> dict[str, Any]:
    alarm = {
        "AlarmName": "cpu high",
        "AlarmDescription": None,
        "AWSAccountId": "123456789012",
        "NewStateValue": state,
        "OldStateValue": "OK",
        "NewStateReason": "Threshold Crossed",
        "StateChangeTime": "2023-11-14T22:13:20.000+0000",
        "Region": "EU (Ireland)",
        "Trigger": {
            "MetricName": "CPUUtilization",
            "Namespace": "AWS/RDS",
            "Dimensions": [{"name": "DBInstanceIdentifier", "value": "orders-db"}],
        },
    }
    return {
        "Type": "Notification",
        "MessageId": "m",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:alarms",
        "Subject": "ALARM",
        "Message": json.dumps(alarm),
        "Timestamp": TIME,
        "SigningCertURL": "https://sns.eu-west-1.amazonaws.com/x.pem",
    } | changes


def test_cloudwatch() -> None:
    (fired,), (over,) = read("cloudwatch", cloudwatch("ALARM")), read("cloudwatch", cloudwatch("OK"))
    assert (fired.status, over.status) == ("firing", "resolved")
    assert fired.fingerprint == over.fingerprint == "123456789012 EU (Ireland) cpu high"
    assert (fired.name, fired.time_unix_nano) == ("cpu high", NANOS)
    assert fired.resource == {"service.name": "orders-db"}
    assert read("cloudwatch", cloudwatch("INSUFFICIENT_DATA")) == []


def test_cloudwatch_tells_people_to_confirm_and_opens_nothing(caplog: pytest.LogCaptureFixture) -> None:
    asked = cloudwatch("OK", Type="SubscriptionConfirmation", Message="You have chosen")
    url = "https://sns.eu-west-1.amazonaws.com/?Action=ConfirmSubscription&Token=abc"
    with caplog.at_level(logging.WARNING):
        assert read("cloudwatch", asked | {"SubscribeURL": url}) == []
    assert url in caplog.text
    for elsewhere in ("", "https://sns.evil.example/?Token=a", f"http{url[5:]}", f"{url}\nforged line"):
        with pytest.raises(RecordError, match="SubscribeURL"):
            read("cloudwatch", asked | {"SubscribeURL": elsewhere})


# -- whatever comes

HEADERS = {"Sentry-Hook-Resource": "event_alert"}
GOOD: dict[str, Any] = {
    "alertmanager-api": [listed("suppressed", silencedBy=["x"])],
    "alertmanager-events": event(silence_muted_alert={"silence": SILENCE, "muted_alert": DETAILS}),
    "cloudwatch": cloudwatch("ALARM"),
    "datadog": datadog("Triggered"),
    "pagerduty": pagerduty("incident.acknowledged"),
    "sentry": {"action": "triggered", "data": {"event": EVENT}},
}
HOSTILE = "\x1b[2J\u202eevil\n" + "y" * 100_000
ANYTHING: st.SearchStrategy[Any] = st.sampled_from(
    (None, True, -1, 2**70, 1.5, "", "x", TIME, [], [None], ["x"], [[]], {}, {"labels": []}, HOSTILE)
)


@pytest.mark.parametrize("source", sorted(GOOD))
@pytest.mark.parametrize(("body", "reason"), [(b"", Rejection.EMPTY), (b"{", Rejection.INVALID_JSON), (b"7", None)])
def test_faults_have_reasons(source: str, body: bytes, reason: Rejection | None) -> None:
    with pytest.raises(RecordError) as caught:
        WEBHOOKS[source](body, HEADERS)
    assert caught.value.reason is (reason or Rejection.INVALID_SCHEMA)


@pytest.mark.parametrize("source", sorted(GOOD))
@given(data=st.data())
def test_whatever_stands_anywhere_gives_a_record_or_a_named_fault(source: str, data: st.DataObject) -> None:
    body = json.loads(json.dumps(GOOD[source]))
    assert read(source, body, HEADERS)
    node = body
    while isinstance(node, (dict, list)) and node:
        key = data.draw(st.sampled_from(sorted(node) if isinstance(node, dict) else range(len(node))))
        if data.draw(st.booleans()):
            node[key] = data.draw(ANYTHING)
            break
        node = node[key]
    try:
        found = read(source, body, HEADERS)
    except RecordError:
        return
    assert all("\x1b" not in alert.name + alert.summary + "".join(alert.suppressed_by) for alert in found)
