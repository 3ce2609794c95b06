"""The rights that connectors on a cluster need, and whether they are held: the cluster itself says so.

Asked by `reflexarc connectors check`. A review of one's own access is a request that changes nothing and that every
account may make.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from actions.connectors.base import Finding
from actions.connectors.kubernetes.cluster import Cluster, path

_REVIEWS = path("authorization.k8s.io/v1", "selfsubjectaccessreviews")


class Right(NamedTuple):
    """Verbs on resources of one API group."""

    verbs: tuple[str, ...]
    group: str
    resources: tuple[str, ...]
    why: str
    acts: bool = True
    nodes: bool = False
    optional: bool = False

    def each(self) -> Iterator[tuple[str, str]]:
        return ((verb, resource) for resource in self.resources for verb in self.verbs)


async def review(cluster: Cluster, rights: Iterable[Right]) -> list[Finding]:
    """Ask the cluster about each right, in every namespace it is needed in."""
    findings = []
    for right in rights:
        for namespace in ("",) if right.nodes else cluster.settings.namespaces:
            for verb, resource in right.each():
                held = await _held(cluster, namespace, verb, right.group, resource)
                where = f" in {namespace}" if namespace else ""
                findings.append(Finding(f"{verb} {resource}{where}", right.why, held, right.optional))
    return findings


async def _held(cluster: Cluster, namespace: str, verb: str, group: str, resource: str) -> bool:
    name, _, subresource = resource.partition("/")
    asked = {"namespace": namespace, "verb": verb, "group": group, "resource": name, "subresource": subresource}
    body = {
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SelfSubjectAccessReview",
        "spec": {"resourceAttributes": asked},
    }
    return bool((await cluster.post(_REVIEWS, body))["status"]["allowed"])
