"""Containers, through the Engine API of Docker or Podman on its unix socket: networks, pause, memory, restart.

Called by the executor through `Connector`. A container is named together with its service, and must carry that
service's label: a name from telemetry never reaches a container of another service. Its peers are part of the state,
so that isolation leaves enough of them. All but `restart` are desired states with what was there before to go back to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from typing import Annotated, Any, ClassVar

import httpx
import orjson
from pydantic import Field

from actions.connectors.base import (
    Connector,
    Convergence,
    Files,
    Finding,
    Monotonic,
    OrReference,
    Params,
    Permission,
    Plan,
    Sleep,
    State,
    validate_params,
)
from actions.connectors.docker_evidence import connections, demultiplexed, without_secrets
from actions.connectors.exchange import exchange
from actions.connectors.settings import DockerEngine
from schemas.action import Operation
from schemas.errors import NotServedError, PermanentError, TemporaryError

# Docker's since 19.03 of 2019, and what Podman 4 speaks.
_API = "/v1.40"
# Of the whole answer; inspecting a container with hundreds of mounts is some 100 KB.
_MAX_ANSWER_BYTES = 4 * 1024 * 1024
# An instance is some 80 bytes of state, so all stay well below MAX_STATE_BYTES.
_MAX_INSTANCES = 500
# Container modes of the network that the Engine can neither disconnect nor connect.
_SHARED = ("host", "container:", "ns:")

# What the Engines themselves allow. Nothing in it can end a path segment or begin another.
Name = Annotated[str, Field(pattern=r"^[a-zA-Z0-9][a-zA-Z0-9_.-]{0,254}$")]


class Attachment(Params):
    """One network that a container is on."""

    name: Name
    aliases: tuple[str, ...] = ()
    ipv4: str | None = None
    """Only where a person had fixed it; others the Engine gives out."""


class Container(Params):
    """What every operation takes."""

    container: Name
    service: Annotated[str, Field(min_length=1, max_length=255)]
    converge_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0


class SetNetworks(Container):
    """The networks it is on, all of them: none isolates it."""

    networks: Annotated[tuple[Attachment, ...], OrReference]


class SetPaused(Container):
    """Whether its processes are frozen. They keep their memory, so evidence stays."""

    paused: Annotated[bool, OrReference]


class SetMemory(Container):
    """Its memory limit; only of one that has a limit, for a new limit could not be taken away again."""

    # 6 MiB is the least that Docker takes.
    memory_bytes: Annotated[Annotated[int, Field(ge=6 * 1024 * 1024)], OrReference]


class Restart(Container):
    """Stop it, with `grace_seconds` before it is killed, and start it."""

    grace_seconds: Annotated[int, Field(ge=0, le=60)] = 10


class Collect(Container):
    """Evidence of it: how it was made, processes, connections, what it changed in its files, its log, all its files."""

    log_lines: Annotated[int, Field(ge=0, le=1_000_000)] = 20_000
    export: bool = True


class DockerConnector(Connector):
    """One Engine of the settings."""

    permissions = (
        Permission("read", "read and write on the Engine's socket", "list and inspect containers"),
        Permission("write", "the same: the Engine knows no lesser right", "networks, pause, memory, restart"),
    )
    operations: ClassVar[Mapping[str, type[Params]]] = {
        "set_networks": SetNetworks,
        "set_paused": SetPaused,
        "set_memory": SetMemory,
        "restart": Restart,
    }
    collections: ClassVar[Mapping[str, type[Params]]] = {"container": Collect}

    def __init__(
        self,
        settings: DockerEngine,
        *,
        transport: httpx.AsyncBaseTransport | None = None,
        sleep: Sleep = asyncio.sleep,
        monotonic: Monotonic = time.monotonic,
    ) -> None:
        super().__init__(enabled=settings.enabled, sleep=sleep, monotonic=monotonic)
        self._settings = settings
        self._client = httpx.AsyncClient(
            base_url="http://engine",
            timeout=settings.timeout_seconds,
            follow_redirects=False,
            trust_env=False,
            transport=transport or httpx.AsyncHTTPTransport(uds=str(settings.socket)),
        )

    async def observe(self, operation: Operation) -> State:
        params = _container(self.params(operation))
        found = await self._inspect(params)
        label = f"{self._settings.service_label}={params.service}"
        query = {"all": "true", "filters": orjson.dumps({"label": [label]}).decode()}
        peers = await self._call("GET", f"{_API}/containers/json", query=query)
        instances = sorted((_instance(peer) for peer in peers[:_MAX_INSTANCES]), key=lambda item: item["name"])
        return {"container": _state(found), "instances": instances}

    def plan(self, operation: Operation, before: State, now: State) -> Plan:
        params = self.filled(operation, before)
        was, here = before["container"], now["container"]
        if here["id"] != was["id"]:
            return Plan(satisfied=False, drifted=True, summary="it was made anew since", change={})
        if isinstance(params, Restart):
            done = here["started"] != was["started"] and here["status"] == "running"
            summary = "restarted" if done else f"restart {here['name']}"
            return Plan(satisfied=done, drifted=False, summary=summary, change={} if done else {"restart": here["id"]})
        member, wanted = _wanted(params)
        if _plain(here, member) == wanted:
            return Plan(satisfied=True, drifted=False, summary="already as desired", change={})
        drifted = _plain(here, member) != _plain(was, member)
        summary = f"{member} {_plain(here, member)} -> {wanted}"
        return Plan(satisfied=False, drifted=drifted, summary=summary, change={member: wanted})

    async def apply(self, operation: Operation, before: State, key: str) -> None:  # noqa: ARG002 - the state says what is missing
        self.require_enabled(operation)
        params = _container(self.filled(operation, before))
        if params.container in self._settings.protected:
            raise PermanentError(f"container {params.container} is protected by the settings")
        now = await self.observe(operation)
        if self.plan(operation, before, now).satisfied:
            return
        # By its id: should another take its name now, that is not the one that was looked at.
        here = now["container"]
        if isinstance(params, SetNetworks):
            await self._set_networks(here, params.networks)
        elif isinstance(params, SetPaused):
            await self._call("POST", _path(here, "pause" if params.paused else "unpause"))
        elif isinstance(params, SetMemory):
            await self._set_memory(here, params.memory_bytes)
        elif isinstance(params, Restart):
            seconds = self._settings.timeout_seconds + params.grace_seconds
            await self._call("POST", _path(here, "restart"), query={"t": str(params.grace_seconds)}, seconds=seconds)

    async def verify(self, operation: Operation, before: State) -> Convergence:
        params = _container(self.params(operation))
        return await self.converge(operation, before, params.converge_seconds)

    async def check(self) -> list[Finding]:
        await self._call("GET", f"{_API}/containers/json", query={"limit": "1"})
        return [Finding(f"the Engine's socket {self._settings.socket}", "all", held=True)]

    async def collect(self, operation: Operation, package: Files) -> None:
        params = validate_params(self.collections, operation)
        assert isinstance(params, Collect)  # noqa: S101 - the only one there is
        found = await self._inspect(params)
        await package.add_document("container.json", without_secrets(found))
        # What vanishes first comes first, what is largest last.
        await package.add("processes.json", self._stream(_path(found, "top"), {"ps_args": "-ef"}))
        await package.add("connections.txt", connections(found["State"]["Pid"], found["Id"]))
        await package.add("changes.json", self._stream(_path(found, "changes")))
        query = {"stdout": "1", "stderr": "1", "timestamps": "1", "tail": str(params.log_lines)}
        log = self._stream(_path(found, "logs"), query)
        await package.add("log.txt", log if found["Config"].get("Tty") else demultiplexed(log))
        if params.export:
            await package.add("files.tar", self._stream(_path(found, "export")))

    async def _stream(self, path: str, query: Mapping[str, str] | None = None) -> AsyncIterator[bytes]:
        try:
            async with self._client.stream("GET", path, params=query) as response:
                if not response.is_success:
                    raise PermanentError(f"GET {path}: {response.status_code}")
                async for chunk in response.aiter_bytes():
                    yield chunk
        except httpx.TransportError as error:
            raise TemporaryError(f"GET {path}: {type(error).__name__} {error}".strip()) from None

    async def close(self) -> None:
        await self._client.aclose()

    async def _inspect(self, params: Container) -> Mapping[str, Any]:
        found: Mapping[str, Any] = await self._call("GET", f"{_API}/containers/{params.container}/json")
        # The Engine also takes the beginning of an id, which a short name may happen to be.
        if params.container not in {found["Name"].lstrip("/"), found["Id"], found["Id"][:12]}:
            raise NotServedError(f"no container is named {params.container}")
        service = (found["Config"].get("Labels") or {}).get(self._settings.service_label)
        if service != params.service:
            raise PermanentError(f"container {params.container} is not labelled as one of service {params.service}")
        return found

    async def _set_networks(self, here: Mapping[str, Any], wanted: tuple[Attachment, ...]) -> None:
        if here["network_mode"].startswith(_SHARED):
            raise PermanentError(f"it has no network of its own ({here['network_mode']}); pause it instead")
        names, present = {item.name for item in wanted}, {item["name"] for item in here["networks"]}
        for name in sorted(present - names):
            body = {"Container": here["id"], "Force": False}
            await self._call("POST", f"{_API}/networks/{name}/disconnect", body=body)
        for item in wanted:
            if item.name not in present:
                address = {"IPAMConfig": {"IPv4Address": item.ipv4}} if item.ipv4 else {}
                body = {"Container": here["id"], "EndpointConfig": {"Aliases": list(item.aliases), **address}}
                await self._call("POST", f"{_API}/networks/{item.name}/connect", body=body)

    async def _set_memory(self, here: Mapping[str, Any], wanted: int) -> None:
        if here["memory_bytes"] is None:
            raise PermanentError("it has no memory limit; a limit could not be taken away again")
        swap = here["memory_swap_bytes"]
        # What it may swap beyond its memory stays the same; -1 is no limit.
        both = swap if swap <= 0 else swap - here["memory_bytes"] + wanted
        # Podman 4 answers 404: it has no such request, and its own changes the limit without ever showing the new one.
        await self._call("POST", _path(here, "update"), body={"Memory": wanted, "MemorySwap": both})

    async def _call(
        self,
        method: str,
        path: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Mapping[str, Any] | None = None,
        seconds: float | None = None,
    ) -> Any:
        content = None if body is None else orjson.dumps(body)
        request = self._client.build_request(
            method,
            path,
            params=query,
            content=content,
            headers={} if body is None else {"Content-Type": "application/json"},
            timeout=seconds or self._settings.timeout_seconds,
        )
        try:
            response, answer = await exchange(self._client, request, _MAX_ANSWER_BYTES)
        except httpx.TransportError as error:
            problem = f"{type(error).__name__} {error}".strip()
            raise TemporaryError(f"the Engine at {self._settings.socket} gave no answer: {problem}") from None
        if response.is_success or response.status_code == 304:
            return _document(answer)
        said = f"{method} {path}: {response.status_code} {answer[:300].decode(errors='replace').strip()}"
        if response.status_code == httpx.codes.NOT_FOUND:
            raise NotServedError(said)
        raise TemporaryError(said) if response.status_code >= 500 else PermanentError(said)


def _document(answer: bytes) -> Any:
    # A change is answered by nothing, an id or `OK`; only what is read is JSON for sure.
    return orjson.loads(answer) if answer[:1] in {b"{", b"["} else None


def _path(here: Mapping[str, Any], verb: str) -> str:
    return f"{_API}/containers/{here.get('id') or here['Id']}/{verb}"


def _container(params: Params) -> Container:
    assert isinstance(params, Container)  # noqa: S101 - the base of all operations
    return params


def _wanted(params: Params) -> tuple[str, Any]:
    """Name the member of the state and its desired value."""
    if isinstance(params, SetNetworks):
        return "networks", sorted(item.name for item in params.networks)
    if isinstance(params, SetPaused):
        return "paused", params.paused
    assert isinstance(params, SetMemory)  # noqa: S101 - Restart is dealt with before
    return "memory_bytes", params.memory_bytes


def _plain(here: Mapping[str, Any], member: str) -> Any:
    return sorted(item["name"] for item in here["networks"]) if member == "networks" else here[member]


def _state(found: Mapping[str, Any]) -> State:
    state, limits = found["State"], found["HostConfig"]
    attached = found["NetworkSettings"].get("Networks") or {}
    networks = [_attachment(name, end, found["Id"]) for name, end in sorted(attached.items()) if name != "none"]
    return {
        "id": found["Id"],
        "name": found["Name"].lstrip("/"),
        "status": state["Status"],
        "paused": bool(state["Paused"]),
        "started": state["StartedAt"],
        "network_mode": limits.get("NetworkMode") or "",
        "networks": networks,
        "memory_bytes": limits.get("Memory") or None,
        "memory_swap_bytes": limits.get("MemorySwap") or 0,
    }


def _attachment(name: str, end: Mapping[str, Any], container_id: str) -> State:
    # The Engine adds the beginning of the id by itself each time.
    aliases = [alias for alias in end.get("Aliases") or [] if alias != container_id[:12]]
    return {"name": name, "aliases": aliases, "ipv4": (end.get("IPAMConfig") or {}).get("IPv4Address") or None}


def _instance(peer: Mapping[str, Any]) -> State:
    """Say whether a peer is in service: it runs and can be reached."""
    networks = set((peer.get("NetworkSettings") or {}).get("Networks") or {}) - {"none"}
    state = peer["State"] if peer["State"] != "running" else "serving" if networks else "isolated"
    return {"name": peer["Names"][0].lstrip("/"), "state": state}
