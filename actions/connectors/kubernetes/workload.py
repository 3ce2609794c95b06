"""The Deployment, StatefulSet or DaemonSet of a service: how many pods it has, and of which of its revisions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from actions.connectors.base import OrReference, Plan, State
from actions.connectors.kubernetes.cluster import Cluster, Object, path
from actions.connectors.kubernetes.objects import Service, identity
from actions.connectors.kubernetes.quarantine import look_at_instances
from actions.connectors.kubernetes.revisions import ControllerRevisions, Keeper, ReplicaSets, the_workload
from actions.connectors.kubernetes.task import Task, anew, differing
from schemas.errors import PermanentError

_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}
# Who keeps the revisions of each kind of workload.
_KEEPERS: Mapping[str, Keeper] = {
    "deployments": ReplicaSets("pod-template-hash", "deployment.kubernetes.io/revision"),
    "statefulsets": ControllerRevisions(),
    "daemonsets": ControllerRevisions(),
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
        found = await the_workload(cluster, namespace, _PLURALS[self.kind], self.service)
        scalers = await cluster.items(path("autoscaling/v2", "horizontalpodautoscalers", namespace))
        references = [item["spec"]["scaleTargetRef"] for item in scalers]
        name = found["metadata"]["name"]
        scaled = any((item["kind"], item["name"]) == (self.kind, name) for item in references)
        return {
            "namespace": namespace,
            "workload": {**rollout(found), "autoscaled": scaled},
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
        plural, found, kept = await self._read(cluster, namespace)
        keeper = _KEEPERS[plural]
        running = keeper.current(found, kept)
        return {
            "namespace": namespace,
            "workload": {
                **(daemons(found) if plural == "daemonsets" else rollout(found)),
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
        _, _, kept = await self._read(cluster, namespace)
        wanted = _KEEPERS[here["kind"]].template_of(kept, self.template)
        # Replaced as a whole: merged, it would keep what the bad revision added.
        body = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": here["resource_version"]},
            {"op": "replace", "path": "/spec/template", "value": wanted},
        ]
        await cluster.patch(path("apps/v1", here["kind"], namespace, here["name"]), body, "json")

    def awaited(self, before: State, now: State) -> list[str]:
        del before
        return unfinished(now["workload"])

    async def _read(self, cluster: Cluster, namespace: str) -> tuple[str, Object, list[Object]]:
        """Find the one workload of the service, whatever its kind, and its revisions."""
        labelled = f"{cluster.settings.service_label}={self.service}"
        found = [
            (plural, item)
            for plural in _KEEPERS
            for item in await cluster.items(path("apps/v1", plural, namespace), labelled, 2)
        ]
        if len(found) != 1:
            many = "none" if not found else "more than one"
            kinds = ", ".join(_KEEPERS)
            raise PermanentError(f"{many} of the {kinds} in {namespace} is of service {self.service}; one is needed")
        [(plural, workload)] = found
        return plural, workload, await _KEEPERS[plural].revisions(cluster, namespace, workload)


def rollout(found: Object) -> State:
    """Give how far the rollout of a workload is."""
    status, meta = found.get("status") or {}, found["metadata"]
    return {
        **identity(found),
        "replicas": found["spec"].get("replicas", 1),
        "seen": status.get("observedGeneration", 0) >= meta.get("generation", 0),
        "updated": status.get("updatedReplicas", 0),
        "ready": status.get("readyReplicas", 0),
        "total": status.get("replicas", 0),
    }


def daemons(found: Object) -> State:
    """Give how far the rollout of a DaemonSet is: as many pods are wanted as nodes fit."""
    status, meta = found.get("status") or {}, found["metadata"]
    return {
        **identity(found),
        "replicas": status.get("desiredNumberScheduled", 0),
        "seen": status.get("observedGeneration", 0) >= meta.get("generation", 0),
        "updated": status.get("updatedNumberScheduled", 0),
        "ready": status.get("numberReady", 0),
        "total": status.get("currentNumberScheduled", 0),
    }


def unfinished(here: State) -> list[str]:
    """Say what a rollout still waits for."""
    if not here["seen"]:
        return ["its controller has not seen the change"]
    counts = {key: here[key] for key in ("updated", "ready", "total")}
    return [f"{key} are {count} of {here['replicas']}" for key, count in counts.items() if count != here["replicas"]]
