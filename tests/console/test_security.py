"""Strangers, other sites' pages, and bodies made to hurt."""

from __future__ import annotations

import asyncio
import gzip
from io import BytesIO
from typing import Any

import pytest
from aiohttp.test_utils import TestClient, TestServer

from console.api import bodies
from console.api.bodies import MAX_BODY_BYTES
from console.config import ConsoleConfig
from console.desk import Desk
from console.server import make_app
from schemas.errors import ConfigurationError
from tests.console.conftest import LIVE, TOKEN, Client, Outbox, make_desk
from tests.console.records import incident

BEARER = {"Authorization": f"Bearer {TOKEN}"}
STOP = {"kind": "stop", "by": "alice"}


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.0.0.7", "console.example.com", ""])
def test_an_address_others_reach_needs_a_token(host: str) -> None:
    with pytest.raises(ConfigurationError, match=r"console\.token must be set"):
        ConsoleConfig(kafka={}, host=host)
    assert ConsoleConfig(kafka={}, host=host, token=TOKEN).host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.8.8.8", "::1", "localhost"])
def test_a_loopback_address_does_not(host: str) -> None:
    assert ConsoleConfig(kafka={}, host=host).token is None


@pytest.mark.parametrize(
    "token", ["", "short", "fifteen-letters", "with a space in the middle", "ünïcödé-ünïcödé-ünïcödé"]
)
def test_a_token_that_protects_nothing_is_refused(token: str) -> None:
    with pytest.raises(ConfigurationError, match=r"console\.token must have at least 16"):
        ConsoleConfig(kafka={}, token=token)


def test_secrets_are_not_printed() -> None:
    config = ConsoleConfig(kafka={"sasl.password": "hunter2-hunter2"}, token=TOKEN)
    assert "hunter2" not in repr(config)
    assert TOKEN not in repr(config)


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer "},
        {"Authorization": "Bearer wrong"},
        {"Authorization": f"Bearer {TOKEN}x"},
        {"Authorization": TOKEN},
        {"Authorization": f"Basic {TOKEN}"},
    ],
)
async def test_without_the_token_nothing_is_told_or_taken(
    guarded: Client, outbox: Outbox, headers: dict[str, str]
) -> None:
    assert (await guarded.post("/api/controls", json=STOP, headers=headers)).status == 401
    assert (await guarded.post("/webhooks/test", data=b'["a"]', headers=headers)).status == 401
    for path in ("/api/incidents", "/api/incidents/x", "/api/decisions/x", "/api/events", "/metrics", "/nowhere"):
        response = await guarded.get(path, headers=headers)
        assert response.status == 401, path
        assert response.headers["WWW-Authenticate"] == "Bearer"
    assert outbox.sent == []


async def test_with_the_token_everything_works(guarded: Client, outbox: Outbox) -> None:
    assert (await guarded.post("/api/controls", json=STOP, headers=BEARER)).status == 201
    assert (await guarded.post("/webhooks/test", data=b'["a"]', headers=BEARER)).status == 202
    assert (await guarded.get("/api/incidents", headers=BEARER)).status == 200
    assert len(outbox.sent) == 2


@pytest.mark.parametrize("token", [TOKEN, None])
async def test_a_signed_webhook_needs_its_signature_and_no_token(outbox: Outbox, token: str | None) -> None:
    desk = make_desk(
        outbox, token=token, signatures={"test": lambda body, headers, _: headers["Sig"] == str(len(body))}
    )
    async with TestClient(TestServer(make_app(desk))) as client:
        for headers in ({"Sig": "6"}, {"Sig": "6", "Authorization": f"Bearer {TOKEN}"}):
            refused = await client.post("/webhooks/test", data=b'["a"]', headers=headers)
            assert refused.status == 403
        assert outbox.sent == []
        assert (await client.post("/webhooks/test", data=b'["a"]', headers={"Sig": "5"})).status == 202
        assert len(outbox.sent) == 1
        # It is the word of that source about its alerts; nothing else is believed for it.
        if token is not None:
            assert (await client.post("/webhooks/other", data=b'["a"]', headers={"Sig": "5"})).status == 401
            assert (await client.post("/api/controls", json=STOP, headers={"Sig": "5"})).status == 401
        assert len(outbox.sent) == 1
    assert desk.webhooks == {("test", "refused"): 2, ("test", "accepted"): 1}


async def test_probes_and_the_empty_page_need_no_token(guarded: Client) -> None:
    for path in ("/", "/assets/app.js", "/assets/style.css", "/assets/favicon.svg", "/healthz", "/readyz"):
        assert (await guarded.get(path)).status == 200, path


async def test_a_page_of_another_site_cannot_press_the_button(client: Client, outbox: Outbox) -> None:
    for origin in ("https://evil.example", "null", "http://127.0.0.1:1", "http://["):
        response = await client.post("/api/controls", json=STOP, headers={"Origin": origin})
        assert response.status == 403, origin
        response = await client.post("/webhooks/test", data=b'["a"]', headers={"Origin": origin})
        assert response.status == 403, origin
    assert outbox.sent == []
    own = f"http://{client.host}:{client.port}"
    assert (await client.post("/api/controls", json=STOP, headers={"Origin": own})).status == 201


async def test_a_form_is_no_control(client: Client, outbox: Outbox) -> None:
    body = b'{"kind":"stop","by":"alice"}'
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        assert (await client.post("/api/controls", data=body, headers={"Content-Type": kind})).status == 415
    assert outbox.sent == []


async def test_a_name_that_was_made_to_resolve_here_is_not_answered(client: Client) -> None:
    for host in ("evil.example", "evil.example:8480", "127.0.0.1.evil.example", "[", ""):
        response = await client.get("/api/incidents", headers={"Host": host})
        assert response.status in {400, 421}, host
    assert (await client.get("/api/incidents", headers={"Host": "localhost:8480"})).status == 200


async def test_every_answer_tells_the_browser_to_run_nothing_foreign(client: Client) -> None:
    for path in ("/", "/api/incidents", "/nowhere", "/metrics"):
        headers = (await client.get(path)).headers
        policy = headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "script-src 'self';" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Cache-Control"] == "no-store"


async def test_the_page_asks_nothing_of_others(client: Client) -> None:
    page = await (await client.get("/")).text()
    assert "//" not in page.replace("<!doctype html>", "")
    for script in ("app", "api", "ask", "detail", "dom", "format", "list", "timeline"):
        text = await (await client.get(f"/assets/{script}.js")).text()
        for sink in ("innerHTML", "outerHTML", "insertAdjacentHTML", "document.write", "eval(", "http://", "https://"):
            assert sink not in text, (script, sink)


XSS = '</script><script>alert(1)</script>"><img src=x onerror=alert(1)>\u2028\x00\x1b[31m'


async def test_hostile_text_travels_as_json_only(client: Client, desk: Desk) -> None:
    desk.receive([incident(1, title=XSS, service=XSS)], LIVE)
    response = await client.get(f"/api/incidents/{incident(1).id}")
    assert response.content_type == "application/json"
    assert (await response.json())["incident"]["title"] == XSS


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"null",
        b"17",
        b"[null]",
        b'["a", {}]',
        b'"boom"',
        b"\xff\xfe\x00",
        b"[" * 200_000,
        b'{"a":' * 100_000,
        XSS.encode(),
        b'["' + b"x" * 2000 + b'"]',
        b'"surrogate"',
    ],
)
async def test_a_hostile_webhook_is_a_bad_request_with_a_reason(
    client: Client, outbox: Outbox, body: bytes, expected_errors: list[str]
) -> None:
    expected_errors.append("webhook parser")
    response = await client.post("/webhooks/test", data=body)
    assert response.status == 400
    assert response.content_type == "application/problem+json"
    assert (await response.json())["detail"]
    assert outbox.sent == []


async def test_an_unknown_source_learns_which_there_are(client: Client) -> None:
    response = await client.post("/webhooks/nagios", data=b"[]")
    assert response.status == 404
    assert (await response.json())["detail"].endswith("there are: test")


async def test_a_body_too_large_is_refused(client: Client, outbox: Outbox) -> None:
    for path, kind in (("/webhooks/test", "text/plain"), ("/api/controls", "application/json")):
        body = BytesIO(b" " * (MAX_BODY_BYTES + 1))
        assert (await client.post(path, data=body, headers={"Content-Type": kind})).status == 413
    assert outbox.sent == []


async def test_a_small_body_that_unpacks_to_a_large_one_is_refused(client: Client, outbox: Outbox) -> None:
    packed = gzip.compress(b" " * (50 * MAX_BODY_BYTES))
    response = await client.post("/webhooks/test", data=packed, headers={"Content-Encoding": "gzip"})
    assert response.status == 413
    assert outbox.sent == []


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_body_not_encoded_as_it_says_is_a_bad_request(client: Client, encoding: str) -> None:
    response = await client.post("/webhooks/test", data=b"plainly not", headers={"Content-Encoding": encoding})
    assert response.status == 400


async def test_a_compressed_body_is_read(client: Client, outbox: Outbox) -> None:
    packed: Any = gzip.compress(b'["a"]')
    response = await client.post("/webhooks/test", data=packed, headers={"Content-Encoding": "gzip"})
    assert response.status == 202
    assert len(outbox.sent) == 1


async def test_a_body_that_never_arrives_is_given_up(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bodies, "READ_SECONDS", 0.05)
    reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
    writer.write(b"POST /webhooks/test HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[")
    async with asyncio.timeout(5):
        assert b" 408 " in await reader.readline()
    writer.close()
    await writer.wait_closed()


async def test_a_sender_that_goes_away_is_no_fault_of_ours(
    client: Client, outbox: Outbox, caplog: pytest.LogCaptureFixture
) -> None:
    for request in (
        b"POST /webhooks/test HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n[",
        b"\x16\x03\x01\x00",
    ):
        _, writer = await asyncio.open_connection("127.0.0.1", client.port)
        writer.write(request)
        await writer.drain()
        writer.close()
        await writer.wait_closed()
    assert (await client.get("/healthz")).status == 200
    assert outbox.sent == []
    assert not [record for record in caplog.records if record.name.startswith("console")]
