"""The memory limit of a container of a running pod, changed in place: no restart, and no other pod is touched."""

from __future__ import annotations

import re
from decimal import Decimal
from typing import Annotated, Any

from pydantic import Field

from actions.connectors.base import OrReference, Plan, State
from actions.connectors.kubernetes.cluster import Cluster, Object, path
from actions.connectors.kubernetes.objects import Name, Service, notes
from actions.connectors.kubernetes.quarantine import look_at_pod
from actions.connectors.kubernetes.task import Task, anew, differing
from schemas.errors import PermanentError

# Which of several containers is meant when none is named, as kubectl reads it.
_DEFAULT = "kubectl.kubernetes.io/default-container"
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)([A-Za-z]*)")
_BINARY = {f"{letter}i": 1024**power for power, letter in enumerate("KMGTPE", 1)}
_DECIMAL = {letter: 1000**power for power, letter in enumerate("kMGTPE", 1)}
_UNITS = {"": Decimal(1), "m": Decimal("0.001"), **_BINARY, **_DECIMAL}


class SetMemory(Task):
    """The limit; only of a container that has one, for a new limit could not be taken away again."""

    pod: Name
    service: Service
    container: Name | None = None
    # 6 MiB is the least that a container runtime takes.
    memory_bytes: Annotated[Annotated[int, Field(ge=6 * 1024 * 1024)], OrReference]

    @property
    def touches(self) -> str:
        return self.pod

    async def look(self, cluster: Cluster) -> State:
        namespace = await cluster.home(self.service)
        state = await look_at_pod(cluster, namespace, self.pod, self.service)
        found = await cluster.get(path("v1", "pods", namespace, self.pod))
        if found is None:
            return state
        index, container = self._container(found)
        limits = container.get("resources") or {}
        limit, request = ((limits.get(kind) or {}).get("memory") for kind in ("limits", "requests"))
        return {
            **state,
            "container": {
                "name": container["name"],
                "index": index,
                "memory_bytes": None if limit is None else quantity(limit),
                # A pod whose requests are its limits must stay so.
                "guaranteed": request is not None and quantity(request) == quantity(limit or "0"),
                "in_force": _in_force(found, container["name"]),
            },
        }

    def plan(self, before: State, now: State) -> Plan:
        was, here = before["pod"], now["pod"]
        if was is None or here is None or here["uid"] != was["uid"]:
            return anew(f"pod {self.pod}")
        held = "memory_bytes"
        return differing(held, before["container"][held], now["container"][held], self.memory_bytes)

    async def change(self, cluster: Cluster, now: State) -> None:
        here, container = now["pod"], now["container"]
        if container["memory_bytes"] is None:
            raise PermanentError("it has no memory limit; a limit could not be taken away again")
        at = f"/spec/containers/{container['index']}/resources"
        kinds = ("limits", "requests") if container["guaranteed"] else ("limits",)
        body = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": here["resource_version"]},
            *({"op": "replace", "path": f"{at}/{kind}/memory", "value": str(self.memory_bytes)} for kind in kinds),
        ]
        await cluster.patch(path("v1", "pods", now["namespace"], self.pod, "resize"), body, "json")

    def awaited(self, before: State, now: State) -> list[str]:
        del before
        in_force = now["container"]["in_force"]
        return [] if in_force == self.memory_bytes else [f"the node has not resized it: {in_force} bytes are in force"]

    def _container(self, pod: Object) -> tuple[int, dict[str, Any]]:
        containers = pod["spec"]["containers"]
        wanted = self.container or notes(pod).get(_DEFAULT) or containers[0]["name"]
        for index, container in enumerate(containers):
            if container["name"] == wanted:
                return index, container
        raise PermanentError(f"pod {self.pod} has no container {wanted}")


def quantity(text: str) -> int:
    """Read a quantity of bytes, as `512Mi`, `1.5G` or `1e9`.

    Raises:
        PermanentError: it is none.

    """
    found = _QUANTITY.fullmatch(text)
    if found is None or found[2] not in _UNITS:
        raise PermanentError(f"{text!r:.50} is no quantity of memory")
    return int(Decimal(found[1]) * _UNITS[found[2]])


def _in_force(pod: Object, name: str) -> int | None:
    for item in (pod.get("status") or {}).get("containerStatuses") or ():
        limit = ((item.get("resources") or {}).get("limits") or {}).get("memory")
        if item["name"] == name and limit is not None:
            return quantity(limit)
    return None
