"""Segmentation: the pods of a service reach each other and nobody else, by a network policy of our own."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from actions.connectors.base import Plan, State
from actions.connectors.kubernetes.cluster import Cluster, path
from actions.connectors.kubernetes.objects import labels, letting_through, policy, standing
from actions.connectors.kubernetes.quarantine import look_at_instances
from actions.connectors.kubernetes.task import SATISFIED, Task
from schemas.errors import PermanentError

# The name of the policy is made from it, so no capitals or underscores.
_Service = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,61}[a-z0-9])?$")]


class SetSegment(Task):
    """Whether a service is cut off from all others, in both directions."""

    service: _Service
    isolated: bool

    @property
    def touches(self) -> str:
        return self.service

    async def look(self, cluster: Cluster) -> State:
        namespace, key = await cluster.home(self.service), cluster.settings.service_label
        policies = await cluster.items(path("networking.k8s.io/v1", "networkpolicies", namespace))
        wanted = _policy(self.service, key)
        pods = await cluster.items(path("v1", "pods", namespace), f"{key}={self.service}")
        open_to = {name for pod in pods for name in letting_through(policies, labels(pod), wanted["metadata"]["name"])}
        return {
            "namespace": namespace,
            "label": key,
            "policy": standing(policies, wanted),
            "let_through_by": sorted(open_to),
            "instances": await look_at_instances(cluster, namespace, self.service),
        }

    def plan(self, before: State, now: State) -> Plan:
        del before
        if now["policy"] == ("ours" if self.isolated else "absent"):
            return SATISFIED
        verb = "cut off" if self.isolated else "let in again"
        drifted = now["policy"] == "foreign"
        return Plan(satisfied=False, drifted=drifted, summary=f"{verb} {self.service}", change={verb: self.service})

    async def change(self, cluster: Cluster, now: State) -> None:
        wanted = _policy(self.service, now["label"])
        at = path("networking.k8s.io/v1", "networkpolicies", now["namespace"], wanted["metadata"]["name"])
        if not self.isolated:
            found = await cluster.get(at)
            if found is not None and standing([found], wanted) == "ours":
                await cluster.delete(at, found)
            return
        if not now["instances"]:
            raise PermanentError(f"service {self.service} has no pods in namespace {now['namespace']}")
        if now["let_through_by"]:
            raise PermanentError(f"network policies would let it through: {', '.join(now['let_through_by'])}")
        await cluster.patch(at, wanted, "apply")


def _policy(service: str, label: str) -> State:
    peers = {"podSelector": {"matchLabels": {label: service}}}
    spec = {
        **peers,
        "ingress": [{"from": [peers]}],
        "egress": [{"to": [peers]}],
        "policyTypes": ["Ingress", "Egress"],
    }
    return policy(f"reflexarc-segment-{service}", spec)
