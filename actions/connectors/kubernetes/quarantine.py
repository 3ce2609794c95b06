"""Quarantine of one pod: all its labels are taken off, and a network policy of ours lets nothing in or out.

Without its labels no Service sends it anything, no other network policy lets it through, and its controller starts a
pod in its place, so the service keeps its instances. Its processes go on, for whoever wants to look into them.
"""

from __future__ import annotations

from typing import Annotated, Any

import orjson
from pydantic import Field, model_validator

from actions.connectors.base import OrReference, Plan, State
from actions.connectors.kubernetes.cluster import QUARANTINE, Cluster, Object, path
from actions.connectors.kubernetes.objects import (
    Name,
    Service,
    identity,
    instance,
    labels,
    letting_through,
    owner,
    policy,
    standing,
)
from actions.connectors.kubernetes.task import SATISFIED, Task, anew
from schemas.errors import PermanentError

# On the pod, for people; what we put back is what the ledger says.
_SAVED = "reflexarc.io/labels"
_POLICY = policy(
    "reflexarc-quarantine",
    {
        "podSelector": {"matchExpressions": [{"key": QUARANTINE, "operator": "Exists"}]},
        "policyTypes": ["Ingress", "Egress"],
    },
)


class SetQuarantine(Task):
    """Whether a pod is quarantined; when it is let go, `labels` are those it has again."""

    pod: Name
    service: Service
    quarantined: bool
    labels: Annotated[dict[str, str], OrReference] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _labels_come_back(self) -> SetQuarantine:
        if not self.quarantined and not self.labels:
            raise ValueError("a pod that is let go needs the labels it had: {$state: /pod/labels}")
        return self

    @property
    def touches(self) -> str:
        return self.pod

    async def look(self, cluster: Cluster) -> State:
        namespace = await cluster.home(self.service)
        policies = await cluster.items(path("networking.k8s.io/v1", "networkpolicies", namespace))
        inside = {QUARANTINE: self.service}
        return {
            **await look_at_pod(cluster, namespace, self.pod, self.service),
            "policy": standing(policies, _POLICY),
            "let_through_by": letting_through(policies, inside, _POLICY["metadata"]["name"]),
        }

    def plan(self, before: State, now: State) -> Plan:
        was, here = before["pod"], now["pod"]
        if was is None or here is None or here["uid"] != was["uid"]:
            # One that is no more has nothing to be given back.
            return anew(f"pod {self.pod}") if self.quarantined else SATISFIED
        wanted = {QUARANTINE: self.service} if self.quarantined else self.labels
        if here["labels"] == wanted and (not self.quarantined or now["policy"] == "ours"):
            return SATISFIED
        drifted = here["labels"] not in (was["labels"], wanted)
        summary = f"{'quarantine' if self.quarantined else 'let go'} pod {self.pod}"
        return Plan(satisfied=False, drifted=drifted, summary=summary, change={"labels": wanted})

    async def change(self, cluster: Cluster, now: State) -> None:
        here, namespace = now["pod"], now["namespace"]
        wanted = {QUARANTINE: self.service} if self.quarantined else self.labels
        if self.quarantined:
            await self._close(cluster, now)
        saved = orjson.dumps(here["labels"]).decode() if self.quarantined else None
        gone: dict[str, Any] = dict.fromkeys(here["labels"])
        meta = {
            "resourceVersion": here["resource_version"],
            "labels": gone | wanted,
            "annotations": {_SAVED: saved},
        }
        await cluster.patch(path("v1", "pods", namespace, self.pod), {"metadata": meta}, "merge")

    async def _close(self, cluster: Cluster, now: State) -> None:
        """See that nothing gets in or out of what will have the label, before the pod has it."""
        if now["let_through_by"]:
            names = ", ".join(now["let_through_by"])
            raise PermanentError(f"network policies that select every pod would let it through: {names}")
        if now["policy"] == "foreign":
            raise PermanentError(f"network policy {_POLICY['metadata']['name']} is not as this connector makes it")
        if now["policy"] == "absent":
            at = path("networking.k8s.io/v1", "networkpolicies", now["namespace"], _POLICY["metadata"]["name"])
            await cluster.patch(at, _POLICY, "apply")


async def look_at_pod(cluster: Cluster, namespace: str, name: str, service: str) -> State:
    """Read a pod and its peers.

    Raises:
        PermanentError: the pod is of another service.

    """
    at = path("v1", "pods", namespace)
    found = await cluster.get(f"{at}/{name}")
    if found is not None:
        check_service(cluster, found, service)
    return {
        "namespace": namespace,
        "pod": None if found is None else _state(found),
        "instances": await look_at_instances(cluster, namespace, service),
    }


def check_service(cluster: Cluster, pod: Object, service: str) -> None:
    """See that a pod is one of a service, in quarantine or not.

    Raises:
        PermanentError: it is not.

    """
    if service not in (labels(pod).get(cluster.settings.service_label), labels(pod).get(QUARANTINE)):
        raise PermanentError(f"pod {pod['metadata']['name']} is not labelled as one of service {service}")


async def look_at_instances(cluster: Cluster, namespace: str, service: str) -> list[State]:
    """Read which pods of a service are in service, and which are quarantined."""
    at = path("v1", "pods", namespace)
    keys = (cluster.settings.service_label, QUARANTINE)
    found = [pod for key in keys for pod in await cluster.items(at, f"{key}={service}")]
    # One that was quarantined between the two looks is in neither or both.
    return sorted({pod["metadata"]["name"]: instance(pod) for pod in found}.values(), key=lambda item: item["name"])


def _state(pod: Object) -> State:
    looked_after = owner(pod)
    return {
        **identity(pod),
        "labels": labels(pod),
        "quarantined": QUARANTINE in labels(pod),
        "state": instance(pod)["state"],
        "node": pod["spec"].get("nodeName"),
        "controller": None if looked_after is None else {key: looked_after[key] for key in ("kind", "name")},
    }
