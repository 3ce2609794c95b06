"""The console's process: one application, one reader, one producer.

`serve` is what the command line calls; `make_app` is what tests call.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from aiohttp import web
from confluent_kafka import KafkaException

from actions.kafka import Publisher
from console.api import controls, events, health, incidents, page, webhooks
from console.api.bodies import MAX_BODY_BYTES
from console.config import ConsoleConfig
from console.desk import DESK, Desk
from console.feed import Feed
from console.problems import explain
from console.security import admit, harden
from schemas.errors import ConfigurationError

__all__ = ["ConsoleConfig", "make_app", "serve"]

log = logging.getLogger(__name__)

# Faust and every Java client place keys by murmur2; an answer must land on its decision's partition.
_PRODUCER = {"partitioner": "murmur2_random", "log_level": 0}
# For answers under way when a stop comes; event streams are ended at once.
SHUTDOWN_SECONDS = 5.0


async def serve(config: ConsoleConfig, stop: asyncio.Event, *, listening: Callable[[str], None] | None = None) -> None:
    """Serve until `stop` is set. Calls `listening` with the address once it can be used.

    Raises:
        ConfigurationError: the address cannot be listened on, or the Kafka settings are wrong.

    """
    try:
        publisher = Publisher({**config.kafka, **_PRODUCER}, config.topic_prefix)
        desk = Desk(config, publisher.publish)
        feed = Feed(config.kafka, config.topic_prefix, desk.receive, history_seconds=config.history_seconds)
    except KafkaException as error:
        raise ConfigurationError(f"kafka: {error}") from error
    runner = web.AppRunner(make_app(desk), access_log=None, shutdown_timeout=SHUTDOWN_SECONDS)
    await runner.setup()
    try:
        address = await _listen(runner, config)
        log.info("console on %s", address)
        if listening is not None:
            listening(address)
        await _until(stop, feed)
    finally:
        await runner.cleanup()


def make_app(desk: Desk) -> web.Application:
    """Build the application around a desk."""
    app = web.Application(middlewares=[explain, admit], client_max_size=MAX_BODY_BYTES)
    app[DESK] = desk
    for module in (page, health, incidents, controls, events, webhooks):
        app.add_routes(module.ROUTES)
    app.on_response_prepare.append(harden)
    app.on_shutdown.append(_end_streams)
    return app


async def _end_streams(app: web.Application) -> None:
    app[DESK].hub.close()


async def _listen(runner: web.AppRunner, config: ConsoleConfig) -> str:
    site = web.TCPSite(runner, config.host, config.port)
    try:
        await site.start()
    except OSError as error:
        raise ConfigurationError(f"console.host {config.host}, console.port {config.port}: {error.strerror}") from error
    host, port = runner.addresses[0][:2]
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"


async def _until(stop: asyncio.Event, feed: Feed) -> None:
    """Read until told to stop; a reader that fails ends the console, for it would show what is no longer so."""
    reading = asyncio.create_task(feed.run())
    stopping = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait({reading, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        feed.stop()
        await reading
