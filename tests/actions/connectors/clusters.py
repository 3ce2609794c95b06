"""A Kubernetes connector on a cluster with two services, and what its tests ask of it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from actions.connectors.kubernetes.access import Access
from actions.connectors.kubernetes.connector import KubernetesConnector
from actions.connectors.settings import ClusterAccess
from schemas.action import ActionCommand, Operation
from schemas.envelope import Entity
from schemas.incident import RootCause
from tests.actions.connectors.shipped import commands
from tests.parts.cluster import NAMESPACE, TOKEN, FakeCluster

SETTINGS = ClusterAccess(enabled=True, namespaces=(NAMESPACE,), protected=("ledger",), nodes=("node-*",))
LABEL = "app.kubernetes.io/name"


@asynccontextmanager
async def two_services(cluster: FakeCluster) -> AsyncIterator[KubernetesConnector]:
    """Run `web`, of three pods, and `ledger`, which is protected."""
    cluster.workload("deployments", "web", "web:1", 3)
    cluster.workload("deployments", "ledger", "ledger:1", 2)
    connector = connect(cluster, SETTINGS)
    yield connector
    await connector.close()


def connect(cluster: FakeCluster, settings: ClusterAccess, token: str = TOKEN) -> KubernetesConnector:
    async def at_once(_: float) -> None: ...

    access = Access(str(cluster.url), ssl.create_default_context(), lambda: token)
    # Whatever the fake cluster does is done when it answers: what is not there at the second look never comes.
    return KubernetesConnector(settings, access=access, sleep=at_once, monotonic=iter(range(100_000)).__next__)


def operation(kind: str, **params: Any) -> Operation:
    return Operation(connector="kubernetes.cluster", operation=kind, params=params)


def pod(cluster: FakeCluster, service: str = "web") -> str:
    return str(cluster.pods(service)[0]["metadata"]["name"])


async def done(connector: KubernetesConnector, wanted: Operation) -> dict[str, Any]:
    """Apply as the executor does; gives the state before."""
    before = await connector.observe(wanted)
    assert not connector.plan(wanted, before, before).satisfied
    await connector.apply(wanted, before, "key")
    converged = await connector.verify(wanted, before)
    assert converged.reached, converged.detail
    return before


def shipped(name: str, instance: str) -> ActionCommand:
    entity = Entity(environment="demo", service="web", instance=instance)
    cause = RootCause(entity=entity, what="errors", signal_id="signal-1", score=0.9, because="it alone is ill")
    (command,) = commands(name, service="web", root_causes=(cause,)).values()
    return command
