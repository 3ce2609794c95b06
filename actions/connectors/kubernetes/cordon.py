"""Cordon of a node: no new pod is put there; those that run there go on."""

from __future__ import annotations

from fnmatch import fnmatchcase
from typing import Annotated

from actions.connectors.base import OrReference, Plan, State
from actions.connectors.kubernetes.cluster import Cluster, Object, path
from actions.connectors.kubernetes.objects import Name, condition, identity
from actions.connectors.kubernetes.task import Task, anew, differing
from schemas.errors import PermanentError


class SetCordon(Task):
    """Whether new pods are kept off a node."""

    node: Name
    cordoned: Annotated[bool, OrReference]

    @property
    def touches(self) -> str:
        return self.node

    async def look(self, cluster: Cluster) -> State:
        found = await cluster.get(path("v1", "nodes", None, self.node))
        nodes = await cluster.items(path("v1", "nodes"))
        return {
            "node": None if found is None else {**identity(found), "cordoned": _cordoned(found)},
            "nodes": [{"name": item["metadata"]["name"], "state": _state(item)} for item in nodes],
        }

    def plan(self, before: State, now: State) -> Plan:
        was, here = before["node"], now["node"]
        if was is None or here is None or here["uid"] != was["uid"]:
            return anew(f"node {self.node}")
        return differing("cordoned", was["cordoned"], here["cordoned"], self.cordoned)

    async def change(self, cluster: Cluster, now: State) -> None:
        if not any(fnmatchcase(self.node, pattern) for pattern in cluster.settings.nodes):
            raise PermanentError(f"node {self.node} is none of `nodes` in the settings")
        body = {
            "metadata": {"resourceVersion": now["node"]["resource_version"]},
            "spec": {"unschedulable": self.cordoned or None},
        }
        await cluster.patch(path("v1", "nodes", None, self.node), body, "merge")


def _cordoned(node: Object) -> bool:
    return bool(node["spec"].get("unschedulable"))


def _state(node: Object) -> str:
    if _cordoned(node):
        return "cordoned"
    return "ready" if condition(node, "Ready") else "not_ready"
