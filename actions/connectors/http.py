"""Any HTTP API that keeps a desired state: read it with GET, change it with one request, poll until it converges.

Called by the executor through `Connector`. A change carries an `Idempotency-Key`, so that a repeat after a lost
answer is the same change. Redirects are never followed (they could carry the token to another host), answers are
read to a bounded size, and temporary errors are tried again with exponential back-off.
"""

from __future__ import annotations

import asyncio
import ssl
import time
from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal
from urllib.parse import quote

import httpx
import orjson
from pydantic import AfterValidator, Field

from actions.connectors.base import (
    MAX_STATE_BYTES,
    Connector,
    Convergence,
    Monotonic,
    Params,
    Permission,
    Plan,
    Sleep,
    State,
    resolve,
)
from actions.connectors.desired import Desired, missing
from actions.connectors.exchange import exchange
from actions.connectors.settings import HttpEndpoint
from schemas.action import Operation
from schemas.errors import PermanentError, TemporaryError

# The whole answer is held in memory once, before the parts worth keeping are taken from it.
MAX_RESPONSE_BYTES = 1024 * 1024
ATTEMPTS = 4
# 0.25 + 0.5 + 1 s between the four attempts: a restart of a proxy passes, a person does not wait.
BACKOFF_SECONDS = 0.25
# A server may ask for more patience than that, but not for more than one lease would bear.
MAX_RETRY_AFTER_SECONDS = 2.0


def _safe_segment(segment: str) -> str:
    if segment in {"", ".", ".."}:
        raise ValueError("a path segment must not be empty, '.' or '..'")
    return segment


Segments = Annotated[tuple[Annotated[str, AfterValidator(_safe_segment)], ...], Field(min_length=1)]


class SetParams(Params):
    """Parameters of `set`. Paths are lists of segments, each escaped: a service named `../admin` stays a name."""

    read: Segments
    write: Segments
    method: Literal["PUT", "PATCH", "POST"] = "PUT"
    body: Any = None
    keep: tuple[str, ...] = Field(default=(), description="top-level members worth recording; all when empty")
    desired: Annotated[tuple[Desired, ...], Field(min_length=1)]
    converged: tuple[Desired, ...] = Field(default=(), description="what must come true once `desired` is set")
    converge_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0


class HttpConnector(Connector):
    """One HTTP endpoint of the settings."""

    permissions = (
        Permission("read", "GET on the `read` paths", "observe the target before and after"),
        Permission("write", "the `write` paths of enabled playbooks", "bring the desired state about"),
    )
    operations: ClassVar[Mapping[str, type[Params]]] = {"set": SetParams}

    def __init__(
        self,
        settings: HttpEndpoint,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Sleep = asyncio.sleep,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        super().__init__(enabled=settings.enabled, sleep=sleep, monotonic=monotonic)
        self._client = httpx.AsyncClient(
            base_url=str(settings.base_url),
            headers=_headers(settings),
            timeout=settings.timeout_seconds,
            follow_redirects=False,
            # A proxy from the environment would see the token.
            trust_env=False,
            verify=ssl.create_default_context(cafile=settings.ca_file),
            transport=transport,
        )

    async def observe(self, operation: Operation) -> State:
        params = self._set(operation)
        return _state(await self._request("GET", params.read), params)

    def plan(self, operation: Operation, before: State, now: State) -> Plan:
        params = self._set(operation)
        problems = missing(params.desired, before, now)
        change = {"method": params.method, "path": _path(params.write), "body": resolve(params.body, before)}
        changed = any(item.changed(before, now) for item in params.desired)
        summary = "; ".join(problems) or "already as desired"
        return Plan(satisfied=not problems, drifted=bool(problems) and changed, summary=summary, change=change)

    async def apply(self, operation: Operation, before: State, key: str) -> None:
        self.require_enabled(operation)
        params = self._set(operation)
        body = orjson.dumps(resolve(params.body, before))
        await self._request(params.method, params.write, body=body, headers={"Idempotency-Key": key})

    async def verify(self, operation: Operation, before: State) -> Convergence:
        params = self._set(operation)
        wanted = params.desired + params.converged
        return await self.wait(operation, lambda now: missing(wanted, before, now), params.converge_seconds)

    async def close(self) -> None:
        await self._client.aclose()

    def _set(self, operation: Operation) -> SetParams:
        params = self.params(operation)
        assert isinstance(params, SetParams)  # noqa: S101 - the only operation there is
        return params

    async def _request(
        self, method: str, path: Segments, *, body: bytes | None = None, headers: dict[str, str] | None = None
    ) -> bytes:
        target = f"{method} {_path(path)}"
        for attempt in range(ATTEMPTS):
            try:
                status, retry_after, answer = await self._once(method, _path(path), body, headers)
            except httpx.TransportError as error:
                problem, retry_after = f"{type(error).__name__}: {error}", None
            else:
                if 200 <= status < 300:
                    return answer
                problem = f"{status} {answer[:200].decode(errors='replace')}".strip()
                if status != 429 and status < 500:
                    raise PermanentError(f"{target}: {problem}")
            if attempt < ATTEMPTS - 1:
                await self._sleep(_delay(attempt, retry_after))
        raise TemporaryError(f"{target}: {problem} ({ATTEMPTS} attempts)", delay=BACKOFF_SECONDS * 2**ATTEMPTS)

    async def _once(
        self, method: str, path: str, body: bytes | None, headers: dict[str, str] | None
    ) -> tuple[int, str | None, bytes]:
        content_type = {} if body is None else {"Content-Type": "application/json"}
        request = self._client.build_request(method, path, content=body, headers={**content_type, **(headers or {})})
        response, answer = await exchange(self._client, request, MAX_RESPONSE_BYTES)
        return response.status_code, response.headers.get("Retry-After"), answer


def _headers(settings: HttpEndpoint) -> dict[str, str]:
    accept = {"Accept": "application/json", "User-Agent": "reflexarc"}
    if settings.token is None:
        return accept
    return accept | {"Authorization": f"Bearer {settings.token.get_secret_value()}"}


def _path(segments: Segments) -> str:
    # Relative to the base URL, which may have a path of its own.
    return "/".join(quote(segment, safe="") for segment in segments)


def _delay(attempt: int, retry_after: str | None) -> float:
    if retry_after is not None and retry_after.isdecimal():
        return min(float(retry_after), MAX_RETRY_AFTER_SECONDS)
    return BACKOFF_SECONDS * 2.0**attempt


def _state(answer: bytes, params: SetParams) -> State:
    try:
        document = orjson.loads(answer)
    except orjson.JSONDecodeError as error:
        raise PermanentError(f"GET {_path(params.read)}: not JSON: {error}") from None
    if not isinstance(document, dict):
        raise PermanentError(f"GET {_path(params.read)}: expected an object, got {type(document).__name__}")
    state = {name: document[name] for name in params.keep if name in document} if params.keep else document
    if len(orjson.dumps(state)) > MAX_STATE_BYTES:
        raise PermanentError(f"GET {_path(params.read)}: over {MAX_STATE_BYTES} bytes; narrow it by `keep`")
    return state
