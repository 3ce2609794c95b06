"""Several playbooks serve an incident, and live state says which of them knows the target: the next one is taken."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any

import pytest

from actions.catalog import load
from actions.connectors.argo import ArgoConnector
from actions.connectors.base import Connector
from actions.connectors.kubernetes.access import Access
from actions.connectors.kubernetes.connector import KubernetesConnector
from actions.connectors.settings import ClusterAccess
from actions.controls import Controls
from actions.ledger import Ledger, connect
from actions.rails import RailsSettings
from actions.rails_store import RailsStore
from actions.reversals import Reversals
from actions.run import carry_out
from actions.tools import Tools
from schemas.decision import Decision
from schemas.outcome import Outcome
from schemas.topics import INCIDENTS, LEARNING
from streams.embedded import EmbeddedValkey
from streams.incident_to_decision import Decide
from tests.actions.builders import AUTONOMOUS, INSTANCE, LATENCY, SERVICE, incident, seconds, signal
from tests.actions.interleaving import SimulatedTarget, SimulatedTelemetry
from tests.actions.test_executor_rails import NoWaiting
from tests.parts.cluster import NAMESPACE, TOKEN, FakeCluster
from tests.streams.test_decide import take

BOTH = ("argo.cluster", "kubernetes.cluster")
SETTINGS = ClusterAccess(enabled=True, namespaces=(NAMESPACE,))


@pytest.fixture
async def connectors(cluster: FakeCluster) -> AsyncIterator[dict[str, Connector]]:
    async def at_once(_: float) -> None: ...

    given: dict[str, Any] = {
        "access": Access(str(cluster.url), ssl.create_default_context(), lambda: TOKEN),
        "sleep": at_once,
        "monotonic": iter(range(100_000)).__next__,
    }
    found: dict[str, Connector] = {
        "argo.cluster": ArgoConnector(SETTINGS, **given),
        "kubernetes.cluster": KubernetesConnector(SETTINGS, **given),
    }
    yield found
    for connector in found.values():
        await connector.close()


class Arc:
    """Decide and execute, without the topics between them."""

    def __init__(
        self, connectors: dict[str, Connector], cluster: FakeCluster, valkey: EmbeddedValkey, prefix: str
    ) -> None:
        self.cluster = cluster
        self.kernel = Decide(load(connectors=BOTH), AUTONOMOUS, 0, None)
        self.schedule = NoWaiting()
        self.redis = connect(valkey.url)
        self.rails = RailsStore(self.redis, RailsSettings(), prefix=prefix)
        mended = SimulatedTarget(version="1")

        async def controls() -> Controls:
            return Controls()

        self.tools = Tools(
            name="executor",
            ledger=Ledger(self.redis, prefix=prefix, lease_seconds=5),
            rails=self.rails,
            limits=RailsSettings(),
            reversals=Reversals(self.redis, prefix=prefix),
            connectors=connectors,
            controls=controls,
            evidence=lambda evidence: SimulatedTelemetry(evidence, mended, self.schedule, "better"),
            clock=lambda: self.schedule.now,
            sleep=self.schedule.pause,
        )

    async def through(self, identity: str) -> tuple[list[Outcome], Decision | None]:
        """Take an incident through; gives what was tried, and the decision that nothing came of, if any."""
        now = self.schedule.now
        pods = [pod["metadata"]["name"] for pod in self.cluster.pods(SERVICE.service)] or [INSTANCE.instance]
        slow = [signal(LATENCY, entity=INSTANCE.model_copy(update={"instance": pod})) for pod in pods]
        about = incident(
            id=identity,
            active_subjects=(LATENCY,),
            signals=(signal("deployment-1", "noted", kind="change"), *slow),
            onset_unix_nano=now,
            opened_unix_nano=now,
            updated_unix_nano=now,
        )
        (decided,) = take(self.kernel, INCIDENTS, about)
        tried: list[Outcome] = []
        while decided.verdict == "act":
            (command,) = decided.actions
            tried.append((await carry_out(command, self.tools, lambda: False)).outcome)
            told = take(self.kernel, LEARNING, tried[-1])
            if not told:
                return tried, None
            (decided,) = told
        return tried, decided


def names(tried: list[Outcome]) -> list[tuple[str, str]]:
    return [(outcome.playbook.removeprefix("rollback-"), str(outcome.result)) for outcome in tried]


@pytest.fixture
async def arc(
    connectors: dict[str, Connector], cluster: FakeCluster, valkey: EmbeddedValkey, topic_prefix: str
) -> AsyncIterator[Arc]:
    made = Arc(connectors, cluster, valkey, topic_prefix)
    yield made
    await made.redis.aclose()


def rolled_out(cluster: FakeCluster, plural: str) -> None:
    cluster.workload(plural, "checkout", "checkout:1", 3)
    cluster.deploy("checkout", "checkout:2", plural)
    if plural == "rollouts":
        cluster.edit("rollouts", "checkout", {"status": {"promoteFull": True}})
    assert cluster.images("checkout") == {"checkout:2"}


@pytest.mark.integration
async def test_a_deployment_is_rolled_back_by_kubernetes(cluster: FakeCluster, arc: Arc) -> None:
    rolled_out(cluster, "deployments")
    tried, _ = await arc.through("one")
    assert names(tried) == [("deployment-kubernetes", "verified")]
    assert cluster.images("checkout") == {"checkout:1"}


@pytest.mark.integration
@pytest.mark.parametrize("left_over", [False, True], ids=["alone", "beside the Deployment that was"])
async def test_a_rollout_is_rolled_back_by_argo(cluster: FakeCluster, arc: Arc, left_over: bool) -> None:
    if left_over:
        cluster.workload("deployments", "checkout", "checkout:0", 0)
    rolled_out(cluster, "rollouts")
    tried, _ = await arc.through("one")
    assert names(tried) == [("deployment-kubernetes", "not_served"), ("rollout-argo", "verified")]
    assert cluster.images("checkout") == {"checkout:1"}
    assert not tried[0].escalate
    assert len(tried[0].reason) > 20

    # What was learnt there is remembered, and spends nothing.
    snapshot = await arc.rails.snapshot(SERVICE, "rollback-deployment-kubernetes", "one", arc.schedule.now)
    assert (snapshot.failures_in_window, snapshot.playbook_failures_in_window) == (0, 0)
    cluster.deploy("checkout", "checkout:3", "rollouts")
    cluster.edit("rollouts", "checkout", {"status": {"promoteFull": True}})
    arc.schedule.now += seconds(3600)
    tried, _ = await arc.through("two")
    assert names(tried)[0][0] == "rollout-argo"


@pytest.mark.integration
async def test_a_service_that_moved_from_one_to_the_other_is_found_again(cluster: FakeCluster, arc: Arc) -> None:
    rolled_out(cluster, "rollouts")
    await arc.through("one")
    for plural in ("rollouts", "replicasets", "pods"):
        cluster.clear(plural)
    rolled_out(cluster, "deployments")
    arc.schedule.now += seconds(3600)
    tried, _ = await arc.through("two")
    assert names(tried) == [("rollout-argo", "not_served"), ("deployment-kubernetes", "verified")]


@pytest.mark.integration
async def test_what_neither_knows_is_for_a_person(cluster: FakeCluster, arc: Arc) -> None:
    cluster.workload("deployments", "another", "another:1", 1)
    tried, last = await arc.through("one")
    assert [result for _, result in names(tried)] == ["not_served", "not_served"]
    assert last is not None
    assert (last.verdict, "not_served" in last.reason) == ("escalate", True)
