"""Whether a webhook comes from who it says, by the signature of its source.

The console asks before a body is parsed. A source whose secret is set (`console.signatures`) is believed by its
signature alone; it needs no token of the console then.

| source | header | when it was sent |
|---|---|---|
| PagerDuty | `X-PagerDuty-Signature: v1=<hex>`, several while a secret is changed | `event.occurred_at`, in the body |
| Sentry | `Sentry-Hook-Signature: <hex>`, with the client secret | `Sentry-Hook-Timestamp`, not signed |

All are HMAC-SHA-256 of the body. What was sent longer ago than `REPLAY_SECONDS` is refused, for it may have been
recorded. Nobody can give PagerDuty's webhooks another time; who has recorded one of Sentry's can, for Sentry does not
sign it.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable, Mapping
from functools import partial

import msgspec

from console.config import Verify
from schemas.envelope import NANOS
from schemas.errors import RecordError
from streams.sources.common import nanos_of, read_json

# Senders try again for minutes after an outage here; an alert that comes later than this is no news to anyone.
REPLAY_SECONDS = 15 * 60
# PagerDuty signs with every secret that is valid; two are while one is changed.
_MAX_SIGNATURES = 8


class _Event(msgspec.Struct):
    occurred_at: str


class _Delivery(msgspec.Struct):
    event: _Event


_decode = msgspec.json.Decoder(_Delivery).decode


def verifiers(secrets: Mapping[str, str]) -> dict[str, Verify]:
    """Return what verifies each source's webhooks, given the secrets shared with them."""
    return {source: partial(_SCHEMES[source], secret.encode()) for source, secret in secrets.items()}


def _pagerduty(secret: bytes, body: bytes, headers: Mapping[str, str], now: int) -> bool:
    given = _header(headers, "x-pagerduty-signature").split(",", _MAX_SIGNATURES)[:_MAX_SIGNATURES]
    right = f"v1={_sign(secret, body)}"
    if not any(_equal(signature.strip(), right) for signature in given):
        return False
    try:
        return _is_new(nanos_of(read_json(_decode, body).event.occurred_at), now)
    except RecordError:
        return False


def _sentry(secret: bytes, body: bytes, headers: Mapping[str, str], now: int) -> bool:
    sent = _header(headers, "sentry-hook-timestamp")
    if not _equal(_header(headers, "sentry-hook-signature"), _sign(secret, body)):
        return False
    return sent.isascii() and sent.isdecimal() and len(sent) <= len("9999999999") and _is_new(int(sent) * NANOS, now)


_SCHEMES: dict[str, Callable[[bytes, bytes, Mapping[str, str], int], bool]] = {
    "pagerduty": _pagerduty,
    "sentry": _sentry,
}


def _sign(secret: bytes, body: bytes) -> str:
    return hmac.new(secret, body, hashlib.sha256).hexdigest()


def _equal(given: str, right: str) -> bool:
    # Bytes: compare_digest takes no other characters than ASCII in strings, and the header is anyone's.
    return hmac.compare_digest(given.encode(errors="replace"), right.encode())


def _is_new(sent: int, now: int) -> bool:
    return abs(now - sent) <= REPLAY_SECONDS * NANOS


def _header(headers: Mapping[str, str], name: str) -> str:
    return next((value for key, value in headers.items() if key.lower() == name), "")
