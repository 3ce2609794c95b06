"""What the Kubernetes connector does to the pods of a service: how many, of which revision, with how much memory."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest

from actions.connectors.kubernetes.connector import KubernetesConnector
from actions.connectors.kubernetes.memory import quantity
from actions.connectors.kubernetes.revisions import KNOWN_GOOD
from schemas.action import Operation
from schemas.errors import PermanentError
from tests.actions.connectors.clusters import LABEL, done, operation, pod, shipped, two_services
from tests.parts.cluster import FakeCluster


@pytest.fixture
async def connector(cluster: FakeCluster) -> AsyncIterator[KubernetesConnector]:
    async with two_services(cluster) as connector:
        yield connector


def rollback(template: Any) -> Operation:
    return operation("rollback", service="web", template=template, converge_seconds=2)


async def test_scaled_and_scaled_back(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    more = operation("scale", service="web", replicas={"$state": "/workload/replicas", "plus": 1, "at_most": 8})
    back = operation("scale", service="web", replicas={"$state": "/workload/replicas"})
    before = await done(connector, more)
    assert len(cluster.pods("web")) == 4
    await connector.apply(more, before, "key")
    assert len(cluster.writes) == 1
    await connector.revert(more, back, before, "key-revert")
    assert len(cluster.pods("web")) == 3


async def test_what_an_autoscaler_scales_is_left_to_it(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    target = {"kind": "Deployment", "name": "web"}
    cluster.make("horizontalpodautoscalers", "web", {"spec": {"scaleTargetRef": target}})
    more = operation("scale", service="web", replicas=5)
    with pytest.raises(PermanentError, match="autoscaler"):
        await connector.apply(more, await connector.observe(more), "key")


async def test_a_rollback_goes_to_the_revision_before_and_back(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    # What the bad one adds must be gone afterwards, too.
    cluster.edit("deployments", "web", {"spec": {"template": {"spec": {"hostNetwork": True}}}})
    cluster.deploy("web", "web:2")
    undo, redo = rollback({"$state": "/workload/known_good"}), rollback({"$state": "/workload/template"})
    looked = operation("rollback", service="web", template="x")
    good = (await connector.observe(looked))["workload"]["revisions"]
    assert [item["images"] for item in good] == [["web:2"], ["web:1"], ["web:1"]]
    before = await done(connector, undo)
    assert cluster.images("web") == {"web:1"}
    await connector.apply(undo, before, "key")
    assert len(cluster.writes) == 1
    await connector.revert(undo, redo, before, "key-revert")
    assert cluster.images("web") == {"web:2"}


async def test_a_rollback_replaces_the_whole_template(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    cluster.edit("deployments", "web", {"spec": {"template": {"spec": {"hostNetwork": True}}}})
    await done(connector, rollback({"$state": "/workload/known_good"}))
    held = cluster.find("deployments", "web")
    assert held is not None
    assert "hostNetwork" not in held["spec"]["template"]["spec"]


async def test_the_revision_marked_as_good_is_gone_back_to(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    (first,) = [item for item in cluster.all("replicasets") if item["metadata"]["name"].startswith("web-")]
    cluster.edit("replicasets", first["metadata"]["name"], {"metadata": {"annotations": {KNOWN_GOOD: "true"}}})
    cluster.deploy("web", "web:2")
    cluster.deploy("web", "web:3")
    await done(connector, rollback({"$state": "/workload/known_good"}))
    assert cluster.images("web") == {"web:1"}


@pytest.mark.parametrize("plural", ["statefulsets", "daemonsets"])
async def test_what_keeps_its_revisions_itself_is_rolled_back_as_well(
    cluster: FakeCluster, connector: KubernetesConnector, plural: str
) -> None:
    cluster.workload(plural, "store", "store:1", 3)
    cluster.deploy("store", "store:2", plural)
    cluster.deploy("store", "store:3", plural)
    undo, redo = (
        operation("rollback", service="store", template={"$state": f"/workload/{which}"}, converge_seconds=2)
        for which in ("known_good", "template")
    )
    before = await done(connector, undo)
    images = [item["images"] for item in before["workload"]["revisions"]]
    assert images == [["store:3"], ["store:2"], ["store:1"]]
    assert cluster.images("store") == {"store:2"}
    held = cluster.find(plural, "store")
    assert held is not None
    assert "$patch" not in held["spec"]["template"]
    await connector.apply(undo, before, "key")
    assert len(cluster.writes) == 1
    await connector.revert(undo, redo, before, "key-revert")
    assert cluster.images("store") == {"store:3"}
    cluster.bad_images.add("store:2")
    again = await connector.observe(undo)
    await connector.apply(undo, again, "key-2")
    converged = await connector.verify(undo, again)
    assert not converged.reached
    assert "ready are 0 of 3" in converged.detail


@pytest.mark.parametrize("plural", ["statefulsets", "daemonsets"])
async def test_a_service_with_two_workloads_is_left_alone(
    cluster: FakeCluster, connector: KubernetesConnector, plural: str
) -> None:
    cluster.workload(plural, "web", "web:1", 1)
    with pytest.raises(PermanentError, match="more than one"):
        await connector.observe(rollback("x"))


async def test_a_rollback_that_does_not_come_up_is_not_reached(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    cluster.deploy("web", "web:2")
    cluster.bad_images.add("web:1")
    undo = rollback({"$state": "/workload/known_good"})
    before = await connector.observe(undo)
    await connector.apply(undo, before, "key")
    converged = await connector.verify(undo, before)
    assert not converged.reached
    assert "ready are 0 of 3" in converged.detail


async def test_a_rollback_keeps_off_what_somebody_is_at_work_on(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    cluster.deploy("web", "web:2")
    undo = rollback({"$state": "/workload/known_good"})
    before = await connector.observe(undo)
    cluster.deploy("web", "web:3")
    assert connector.plan(undo, before, await connector.observe(undo)).drifted
    cluster.edit("deployments", "web", {"spec": {"paused": True}})
    with pytest.raises(PermanentError, match="paused"):
        await connector.apply(undo, await connector.observe(undo), "key")
    cluster.edit("deployments", "web", {"spec": {"paused": None}})
    gone = rollback("0123456789")
    with pytest.raises(PermanentError, match="not kept"):
        await connector.apply(gone, await connector.observe(gone), "key")


def limited(cluster: FakeCluster, limit: str, request: str | None = None) -> str:
    """Give a pod a memory limit; gives its name."""
    name = pod(cluster)
    held = cluster.find("pods", name)
    assert held is not None
    requests = {} if request is None else {"requests": {"memory": request}}
    held["spec"]["containers"][0]["resources"] = {"limits": {"memory": limit}, **requests}
    return name


def resources(cluster: FakeCluster, name: str) -> Any:
    held = cluster.find("pods", name)
    assert held is not None
    return held["spec"]["containers"][0]["resources"]


async def test_memory_grows_in_place_and_shrinks_again(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    name = limited(cluster, "64Mi", "32Mi")
    command = shipped("grow-memory-kubernetes", name)
    assert command.revert is not None
    before = await done(connector, command.apply)
    assert before["container"]["memory_bytes"] == 64 * 1024**2
    assert resources(cluster, name) == {"limits": {"memory": str(96 * 1024**2)}, "requests": {"memory": "32Mi"}}
    await connector.apply(command.apply, before, "key")
    assert len(cluster.writes) == 1
    await connector.revert(command.apply, command.revert, before, "key-revert")
    assert resources(cluster, name)["limits"] == {"memory": str(64 * 1024**2)}


async def test_what_is_guaranteed_its_memory_stays_so(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    name = limited(cluster, "1Gi", "1024Mi")
    grow = operation("set_memory", pod=name, service="web", memory_bytes=2 * 1024**3)
    await done(connector, grow)
    assert resources(cluster, name)["requests"] == resources(cluster, name)["limits"]


async def test_memory_that_the_node_has_not_is_not_reached(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    name = limited(cluster, "1Gi")
    grow = operation("set_memory", pod=name, service="web", memory_bytes=8 * 1024**3, converge_seconds=2)
    before = await connector.observe(grow)
    await connector.apply(grow, before, "key")
    assert "the node has not resized it" in (await connector.verify(grow, before)).detail


async def test_memory_without_a_limit_stays_without(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    grow = operation("set_memory", pod=pod(cluster), service="web", memory_bytes=1024**3)
    with pytest.raises(PermanentError, match="no memory limit"):
        await connector.apply(grow, await connector.observe(grow), "key")
    with pytest.raises(PermanentError, match="no container sidecar"):
        await connector.observe(
            operation("set_memory", pod=pod(cluster), service="web", memory_bytes=1024**3, container="sidecar")
        )


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0", 0),
        ("128974848", 128974848),
        ("123Mi", 128974848),
        ("1.5Gi", 1610612736),
        ("1e9", 10**9),
        ("2k", 2000),
        ("5G", 5 * 10**9),
        ("1E", 10**18),
        ("128974848000m", 128974848),
    ],
)
def test_quantities_are_read_as_kubernetes_writes_them(text: str, expected: int) -> None:
    assert quantity(text) == expected


@pytest.mark.parametrize("text", ["", "Mi", "1Zi", "1 Gi", "-1", "1..2Gi", "x"])
def test_what_is_no_quantity_is_said(text: str) -> None:
    with pytest.raises(PermanentError, match="no quantity"):
        quantity(text)


async def test_a_restart_replaces_the_pod_once(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    stuck = pod(cluster)
    restart = operation("restart", pod=stuck, service="web", converge_seconds=2)
    before = await done(connector, restart)
    assert stuck not in {item["metadata"]["name"] for item in cluster.pods("web")}
    assert len(cluster.pods("web")) == 3
    await connector.apply(restart, before, "key")
    assert len(cluster.writes) == 1


async def test_a_restart_waits_for_the_new_pod(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    restart = operation("restart", pod=pod(cluster), service="web", converge_seconds=2)
    before = await connector.observe(restart)
    cluster.bad_images.add("web:1")
    await connector.apply(restart, before, "key")
    assert "2 of 3 instances serve" in (await connector.verify(restart, before)).detail


async def test_a_restart_that_would_take_the_service_down_is_refused_by_its_budget(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    cluster.evictions_left = 0
    restart = operation("restart", pod=pod(cluster), service="web")
    with pytest.raises(PermanentError, match="disruption budget"):
        await connector.apply(restart, await connector.observe(restart), "key")
    assert len(cluster.pods("web")) == 3


async def test_a_pod_that_nothing_would_replace_is_not_evicted(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    cluster.make("pods", "lone", {"metadata": {"labels": {LABEL: "web"}}, "spec": {"containers": []}})
    restart = operation("restart", pod="lone", service="web")
    with pytest.raises(PermanentError, match="no controller"):
        await connector.apply(restart, await connector.observe(restart), "key")
