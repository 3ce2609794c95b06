"""Webhooks that are signed by their source: forged ones, recorded ones, and those of another secret."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from streams.sources.signatures import REPLAY_SECONDS, verifiers

NOW = 1_790_000_000 * 10**9
AT = "2026-09-21T14:13:20Z"  # NOW
KEY = "a-secret-shared-with-them"
VERIFY = verifiers({"pagerduty": KEY, "sentry": KEY})
BODY = json.dumps({"event": {"event_type": "incident.triggered", "occurred_at": AT}}).encode()


def digest(body: bytes, key: str = KEY) -> str:
    return hmac.new(key.encode(), body, hashlib.sha256).hexdigest()


def pagerduty(body: bytes, key: str = KEY) -> dict[str, str]:
    return {"X-PagerDuty-Signature": f"v1={digest(body, key)}"}


def sentry(body: bytes, key: str = KEY, sent: str = str(NOW // 10**9)) -> dict[str, str]:
    return {"Sentry-Hook-Signature": digest(body, key), "Sentry-Hook-Timestamp": sent}


Sign = Callable[..., dict[str, str]]
each = pytest.mark.parametrize(("source", "sign"), [("pagerduty", pagerduty), ("sentry", sentry)])


@each
def test_what_its_source_signed_is_believed(source: str, sign: Sign) -> None:
    assert VERIFY[source](BODY, sign(BODY), NOW)
    assert VERIFY[source](BODY, {name.lower(): value for name, value in sign(BODY).items()}, NOW)


@each
def test_what_it_did_not_sign_is_not(source: str, sign: Sign) -> None:
    verify = VERIFY[source]
    assert not verify(BODY, {}, NOW)
    assert not verify(BODY + b" ", sign(BODY), NOW)
    assert not verify(BODY, sign(BODY, "another-secret-of-others"), NOW)
    assert not verify(BODY, {name: value.upper() for name, value in sign(BODY).items()}, NOW)
    assert not verify(BODY, {name: f"{value}, " if "=" in value else "" for name, value in sign(b"").items()}, NOW)


@each
@given(forged=st.text(max_size=80))
def test_no_header_makes_a_forgery_pass_or_fail_otherwise(source: str, sign: Sign, forged: str) -> None:
    headers = {name: value if "Timestamp" in name else forged for name, value in sign(BODY).items()}
    assert not VERIFY[source](BODY, headers, NOW)


def test_one_right_signature_of_several_suffices_while_a_secret_is_changed() -> None:
    new, old = pagerduty(BODY)["X-PagerDuty-Signature"], pagerduty(BODY, "the-secret-of-last-year")
    (old_one,) = old.values()
    assert VERIFY["pagerduty"](BODY, {"X-PagerDuty-Signature": f"{old_one},{new}"}, NOW)
    assert not VERIFY["pagerduty"](BODY, {"X-PagerDuty-Signature": ",".join([old_one] * 1000 + [new])}, NOW)
    # Version 1 is the only one there is; what is called otherwise was made otherwise.
    assert not VERIFY["pagerduty"](BODY, {"X-PagerDuty-Signature": new.replace("v1=", "v2=")}, NOW)


@each
@pytest.mark.parametrize("seconds", [-REPLAY_SECONDS, 0, REPLAY_SECONDS])
def test_a_delivery_is_new_for_a_while(source: str, sign: Sign, seconds: int) -> None:
    assert VERIFY[source](BODY, sign(BODY), NOW + seconds * 10**9)
    if seconds:
        assert not VERIFY[source](BODY, sign(BODY), NOW + seconds * 10**9 + (1 if seconds > 0 else -1))


@pytest.mark.parametrize("sent", ["", "now", "-1", "1e9", "\u0661", "9" * 5000])
def test_a_time_of_sentry_that_is_none_is_refused(sent: str) -> None:
    assert not VERIFY["sentry"](BODY, sentry(BODY, sent=sent), NOW)


@pytest.mark.parametrize(
    "body", [b"", b"null", b"{}", b'{"event":{}}', b'{"event":{"occurred_at":"soon"}}', b"[" * 10**5]
)
def test_a_signed_body_of_pagerduty_without_a_time_is_refused(body: bytes) -> None:
    assert not VERIFY["pagerduty"](body, pagerduty(body), NOW)
