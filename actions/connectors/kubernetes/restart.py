"""Restart of one pod: it is evicted, and its controller starts another in its place.

An eviction respects the service's disruption budget, so that redundant instances keep it up; the API itself says no
where they would not.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from actions.connectors.base import Plan, State
from actions.connectors.kubernetes.cluster import Cluster, path
from actions.connectors.kubernetes.objects import Name, Service, serving
from actions.connectors.kubernetes.quarantine import look_at_pod
from actions.connectors.kubernetes.task import SATISFIED, Task
from schemas.errors import PermanentError


class Restart(Task):
    """Have a pod replaced by its controller, with `grace_seconds` to end before it is killed."""

    pod: Name
    service: Service
    grace_seconds: Annotated[int, Field(ge=0, le=300)] = 30
    converge_seconds: Annotated[float, Field(gt=0, le=600)] = 60.0

    @property
    def touches(self) -> str:
        return self.pod

    async def look(self, cluster: Cluster) -> State:
        return await look_at_pod(cluster, await cluster.home(self.service), self.pod, self.service)

    def plan(self, before: State, now: State) -> Plan:
        was, here = before["pod"], now["pod"]
        if was is not None and (here is None or here["uid"] != was["uid"]):
            return SATISFIED
        change = {"evict": self.pod}
        return Plan(satisfied=False, drifted=was is None, summary=f"evict pod {self.pod}", change=change)

    async def change(self, cluster: Cluster, now: State) -> None:
        here = now["pod"]
        if here["controller"] is None:
            raise PermanentError(f"pod {self.pod} has no controller; nothing would start another in its place")
        body = {
            "apiVersion": "policy/v1",
            "kind": "Eviction",
            "metadata": {"name": self.pod, "namespace": now["namespace"]},
            "deleteOptions": {"gracePeriodSeconds": self.grace_seconds, "preconditions": {"uid": here["uid"]}},
        }
        await cluster.post(path("v1", "pods", now["namespace"], self.pod, "eviction"), body)

    def awaited(self, before: State, now: State) -> list[str]:
        # The stuck one stood for an instance, whether or not the cluster had noticed.
        wanted = serving(before) + (before["pod"]["state"] != "serving")
        here = serving(now)
        return [] if here >= wanted else [f"{here} of {wanted} instances serve"]
