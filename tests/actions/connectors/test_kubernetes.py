"""The Kubernetes connector against an API with a memory and controllers (`tests.parts.cluster`)."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from time import time_ns
from typing import Any

import httpx
import pytest

from actions.connectors.base import select, unmet
from actions.connectors.kubernetes.access import Access
from actions.connectors.kubernetes.cluster import QUARANTINE
from actions.connectors.kubernetes.connector import KubernetesConnector
from actions.connectors.kubernetes.memory import quantity
from actions.connectors.kubernetes.revisions import KNOWN_GOOD
from actions.connectors.settings import ClusterAccess
from actions.forensics import Forensics, ForensicsSettings
from actions.undo import undo
from schemas.action import ActionCommand, Operation, Precondition
from schemas.envelope import Entity
from schemas.errors import PermanentError, RefusedError, TemporaryError
from schemas.incident import RootCause
from schemas.outcome import EXPIRY
from tests.actions.builders import T0
from tests.actions.connectors.shipped import commands
from tests.parts.cluster import NAMESPACE, TOKEN, FakeCluster

SETTINGS = ClusterAccess(enabled=True, namespaces=(NAMESPACE,), protected=("ledger",), nodes=("node-*",))
LABEL = "app.kubernetes.io/name"


@pytest.fixture
async def connector(cluster: FakeCluster) -> AsyncIterator[KubernetesConnector]:
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


def shipped(name: str, instance: str) -> ActionCommand:
    entity = Entity(environment="demo", service="web", instance=instance)
    cause = RootCause(entity=entity, what="errors", signal_id="signal-1", score=0.9, because="it alone is ill")
    (command,) = commands(name, service="web", root_causes=(cause,)).values()
    return command


def quarantine(name: str, service: str = "web") -> tuple[Operation, Operation]:
    there = {"pod": name, "service": service}
    back = operation("set_quarantine", **there, quarantined=False, labels={"$state": "/pod/labels"})
    return operation("set_quarantine", **there, quarantined=True), back


def rollback(template: Any) -> Operation:
    return operation("rollback", service="web", template=template, converge_seconds=2)


async def done(connector: KubernetesConnector, wanted: Operation) -> dict[str, Any]:
    """Apply as the executor does; gives the state before."""
    before = await connector.observe(wanted)
    assert not connector.plan(wanted, before, before).satisfied
    await connector.apply(wanted, before, "key")
    converged = await connector.verify(wanted, before)
    assert converged.reached, converged.detail
    return before


async def test_a_quarantined_pod_is_cut_off_and_replaced(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    ill = pod(cluster)
    apply, undo = quarantine(ill)
    before = await done(connector, apply)
    assert select(before, "/instances/*/state") == ["serving"] * 3
    not_yet = Precondition(pointer="/pod/quarantined", relation="equals", operand=False)
    assert unmet(not_yet, before) is None

    held = cluster.find("pods", ill)
    assert held is not None
    assert held["metadata"]["labels"] == {QUARANTINE: "web"}
    assert held["metadata"]["ownerReferences"] == []
    # No rule in it: nothing gets in or out of what carries the label.
    policy = cluster.find("networkpolicies", "reflexarc-quarantine")
    assert policy is not None
    assert policy["spec"]["podSelector"] == {"matchExpressions": [{"key": QUARANTINE, "operator": "Exists"}]}
    assert sorted(policy["spec"]) == ["podSelector", "policyTypes"]
    now = await connector.observe(apply)
    assert sorted(select(now, "/instances/*/state")) == ["quarantined", "serving", "serving", "serving"]

    count = len(cluster.writes)
    await connector.apply(apply, before, "key")
    assert len(cluster.writes) == count

    await connector.revert(apply, undo, before, "key-revert")
    assert (await connector.verify(undo, before)).reached
    held = cluster.find("pods", ill)
    assert held is not None
    assert held["metadata"]["labels"] == before["pod"]["labels"]
    assert not held["metadata"]["annotations"]
    assert len(cluster.pods("web")) == 3


async def test_evidence_is_collected_before_quarantine(
    cluster: FakeCluster, connector: KubernetesConnector, tmp_path: Path
) -> None:
    ill = pod(cluster)
    held = cluster.find("pods", ill)
    assert held is not None
    held["spec"]["containers"][0]["env"] = [{"name": "PASSWORD", "value": "secret"}]
    held["status"]["containerStatuses"] = [{"name": "main", "restartCount": 1}]
    cluster.make("events", "one", {"reason": "Killing", "involvedObject": {"uid": held["metadata"]["uid"]}})
    cluster.logs[ill] = b"2026-11-23T00:00:00Z GET /.env\n"
    command = shipped("container-isolation-kubernetes", ill)
    before = await connector.observe(command.apply)
    forensics = Forensics(ForensicsSettings(folder=tmp_path), "executor-1", time_ns)
    told = (await forensics.collect(command, connector, before))["forensics"]
    assert (told["problem"], told["incomplete"]) == (None, [])
    package = Path(told["package"])
    assert (package / "main.log").read_bytes() == cluster.logs[ill]
    assert (package / "main.previous.log").read_bytes() == cluster.logs[ill]
    assert "Killing" in (package / "events.json").read_text()
    described = (package / "pod.json").read_text()
    assert "PASSWORD" in described
    assert "secret" not in described
    assert cluster.writes == []

    cluster.forbidden.add(("GET", "pods/log"))
    again = command.model_copy(update={"id": "another"})
    told = (await forensics.collect(again, connector, before))["forensics"]
    assert told["incomplete"] == ["main.log", "main.previous.log"]


async def test_a_pod_that_is_no_more_needs_nothing_back(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    ill = pod(cluster)
    apply, undo = quarantine(ill)
    before = await done(connector, apply)
    del cluster.objects["v1/pods", NAMESPACE, ill]
    await connector.revert(apply, undo, before, "key-revert")
    assert (await connector.verify(undo, before)).reached


async def test_another_pod_of_that_name_is_not_touched(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    ill = pod(cluster)
    apply, _ = quarantine(ill)
    before = await connector.observe(apply)
    cluster.edit("pods", ill, {"metadata": {"uid": "another"}})
    with pytest.raises(PermanentError, match="made anew"):
        await connector.apply(apply, before, "key")
    assert cluster.writes == []


async def test_labels_that_a_person_gave_it_since_are_theirs(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    ill = pod(cluster)
    apply, undo = quarantine(ill)
    before = await done(connector, apply)
    cluster.edit("pods", ill, {"metadata": {"labels": {"looked-into-by": "kim"}}})
    assert connector.plan(apply, before, await connector.observe(apply)).drifted
    with pytest.raises(RefusedError, match="someone else"):
        await connector.revert(apply, undo, before, "key-revert")


@pytest.mark.parametrize(
    ("selector", "lets_through"),
    [
        ({}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "NotIn", "values": ["db"]}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "DoesNotExist"}]}, True),
        ({"matchExpressions": [{"key": "tier", "operator": "In", "values": ["db"]}]}, False),
        ({"matchExpressions": [{"key": "tier", "operator": "Exists"}]}, False),
        # It selects the pod as it is, and no longer once its labels are off.
        ({"matchLabels": {LABEL: "web"}}, False),
    ],
)
async def test_a_quarantine_that_another_policy_opens_is_not_begun(
    cluster: FakeCluster, connector: KubernetesConnector, selector: dict[str, Any], lets_through: bool
) -> None:
    cluster.make("networkpolicies", "open", {"spec": {"podSelector": selector, "egress": [{}]}})
    cluster.make("networkpolicies", "closed", {"spec": {"podSelector": {}, "policyTypes": ["Ingress"]}})
    apply, _ = quarantine(pod(cluster))
    if not lets_through:
        await done(connector, apply)
        return
    before = await connector.observe(apply)
    with pytest.raises(PermanentError, match="would let it through: open"):
        await connector.apply(apply, before, "key")
    assert cluster.writes == []


async def test_a_policy_of_that_name_that_is_not_ours_is_left_alone(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    body = {"spec": {"podSelector": {"matchLabels": {"x": "y"}}, "ingress": [{}]}}
    cluster.make("networkpolicies", "reflexarc-quarantine", body)
    apply, _ = quarantine(pod(cluster))
    with pytest.raises(PermanentError, match="not as this connector makes it"):
        await connector.apply(apply, await connector.observe(apply), "key")
    assert cluster.writes == []


async def test_a_segment_is_cut_off_and_let_in_again(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    apply = operation("set_segment", service="web", isolated=True)
    undo = operation("set_segment", service="web", isolated=False)
    before = await done(connector, apply)
    held = cluster.find("networkpolicies", "reflexarc-segment-web")
    assert held is not None
    peers = {"podSelector": {"matchLabels": {LABEL: "web"}}}
    assert (held["spec"]["ingress"], held["spec"]["egress"]) == ([{"from": [peers]}], [{"to": [peers]}])
    await connector.revert(apply, undo, before, "key-revert")
    assert cluster.all("networkpolicies") == []


async def test_a_segment_policy_that_was_changed_is_not_taken_away(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    apply = operation("set_segment", service="web", isolated=True)
    before = await done(connector, apply)
    cluster.edit("networkpolicies", "reflexarc-segment-web", {"spec": {"ingress": [{}]}})
    with pytest.raises(RefusedError, match="someone else"):
        await connector.revert(apply, operation("set_segment", service="web", isolated=False), before, "key")
    assert len(cluster.all("networkpolicies")) == 1


async def test_a_segment_that_another_policy_opens_is_not_begun(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    body = {"spec": {"podSelector": {"matchLabels": {LABEL: "web"}}, "ingress": [{}]}}
    cluster.make("networkpolicies", "web-from-all", body)
    apply = operation("set_segment", service="web", isolated=True)
    with pytest.raises(PermanentError, match="web-from-all"):
        await connector.apply(apply, await connector.observe(apply), "key")


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


async def test_a_node_is_cordoned_and_let_go(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    ready = {"spec": {}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}}
    for name in ("node-1", "node-2", "control-1"):
        cluster.make("nodes", name, ready, None)
    cordon = operation("set_cordon", node="node-1", cordoned=True)
    back = operation("set_cordon", node="node-1", cordoned={"$state": "/node/cordoned"})
    before = await done(connector, cordon)
    held = cluster.find("nodes", "node-1", None)
    assert held is not None
    assert held["spec"] == {"unschedulable": True}
    now = await connector.observe(cordon)
    assert sorted(select(now, "/nodes/*/state")) == ["cordoned", "ready", "ready"]
    await connector.revert(cordon, back, before, "key-revert")
    held = cluster.find("nodes", "node-1", None)
    assert held is not None
    assert held["spec"] == {}
    other = operation("set_cordon", node="control-1", cordoned=True)
    with pytest.raises(PermanentError, match="none of `nodes`"):
        await connector.apply(other, await connector.observe(other), "key")


async def test_a_change_of_what_was_changed_meanwhile_is_refused(
    cluster: FakeCluster, connector: KubernetesConnector
) -> None:
    """Between its look and its patch: the version it saw goes with the patch."""
    more = operation("scale", service="web", replicas=5)
    now = await connector.observe(more)
    cluster.edit("deployments", "web", {"spec": {"minReadySeconds": 5}})
    with pytest.raises(TemporaryError, match="409"):
        await connector._task(more).change(connector._cluster, now)
    assert len(cluster.pods("web")) == 3


async def test_what_is_forbidden_or_protected_is_said(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    more = operation("scale", service="web", replicas=5)
    before = await connector.observe(more)
    cluster.forbidden.add(("PATCH", "deployments/scale"))
    with pytest.raises(PermanentError, match="403 deployments/scale is forbidden"):
        await connector.apply(more, before, "key")
    protected = operation("scale", service="ledger", replicas=5)
    with pytest.raises(PermanentError, match="protected"):
        await connector.apply(protected, await connector.observe(protected), "key")
    stranger = connect(cluster, SETTINGS, "another token")
    with pytest.raises(PermanentError, match="401"):
        await stranger.observe(more)
    await stranger.close()


async def test_the_cluster_is_asked_which_rights_are_held(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    assert all(item.held for item in await connector.check())
    cluster.forbidden |= {("PATCH", "deployments/scale"), ("GET", "pods/log")}
    missing = {item.right for item in await connector.check() if not item.held}
    assert missing == {f"patch deployments/scale in {NAMESPACE}", f"get pods/log in {NAMESPACE}"}
    # Read-only, it needs no right to act; without `nodes`, none on nodes.
    reading = connect(cluster, ClusterAccess(namespaces=(NAMESPACE,)))
    asked = {item.right for item in await reading.check()}
    await reading.close()
    assert {right.partition(" ")[0] for right in asked} == {"get", "list"}
    assert not [right for right in asked if "nodes" in right]
    assert cluster.writes == []


async def test_it_is_read_only_until_enabled(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    reading = connect(cluster, SETTINGS.model_copy(update={"enabled": False}))
    more = operation("scale", service="web", replicas=5)
    with pytest.raises(PermanentError, match="read-only"):
        await reading.apply(more, await reading.observe(more), "key")
    await reading.close()
    assert cluster.writes == []


async def test_a_pod_of_another_service_is_out_of_reach(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    with pytest.raises(PermanentError, match="not labelled"):
        await connector.observe(operation("restart", pod=pod(cluster, "ledger"), service="web"))


@pytest.mark.parametrize("name", ["../nodes", "a/b", "a?x=1", "a%2fb", "", "A", "-a", "a\n", "a" * 254])
async def test_a_hostile_name_is_no_pod(connector: KubernetesConnector, name: str) -> None:
    with pytest.raises(PermanentError, match="pod"):
        await connector.observe(operation("restart", pod=name, service="web"))


@pytest.mark.parametrize("service", ["web,x=y", "web)", "in (a)", "", "we b", "web\n", "!web"])
async def test_a_hostile_service_is_no_selector(connector: KubernetesConnector, service: str) -> None:
    with pytest.raises(PermanentError, match="service"):
        await connector.observe(operation("scale", service=service, replicas=1))


async def test_a_service_of_two_namespaces_is_left_alone(cluster: FakeCluster, connector: KubernetesConnector) -> None:
    both = connect(cluster, SETTINGS.model_copy(update={"namespaces": (NAMESPACE, "staging")}))
    more = operation("scale", service="web", replicas=5)
    assert (await both.observe(more))["namespace"] == NAMESPACE
    labelled = {"metadata": {"labels": {LABEL: "web"}}, "spec": {}}
    cluster.make("pods", "web-in-staging", labelled, "staging")
    with pytest.raises(PermanentError, match="in 2 of the configured namespaces"):
        await both.observe(more)
    with pytest.raises(PermanentError, match="in 0 of"):
        await both.observe(operation("scale", service="nobody", replicas=5))
    await both.close()
    with pytest.raises(PermanentError, match="none of the deployments"):
        await connector.observe(operation("scale", service="nobody", replicas=5))


@pytest.mark.parametrize("answer", ["<html>log in</html>", "[]", ""])
async def test_a_proxy_that_answers_for_the_cluster_is_no_cluster(answer: str) -> None:
    transport = httpx.MockTransport(lambda _: httpx.Response(200, text=answer))
    access = Access("http://127.0.0.1:9", ssl.create_default_context(), lambda: None)
    connector = KubernetesConnector(SETTINGS, access=access, transport=transport)
    with pytest.raises(PermanentError, match="no object of Kubernetes"):
        await connector.observe(operation("scale", service="web", replicas=5))
    await connector.close()


async def test_a_cluster_out_of_reach_is_asked_again() -> None:
    access = Access("http://127.0.0.1:9", ssl.create_default_context(), lambda: None)
    away = KubernetesConnector(SETTINGS, access=access)
    with pytest.raises(TemporaryError, match="no answer"):
        await away.observe(operation("scale", service="web", replicas=5))
    await away.close()


@pytest.mark.parametrize("later", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        *("container-isolation", "isolate-instance", "network-segmentation"),
        *("rollback-deployment", "scale-out", "restart-instance"),
    ],
)
async def test_the_shipped_playbook_does_it_and_takes_it_back(
    cluster: FakeCluster, connector: KubernetesConnector, name: str, later: bool
) -> None:
    """At once because it did not help, or later by a command of its own, because its effect expires."""
    cluster.deploy("web", "web:2")
    command = shipped(f"{name}-kubernetes", pod(cluster))
    before = await connector.observe(command.apply)
    assert [problem for item in command.preconditions if (problem := unmet(item, before))] == []
    if command.redundancy is not None:
        assert select(before, command.redundancy.pointer) == [command.redundancy.healthy] * 3
    await done(connector, command.apply)
    if command.revert is not None:
        if later:
            back = undo(command, before, by=EXPIRY, now_unix_nano=T0)
            assert back.revert is not None
            found = await connector.observe(back.apply)
            assert connector.plan(back.revert, found, found).satisfied, "it is as we left it"
            await done(connector, back.apply)
        else:
            await connector.revert(command.apply, command.revert, before, "key-revert")
            assert (await connector.verify(command.revert, before)).reached
        assert cluster.images("web") == {"web:2"}
        assert len(cluster.pods("web")) == 3
        assert all(policy["metadata"]["name"] == "reflexarc-quarantine" for policy in cluster.all("networkpolicies"))
