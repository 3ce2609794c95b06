"""One Kubernetes cluster over its API: reading objects, and changing them only as they were when they were read.

Called by the tasks of the connectors that live on it. Every change names our field manager and carries the
`resourceVersion` or `uid` that was seen; if the object is another by then, the API refuses and the task looks again.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import httpx
import orjson

from actions.connectors.base import Sleep
from actions.connectors.exchange import exchange
from actions.connectors.kubernetes.access import Access
from actions.connectors.kubernetes.exec import Printed, run
from actions.connectors.settings import ClusterAccess
from schemas.errors import NotServedError, PermanentError, TemporaryError

Object = Mapping[str, Any]

FIELD_MANAGER = "reflexarc"
# Label of a pod that is out of service for being looked into; its value is the service it was of.
QUARANTINE = "reflexarc.io/quarantine"
# Pods are 5 to 15 KB each, and no list asks for more than MAX_ITEMS of them.
_MAX_ANSWER_BYTES = 16 * 1024 * 1024
# An instance is some 80 bytes of state, so all stay well below MAX_STATE_BYTES.
MAX_ITEMS = 500

_PATCHES = {
    "merge": "application/merge-patch+json",
    "json": "application/json-patch+json",
    # Server-side apply. It takes YAML, and JSON is YAML.
    "apply": "application/apply-patch+yaml",
}


class ApiError(PermanentError):
    """The API refused, and said so with a status."""

    def __init__(self, message: str, status: int) -> None:
        super().__init__(message)
        self.status = status


def path(group: str, plural: str, namespace: str | None = None, *rest: str) -> str:
    """Give the path of a resource; all parts were checked to be names."""
    root = f"/api/{group}" if "/" not in group else f"/apis/{group}"
    place = () if namespace is None else ("namespaces", namespace)
    return "/".join((root, *place, plural, *rest))


class Cluster:
    """A client of one cluster."""

    def __init__(
        self,
        settings: ClusterAccess,
        access: Access,
        *,
        sleep: Sleep,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self.settings = settings
        self.sleep = sleep
        self._access = access
        self._client = httpx.AsyncClient(
            base_url=access.server,
            verify=access.tls,
            timeout=settings.timeout_seconds,
            follow_redirects=False,
            # A proxy from the environment would see the token.
            trust_env=False,
            transport=transport,
        )

    async def home(self, service: str) -> str:
        """Find the namespace of a service: the only one of those configured that has pods of it.

        Raises:
            NotServedError: it is in none.
            PermanentError: it is in more than one.

        """
        if len(self.settings.namespaces) == 1:
            return self.settings.namespaces[0]
        here = [name for name in self.settings.namespaces if await self._has(name, service)]
        if not here:
            raise NotServedError(f"service {service} has no pods in the configured namespaces")
        if len(here) > 1:
            raise PermanentError(f"service {service} has pods in {len(here)} of the configured namespaces, not in one")
        return here[0]

    async def _has(self, namespace: str, service: str) -> bool:
        keys = (self.settings.service_label, QUARANTINE)
        return any([await self.items(path("v1", "pods", namespace), f"{key}={service}", 1) for key in keys])

    async def get(self, at: str) -> Object | None:
        """Read one object; None when there is none."""
        try:
            return _document(at, await self._call("GET", at))
        except ApiError as error:
            if error.status == httpx.codes.NOT_FOUND:
                return None
            raise

    async def items(self, at: str, selector: str | None = None, limit: int = MAX_ITEMS) -> list[Any]:
        """List objects, the first `limit` of them."""
        query = {"limit": str(limit)} | ({} if selector is None else {"labelSelector": selector})
        items: list[Any] = _document(at, await self._call("GET", at, query)).get("items") or []
        return items[:limit]

    async def patch(self, at: str, body: Object | Sequence[Object], kind: Literal["merge", "json", "apply"]) -> None:
        await self._call("PATCH", at, {"fieldManager": FIELD_MANAGER}, body, _PATCHES[kind])

    async def post(self, at: str, body: Object) -> Object:
        return _document(at, await self._call("POST", at, {"fieldManager": FIELD_MANAGER}, body))

    async def delete(self, at: str, found: Object) -> None:
        """Delete the very object that was found."""
        only = {"uid": found["metadata"]["uid"], "resourceVersion": found["metadata"]["resourceVersion"]}
        await self._call("DELETE", at, None, {"apiVersion": "v1", "kind": "DeleteOptions", "preconditions": only})

    async def text(self, at: str, query: Mapping[str, str]) -> bytes:
        """Read what is no object, such as a log."""
        return await self._call("GET", at, query)

    async def run(self, at: str, container: str, words: list[str]) -> Printed:
        """Run a command in a container of the pod at `at`."""
        return await run(self._access, at, container, words, self.settings.timeout_seconds)

    async def close(self) -> None:
        await self._client.aclose()

    async def _call(
        self,
        method: str,
        at: str,
        query: Mapping[str, str] | None = None,
        body: Any = None,
        content_type: str = "application/json",
    ) -> bytes:
        token = self._access.token()
        headers = {"User-Agent": FIELD_MANAGER, "Accept": "application/json, */*"}
        headers |= {} if token is None else {"Authorization": f"Bearer {token}"}
        headers |= {} if body is None else {"Content-Type": content_type}
        content = None if body is None else orjson.dumps(body)
        request = self._client.build_request(method, at, params=query, content=content, headers=headers)
        try:
            response, answer = await exchange(self._client, request, _MAX_ANSWER_BYTES)
        except httpx.TransportError as error:
            problem = f"{type(error).__name__} {error}".strip()
            raise TemporaryError(f"the cluster at {self._access.server} gave no answer: {problem}") from None
        if not response.is_success:
            raise _problem(f"{method} {at}", response.status_code, answer)
        return answer


def _document(at: str, answer: bytes) -> Object:
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        document = None
    if not isinstance(document, dict):
        # A login page of a proxy, most likely.
        raise PermanentError(f"{at}: the answer is no object of Kubernetes")
    return document


def _problem(what: str, status: int, answer: bytes) -> Exception:
    said = f"{what}: {status} {_message(answer)}"
    # 409: it changed since it was read; looking again tells. 429 of anything but an eviction is the API's own load.
    passing = status >= 500 or status == 409 or (status == 429 and not what.endswith("/eviction"))
    return TemporaryError(said) if passing else ApiError(said, status)


def _message(answer: bytes) -> str:
    """Take the words out of a `Status`; an error of a proxy before it is no JSON."""
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError:
        return answer[:300].decode(errors="replace").strip()
    return str(document.get("message", ""))[:300] if isinstance(document, dict) else ""
