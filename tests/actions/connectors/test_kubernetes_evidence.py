"""Evidence of a pod: its object, logs and events from an API with a memory, its processes and connections from shells.

The mocked API runs what is to be run in a container on this machine, with each of the shells that images have.
"""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from time import time_ns
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from actions.connectors.kubernetes.connector import KubernetesConnector
from actions.forensics import Forensics, ForensicsSettings
from schemas.action import ActionCommand
from streams.cli import app
from tests.actions.connectors.clusters import SETTINGS, connect, pod, shipped, two_services
from tests.actions.connectors.test_kubernetes_executor import kubeconfig
from tests.parts.cluster import NAMESPACE, FakeCluster

DASH, BASH = ("/bin/dash",), ("/bin/bash", "--norc")
# Where there is nothing but the shell itself.
BARE = ("/usr/bin/env", "-i", "PATH=/nonexistent", "/bin/dash")
VOLATILE = ["main.processes.txt", "connections.txt"]


@pytest.fixture
async def connector(cluster: FakeCluster) -> AsyncIterator[KubernetesConnector]:
    async with two_services(cluster) as connector:
        yield connector


@pytest.fixture
def ill(cluster: FakeCluster, connector: KubernetesConnector) -> str:
    """Name a pod in which a container runs, and another that has ended."""
    name = pod(cluster)
    held = cluster.find("pods", name)
    assert held is not None
    held["status"]["containerStatuses"] = [
        {"name": "main", "restartCount": 1, "state": {"running": {}}},
        {"name": "done", "state": {"terminated": {}}},
    ]
    return name


@pytest.fixture(
    params=[DASH, BASH, BARE],
    ids=["dash", "bash", "a shell and nothing else"],
)
def shell(cluster: FakeCluster, request: pytest.FixtureRequest) -> None:
    cluster.shells["main"] = request.param


@pytest.fixture
def busy() -> Iterator[int]:
    """Run a process whose arguments would forge a line of a list; gives its number."""
    forged = "x\n1\t0\t0\tS\tforged\t"
    with subprocess.Popen([sys.executable, "-c", "input()", forged], stdin=subprocess.PIPE) as process:
        yield process.pid
        process.kill()


async def collected(
    connector: KubernetesConnector, command: ActionCommand, folder: Path
) -> tuple[Path, dict[str, Any]]:
    """Collect; gives the package and what its manifest says of each file."""
    before = await connector.observe(command.apply)
    forensics = Forensics(ForensicsSettings(folder=folder), "executor-1", time_ns)
    told = (await forensics.collect(command, connector, before))["forensics"]
    assert told["problem"] is None
    package = Path(told["package"])
    manifest = orjson.loads((package / "manifest.json").read_bytes())
    return package, {item["name"]: item for item in manifest["files"]}


@pytest.mark.usefixtures("shell")
async def test_processes_and_connections_are_read_with_what_a_shell_has(
    connector: KubernetesConnector, ill: str, tmp_path: Path, busy: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        port = listening.getsockname()[1]
        package, files = await collected(connector, shipped("container-isolation-kubernetes", ill), tmp_path)
    assert [name for name in files if not files[name]["complete"]] == []
    assert list(files)[2:5] == ["pod.json", *VOLATILE], "what vanishes first is read first"
    head, *lines = (package / "main.processes.txt").read_text().splitlines()
    assert head.split("\t") == ["pid", "parent", "user", "state", "name", "arguments"]
    found = {int(line.split("\t")[0]): line.split("\t") for line in lines}
    assert all(len(fields) == 6 for fields in found.values())
    assert [line for line in lines if "\tforged" in line] == [], "no argument is a line of its own"
    _, parent, user, state, name, arguments = found[busy]
    assert (int(parent), int(user), state) == (os.getpid(), os.getuid(), "S")
    assert name.startswith("python")
    assert "input()" in arguments
    assert f"tcp 127.0.0.1:{port} 0.0.0.0:0 LISTEN\n" in (package / "connections.txt").read_text()


@pytest.mark.parametrize(
    ("shell", "problem"),
    [
        (None, 'exec: "sh": executable file not found in $PATH'),
        (("/bin/sh", "-c", "echo some; exit 3", "--"), "exit code 3"),
        (("/bin/true",), "printed nothing"),
        (("/bin/sh", "-c", "echo some; sleep 60", "--"), "not all was printed in 0.5 s"),
        (("/bin/sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; done", "--"), "more than"),
    ],
    ids=["no shell", "failing", "silent", "hanging", "endless"],
)
async def test_what_a_container_does_not_tell_is_said_and_the_rest_goes_on(
    cluster: FakeCluster, ill: str, tmp_path: Path, shell: tuple[str, ...] | None, problem: str
) -> None:
    if shell is not None:
        cluster.shells["main"] = shell
    seconds = 0.5 if "0.5" in problem else 5
    impatient = connect(cluster, SETTINGS.model_copy(update={"timeout_seconds": seconds}))
    package, files = await collected(impatient, shipped("container-isolation-kubernetes", ill), tmp_path)
    await impatient.close()
    for name in VOLATILE:
        assert not files[name]["complete"]
        assert problem in files[name]["problem"]
    if "some" in str(shell):
        assert (package / VOLATILE[0]).read_bytes() == b"some\n"
    assert files["main.log"]["complete"]


async def test_without_the_right_the_package_says_so(
    cluster: FakeCluster, connector: KubernetesConnector, ill: str, tmp_path: Path
) -> None:
    cluster.shells["main"] = DASH
    cluster.forbidden.add(("GET", "pods/exec"))
    _, files = await collected(connector, shipped("container-isolation-kubernetes", ill), tmp_path)
    assert [name for name in files if not files[name]["complete"]] == VOLATILE
    assert "exec: 403" in files["connections.txt"]["problem"]
    held = {finding.right: finding for finding in await connector.check()}
    assert held["get pods/exec in shop"].optional
    assert not held["get pods/exec in shop"].held


async def test_connections_are_those_that_any_of_the_containers_can_tell(
    cluster: FakeCluster, connector: KubernetesConnector, ill: str, tmp_path: Path
) -> None:
    held = cluster.find("pods", ill)
    assert held is not None
    held["status"]["ephemeralContainerStatuses"] = [{"name": "debugger", "state": {"running": {}}}]
    cluster.shells["debugger"] = DASH
    _, files = await collected(connector, shipped("container-isolation-kubernetes", ill), tmp_path)
    complete = {name: files[name]["complete"] for name in [*VOLATILE, "debugger.processes.txt"]}
    assert complete == {"main.processes.txt": False, "connections.txt": True, "debugger.processes.txt": True}


async def test_a_shell_that_lies_is_taken_at_its_word_and_breaks_nothing(
    cluster: FakeCluster, connector: KubernetesConnector, ill: str, tmp_path: Path
) -> None:
    cluster.shells["main"] = ("/bin/sh", "-c", "printf 'tcp\\n0: zz:1F90 1 01\\n0: 1 1 ff\\n\\n\\377 \\n'", "--")
    package, files = await collected(connector, shipped("container-isolation-kubernetes", ill), tmp_path)
    assert files["connections.txt"]["complete"]
    assert (package / "connections.txt").read_text() == "0: zz:1F90 1 01\n0: 1 1 ff\n\n\N{REPLACEMENT CHARACTER} \n"


async def test_what_is_optional_fails_no_check(
    cluster: FakeCluster, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    access = {"kubeconfig": str(kubeconfig(tmp_path, cluster)), "namespaces": [NAMESPACE], "enabled": True}
    monkeypatch.setenv("REFLEXARC_CONNECTORS__KUBERNETES", orjson.dumps({"cluster": access}).decode())
    cluster.forbidden |= {("GET", "pods/exec"), ("POST", "pods/exec")}
    done = await asyncio.to_thread(CliRunner().invoke, app, ["connectors", "check"])
    assert "without create pods/exec in shop" in done.output
    assert (done.exit_code, "MISSING" in done.output) == (0, False)
    cluster.forbidden.add(("PATCH", "pods"))
    done = await asyncio.to_thread(CliRunner().invoke, app, ["connectors", "check"])
    assert "MISSING patch pods in shop" in done.output
    assert done.exit_code == 1
