"""The Deployment or StatefulSet of a service: how many pods it has, and which of its revisions they are of.

Revisions are told by the hash of their pod template, which the cluster gives them: their numbers change with each
rollback. The known-good one is the newest other revision that carries the annotation `reflexarc.io/known-good: "true"`
on its ReplicaSet, and without any, the one before the current.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Literal

from pydantic import Field

from actions.connectors.base import OrReference, Plan, State
from actions.connectors.kubernetes.cluster import Cluster, Object, path
from actions.connectors.kubernetes.objects import Service, identity, labels, notes, owner
from actions.connectors.kubernetes.quarantine import look_at_instances
from actions.connectors.kubernetes.task import Task, anew, differing
from schemas.errors import PermanentError

KNOWN_GOOD = "reflexarc.io/known-good"
_REVISION = "deployment.kubernetes.io/revision"
HASH = "pod-template-hash"
_PLURALS = {"Deployment": "deployments", "StatefulSet": "statefulsets"}


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
    """Which revision of a Deployment runs, by the hash of its pod template."""

    service: Service
    template: Annotated[Annotated[str, Field(pattern=r"^[a-z0-9]{1,63}$")], OrReference]
    # Ten minutes is what a Deployment itself gives a rollout by default.
    converge_seconds: Annotated[float, Field(gt=0, le=600)] = 300.0

    @property
    def touches(self) -> str:
        return self.service

    async def look(self, cluster: Cluster) -> State:
        namespace = await cluster.home(self.service)
        found, sets = await self._read(cluster, namespace)
        return {
            "namespace": namespace,
            "workload": {
                **rollout(found),
                "paused": bool(found["spec"].get("paused")),
                "template": current(found, sets),
                "known_good": known_good(sets, current(found, sets)),
                "revisions": [_revision(item) for item in sets],
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
        _, sets = await self._read(cluster, namespace)
        wanted = next((item for item in sets if labels(item).get(HASH) == self.template), None)
        if wanted is None:
            raise PermanentError(f"revision {self.template} of {here['name']} is not kept any more")
        # Replaced as a whole: merged, it would keep what the bad revision added.
        body = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": here["resource_version"]},
            {"op": "replace", "path": "/spec/template", "value": without_hash(wanted["spec"]["template"])},
        ]
        await cluster.patch(path("apps/v1", "deployments", namespace, here["name"]), body, "json")

    def awaited(self, before: State, now: State) -> list[str]:
        del before
        return unfinished(now["workload"])

    async def _read(self, cluster: Cluster, namespace: str) -> tuple[Object, list[Object]]:
        found = await the_workload(cluster, namespace, "deployments", self.service)
        return found, await revisions(cluster, namespace, found)


async def the_workload(cluster: Cluster, namespace: str, plural: str, service: str, group: str = "apps/v1") -> Object:
    """Find the one workload of a service.

    Raises:
        PermanentError: none, or more than one carries its label.

    """
    found: list[Object] = await cluster.items(
        path(group, plural, namespace), f"{cluster.settings.service_label}={service}", 2
    )
    if len(found) != 1:
        many = "none" if not found else "more than one"
        raise PermanentError(f"{many} of the {plural} in {namespace} is labelled as service {service}; one is needed")
    return found[0]


async def revisions(cluster: Cluster, namespace: str, workload: Object, annotation: str = _REVISION) -> list[Object]:
    """List the ReplicaSets of a workload, the newest revision first."""
    exact = workload["spec"]["selector"].get("matchLabels") or {}
    selector = ",".join(f"{key}={value}" for key, value in sorted(exact.items()))
    found = await cluster.items(path("apps/v1", "replicasets", namespace), selector)
    uid = workload["metadata"]["uid"]
    ours = [item for item in found if (owner(item) or {}).get("uid") == uid]
    return sorted(ours, key=lambda item: int(notes(item).get(annotation, "0")), reverse=True)


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


def unfinished(here: State) -> list[str]:
    """Say what a rollout still waits for."""
    if not here["seen"]:
        return ["its controller has not seen the change"]
    counts = {key: here[key] for key in ("updated", "ready", "total")}
    return [f"{key} are {count} of {here['replicas']}" for key, count in counts.items() if count != here["replicas"]]


def current(workload: Object, sets: Sequence[Object]) -> str | None:
    """Give the hash of the revision that a workload is of; None while its controller has not made it yet."""
    template = workload["spec"]["template"]
    return next((labels(item).get(HASH) for item in sets if without_hash(item["spec"]["template"]) == template), None)


def known_good(sets: Sequence[Object], running: str | None) -> str | None:
    """Give the hash of the revision to go back to, if any."""
    others = [item for item in sets if labels(item).get(HASH) != running]
    marked = [item for item in others if notes(item).get(KNOWN_GOOD) == "true"]
    return next((labels(item).get(HASH) for item in (*marked, *others)), None)


def without_hash(template: Object) -> dict[str, Any]:
    """Give a pod template as a person wrote it: the cluster adds its hash to the labels of each revision."""
    meta = template.get("metadata") or {}
    kept = {key: value for key, value in (meta.get("labels") or {}).items() if key != HASH}
    return {**template, "metadata": {**meta, "labels": kept}}


def _revision(found: Object) -> State:
    images = [item.get("image") for item in found["spec"]["template"]["spec"].get("containers") or ()]
    return {"template": labels(found).get(HASH), "revision": notes(found).get(_REVISION), "images": images}
