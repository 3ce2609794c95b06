from __future__ import annotations

import orjson
import pytest
from prometheus_client.parser import text_string_to_metric_families

from actions.controls import Scope
from console.desk import Desk
from console.models import FeedStatus
from schemas.codec import decode
from schemas.control import Control
from schemas.errors import TemporaryError
from schemas.incident import Classification
from schemas.outcome import Result
from schemas.topics import CONTROLS, RAW_ALERTS
from tests.console.conftest import LIVE, Client, Outbox
from tests.console.records import ENVIRONMENT, T0, command, control, decision, incident, outcome, seconds

OPEN, OVER = incident(3), incident(1, 2, status="resolved")
# Asked at 185 s; the desk's clock stands at 200 s.
ASKED = decision(OPEN)


@pytest.fixture(autouse=True)
def _story(desk: Desk) -> None:
    issued = command(OVER, decision(OVER).id, T0)
    desk.receive([OPEN, OVER, ASKED, decision(OVER, "act"), outcome(issued, Result.REVERTED)], LIVE)


def sent(outbox: Outbox) -> list[tuple[str, Control]]:
    """Decode what was published, as the stages that obey would."""
    assert all(topic is CONTROLS for topic, _, _ in outbox.sent)
    return [(key, decode(topic, key.encode(), value)) for topic, key, value in outbox.sent]


async def test_incidents_latest_first_and_by_status(client: Client) -> None:
    async def ids(query: str) -> list[str]:
        response = await client.get(f"/api/incidents{query}")
        assert response.status == 200
        return [item["id"] for item in (await response.json())["incidents"]]

    assert await ids("") == [OPEN.id, OVER.id]
    assert await ids("?status=open") == [OPEN.id]
    assert await ids("?status=resolved") == [OVER.id]
    assert (await client.get("/api/incidents?status=nonsense")).status == 400


async def test_one_incident_with_all_about_it(client: Client) -> None:
    body = await (await client.get(f"/api/incidents/{OPEN.id}")).json()
    assert body["incident"] == OPEN.model_dump(mode="json")
    assert [entry["record"] for entry in body["timeline"]] == [ASKED.model_dump(mode="json")]
    assert body["summary"]["proposal"]["decision_id"] == ASKED.id
    assert body["summary"]["needs_person"] is True


async def test_one_decision_and_whether_it_is_intact(client: Client) -> None:
    body = await (await client.get(f"/api/decisions/{ASKED.id}")).json()
    assert body["decision"] == ASKED.model_dump(mode="json")
    assert body["intact"] is True


@pytest.mark.parametrize("path", ["/api/incidents/nope", "/api/decisions/nope", "/nowhere", "/assets/..%2fserver.py"])
async def test_what_is_not_there_is_a_problem_in_json(client: Client, path: str) -> None:
    response = await client.get(path)
    assert response.status == 404
    assert response.content_type == "application/problem+json"


async def test_an_approval_goes_to_the_environment_of_its_decision(client: Client, outbox: Outbox) -> None:
    asked = {"kind": "approve", "by": " alice ", "decision_id": ASKED.id, "note": "go on"}
    response = await client.post("/api/controls", json=asked)
    assert response.status == 201
    [(key, said)] = sent(outbox)
    assert key == ENVIRONMENT
    assert said.model_dump(mode="json") == await response.json()
    assert (said.kind, said.by, said.decision_id, said.incident_id) == ("approve", "alice", ASKED.id, OPEN.id)
    assert (said.environment, said.service) == ("shop", "checkout")
    assert said.time_unix_nano == T0 + seconds(200)


@pytest.mark.parametrize(
    ("scope", "key"),
    [
        ({}, "*"),
        ({"environment": "shop"}, ENVIRONMENT),
        ({"playbook": "rollback-deployment"}, "*"),
        ({"environment": "shop", "service": "checkout"}, ENVIRONMENT),
        ({"environment": "shop", "service": "checkout", "incident_id": "a" * 32}, ENVIRONMENT),
    ],
)
async def test_a_stop_holds_exactly_as_wide_as_it_was_said(
    client: Client, outbox: Outbox, scope: dict[str, str], key: str
) -> None:
    for kind in ("stop", "resume"):
        response = await client.post("/api/controls", json={"kind": kind, "by": "alice"} | scope)
        assert response.status == 201, await response.text()
    assert [(k, said.kind) for k, said in sent(outbox)] == [(key, "stop"), (key, "resume")]
    assert all(Scope.of(said) == Scope(**scope) for _, said in sent(outbox))


async def test_feedback_names_its_incident(client: Client, outbox: Outbox) -> None:
    said = {
        "kind": "feedback",
        "by": "bob",
        "incident_id": OVER.id,
        "verdict": "false_positive",
        "label": "alert_noise",
    }
    assert (await client.post("/api/controls", json=said)).status == 201
    [(key, control)] = sent(outbox)
    assert key == ENVIRONMENT
    assert (control.verdict, control.label, control.incident_id) == ("false_positive", "alert_noise", OVER.id)


async def test_an_acknowledgement_names_its_incident_and_is_shown(client: Client, desk: Desk, outbox: Outbox) -> None:
    said = {"kind": "acknowledge", "by": "bob", "incident_id": OVER.id}
    assert (await client.post("/api/controls", json=said)).status == 201
    [(key, control)] = sent(outbox)
    assert (key, control.kind, control.incident_id, control.service) == (
        ENVIRONMENT,
        "acknowledge",
        OVER.id,
        OVER.service,
    )
    desk.receive([control], LIVE)
    shown = await (await client.get(f"/api/incidents/{OVER.id}")).json()
    assert shown["summary"]["acknowledged_by"] == ["bob"]
    assert shown["timeline"][-1]["record"]["kind"] == "acknowledge"


async def test_the_same_words_at_another_time_are_another_control(client: Client, desk: Desk, outbox: Outbox) -> None:
    await client.post("/api/controls", json={"kind": "stop", "by": "alice"})
    await client.post("/api/controls", json={"kind": "stop", "by": "alice"})
    desk.now_unix_nano = lambda: T0 + seconds(201)
    await client.post("/api/controls", json={"kind": "stop", "by": "alice"})
    first, repeat, later = (said.id for _, said in sent(outbox))
    assert first == repeat != later


@pytest.mark.parametrize(
    ("said", "status", "word"),
    [
        ({"kind": "approve", "decision_id": "b" * 32}, 404, "no such decision"),
        ({"kind": "approve", "decision_id": decision(OVER).id}, 409, "does not ask"),
        ({"kind": "reject", "decision_id": decision(OVER).id}, 409, "does not ask"),
        (
            {"kind": "ratify", "tier": "autonomous", "environment": "e", "service": "s", "playbook": "p"},
            409,
            "reflexarc ratify autonomous",
        ),
        ({"kind": "feedback", "incident_id": "b" * 32, "verdict": "true_positive"}, 404, "no such incident"),
        ({"kind": "acknowledge", "incident_id": "b" * 32}, 404, "no such incident"),
        ({"kind": "acknowledge"}, 400, "needs incident_id"),
        ({"kind": "acknowledge", "incident_id": OVER.id, "verdict": "true_positive"}, 400, "takes no verdict"),
        ({"kind": "approve"}, 400, "needs decision_id"),
        ({"kind": "approve", "decision_id": ASKED.id, "service": "other"}, 400, "takes no service"),
        ({"kind": "stop", "decision_id": ASKED.id}, 400, "takes no decision_id"),
        ({"kind": "feedback", "incident_id": OVER.id}, 400, "verdict, a label or a note"),
        ({"kind": "destroy"}, 400, "kind"),
        ({"kind": "example"}, 400, "nothing that people say"),
        ({"kind": "stop", "by": " "}, 400, "by"),
        ({"kind": "stop", "by": "al\x1b[31mice"}, 400, "printable"),
        ({"kind": "stop", "by": 7}, 400, "by"),
        ({"kind": "stop", "note": "x" * 5000}, 400, "note"),
        ({"kind": "stop", "surprise": 1}, 400, "surprise"),
    ],
)
async def test_what_cannot_be_said(
    client: Client, outbox: Outbox, said: dict[str, object], status: int, word: str
) -> None:
    response = await client.post("/api/controls", json={"by": "alice"} | said)
    body = await response.json()
    assert (response.status, body["status"]) == (status, status)
    assert word in body["detail"]
    assert outbox.sent == []


async def test_an_approval_too_late_is_refused_in_the_words_of_the_policy(
    client: Client, desk: Desk, outbox: Outbox
) -> None:
    desk.now_unix_nano = lambda: ASKED.time_unix_nano + seconds(901)
    response = await client.post("/api/controls", json={"kind": "approve", "by": "alice", "decision_id": ASKED.id})
    assert response.status == 409
    assert "900 s allowed" in (await response.json())["detail"]
    assert outbox.sent == []


async def test_a_decision_is_answered_once(client: Client, desk: Desk, outbox: Outbox) -> None:
    desk.receive([control("reject", decision_id=ASKED.id, by="bob")], LIVE)
    response = await client.post("/api/controls", json={"kind": "approve", "by": "alice", "decision_id": ASKED.id})
    assert response.status == 409
    assert "bob has answered" in (await response.json())["detail"]
    assert outbox.sent == []


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b'"stop"',
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"kind":NaN}',
        b'{"kind":"stop","by":"\\ud800"}',
    ],
)
async def test_a_body_that_is_no_control_is_a_bad_request(client: Client, outbox: Outbox, body: bytes) -> None:
    response = await client.post("/api/controls", data=body, headers={"Content-Type": "application/json"})
    assert response.status == 400
    assert outbox.sent == []


async def test_nothing_is_answered_before_the_broker_has_it(client: Client, outbox: Outbox) -> None:
    outbox.fault = TemporaryError("controls: broker is down", delay=1.5)
    response = await client.post("/api/controls", json={"kind": "stop", "by": "alice"})
    assert response.status == 503
    assert response.headers["Retry-After"] == "2"
    assert "broker is down" in (await response.json())["detail"]


async def test_a_bug_is_logged_and_says_nothing_of_the_inside(
    client: Client, outbox: Outbox, caplog: pytest.LogCaptureFixture, expected_errors: list[str]
) -> None:
    expected_errors.append("POST /api/controls")
    outbox.fault = ZeroDivisionError("secret")
    response = await client.post("/api/controls", json={"kind": "stop", "by": "alice"})
    assert response.status == 500
    assert "secret" not in await response.text()
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_webhook_becomes_raw_alerts(client: Client, outbox: Outbox) -> None:
    response = await client.post("/webhooks/test", data=orjson.dumps(["checkout", "cart"]))
    assert response.status == 202
    assert await response.json() == {"accepted": 2}
    alerts = [decode(topic, key.encode(), value).name for topic, key, value in outbox.sent if topic is RAW_ALERTS]
    assert alerts == ["checkout", "cart"]
    assert [key for _, key, _ in outbox.sent] == ["default/checkout", "default/cart"]


async def test_health_tells_alive_from_current(client: Client, desk: Desk) -> None:
    assert (await client.get("/healthz")).status == 200
    assert (await client.get("/readyz")).status == 200
    desk.receive([], FeedStatus(connected=False, caught_up=True, detail="broker:9092 refused"))
    response = await client.get("/readyz")
    assert response.status == 503
    assert await response.json() == {"connected": False, "caught_up": True}
    assert (await client.get("/healthz")).status == 200


async def test_metrics_can_be_scraped(client: Client, desk: Desk) -> None:
    hostile = Classification(label='evil"} 1\n', confidence=0.5)
    desk.receive([incident(4, classification=hostile), control("stop")], LIVE)
    await client.post("/webhooks/test", data=b"not json")
    await client.post("/webhooks/test", data=b'["a"]')
    response = await client.get("/metrics")
    assert response.status == 200
    samples = {
        (sample.name.removeprefix("reflexarc_console_"), *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(await response.text())
        for sample in family.samples
        if sample.name.startswith("reflexarc_console_")
    }
    assert samples == {
        ("incidents", "deployment_regression", "open"): 1,
        ("incidents", "deployment_regression", "resolved"): 1,
        ("incidents", 'evil"} 1\n', "open"): 1,
        ("outcomes", "reverted"): 1,
        ("stops_in_force",): 1,
        ("event_streams",): 0,
        ("connected",): 1,
        ("caught_up",): 1,
        ("consumer_lag_records", "incidents"): 3,
        ("invalid_records_total", "learning"): 2,
        ("webhooks_total", "refused", "test"): 1,
        ("webhooks_total", "accepted", "test"): 1,
    }


async def test_what_is_measured_can_be_scraped_with_its_intervals(client: Client, desk: Desk) -> None:
    desk.receive([control("feedback", incident_id=OVER.id, verdict="false_positive")], LIVE)
    response = await client.get("/metrics")
    samples = {
        (sample.name.removeprefix("reflexarc_report_"), *sorted(sample.labels.values())): sample.value
        for family in text_string_to_metric_families(await response.text())
        for sample in family.samples
    }
    assert samples["ratio", "false_incidents", "value"] == 1
    assert 0.1 < samples["ratio", "false_incidents", "lower"] < 1
    assert samples["ratio_cases", "false_incidents"] == 1
    assert samples["detect_seconds", "*", "*", "value"] == pytest.approx(1.2)
    assert samples["brier_score", "value"] == pytest.approx(0.93**2), "sure, and wrong"
