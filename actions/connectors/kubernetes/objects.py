"""What matters of Kubernetes objects, taken out of them. Pure; used by the tasks of the connectors."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Annotated, Any

from pydantic import Field

from actions.connectors.base import State
from actions.connectors.kubernetes.cluster import QUARANTINE, Object

# A DNS-1123 subdomain, which names of objects are. Nothing in it can end a path segment or begin another.
Name = Annotated[str, Field(pattern=r"^[a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?$")]
# What a label may have as its value. Nothing in it can end a selector or begin another.
Service = Annotated[str, Field(pattern=r"^[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$")]

MANAGED_BY = {"app.kubernetes.io/managed-by": "reflexarc"}


def labels(found: Object) -> dict[str, str]:
    return dict(found["metadata"].get("labels") or {})


def notes(found: Object) -> Mapping[str, str]:
    return found["metadata"].get("annotations") or {}


def owner(found: Object) -> Mapping[str, Any] | None:
    """Give the reference to the controller that looks after an object, if any."""
    owners = found["metadata"].get("ownerReferences") or []
    return next((item for item in owners if item.get("controller")), None)


def identity(found: Object) -> State:
    """Give what tells an object from another that later has its name, and its version."""
    meta = found["metadata"]
    return {"name": meta["name"], "uid": meta["uid"], "resource_version": meta["resourceVersion"]}


def condition(found: Object, kind: str) -> bool:
    held = (found.get("status") or {}).get("conditions") or []
    return any(item.get("type") == kind and item.get("status") == "True" for item in held)


def instance(pod: Object) -> State:
    """Say whether a pod is in service."""
    if QUARANTINE in labels(pod):
        state = "quarantined"
    elif "deletionTimestamp" in pod["metadata"]:
        state = "ending"
    else:
        state = "serving" if condition(pod, "Ready") else "not_ready"
    return {"name": pod["metadata"]["name"], "state": state}


def serving(state: State) -> int:
    return sum(item["state"] == "serving" for item in state["instances"])


def selects(selector: Mapping[str, Any], held: Mapping[str, str]) -> bool:
    """Whether a label selector selects what has these labels. An empty one selects everything."""
    exact = selector.get("matchLabels") or {}
    return all(held.get(key) == value for key, value in exact.items()) and all(
        _holds(item, held) for item in selector.get("matchExpressions") or ()
    )


def _holds(expression: Mapping[str, Any], held: Mapping[str, str]) -> bool:
    key, values = expression["key"], expression.get("values") or ()
    return {
        "In": held.get(key) in values,
        "NotIn": key not in held or held[key] not in values,
        "Exists": key in held,
        "DoesNotExist": key not in held,
    }[expression["operator"]]


def letting_through(policies: Iterable[Object], held: Mapping[str, str], ours: str) -> list[str]:
    """Name the network policies other than ours that allow something to what has these labels.

    Policies only ever add up: what one of them allows, none of ours can forbid.
    """
    return sorted(
        item["metadata"]["name"]
        for item in policies
        if item["metadata"]["name"] != ours
        and (item["spec"].get("ingress") or item["spec"].get("egress"))
        and selects(item["spec"].get("podSelector") or {}, held)
    )


def policy(name: str, spec: Mapping[str, Any]) -> State:
    """Give a network policy of ours, for server-side apply."""
    return {
        "apiVersion": "networking.k8s.io/v1",
        "kind": "NetworkPolicy",
        "metadata": {"name": name, "labels": MANAGED_BY},
        "spec": spec,
    }


def standing(policies: Iterable[Object], wanted: State) -> str:
    """Say whether a network policy of ours is `absent`, `ours`, or `foreign`: its name was taken, or it was changed."""
    name = wanted["metadata"]["name"]
    found = next((item for item in policies if item["metadata"]["name"] == name), None)
    if found is None:
        return "absent"
    managed = MANAGED_BY.items() <= labels(found).items()
    return "ours" if managed and found["spec"] == wanted["spec"] else "foreign"
