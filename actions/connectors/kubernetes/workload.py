"""The Deployment, StatefulSet or DaemonSet of a service: how many pods it has, and of which of its revisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from actions.connectors.base import OrReference, Plan, State
from actions.connectors.kubernetes.cluster import Cluster, Object, path
from actions.connectors.kubernetes.objects import Service, identity
from actions.connectors.kubernetes.quarantine import look_at_instances
from actions.connectors.kubernetes.revisions import (
    ControllerRevisions,
    Keeper,
    ReplicaSets,
    see_that_it_runs,
    the_workload,
)
from actions.connectors.kubernetes.task import Task, anew, differing
from schemas.errors import PermanentError

_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}
# Who keeps the revisions of each kind of workload.
_KEEPERS: Mapping[str, Keeper] = {
    "deployments": ReplicaSets("pod-template-hash", "deployment.kubernetes.io/revision"),
    "statefulsets": ControllerRevisions(),
    "daemonsets": ControllerRevisions(),
}
# How many pods are updated, ready and there at all, in the words of each kind's status.
_REPLICAS = ("updatedReplicas", "readyReplicas", "replicas")
_COUNTS: Mapping[str, tuple[str, str, str]] = {
    "deployments": _REPLICAS,
    "statefulsets": _REPLICAS,
    "daemonsets": ("updatedNumberScheduled", "numberReady", "currentNumberScheduled"),
}


class Scale(Task):
    """How many pods there are, unless an autoscaler decides that."""

    service: Service
    kind: Literal["Deployment", "StatefulSet"] = "Deployment"
    # 1000 pods of one service is beyond what a cluster of ordinary size runs.
    replicas: Annotated[Annotated[int, Field(ge=0, le=1000)], OrReference]
    converge_seconds: Annotated[float, Field(gt=0, le=600)] = 120.0

    @property
    def touches(self) -> str:
        return self.service

    async def look(self, cluster: Cluster) -> State:
        namespace = await cluster.home(self.service)
        plural, found = await the_workload(cluster, namespace, (_PLURALS[self.kind],), self.service)
        scalers = await cluster.items(path("autoscaling/v2", "horizontalpodautoscalers", namespace))
        references = [item["spec"]["scaleTargetRef"] for item in scalers]
        name = found["metadata"]["name"]
        scaled = any((item["kind"], item["name"]) == (self.kind, name) for item in references)
        return {
            "namespace": namespace,
            "workload": {**rollout(plural, found), "autoscaled": scaled},
            "instances": await look_at_instances(cluster, namespace, self.service),
        }

    def plan(self, before: State, now: State) -> Plan:
        was, here = before["workload"], now["workload"]
        if here["uid"] != was["uid"]:
            return anew(here["name"])
        return differing("replicas", was["replicas"], here["replicas"], self.replicas)

    async def change(self, cluster: Cluster, now: State) -> None:
        here = now["workload"]
        if here["autoscaled"]:
            raise PermanentError(f"an autoscaler decides how many pods {here['name']} has; change its bounds")
        at = path("apps/v1", _PLURALS[self.kind], now["namespace"], here["name"], "scale")
        body = {"metadata": {"resourceVersion": here["resource_version"]}, "spec": {"replicas": self.replicas}}
        await cluster.patch(at, body, "merge")

    def awaited(self, before: State, now: State) -> list[str]:
        del before
        return unfinished(now["workload"])


class Rollback(Task):
    """Which revision of a Deployment, StatefulSet or DaemonSet runs, by the hash of its pod template."""

    service: Service
    template: Annotated[Annotated[str, Field(pattern=r"^[a-z0-9]{1,63}$")], OrReference]
    # Ten minutes is what a Deployment itself gives a rollout by default.
    converge_seconds: Annotated[float, Field(gt=0, le=600)] = 300.0

    @property
    def touches(self) -> str:
        return self.service

    async def look(self, cluster: Cluster) -> State:
        namespace = await cluster.home(self.service)
        plural, found = await the_workload(cluster, namespace, _KEEPERS, self.service)
        keeper = _KEEPERS[plural]
        kept = await keeper.revisions(cluster, namespace, found)
        await see_that_it_runs(cluster, namespace, self.service, found, kept)
        running = keeper.current(found, kept)
        return {
            "namespace": namespace,
            "workload": {
                **rollout(plural, found),
                "kind": plural,
                "paused": bool(found["spec"].get("paused")),
                "template": running,
                "known_good": keeper.known_good(kept, running),
                "revisions": [keeper.state(item) for item in kept],
            },
            "instances": await look_at_instances(cluster, namespace, self.service),
        }

    def plan(self, before: State, now: State) -> Plan:
        was, here = before["workload"], now["workload"]
        if here["uid"] != was["uid"]:
            return anew(here["name"])
        return differing("template", was["template"], here["template"], self.template)

    async def change(self, cluster: Cluster, now: State) -> None:
        here, namespace = now["workload"], now["namespace"]
        if here["paused"]:
            raise PermanentError(f"the rollout of {here['name']} is paused; somebody is at work on it")
        keeper = _KEEPERS[here["kind"]]
        _, found = await the_workload(cluster, namespace, (here["kind"],), self.service)
        wanted = keeper.template_of(await keeper.revisions(cluster, namespace, found), self.template)
        # Replaced as a whole: merged, it would keep what the bad revision added.
        body = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": here["resource_version"]},
            {"op": "replace", "path": "/spec/template", "value": wanted},
        ]
        await cluster.patch(path("apps/v1", here["kind"], namespace, here["name"]), body, "json")

    def awaited(self, before: State, now: State) -> list[str]:
        del before
        return unfinished(now["workload"])


def rollout(plural: str, found: Object) -> State:
    """Give how far the rollout of a workload is."""
    status, meta = found.get("status") or {}, found["metadata"]
    updated, ready, total = _COUNTS[plural]
    # Of a DaemonSet as many pods are wanted as there are nodes that fit.
    wanted = status.get("desiredNumberScheduled", 0) if plural == "daemonsets" else found["spec"].get("replicas", 1)
    return {
        **identity(found),
        "replicas": wanted,
        "seen": status.get("observedGeneration", 0) >= meta.get("generation", 0),
        "updated": status.get(updated, 0),
        "ready": status.get(ready, 0),
        "total": status.get(total, 0),
    }


def unfinished(here: State) -> list[str]:
    """Say what a rollout still waits for."""
    if not here["seen"]:
        return ["its controller has not seen the change"]
    counts = {key: here[key] for key in ("updated", "ready", "total")}
    return [f"{key} are {count} of {here['replicas']}" for key, count in counts.items() if count != here["replicas"]]
