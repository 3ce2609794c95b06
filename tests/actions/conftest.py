"""Fixtures for actions: the ledger and the target server."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from aiohttp import web

from actions.ledger import Ledger, connect
from streams.embedded import EmbeddedValkey
from tests.actions.target import DeploymentTarget


@pytest.fixture
async def ledger(valkey: EmbeddedValkey, topic_prefix: str) -> AsyncIterator[Ledger]:
    redis = connect(valkey.url)
    yield Ledger(redis, prefix=topic_prefix, lease_seconds=5)
    await redis.aclose()


@pytest.fixture
async def target() -> AsyncIterator[DeploymentTarget]:
    target = DeploymentTarget()
    runner = web.AppRunner(target.application(), shutdown_timeout=0.1)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    target.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    yield target
    await runner.cleanup()
