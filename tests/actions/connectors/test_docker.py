"""The Docker connector against a real Engine (Podman): isolation really cuts traffic, and only that of its target."""

from __future__ import annotations

import socket
import tarfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import orjson
import pytest

from actions.connectors.base import select, unmet
from actions.connectors.docker import DockerConnector
from actions.connectors.registry import build, close
from actions.connectors.settings import ConnectorsSettings, DockerEngine
from actions.forensics import Forensics, ForensicsSettings, Package
from schemas.action import Operation
from schemas.envelope import Entity
from schemas.errors import PermanentError, RefusedError, TemporaryError
from schemas.incident import RootCause
from tests.actions.connectors.shipped import commands
from tests.parts.podman import Podman

pytestmark = pytest.mark.integration

MEBIBYTE = 1024 * 1024


@pytest.fixture(scope="module")
def engine(podman: Podman) -> Podman:
    podman.start("web-1", "web", "--memory=64m")
    podman.start("web-2", "web")
    podman.start("ledger-1", "ledger")
    podman.start("sealed-1", "sealed", network="none")
    for name in ("web-1", "web-2", "ledger-1"):
        soon(partial(podman.serves, address(podman, name)))
    return podman


@pytest.fixture(autouse=True)
def as_it_was(engine: Podman) -> Iterator[None]:
    """Every test finds the containers running and connected."""
    yield
    for name in ("web-1", "web-2"):
        if engine.inspect(name, "{{.State.Status}}") == "paused":
            engine.run("unpause", name)
        if engine.network not in networks(engine, name):
            engine.run("network", "connect", engine.network, name)


@pytest.fixture
async def connector(engine: Podman) -> AsyncIterator[DockerConnector]:
    connector = DockerConnector(DockerEngine(socket=engine.socket, enabled=True, protected=("web-2",)))
    yield connector
    await connector.close()


def soon(holds: Callable[[], bool]) -> None:
    """Wait until it holds: another process brings it about and tells nobody."""
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def address(engine: Podman, name: str) -> str:
    template = f'{{{{(index .NetworkSettings.Networks "{engine.network}").IPAddress}}}}'
    return engine.inspect(name, template)


def networks(engine: Podman, name: str) -> str:
    return engine.inspect(name, "{{range $name, $end := .NetworkSettings.Networks}}{{$name}} {{end}}")


def operation(kind: str, container: str = "web-1", service: str = "web", **params: Any) -> Operation:
    return Operation(
        connector="docker.engine", operation=kind, params={"container": container, "service": service, **params}
    )


def shipped(name: str) -> Any:
    entity = Entity(environment="demo", service="web", instance="web-1")
    cause = RootCause(entity=entity, what="errors", signal_id="signal-1", score=0.9, because="it alone is ill")
    (command,) = commands(name, service="web", root_causes=(cause,)).values()
    return command


async def test_isolation_cuts_off_the_instance_and_only_it(engine: Podman, connector: DockerConnector) -> None:
    command = shipped("container-isolation")
    ill, well = address(engine, "web-1"), address(engine, "web-2")
    before = await connector.observe(command.apply)
    assert [unmet(item, before) for item in command.preconditions] == [None]
    assert select(before, command.redundancy.pointer) == ["serving", "serving"]
    assert not connector.plan(command.apply, before, before).satisfied

    await connector.apply(command.apply, before, "key")
    assert (await connector.verify(command.apply, before)).reached
    assert not engine.serves(ill)
    assert engine.serves(well)
    now = await connector.observe(command.apply)
    assert [item["state"] for item in now["instances"]] == ["isolated", "serving"]
    # It goes on running: whoever looks into it finds it as it was.
    assert now["container"]["started"] == before["container"]["started"]
    await connector.apply(command.apply, before, "key")

    await connector.revert(command.apply, command.revert, before, "key-revert")
    assert (await connector.verify(command.revert, before)).reached
    soon(lambda: engine.serves(address(engine, "web-1")))
    assert (await connector.observe(command.apply))["container"] == before["container"]


async def test_evidence_is_collected_before_isolation(
    engine: Podman, connector: DockerConnector, tmp_path: Path
) -> None:
    command = shipped("container-isolation")
    engine.run("exec", "web-1", "/bin/sh", "-c", "echo was here > /tmp/dropped; echo said this > /proc/1/fd/1")
    before = await connector.observe(command.apply)
    settings = ForensicsSettings(folder=tmp_path / "packages", seconds=30)
    with socket.create_connection((address(engine, "web-1"), 8000)) as open_one:
        port = open_one.getsockname()[1]
        told = (await Forensics(settings, "executor-1", time.time_ns).collect(command, connector, before))["forensics"]
    assert (told["problem"], told["incomplete"]) == (None, [])
    package = Path(told["package"])
    connected = (package / "connections.txt").read_text().splitlines()
    assert "tcp 0.0.0.0:8000 0.0.0.0:0 LISTEN" in connected
    assert [line for line in connected if f":{port} ESTABLISHED" in line]
    assert "http.server" in (package / "processes.json").read_text()
    # Of a container without an image, as these are, nothing can be a change.
    assert (package / "changes.json").read_text().strip() == "null"
    assert "said this" in (package / "log.txt").read_text()
    with tarfile.open(package / "files.tar") as files:
        dropped = files.extractfile("tmp/dropped")
        assert dropped is not None
        assert dropped.read() == b"was here\n"
    stranger = command.forensics.model_copy(update={"params": {"container": "ledger-1", "service": "web"}})
    with pytest.raises(PermanentError, match="not labelled"):
        await connector.collect(stranger, Package(tmp_path, 1, time.time_ns))


async def test_aliases_come_back(engine: Podman, connector: DockerConnector) -> None:
    engine.run("network", "disconnect", engine.network, "web-1")
    engine.run("network", "connect", "--alias=shop", engine.network, "web-1")
    isolate, undo = operation("set_networks", networks=[]), shipped("container-isolation").revert
    before = await connector.observe(isolate)
    assert before["container"]["networks"][0]["aliases"] == ["shop"]
    await connector.apply(isolate, before, "key")
    await connector.revert(isolate, undo, before, "key")
    assert (await connector.observe(isolate))["container"]["networks"] == before["container"]["networks"]


async def test_pause_freezes_and_lets_go(engine: Podman, connector: DockerConnector) -> None:
    pause = operation("set_paused", paused=True)
    undo = operation("set_paused", paused={"$state": "/container/paused"})
    before = await connector.observe(pause)
    await connector.apply(pause, before, "key")
    # Podman calls a second pause an error; the connector does not send one.
    await connector.apply(pause, before, "key")
    assert engine.inspect("web-1", "{{.State.Status}}") == "paused"
    assert not engine.serves(address(engine, "web-1"))
    await connector.revert(pause, undo, before, "key")
    soon(lambda: engine.serves(address(engine, "web-1")))


async def test_memory_that_the_engine_cannot_show_is_not_changed(connector: DockerConnector) -> None:
    """Podman 4 would change the limit and go on reporting the old one; nothing could verify that or take it back."""
    command = shipped("grow-memory")
    before = await connector.observe(command.apply)
    assert connector.plan(command.apply, before, before).change == {"memory_bytes": 96 * MEBIBYTE}
    with pytest.raises(PermanentError, match="update: 404"):
        await connector.apply(command.apply, before, "key")
    assert (await connector.observe(command.apply)) == before


async def test_memory_without_a_limit_stays_without(connector: DockerConnector) -> None:
    grow = operation("set_memory", "ledger-1", "ledger", memory_bytes=64 * MEBIBYTE)
    with pytest.raises(PermanentError, match="no memory limit"):
        await connector.apply(grow, await connector.observe(grow), "key")


async def test_a_restart_is_done_once(engine: Podman, connector: DockerConnector) -> None:
    command = shipped("restart-instance")
    assert command.revert is None
    restart = operation("restart", grace_seconds=0)
    before = await connector.observe(restart)
    await connector.apply(restart, before, "key")
    first = (await connector.verify(restart, before)).state["container"]["started"]
    assert first > before["container"]["started"]
    await connector.apply(restart, before, "key")
    assert (await connector.observe(restart))["container"]["started"] == first
    soon(lambda: engine.serves(address(engine, "web-1")))


async def test_what_someone_else_changed_is_theirs(engine: Podman, connector: DockerConnector) -> None:
    other = f"{engine.network}-other"
    isolate, undo = operation("set_networks", networks=[]), shipped("container-isolation").revert
    before = await connector.observe(isolate)
    await connector.apply(isolate, before, "key")
    engine.run("network", "create", "--disable-dns", other)
    try:
        engine.run("network", "connect", other, "web-1")
        assert connector.plan(isolate, before, await connector.observe(isolate)).drifted
        with pytest.raises(RefusedError, match="someone else"):
            await connector.revert(isolate, undo, before, "key")
        assert networks(engine, "web-1") == other
    finally:
        engine.run("network", "disconnect", other, "web-1")
        engine.run("network", "rm", other)


@pytest.mark.parametrize(
    "name", ["../networks", "web-1/../ledger-1", "web-1?all=1", "web-1%2f..", "", "web 1", "web-1\n", "-f", "w" * 256]
)
async def test_a_hostile_name_is_no_container(connector: DockerConnector, name: str) -> None:
    with pytest.raises(PermanentError, match="container"):
        await connector.observe(operation("restart", name))


async def test_a_network_from_a_hostile_state_is_no_path(connector: DockerConnector) -> None:
    undo = operation("set_networks", networks=[{"name": "x/../../containers"}])
    with pytest.raises(PermanentError, match="networks"):
        await connector.observe(undo)


@pytest.mark.parametrize("service", ["web", "led", 'ledger"],"x":["', "ledger,web"])
async def test_a_container_of_another_service_is_out_of_reach(connector: DockerConnector, service: str) -> None:
    with pytest.raises(PermanentError, match="not labelled"):
        await connector.observe(operation("restart", "ledger-1", service))


async def test_the_beginning_of_an_id_is_no_name(engine: Podman, connector: DockerConnector) -> None:
    short = engine.inspect("web-1", "{{.Id}}")[:4]
    with pytest.raises(PermanentError, match="no container is named"):
        await connector.observe(operation("restart", short))


async def test_the_engine_is_asked_whether_it_lets_us_in(connector: DockerConnector, tmp_path: Path) -> None:
    (found,) = await connector.check()
    assert found.held
    away = DockerConnector(DockerEngine(socket=tmp_path / "none.sock"))
    with pytest.raises(TemporaryError, match="no answer"):
        await away.check()
    await away.close()


async def test_it_says_what_cannot_be_done(engine: Podman, connector: DockerConnector) -> None:
    with pytest.raises(PermanentError, match="404"):
        await connector.observe(operation("restart", "nobody"))
    protected = operation("set_paused", "web-2", paused=True)
    with pytest.raises(PermanentError, match="protected"):
        await connector.apply(protected, await connector.observe(protected), "key")
    sealed = operation("set_networks", "sealed-1", "sealed", networks=[])
    state = await connector.observe(sealed)
    assert connector.plan(sealed, state, state).satisfied
    settings = ConnectorsSettings(docker={"engine": DockerEngine(socket=engine.socket)})
    built = build(settings)
    pause = operation("set_paused", paused=True)
    before = await built["docker.engine"].observe(pause)
    with pytest.raises(PermanentError, match="read-only"):
        await built["docker.engine"].apply(pause, before, "key")
    await close(built)


async def test_no_engine_may_pass(tmp_path: Path) -> None:
    connector = DockerConnector(DockerEngine(socket=tmp_path / "none.sock"))
    with pytest.raises(TemporaryError, match="gave no answer"):
        await connector.observe(operation("restart"))
    await connector.close()


async def test_memory_grows_and_shrinks_back_on_docker() -> None:
    """Docker itself, by its documented answers: it refuses memory above memory and swap together."""
    inspected = orjson.loads(orjson.dumps(_INSPECTED))

    def answer(request: httpx.Request) -> httpx.Response:
        if request.url.path.endswith("/update"):
            inspected["HostConfig"].update(orjson.loads(request.content))
        return httpx.Response(200, json=[] if request.url.path.endswith("/containers/json") else inspected)

    connector = DockerConnector(DockerEngine(enabled=True), transport=httpx.MockTransport(answer))
    command = shipped("grow-memory")
    before = await connector.observe(command.apply)
    await connector.apply(command.apply, before, "key")
    assert (await connector.verify(command.apply, before)).reached
    assert (inspected["HostConfig"]["Memory"], inspected["HostConfig"]["MemorySwap"]) == (96 * MEBIBYTE, 160 * MEBIBYTE)
    await connector.revert(command.apply, command.revert, before, "key")
    assert inspected == _INSPECTED
    await connector.close()


_INSPECTED = {
    "Id": "f" * 64,
    "Name": "/web-1",
    "State": {"Status": "running", "Running": True, "Paused": False, "StartedAt": "2026-01-01T00:00:00Z"},
    "Config": {"Labels": {"com.docker.compose.service": "web"}},
    "HostConfig": {"Memory": 64 * MEBIBYTE, "MemorySwap": 128 * MEBIBYTE, "NetworkMode": "shop_default"},
    "NetworkSettings": {"Networks": {"shop_default": {"Aliases": ["web"], "IPAMConfig": None}}},
}
