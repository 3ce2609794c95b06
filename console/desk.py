"""What every handler works with: the view, those who watch it, a way to publish, and the clock.

Made by `console.server`, found by handlers under `DESK` in the application. Tests make one without Kafka.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from aiohttp import web

from console.config import ConsoleConfig, Publish
from console.live import Hub
from console.models import FeedStatus
from console.present import Presenter
from console.view import View, Viewed
from schemas.errors import TemporaryError
from schemas.topics import Topic

# A broker confirms in milliseconds, and within seconds when a partition's leader changes. A person who presses stop
# must be told soon that it could not be said.
DELIVERY_SECONDS = 10.0


@dataclass
class Desk:
    """One console's working parts."""

    config: ConsoleConfig
    publish: Publish
    now_unix_nano: Callable[[], int] = time.time_ns
    hub: Hub = field(default_factory=Hub)
    feed_status: FeedStatus = field(default_factory=FeedStatus)
    # Webhook deliveries by source and how they ended.
    webhooks: Counter[tuple[str, str]] = field(default_factory=Counter)
    view: View = field(init=False)
    present: Presenter = field(init=False)

    def __post_init__(self) -> None:
        self.view = View(max_incidents=self.config.max_incidents)
        validity = self.config.policy.approval_validity_seconds
        self.present = Presenter(self.view, approval_validity_seconds=validity)

    def receive(self, records: Sequence[Viewed], status: FeedStatus) -> None:
        """Fold in what the feed has read and tell those who watch."""
        self.feed_status = status
        self.hub.publish(self.view.add(records))

    async def deliver(self, topic: Topic, key: str, value: bytes) -> None:
        """Publish one record; return once the broker has it.

        Raises:
            TemporaryError: it may or may not be on the topic. Saying it again does no harm.

        """
        try:
            async with asyncio.timeout(DELIVERY_SECONDS):
                await self.publish(topic, key, value)
        except TimeoutError:
            raise TemporaryError(f"{topic.name}: the brokers did not confirm within {DELIVERY_SECONDS:g} s") from None


DESK = web.AppKey("desk", Desk)
