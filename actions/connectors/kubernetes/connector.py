"""Workloads of a Kubernetes cluster, through its API: quarantine, segments, scale, memory, rollback, restart, cordon.

Called by the executor through `Connector`. A pod is named together with its service and must carry that service's
label: a name from telemetry never reaches a pod of another. Each operation is a task of its own (`Task`); here is what
all of them share.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from typing import ClassVar

import httpx

from actions.connectors.base import (
    Connector,
    Convergence,
    Files,
    Finding,
    Monotonic,
    Params,
    Permission,
    Plan,
    Sleep,
    State,
    resolve,
    validate_params,
)
from actions.connectors.kubernetes import access as credentials
from actions.connectors.kubernetes.access import Access
from actions.connectors.kubernetes.cluster import Cluster
from actions.connectors.kubernetes.cordon import SetCordon
from actions.connectors.kubernetes.evidence import Collect
from actions.connectors.kubernetes.memory import SetMemory
from actions.connectors.kubernetes.quarantine import SetQuarantine
from actions.connectors.kubernetes.restart import Restart
from actions.connectors.kubernetes.rights import Right, review
from actions.connectors.kubernetes.segment import SetSegment
from actions.connectors.kubernetes.task import Task
from actions.connectors.kubernetes.workload import Rollback, Scale
from actions.connectors.settings import ClusterAccess
from schemas.action import Operation
from schemas.errors import PermanentError


class ClusterConnector(Connector):
    """What connectors share that act on a cluster through tasks."""

    rights: ClassVar[tuple[Right, ...]]

    def __init__(
        self,
        settings: ClusterAccess,
        *,
        access: Access | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Sleep = asyncio.sleep,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        super().__init__(enabled=settings.enabled, sleep=sleep, monotonic=monotonic)
        found = access or credentials.find(settings.kubeconfig, settings.context)
        self._cluster = Cluster(settings, found, sleep=sleep, transport=transport)

    async def observe(self, operation: Operation) -> State:
        return await self._task(operation).look(self._cluster)

    def plan(self, operation: Operation, before: State, now: State) -> Plan:
        return self._task(operation, before).plan(before, now)

    async def apply(self, operation: Operation, before: State, key: str) -> None:  # noqa: ARG002 - versions of objects make a repeat harmless
        self.require_enabled(operation)
        task = self._task(operation, before)
        if task.touches in self._cluster.settings.protected:
            raise PermanentError(f"{task.touches} is protected by the settings")
        now = await task.look(self._cluster)
        plan = task.plan(before, now)
        if plan.satisfied:
            return
        if not plan.change:
            raise PermanentError(plan.summary)
        await task.change(self._cluster, now)

    async def verify(self, operation: Operation, before: State) -> Convergence:
        task = self._task(operation, before)

        def missing(now: State) -> list[str]:
            plan = task.plan(before, now)
            return task.awaited(before, now) if plan.satisfied else [plan.summary]

        return await self.wait(operation, missing, task.converge_seconds)

    async def check(self) -> list[Finding]:
        wanted = [
            right
            for right in self.rights
            if (self.enabled or not right.acts) and (self._cluster.settings.nodes or not right.nodes)
        ]
        return await review(self._cluster, wanted)

    async def close(self) -> None:
        await self._cluster.close()

    def _task(self, operation: Operation, before: State | None = None) -> Task:
        params = resolve(operation.params, before) if before is not None else operation.params
        task = self.params(operation.model_copy(update={"params": params}))
        assert isinstance(task, Task)  # noqa: S101 - the base of all operations
        return task


class KubernetesConnector(ClusterConnector):
    """One cluster of the settings."""

    permissions = (
        Permission("read", "get, list: pods, networkpolicies", "observe pods, their peers and what lets them through"),
        Permission("read", "get, list: deployments, statefulsets, horizontalpodautoscalers", "workloads"),
        Permission("read", "get, list: daemonsets, replicasets, controllerrevisions", "workloads and their revisions"),
        Permission("read", "get, list: nodes (for the whole cluster)", "only to cordon"),
        Permission("collect", "get: pods/log; list: events", "evidence of a pod before it is quarantined"),
        Permission(
            "collect", "get, create: pods/exec (optional)", "its processes and connections, as its shell sees them"
        ),
        Permission("set_quarantine", "patch: pods; create, patch: networkpolicies", "relabel a pod, make our policy"),
        Permission("set_segment", "create, patch, delete: networkpolicies", "make our policy and take it away"),
        Permission("scale", "patch: deployments/scale, statefulsets/scale", "change the number of pods"),
        Permission("rollback", "patch: deployments, statefulsets, daemonsets", "put an earlier pod template back"),
        Permission("set_memory", "patch: pods/resize", "change a memory limit in place"),
        Permission("restart", "create: pods/eviction", "have a pod replaced, within its disruption budget"),
        Permission("set_cordon", "patch: nodes (for the whole cluster)", "keep new pods off a node"),
    )
    rights = (
        Right(("get", "list"), "", ("pods",), "observe", acts=False),
        Right(("list",), "networking.k8s.io", ("networkpolicies",), "observe", acts=False),
        Right(("list",), "apps", ("deployments", "statefulsets", "daemonsets"), "observe", acts=False),
        Right(("list",), "apps", ("replicasets", "controllerrevisions"), "observe revisions", acts=False),
        Right(("list",), "autoscaling", ("horizontalpodautoscalers",), "observe", acts=False),
        Right(("get", "list"), "", ("nodes",), "observe nodes", acts=False, nodes=True),
        Right(("get",), "", ("pods/log",), "collect evidence", acts=False),
        Right(("list",), "", ("events",), "collect evidence", acts=False),
        # Whoever may run commands in pods may change them: asked for only where we act.
        Right(("get", "create"), "", ("pods/exec",), "evidence of processes and connections", optional=True),
        Right(("patch",), "", ("pods",), "set_quarantine"),
        Right(("get", "create", "patch", "delete"), "networking.k8s.io", ("networkpolicies",), "set_segment"),
        Right(("patch",), "apps", ("deployments/scale", "statefulsets/scale"), "scale"),
        Right(("patch",), "apps", ("deployments", "statefulsets", "daemonsets"), "rollback"),
        Right(("patch",), "", ("pods/resize",), "set_memory"),
        Right(("create",), "", ("pods/eviction",), "restart"),
        Right(("patch",), "", ("nodes",), "set_cordon", nodes=True),
    )
    operations: ClassVar[Mapping[str, type[Params]]] = {
        "set_quarantine": SetQuarantine,
        "set_segment": SetSegment,
        "scale": Scale,
        "rollback": Rollback,
        "set_memory": SetMemory,
        "restart": Restart,
        "set_cordon": SetCordon,
    }
    collections: ClassVar[Mapping[str, type[Params]]] = {"pod": Collect}

    async def collect(self, operation: Operation, package: Files) -> None:
        wanted = validate_params(self.collections, operation)
        assert isinstance(wanted, Collect)  # noqa: S101 - the only one there is
        await wanted.collect(self._cluster, package)
