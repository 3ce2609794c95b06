"""A Kubernetes API on loopback with a memory, on kmock: what it lacks for our connectors is added here.

Label selectors, versions and preconditions, the kinds of patches, evictions with a disruption budget, and just enough
of the controllers of Deployments and ReplicaSets: pods are made, replaced, released and adopted as a cluster would.
Used by the `cluster` fixture of the connector tests.
"""

from __future__ import annotations

from collections.abc import Iterator
from copy import deepcopy
from hashlib import sha256
from itertools import count
from typing import Any

import aiohttp.web
import attrs
import kmock
import orjson
from kmock import KubernetesEmulator, KubernetesError, Request

from tests.parts import pod_shell

TOKEN = "token-of-the-executor"
NAMESPACE = "shop"
# Where the controllers of Deployments and Rollouts note the hash of a revision, and its number.
HASHES = {"deployments": "pod-template-hash", "rollouts": "rollouts-pod-template-hash"}
REVISIONS = {"deployments": "deployment.kubernetes.io/revision", "rollouts": "rollout.argoproj.io/revision"}
_CORE = {"pods", "nodes", "events"}
_GROUPS = {
    "replicasets": "apps/v1",
    "deployments": "apps/v1",
    "statefulsets": "apps/v1",
    "daemonsets": "apps/v1",
    "controllerrevisions": "apps/v1",
    "networkpolicies": "networking.k8s.io/v1",
    "horizontalpodautoscalers": "autoscaling/v2",
    "rollouts": "argoproj.io/v1alpha1",
}
# How many pods there are, updated, ready and wanted, in the words of each controller.
_STATUS = {
    "statefulsets": ("replicas", "updatedReplicas", "readyReplicas", "currentReplicas"),
    "daemonsets": ("currentNumberScheduled", "updatedNumberScheduled", "numberReady", "desiredNumberScheduled"),
}

Json = dict[str, Any]


@attrs.define(kw_only=True)
class FakeCluster(KubernetesEmulator):
    """One cluster. `forbidden` are pairs of method and resource; `evictions_left` is the disruption budget."""

    forbidden: set[tuple[str, str]] = attrs.field(factory=set)
    # Kinds that the cluster was never taught.
    absent: set[str] = attrs.field(factory=set)
    bad_images: set[str] = attrs.field(factory=set)
    evictions_left: int = 100
    controllers_away: bool = False
    node_memory_bytes: int = 4 * 1024**3
    writes: list[Request] = attrs.field(factory=list)
    logs: dict[str, bytes] = attrs.field(factory=dict)
    # What is `sh` in each container; those that are not named have none.
    shells: dict[str, tuple[str, ...]] = attrs.field(factory=dict)
    _numbers: Iterator[int] = attrs.field(factory=lambda: count(1))

    # What tests do and see.

    def make(self, plural: str, name: str, body: Json, namespace: str | None = NAMESPACE) -> Json:
        """Make an object, as if a person had."""
        number = next(self._numbers)
        meta = {"name": name, "uid": f"uid-{number}", "resourceVersion": str(number), "generation": 1}
        given = dict(body.get("metadata", {}))
        held = {**deepcopy(body), "metadata": {**meta, **deepcopy(given)}}
        if namespace is not None:
            held["metadata"]["namespace"] = namespace
        self.objects[_key(plural, namespace, name)] = held
        return held

    def find(self, plural: str, name: str, namespace: str | None = NAMESPACE) -> Json | None:
        key = _key(plural, namespace, name)
        return self.objects[key].raw if key in self.objects else None

    def all(self, plural: str, namespace: str | None = NAMESPACE) -> list[Json]:
        wanted = kmock.resource(_resource(plural))
        return [held.raw for (kind, place, _), held in self.objects.items() if (kind, place) == (wanted, namespace)]

    def clear(self, plural: str, namespace: str | None = NAMESPACE) -> None:
        """Delete all objects of a kind, as if a person had."""
        for held in self.all(plural, namespace):
            del self.objects[_key(plural, namespace, held["metadata"]["name"])]

    def edit(self, plural: str, name: str, change: Json, namespace: str | None = NAMESPACE) -> None:
        """Change an object, as if a person had."""
        held = self.find(plural, name, namespace)
        assert held is not None
        self._replace(plural, namespace, name, _merged(held, change))
        self.reconcile()

    def workload(self, plural: str, name: str, image: str, replicas: int) -> None:
        held = {"app.kubernetes.io/name": name}
        template = {"metadata": {"labels": held}, "spec": {"containers": [{"name": "main", "image": image}]}}
        body = {"replicas": replicas, "selector": {"matchLabels": held}, "template": template}
        self.make(plural, name, {"metadata": {"labels": held}, "spec": body, "status": {}})
        self.reconcile()

    def deploy(self, name: str, image: str, plural: str = "deployments") -> None:
        """Roll a new version out."""
        held = self.find(plural, name)
        assert held is not None
        template = deepcopy(held["spec"]["template"])
        template["spec"]["containers"][0]["image"] = image
        self.edit(plural, name, {"spec": {"template": template}})

    def pods(self, service: str) -> list[Json]:
        return [pod for pod in self.all("pods") if pod["metadata"]["labels"].get("app.kubernetes.io/name") == service]

    def images(self, service: str) -> set[str]:
        return {pod["spec"]["containers"][0]["image"] for pod in self.pods(service)}

    # The API.

    async def _handle(self, request: Request) -> aiohttp.web.StreamResponse:
        if request.resource is None or request.resource.plural is None:
            raise KubernetesError(status=404, message="no such path")
        plural, name = str(request.resource.plural), request.name
        if request.headers.get("Authorization") != f"Bearer {TOKEN}":
            raise KubernetesError(status=401, message="Unauthorized")
        if plural in self.absent:
            raise KubernetesError(status=404, message="the server could not find the requested resource")
        what = plural if request.subresource is None else f"{plural}/{request.subresource}"
        if (_method(request), what) in self.forbidden:
            raise KubernetesError(status=403, message=f"{what} is forbidden: User cannot {_method(request)} it")
        if request.subresource == "exec":
            return await self._exec(request)
        if plural == "selfsubjectaccessreviews":
            return aiohttp.web.json_response({"status": {"allowed": self._allows(request.data)}})
        if _method(request) != "GET":
            self.writes.append(request)
        answer = self._answer(request, plural, name)
        if isinstance(answer, bytes):
            return aiohttp.web.Response(body=answer)
        return aiohttp.web.json_response(answer)

    async def _exec(self, request: Request) -> aiohttp.web.StreamResponse:
        if self.find("pods", str(request.name), request.namespace) is None:
            raise KubernetesError(status=404, message="pod not found")
        assert request._raw_request is not None
        words = request._raw_request.query.getall("command")
        return await pod_shell.serve(request._raw_request, words, self.shells.get(request.params["container"]))

    def _answer(self, request: Request, plural: str, name: str | None) -> Json | bytes:
        if name is None:
            return {"items": self._listed(request, plural)}
        held = self.find(plural, name, request.namespace)
        match _method(request), request.subresource:
            case "PATCH", None if held is None and _kind(request) == "apply":
                return self.make(plural, name, request.data, request.namespace)
            case _ if held is None:
                raise KubernetesError(status=404, message=f'{plural} "{name}" not found')
            case "GET", "log":
                return self.logs.get(name, b"")[: int(request.params.get("limitBytes", "1000000"))]
            case "GET", None:
                return held
            case "DELETE", None:
                _same(held, request.data["preconditions"])
                del self.objects[_key(plural, request.namespace, name)]
            case "POST", "eviction":
                self._evict(held, request.data)
            case "PATCH", "scale" | None | "status":
                self._replace(plural, request.namespace, name, _patched(held, request))
            case "PATCH", "resize":
                self._replace(plural, request.namespace, name, self._resized(_patched(held, request)))
        self.reconcile()
        return self.find(plural, name, request.namespace) or {"kind": "Status", "status": "Success"}

    def _allows(self, review: Json) -> bool:
        asked = review["spec"]["resourceAttributes"]
        what = "/".join(filter(None, (asked["resource"], asked["subresource"])))
        method = {"get": "GET", "list": "GET", "create": "POST", "patch": "PATCH", "delete": "DELETE"}[asked["verb"]]
        return (method, what) not in self.forbidden

    def _listed(self, request: Request, plural: str) -> list[Json]:
        pairs = [part.split("=") for part in request.params.get("labelSelector", "").split(",") if part]
        wanted = dict(pairs)
        found = self.all(plural, request.namespace)
        matching = [item for item in found if wanted.items() <= (item["metadata"].get("labels") or {}).items()]
        return matching[: int(request.params["limit"])]

    def _resized(self, pod: Json) -> Json:
        """Let the node take the new limits over, unless it has not that much."""
        for container in pod["spec"]["containers"]:
            if int(container["resources"]["limits"]["memory"]) <= self.node_memory_bytes:
                pod["status"]["containerStatuses"] = [{"name": "main", "resources": container["resources"]}]
        return pod

    def _evict(self, pod: Json, eviction: Json) -> None:
        if self.evictions_left <= 0:
            raise KubernetesError(status=429, message="Cannot evict pod as it would violate its disruption budget")
        _same(pod, eviction["deleteOptions"]["preconditions"])
        self.evictions_left -= 1
        del self.objects[_key("pods", NAMESPACE, pod["metadata"]["name"])]

    def _replace(self, plural: str, namespace: str | None, name: str, held: Json) -> None:
        before = self.find(plural, name, namespace)
        held["metadata"]["resourceVersion"] = str(next(self._numbers))
        if before is not None and before.get("spec") != held.get("spec"):
            held["metadata"]["generation"] = before["metadata"]["generation"] + 1
        self.objects[_key(plural, namespace, name)] = held

    # Its controllers.

    def reconcile(self) -> None:
        if self.controllers_away:
            return
        for deployment in self.all("deployments"):
            self._spread(deployment, {self._replicaset("deployments", deployment): deployment["spec"]["replicas"]})
            self._report(deployment)
        for plural in ("statefulsets", "daemonsets"):
            for workload in self.all(plural):
                self._replace_pods(plural, workload)
        for rollout in self.all("rollouts"):
            self._step(rollout)

    def _replace_pods(self, plural: str, workload: Json) -> None:
        """Have all pods of a StatefulSet or DaemonSet be of its template, which is kept as a revision."""
        template, kept = workload["spec"]["template"], self._owned("controllerrevisions", workload)
        digest = _digest(template)
        name = f"{workload['metadata']['name']}-{digest}"
        latest = max((item["revision"] for item in kept), default=0)
        found = next((item for item in kept if item["metadata"]["name"] == name), None)
        if found is None:
            labels = template["metadata"]["labels"]
            # As the controllers write it: a patch that replaces the template.
            data = {"spec": {"template": {**deepcopy(template), "$patch": "replace"}}}
            meta = {"labels": dict(labels), **_owner(plural, workload)}
            self.make("controllerrevisions", name, {"metadata": meta, "data": data, "revision": latest + 1})
        elif found["revision"] < latest:
            found["revision"] = latest + 1
        for pod in self._owned("pods", workload):
            del self.objects[_key("pods", NAMESPACE, pod["metadata"]["name"])]
        wanted = workload["spec"]["replicas"]
        ready = template["spec"]["containers"][0]["image"] not in self.bad_images
        condition = {"type": "Ready", "status": "True" if ready else "False"}
        for number in range(wanted):
            meta = {"labels": dict(template["metadata"]["labels"]), **_owner(plural, workload)}
            body = {"metadata": meta, "spec": deepcopy(template["spec"]), "status": {"conditions": [condition]}}
            self.make("pods", f"{workload['metadata']['name']}-{number}", body)
        names = _STATUS[plural]
        counts = dict(zip(names, (wanted, wanted, wanted if ready else 0, wanted), strict=True))
        workload["status"] |= {"observedGeneration": workload["metadata"]["generation"], **counts}

    def _step(self, rollout: Json) -> None:
        """Give one pod to an update, and all when it is promoted; none when it is aborted."""
        status, current = rollout["status"], self._replicaset("rollouts", rollout)
        if status.get("currentPodHash") != current:
            status |= {"currentPodHash": current, "promoteFull": False, "abort": False}
        stable = status.setdefault("stableRS", current)
        if status["promoteFull"]:
            status |= {"stableRS": (stable := current), "promoteFull": False}
        replicas = rollout["spec"]["replicas"]
        canaries = 0 if stable == current or status["abort"] else 1
        self._spread(rollout, {current: canaries} | {stable: replicas - canaries})
        status["phase"] = "Degraded" if status["abort"] else "Paused" if canaries else "Healthy"

    def _spread(self, workload: Json, pods: dict[str, int]) -> None:
        for item in self._owned("replicasets", workload):
            self._keep(item, pods.get(item["metadata"]["name"].rpartition("-")[2], 0))

    def _replicaset(self, plural: str, workload: Json) -> str:
        """Find the ReplicaSet of a workload's template, or make it; gives its hash."""
        template, sets = workload["spec"]["template"], self._owned("replicasets", workload)
        number = REVISIONS[plural]
        latest = max((int(item["metadata"]["annotations"][number]) for item in sets), default=0)
        digest = _digest(template)
        name = f"{workload['metadata']['name']}-{digest}"
        found = next((item for item in sets if item["metadata"]["name"] == name), None)
        if found is None:
            held = {**template["metadata"]["labels"], HASHES[plural]: digest}
            hashed = _merged(deepcopy(template), {"metadata": {"labels": held}})
            meta = {"labels": held, "annotations": {number: str(latest + 1)}, **_owner(plural, workload)}
            body = {"metadata": meta, "spec": {"selector": {"matchLabels": held}, "template": hashed}}
            self.make("replicasets", name, body)
        elif int(found["metadata"]["annotations"][number]) < latest:
            found["metadata"]["annotations"][number] = str(latest + 1)
        return digest

    def _keep(self, replicaset: Json, replicas: int) -> None:
        wanted, uid = replicaset["spec"]["selector"]["matchLabels"], replicaset["metadata"]["uid"]
        for pod in self.all("pods"):
            fits = wanted.items() <= (pod["metadata"].get("labels") or {}).items()
            mine = any(item["uid"] == uid for item in pod["metadata"].get("ownerReferences", []))
            if mine and not fits:
                pod["metadata"]["ownerReferences"] = []
            elif fits and not mine:
                pod["metadata"] |= _owner("ReplicaSet", replicaset)
        pods = self._owned("pods", replicaset)
        for pod in pods[replicas:]:
            del self.objects[_key("pods", NAMESPACE, pod["metadata"]["name"])]
        for _ in range(replicas - len(pods)):
            self._start(replicaset, wanted)

    def _start(self, replicaset: Json, held: Json) -> None:
        spec = deepcopy(replicaset["spec"]["template"]["spec"]) | {"nodeName": "node-1"}
        ready = spec["containers"][0]["image"] not in self.bad_images
        status = {"conditions": [{"type": "Ready", "status": "True" if ready else "False"}]}
        meta = {"labels": dict(held), **_owner("ReplicaSet", replicaset)}
        name = f"{replicaset['metadata']['name']}-{next(self._numbers)}"
        self.make("pods", name, {"metadata": meta, "spec": spec, "status": status})

    def _report(self, deployment: Json) -> None:
        sets, digest = self._owned("replicasets", deployment), self._replicaset("deployments", deployment)
        pods = [pod for item in sets for pod in self._owned("pods", item)]
        updated = [pod for pod in pods if pod["metadata"]["labels"][HASHES["deployments"]] == digest]
        ready = [pod for pod in pods if pod["status"]["conditions"][0]["status"] == "True"]
        deployment["status"] |= {
            "observedGeneration": deployment["metadata"]["generation"],
            "replicas": len(pods),
            "updatedReplicas": len(updated),
            "readyReplicas": len(ready),
        }

    def _owned(self, plural: str, by: Json) -> list[Json]:
        uid = by["metadata"]["uid"]
        found = self.all(plural)
        return [item for item in found if any(o["uid"] == uid for o in item["metadata"].get("ownerReferences", []))]


def _digest(template: Json) -> str:
    """Tell a pod template by a hash, as controllers do."""
    return sha256(orjson.dumps(template)).hexdigest()[:10]


def _resource(plural: str) -> str:
    return f"v1/{plural}" if plural in _CORE else f"{_GROUPS[plural]}/{plural}"


def _key(plural: str, namespace: str | None, name: str) -> tuple[kmock.resource, str | None, str]:
    return kmock.resource(_resource(plural)), namespace, name


def _owner(kind: str, held: Json) -> Json:
    meta = held["metadata"]
    return {"ownerReferences": [{"kind": kind, "name": meta["name"], "uid": meta["uid"], "controller": True}]}


def _same(held: Json, preconditions: Json) -> None:
    if any(held["metadata"][key] != value for key, value in preconditions.items()):
        raise KubernetesError(status=409, message="the object is another by now: Precondition failed")


def _method(request: Request) -> str:
    assert request.method is not None
    return str(request.method.value)


def _kind(request: Request) -> str:
    return str(request.headers["Content-Type"].removeprefix("application/").partition("-patch")[0])


def _patched(held: Json, request: Request) -> Json:
    if not request.params.get("fieldManager"):
        raise KubernetesError(status=400, message="fieldManager is required")
    patch = orjson.loads(request.body)
    if _kind(request) == "json":
        changed = deepcopy(held)
        for step in patch:
            *parents, last = step["path"].strip("/").split("/")
            place: Any = changed
            for parent in parents:
                place = place[int(parent)] if isinstance(place, list) else place[parent]
            place[last] = step["value"]
    else:
        changed = _merged(held, patch)
    _same(held, {"resourceVersion": changed["metadata"]["resourceVersion"]})
    return changed


def _merged(held: Json, patch: Json) -> Json:
    """Merge as RFC 7396 says."""
    merged = deepcopy(held)
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        elif isinstance(value, dict):
            merged[key] = _merged(merged.get(key) or {}, value)
        else:
            merged[key] = value
    return merged
