"""Rollouts of Argo Rollouts, through the Kubernetes API: an update aborted, an earlier revision put back and promoted.

Called by the executor through `Connector`. What is set is what the controller's own command line tool sets: the pod
template, and `abort` and `promoteFull` in the status. Access, namespaces and labels are as with `kubernetes`.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

import httpx
from pydantic import Field

from actions.connectors.base import OrReference, Params, Permission, Plan, State
from actions.connectors.kubernetes.cluster import ApiError, Cluster, Object, path
from actions.connectors.kubernetes.connector import ClusterConnector
from actions.connectors.kubernetes.objects import Service, identity
from actions.connectors.kubernetes.quarantine import look_at_instances
from actions.connectors.kubernetes.revisions import ReplicaSets, the_workload
from actions.connectors.kubernetes.rights import Right
from actions.connectors.kubernetes.task import Task, anew, differing
from schemas.errors import NotServedError, PermanentError

_GROUP = "argoproj.io/v1alpha1"
_KEEPER = ReplicaSets("rollouts-pod-template-hash", "rollout.argoproj.io/revision")
# The controller sees a new template within a second; what it has not seen by then it promotes step by step.
_LOOKS = 20
_LOOK_SECONDS = 0.25


class RolloutTask(Task):
    """What is common to all: the one Rollout of a service."""

    service: Service

    @property
    def touches(self) -> str:
        return self.service

    async def look(self, cluster: Cluster) -> State:
        namespace = await cluster.home(self.service)
        found, sets = await _read(cluster, namespace, self.service)
        return {
            "namespace": namespace,
            "rollout": _state(found, sets),
            "instances": await look_at_instances(cluster, namespace, self.service),
        }

    def _differing(self, before: State, now: State, member: str, wanted: object) -> Plan:
        was, here = before["rollout"], now["rollout"]
        if here["uid"] != was["uid"]:
            return anew(f"rollout {here['name']}")
        return differing(member, was[member], here[member], wanted)


class SetAborted(RolloutTask):
    """Whether an update is aborted: the stable revision serves everyone. Taken back, the update begins again."""

    aborted: Annotated[bool, OrReference]
    converge_seconds: Annotated[float, Field(gt=0, le=600)] = 120.0

    def plan(self, before: State, now: State) -> Plan:
        return self._differing(before, now, "aborted", self.aborted)

    async def change(self, cluster: Cluster, now: State) -> None:
        here = now["rollout"]
        if self.aborted and not here["updating"]:
            raise PermanentError(f"rollout {here['name']} is not updating; there is nothing to abort")
        await _set_status(cluster, now, {"abort": self.aborted})

    def awaited(self, before: State, now: State) -> list[str]:
        del before
        here = now["rollout"]
        if not self.aborted or here["phase"] == "Degraded":
            return []
        return [f"the controller has not aborted it, its phase is {here['phase']}"]


class Rollback(RolloutTask):
    """Which revision is rolled out, by the hash of its pod template; `promote` skips the steps of the way there."""

    template: Annotated[Annotated[str, Field(pattern=r"^[a-z0-9]{1,63}$")], OrReference]
    promote: bool = True
    converge_seconds: Annotated[float, Field(gt=0, le=600)] = 300.0

    async def look(self, cluster: Cluster) -> State:
        state = await super().look(cluster)
        if state["rollout"]["described_elsewhere"]:
            name = state["rollout"]["name"]
            raise NotServedError(f"the pods of rollout {name} are described by another object; roll that back")
        return state

    def plan(self, before: State, now: State) -> Plan:
        return self._differing(before, now, "template", self.template)

    async def change(self, cluster: Cluster, now: State) -> None:
        here, namespace = now["rollout"], now["namespace"]
        _, sets = await _read(cluster, namespace, self.service)
        body = [
            {"op": "replace", "path": "/metadata/resourceVersion", "value": here["resource_version"]},
            {"op": "replace", "path": "/spec/template", "value": _KEEPER.template_of(sets, self.template)},
        ]
        await cluster.patch(path(_GROUP, "rollouts", namespace, here["name"]), body, "json")
        if self.promote:
            await self._promote(cluster)

    async def _promote(self, cluster: Cluster) -> None:
        # The controller forgets the wish when it sees a new template, so it has to have seen this one.
        for _ in range(_LOOKS):
            now = await self.look(cluster)
            here = now["rollout"]
            if here["stable"] == self.template:
                return
            if here["seen"] == self.template:
                await _set_status(cluster, now, {"promoteFull": True})
                return
            await cluster.sleep(_LOOK_SECONDS)

    def awaited(self, before: State, now: State) -> list[str]:
        del before
        here = now["rollout"]
        if here["stable"] != self.template:
            return [f"revision {here['stable']} is still the stable one"]
        return [] if here["phase"] == "Healthy" else [f"its phase is {here['phase']}"]


class ArgoConnector(ClusterConnector):
    """The Rollouts of one cluster of the settings."""

    permissions = (
        Permission("read", "get, list: rollouts.argoproj.io, replicasets, pods", "observe rollouts and their pods"),
        Permission("set_aborted", "patch: rollouts.argoproj.io/status", "abort an update, or begin it again"),
        Permission(
            "rollback", "patch: rollouts.argoproj.io, rollouts.argoproj.io/status", "put a template, promote it"
        ),
    )
    rights = (
        Right(("get", "list"), "", ("pods",), "observe", acts=False),
        Right(("list",), "apps", ("replicasets",), "observe", acts=False),
        Right(("list",), "argoproj.io", ("rollouts",), "observe", acts=False),
        Right(("patch",), "argoproj.io", ("rollouts",), "rollback"),
        Right(("patch",), "argoproj.io", ("rollouts/status",), "set_aborted, rollback"),
    )
    operations: ClassVar[Mapping[str, type[Params]]] = {"set_aborted": SetAborted, "rollback": Rollback}


async def _read(cluster: Cluster, namespace: str, service: str) -> tuple[Object, list[Object]]:
    try:
        _, found = await the_workload(cluster, namespace, ("rollouts",), service, _GROUP)
    except ApiError as error:
        if error.status == httpx.codes.NOT_FOUND:
            raise NotServedError("the cluster has no Rollouts") from None
        raise
    return found, await _KEEPER.revisions(cluster, namespace, found)


async def _set_status(cluster: Cluster, now: State, wanted: Mapping[str, Any]) -> None:
    here = now["rollout"]
    at = path(_GROUP, "rollouts", now["namespace"], here["name"], "status")
    body = {"metadata": {"resourceVersion": here["resource_version"]}, "status": wanted}
    await cluster.patch(at, body, "merge")


def _state(found: Object, sets: list[Object]) -> State:
    status = found.get("status") or {}
    stable, seen = status.get("stableRS") or None, status.get("currentPodHash") or None
    current = str(status.get("observedGeneration")) == str(found["metadata"].get("generation"))
    # The controller may add to a template what tells canaries apart; then its own word counts, if it is not an old one.
    running = _KEEPER.current(found, sets) or (seen if current else None)
    # While it updates, what serves everyone else is what was good.
    good = stable if stable not in (None, running) else _KEEPER.known_good(sets, running)
    return {
        **identity(found),
        "template": running,
        "known_good": good,
        "stable": stable,
        "seen": seen,
        "updating": stable is not None and stable != seen,
        "aborted": bool(status.get("abort")),
        "described_elsewhere": "workloadRef" in found["spec"],
        "phase": status.get("phase"),
        "revisions": [_KEEPER.state(item) for item in sets],
    }
