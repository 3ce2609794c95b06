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
from actions.connectors.settings import ClusterAccess
from actions.forensics import Forensics, ForensicsSettings
from actions.undo import undo
from schemas.action import Operation, Precondition
from schemas.errors import PermanentError, RefusedError, TemporaryError
from schemas.outcome import EXPIRY
from tests.actions.builders import T0
from tests.actions.connectors.clusters import LABEL, SETTINGS, connect, done, operation, pod, shipped, two_services
from tests.parts.cluster import NAMESPACE, FakeCluster


@pytest.fixture
async def connector(cluster: FakeCluster) -> AsyncIterator[KubernetesConnector]:
    async with two_services(cluster) as connector:
        yield connector


def quarantine(name: str, service: str = "web") -> tuple[Operation, Operation]:
    there = {"pod": name, "service": service}
    back = operation("set_quarantine", **there, quarantined=False, labels={"$state": "/pod/labels"})
    return operation("set_quarantine", **there, quarantined=True), back


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
    with pytest.raises(PermanentError, match="nobody has no pods in the configured namespaces"):
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
