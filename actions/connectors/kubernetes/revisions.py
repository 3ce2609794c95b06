"""The revisions of a workload: the ReplicaSets that its controller keeps, one for each pod template there was.

Revisions are told by the hash of their pod template, which the controller gives them: their numbers change with each
rollback. The known-good one is the newest other revision that carries the annotation `reflexarc.io/known-good: "true"`
on its ReplicaSet, and without any, the one before the current. Used by the connectors that roll back.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from actions.connectors.base import State
from actions.connectors.kubernetes.cluster import Cluster, Object, path
from actions.connectors.kubernetes.objects import labels, notes, owner
from schemas.errors import PermanentError

KNOWN_GOOD = "reflexarc.io/known-good"


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


@dataclass(frozen=True)
class Keeper:
    """A controller that keeps revisions, by where it notes their hash (a label) and number (an annotation)."""

    hash: str
    revision: str

    async def revisions(self, cluster: Cluster, namespace: str, workload: Object) -> list[Object]:
        """List the ReplicaSets of a workload, the newest revision first."""
        exact = workload["spec"]["selector"].get("matchLabels") or {}
        selector = ",".join(f"{key}={value}" for key, value in sorted(exact.items()))
        found = await cluster.items(path("apps/v1", "replicasets", namespace), selector)
        uid = workload["metadata"]["uid"]
        ours = [item for item in found if (owner(item) or {}).get("uid") == uid]
        return sorted(ours, key=lambda item: int(notes(item).get(self.revision, "0")), reverse=True)

    def name(self, replicaset: Object) -> str | None:
        return labels(replicaset).get(self.hash)

    def current(self, workload: Object, sets: Sequence[Object]) -> str | None:
        """Give the hash of the revision that a workload is of; None while its controller has not made it yet."""
        template = workload["spec"].get("template")
        return next((self.name(item) for item in sets if self._written(item) == template), None)

    def known_good(self, sets: Sequence[Object], running: str | None) -> str | None:
        """Give the hash of the revision to go back to, if any."""
        others = [item for item in sets if self.name(item) != running]
        marked = [item for item in others if notes(item).get(KNOWN_GOOD) == "true"]
        return next((self.name(item) for item in (*marked, *others)), None)

    def template_of(self, sets: Sequence[Object], name: str) -> dict[str, Any]:
        """Find the pod template of a revision.

        Raises:
            PermanentError: it is not kept any more.

        """
        for item in sets:
            if self.name(item) == name:
                return self._written(item)
        raise PermanentError(f"revision {name} is not kept any more")

    def state(self, found: Object) -> State:
        images = [item.get("image") for item in found["spec"]["template"]["spec"].get("containers") or ()]
        return {"template": self.name(found), "revision": notes(found).get(self.revision), "images": images}

    def _written(self, replicaset: Object) -> dict[str, Any]:
        """Give a pod template as a person wrote it: the controller adds the hash to its labels."""
        template = replicaset["spec"]["template"]
        meta = template.get("metadata") or {}
        kept = {key: value for key, value in (meta.get("labels") or {}).items() if key != self.hash}
        return {**template, "metadata": {**meta, "labels": kept}}
