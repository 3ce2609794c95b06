"""What one operation on a cluster does: look, plan, change, and what is awaited afterwards.

Implemented by the parameters of each operation, called by the connector. A task's parameters may be references to the
state when it looks; when it plans and changes they have been replaced by what they refer to.
"""

from __future__ import annotations

from abc import abstractmethod
from typing import Annotated

from pydantic import Field

from actions.connectors.base import Params, Plan, State
from actions.connectors.kubernetes.cluster import Cluster

SATISFIED = Plan(satisfied=True, drifted=False, summary="already as desired", change={})


class Task(Params):
    """Base of all operations on a cluster."""

    converge_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0

    @property
    @abstractmethod
    def touches(self) -> str:
        """Name what is changed, as `protected` in the settings would name it."""

    @abstractmethod
    async def look(self, cluster: Cluster) -> State:
        """Read the live state."""

    @abstractmethod
    def plan(self, before: State, now: State) -> Plan:
        """Say what is missing."""

    @abstractmethod
    async def change(self, cluster: Cluster, now: State) -> None:
        """Make the change, if everything still is as in `now`."""

    def awaited(self, before: State, now: State) -> list[str]:  # noqa: ARG002 - others look at it
        """Say what has not come true yet although the desired state is set."""
        return []


def anew(what: str) -> Plan:
    """Give the plan for what is another object than the one that was looked at first: nothing can be done to it."""
    return Plan(satisfied=False, drifted=True, summary=f"{what} is gone or was made anew since", change={})


def differing(member: str, was: object, here: object, wanted: object) -> Plan:
    """Give the plan that sets one member of the state."""
    if here == wanted:
        return SATISFIED
    return Plan(
        satisfied=False, drifted=here != was, summary=f"{member} {here!r} -> {wanted!r}", change={member: wanted}
    )
