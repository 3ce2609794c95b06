"""The revisions of a workload, one for each pod template there was, as its controller keeps them.

Of Deployments and Argo's Rollouts these are ReplicaSets, of StatefulSets and DaemonSets ControllerRevisions. Revisions
are told by the hash of their pod template, which the controller gives them: their numbers change with each rollback.
The known-good one is the newest other revision that carries the annotation `reflexarc.io/known-good: "true"`, and
without any, the one before the current. Used by the connectors that roll back.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from actions.connectors.base import State
from actions.connectors.kubernetes.cluster import Cluster, Object, path
from actions.connectors.kubernetes.objects import labels, notes, owner
from schemas.errors import NotServedError, PermanentError

KNOWN_GOOD = "reflexarc.io/known-good"


async def the_workload(
    cluster: Cluster, namespace: str, plurals: Collection[str], service: str, group: str = "apps/v1"
) -> tuple[str, Object]:
    """Find the one workload of a service, of whichever of these kinds it is; returns its kind and the workload.

    Raises:
        NotServedError: none carries its label.
        PermanentError: more than one does.

    """
    labelled = f"{cluster.settings.service_label}={service}"
    found = [(p, item) for p in plurals for item in await cluster.items(path(group, p, namespace), labelled, 2)]
    kinds = " and ".join(plurals)
    if not found:
        raise NotServedError(f"none of the {kinds} in {namespace} is labelled as service {service}")
    if len(found) > 1:
        raise PermanentError(
            f"more than one of the {kinds} in {namespace} is labelled as service {service}; one must be"
        )
    return found[0]


async def see_that_it_runs(
    cluster: Cluster, namespace: str, service: str, workload: Object, kept: Sequence[Object]
) -> None:
    """See that pods of a service are of the workload that carries its label: another controller may have taken over.

    Raises:
        NotServedError: it has pods, and all of them are of others.

    """
    pods = await cluster.items(path("v1", "pods", namespace), f"{cluster.settings.service_label}={service}")
    owners = {(holder["kind"], holder["name"]): holder["uid"] for pod in pods if (holder := owner(pod)) is not None}
    ours = {item["metadata"]["uid"] for item in (workload, *kept)}
    if owners and ours.isdisjoint(owners.values()):
        kind, name = min(owners)
        what = workload["metadata"]["name"]
        raise NotServedError(
            f"the pods of service {service} are not of {what}, which carries its label, but of {kind} {name}"
        )


class Keeper(ABC):
    """A controller that keeps revisions, as objects of one kind."""

    plural: str

    async def revisions(self, cluster: Cluster, namespace: str, workload: Object) -> list[Object]:
        """List the revisions of a workload, the newest first."""
        exact = workload["spec"]["selector"].get("matchLabels") or {}
        selector = ",".join(f"{key}={value}" for key, value in sorted(exact.items()))
        found = await cluster.items(path("apps/v1", self.plural, namespace), selector)
        uid = workload["metadata"]["uid"]
        ours = [item for item in found if (owner(item) or {}).get("uid") == uid]
        return sorted(ours, key=self.number, reverse=True)

    @abstractmethod
    def name(self, revision: Object) -> str | None:
        """Give the hash of a revision."""

    @abstractmethod
    def number(self, revision: Object) -> int:
        """Give the number of a revision: the higher, the newer."""

    @abstractmethod
    def template(self, revision: Object) -> dict[str, Any]:
        """Give the pod template of a revision, as a person wrote it."""

    def current(self, workload: Object, kept: Sequence[Object]) -> str | None:
        """Give the hash of the revision that a workload is of; None while its controller has not made it yet."""
        template = workload["spec"].get("template")
        return next((self.name(item) for item in kept if self.template(item) == template), None)

    def known_good(self, kept: Sequence[Object], running: str | None) -> str | None:
        """Give the hash of the revision to go back to, if any."""
        others = [item for item in kept if self.name(item) != running]
        marked = [item for item in others if notes(item).get(KNOWN_GOOD) == "true"]
        return next((self.name(item) for item in (*marked, *others)), None)

    def template_of(self, kept: Sequence[Object], name: str) -> dict[str, Any]:
        """Find the pod template of a revision.

        Raises:
            PermanentError: it is not kept any more.

        """
        for item in kept:
            if self.name(item) == name:
                return self.template(item)
        raise PermanentError(f"revision {name} is not kept any more")

    def state(self, revision: Object) -> State:
        """Give what a person wants to know of a revision."""
        images = [item.get("image") for item in self.template(revision)["spec"].get("containers") or ()]
        return {"template": self.name(revision), "revision": str(self.number(revision)), "images": images}


class ReplicaSets(Keeper):
    """Of a Deployment or Rollout: where it notes the hash (a label) and the number (an annotation)."""

    plural = "replicasets"

    def __init__(self, hash_label: str, revision_note: str) -> None:
        self._hash = hash_label
        self._revision = revision_note

    def name(self, revision: Object) -> str | None:
        return labels(revision).get(self._hash)

    def number(self, revision: Object) -> int:
        return int(notes(revision).get(self._revision, "0"))

    def template(self, revision: Object) -> dict[str, Any]:
        found = revision["spec"]["template"]
        meta = found.get("metadata") or {}
        # The controller adds the hash to its labels.
        kept = {key: value for key, value in (meta.get("labels") or {}).items() if key != self._hash}
        return {**found, "metadata": {**meta, "labels": kept}}


class ControllerRevisions(Keeper):
    """Of a StatefulSet or DaemonSet."""

    plural = "controllerrevisions"

    def name(self, revision: Object) -> str | None:
        # `<workload>-<hash>`; the label with the hash has another name for each controller.
        return str(revision["metadata"]["name"]).rpartition("-")[2]

    def number(self, revision: Object) -> int:
        return int(revision["revision"])

    def template(self, revision: Object) -> dict[str, Any]:
        found = revision["data"]["spec"]["template"]
        # What the controller has noted is a patch.
        return {key: value for key, value in found.items() if key != "$patch"}
