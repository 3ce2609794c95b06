"""What a console is started with, checked before anything opens a port.

Filled in by the command line from the settings; read by `console.server` and, through the desk, by the handlers.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from ipaddress import ip_address
from typing import Any

from actions.policy import PolicySettings
from schemas.errors import ConfigurationError
from schemas.raw import Alert
from schemas.topics import Topic

# (body, headers) -> (key, alert) pairs. Raises RecordError for a body that is not what the source sends.
WebhookParser = Callable[[bytes, Mapping[str, str]], list[tuple[str, Alert]]]
# (body, headers, now in nanoseconds since the epoch) -> whether it is from the source, and new.
Verify = Callable[[bytes, Mapping[str, str], int], bool]
# (topic, key, value): resolves when the broker has it. Raises TemporaryError when that cannot be told.
Publish = Callable[[Topic, str, bytes], Awaitable[None]]

# 16 random characters of base64 are 96 bits: beyond guessing at any rate of requests.
MIN_TOKEN_LENGTH = 16


@dataclass(frozen=True)
class ConsoleConfig:
    """Settings of one console.

    Attributes:
        kafka: client settings in librdkafka's words, security included.
        token: asked for as a bearer token by everything but the page itself and the health probes. May be left out
            on a loopback address only.
        webhooks: parser by source; each is served at `/webhooks/<source>`.
        signatures: by source, what tells whether a webhook is genuine. Such a source is asked for no token.
        policy: says how long an approval is valid.
        history_seconds: how far back the topics are read at the start.
        max_incidents: how many incidents are held; the longest resolved are dropped first. One with ten decisions
            takes about 0.2 MB.

    """

    kafka: Mapping[str, Any] = field(repr=False)
    topic_prefix: str = "reflexarc"
    host: str = "127.0.0.1"
    port: int = 8480
    token: str | None = field(default=None, repr=False)
    webhooks: Mapping[str, WebhookParser] = field(default_factory=dict)
    signatures: Mapping[str, Verify] = field(default_factory=dict, repr=False)
    policy: PolicySettings = field(default_factory=PolicySettings)
    history_seconds: float = 7 * 24 * 3600.0
    max_incidents: int = 500

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise ConfigurationError(
                f"console.host {self.host} can be reached by others, so console.token must be set; "
                "without a token the console listens on a loopback address only"
            )
        if self.token is not None and not _usable(self.token):
            raise ConfigurationError(
                f"console.token must have at least {MIN_TOKEN_LENGTH} characters, printable ASCII without spaces"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach it. A name other than localhost may resolve to anything."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _usable(token: str) -> bool:
    return len(token) >= MIN_TOKEN_LENGTH and token.isascii() and token.isprintable() and " " not in token
