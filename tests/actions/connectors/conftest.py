"""Real systems for the connector tests, each started once and shared by the tests of its module.

Where one cannot run, its tests are skipped with the reason; with CI=true they fail instead.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import kmock
import pytest

from tests.parts import netns as netns_part
from tests.parts import podman as podman_part
from tests.parts import postgres as postgres_part
from tests.parts.cluster import FakeCluster
from tests.parts.need import need
from tests.parts.netns import Network
from tests.parts.podman import Podman
from tests.parts.postgres import Postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    need(postgres_part.obstacle())
    with Postgres() as server:
        yield server


@pytest.fixture(scope="module")
def podman() -> Iterator[Podman]:
    need(podman_part.obstacle())
    with Podman() as engine:
        yield engine


@pytest.fixture(scope="module")
def network() -> Iterator[Network]:
    need(netns_part.obstacle())
    with Network() as hosts:
        yield hosts


@pytest.fixture
async def cluster() -> AsyncIterator[FakeCluster]:
    async with FakeCluster() as handler, kmock.Server(handler):
        yield handler
