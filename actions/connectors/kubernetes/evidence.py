"""Evidence of a pod, as far as its API tells: how it was made, what happened to it, and what its containers said."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from copy import deepcopy
from typing import Annotated, Any

from pydantic import Field

from actions.connectors.base import Files, Params
from actions.connectors.kubernetes.cluster import Cluster, Object, path
from actions.connectors.kubernetes.objects import Name, Service
from actions.connectors.kubernetes.quarantine import check_service
from schemas.errors import PermanentError


class Collect(Params):
    """Its object, its events, and the last `log_mib` of the log of each of its containers, of this run and the last."""

    pod: Name
    service: Service
    log_mib: Annotated[int, Field(ge=1, le=15)] = 8

    async def collect(self, cluster: Cluster, package: Files) -> None:
        namespace = await cluster.home(self.service)
        at = path("v1", "pods", namespace, self.pod)
        found = await cluster.get(at)
        if found is None:
            raise PermanentError(f"pod {self.pod} is gone")
        check_service(cluster, found, self.service)
        await package.add_document("pod.json", _without_secrets(found))
        for name in _containers(found):
            await package.add(f"{name}.log", self._log(cluster, at, name, previous=False))
        for name in _restarted(found):
            await package.add(f"{name}.previous.log", self._log(cluster, at, name, previous=True))
        query = {"fieldSelector": f"involvedObject.uid={found['metadata']['uid']}", "limit": "500"}
        await package.add("events.json", _read(cluster, path("v1", "events", namespace), query))

    def _log(self, cluster: Cluster, at: str, container: str, *, previous: bool) -> AsyncIterator[bytes]:
        # The API counts `limitBytes` from the beginning of what `tailLines` chose: lines are some 100 bytes.
        size = self.log_mib * 1024 * 1024
        query = {"container": container, "timestamps": "true", "limitBytes": str(size), "tailLines": str(size // 100)}
        return _read(cluster, f"{at}/log", query | ({"previous": "true"} if previous else {}))


async def _read(cluster: Cluster, at: str, query: Mapping[str, str]) -> AsyncIterator[bytes]:
    yield await cluster.text(at, query)


def _containers(pod: Object) -> list[str]:
    kinds = ("containers", "initContainers", "ephemeralContainers")
    return [item["name"] for kind in kinds for item in pod["spec"].get(kind) or ()]


def _restarted(pod: Object) -> list[str]:
    held = (pod.get("status") or {}).get("containerStatuses") or ()
    return [item["name"] for item in held if item.get("restartCount")]


def _without_secrets(pod: Object) -> dict[str, Any]:
    """Leave out the values of the environment, which is where passwords are given to containers."""
    copied: dict[str, Any] = deepcopy(dict(pod))
    for kind in ("containers", "initContainers", "ephemeralContainers"):
        for container in copied["spec"].get(kind) or ():
            for item in container.get("env") or ():
                item.pop("value", None)
    return copied
