"""The exec connector with real programs: only what is signed runs, as it was signed, and nothing outlives its time."""

from __future__ import annotations

import asyncio
import hashlib
import shlex
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from typer.testing import CliRunner

from actions import signing
from actions.connectors.exec import ExecConnector
from actions.connectors.registry import build
from actions.connectors.settings import ConnectorsSettings, LocalCommands
from schemas.action import Operation
from schemas.errors import PermanentError, RefusedError, TemporaryError
from streams.cli import app
from tests.docs.pages import ROOT, blocks


class Host:
    """A machine with programs, a key, and a manifest."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.key = folder / "key"
        self.public_key = signing.new_key(self.key)
        self.manifest = folder / "commands.yaml"
        self.level = folder / "level"
        self.level.write_text("low")
        self.program("look", f'printf \'{{"level": "%s", "asked": "%s"}}\' "$(cat {self.level})" "$1"')
        self.program("set", f'printf %s "$1" > {self.level}; echo "$REFLEXARC_ACTION" >> {folder}/keys')
        self.sign()

    def program(self, name: str, script: str) -> Path:
        path = self.folder / name
        path.write_text(f"#!/bin/sh\n{script}\n")
        path.chmod(0o755)
        return path

    def sign(self, **changes: Any) -> None:
        plain = {
            "observe": [f"{self.folder}/look", "of-{service}"],
            "apply": [f"{self.folder}/set", "{level}"],
            "arguments": {
                "service": {"type": "text"},
                "level": {"type": "choice", "of": ["low", "high"]},
            },
            "timeout_seconds": 5,
        }
        self.manifest.write_bytes(orjson.dumps({"commands": {"set-level": {**plain, **changes}}}))
        signature = signing.sign(self.manifest.read_bytes(), signing.private_key(self.key))
        signing.signature_of(self.manifest).write_bytes(signature)

    def connector(self, *, enabled: bool = True) -> ExecConnector:
        settings = LocalCommands(manifest=self.manifest, public_key=self.public_key, enabled=enabled)
        return ExecConnector(settings)


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def operation(level: Any = "high", service: Any = "web", equals: Any = "high", command: str = "set-level") -> Operation:
    params = {
        "command": command,
        "arguments": {"service": service, "level": level},
        "desired": [{"pointer": "/level", "equals": equals}],
        "converge_seconds": 1,
    }
    return Operation(connector="exec.host", operation="run", params=params)


UNDO = operation({"$state": "/level"}, equals={"$state": "/level"})


async def test_it_is_applied_once_and_taken_back(host: Host) -> None:
    connector, wanted = host.connector(), operation()
    before = await connector.observe(wanted)
    assert before == {"level": "low", "asked": "of-web"}
    plan = connector.plan(wanted, before, before)
    assert (plan.satisfied, plan.change["arguments"]) == (False, {"service": "web", "level": "high"})
    await connector.apply(wanted, before, "action-1")
    assert (await connector.verify(wanted, before)).reached
    assert (host.folder / "keys").read_text() == "action-1\n"
    await connector.revert(wanted, UNDO, before, "action-1-revert")
    assert host.level.read_text() == "low"


async def test_what_someone_else_changed_is_theirs(host: Host) -> None:
    connector, wanted = host.connector(), operation()
    before = await connector.observe(wanted)
    host.level.write_text("middle")
    assert connector.plan(wanted, before, await connector.observe(wanted)).drifted
    with pytest.raises(RefusedError, match="someone else"):
        await connector.revert(wanted, UNDO, before, "action-1-revert")


async def test_a_manifest_that_was_changed_is_not_believed(host: Host) -> None:
    host.manifest.write_bytes(host.manifest.read_bytes().replace(b"low", b"off"))
    with pytest.raises(PermanentError, match="signature"):
        await host.connector().observe(operation())


async def test_a_manifest_signed_with_another_key_is_not_believed(host: Host) -> None:
    mine, host.public_key = host.public_key, signing.new_key(host.folder / "another")
    with pytest.raises(PermanentError, match="signature"):
        await host.connector().observe(operation())
    host.public_key = mine
    mine.chmod(0o664)
    with pytest.raises(PermanentError, match="others than its owner may change it"):
        await host.connector().observe(operation())
    mine.chmod(0o644)
    host.manifest.with_name("commands.yaml.sig").write_text("no base64 ...")
    with pytest.raises(PermanentError, match="signature"):
        await host.connector().observe(operation())
    host.manifest.with_name("commands.yaml.sig").unlink()
    with pytest.raises(PermanentError, match="No such file"):
        await host.connector().observe(operation())


async def test_it_is_signed_as_the_documentation_says(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    (code,) = [code for code in blocks(ROOT / "docs" / "connectors.md", "sh") if "keys sign" in code]
    monkeypatch.chdir(host.folder)
    for line in code.splitlines():
        assert CliRunner().invoke(app, shlex.split(line)[1:]).exit_code == 0, line
    host.public_key = host.folder / "commands.key.pub"
    assert (await host.connector().observe(operation()))["level"] == "low"


async def test_only_what_the_manifest_names_is_run(host: Host) -> None:
    with pytest.raises(PermanentError, match="allows no command reboot"):
        await host.connector().observe(operation(command="reboot"))


async def test_another_program_in_its_place_is_not_run(host: Host) -> None:
    digest = hashlib.sha256((host.folder / "set").read_bytes()).hexdigest()
    host.sign(sha256=digest)
    connector = host.connector()
    before = await connector.observe(operation())
    host.program("set", "echo another")
    with pytest.raises(PermanentError, match="not the program whose sha256"):
        await connector.apply(operation(), before, "key")
    (host.folder / "look").chmod(0o777)
    with pytest.raises(PermanentError, match="only its owner may change"):
        await connector.observe(operation())


@pytest.mark.parametrize("level", ["middle", "", "high; reboot", 1, None, ["high"]])
async def test_an_argument_is_of_its_kind(host: Host, level: Any) -> None:
    with pytest.raises(PermanentError, match="level"):
        await host.connector().apply(operation(level), {"level": "low"}, "key")
    assert host.level.read_text() == "low"


@pytest.mark.parametrize("service", ["-rf", "../x", "a b", "$(reboot)", "a\nb", "a\0b", "", "é"])
async def test_a_hostile_argument_is_refused(host: Host, service: str) -> None:
    with pytest.raises(PermanentError, match="service"):
        await host.connector().observe(operation(service=service))


async def test_an_argument_stays_within_its_word(host: Host) -> None:
    host.sign(arguments={"service": {"type": "text", "pattern": '[^"]*'}, "level": {"type": "text"}})
    hostile = "x; touch {level} $(id) `id`"
    assert (await host.connector().observe(operation(service=hostile)))["asked"] == f"of-{hostile}"


async def test_a_number_has_bounds(host: Host) -> None:
    bounds = {"type": "integer", "at_least": 1, "at_most": 9}
    host.sign(arguments={"service": {"type": "text"}, "level": bounds})
    connector = host.connector()
    await connector.apply(operation(9), {}, "key")
    assert host.level.read_text() == "9"
    for wrong in (0, 10, True, "5"):
        with pytest.raises(PermanentError, match="level"):
            await connector.apply(operation(wrong), {}, "key")


async def test_it_gets_no_environment_and_no_input(host: Host, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SECRET_OF_THE_EXECUTOR", "token")
    host.program("set", f"env > {host.folder}/env; pwd >> {host.folder}/env; cat >> {host.folder}/env")
    await host.connector().apply(operation(), {}, "action-1")
    lines = (host.folder / "env").read_text().splitlines()
    assert lines.pop() == "/"
    # The shell of the test's own program adds these three.
    names = {line.partition("=")[0] for line in lines} - {"PWD", "OLDPWD", "_"}
    assert names == {"PATH", "LANG", "REFLEXARC_ACTION"}


def alive(pid: int) -> bool:
    """Whether a process still runs; one that nobody has waited for yet does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def soon(holds: Callable[[], bool]) -> None:
    """Wait until it holds: another process brings it about and tells nobody."""
    deadline = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def gone(pid: int) -> None:
    soon(lambda: not alive(pid))


async def test_what_does_not_end_in_time_is_killed_with_its_children(host: Host) -> None:
    host.program("set", f"sleep 100 & echo $! > {host.folder}/child; wait")
    host.sign(timeout_seconds=0.5)
    with pytest.raises(TemporaryError, match=r"did not end in 0\.5 s"):
        await host.connector().apply(operation(), {}, "key")
    gone(int((host.folder / "child").read_text()))


async def test_what_it_leaves_behind_is_killed(host: Host) -> None:
    host.program("set", f"sleep 100 >/dev/null 2>&1 & echo $! > {host.folder}/child")
    await host.connector().apply(operation(), {}, "key")
    gone(int((host.folder / "child").read_text()))


async def test_what_left_its_group_does_not_hold_up(host: Host) -> None:
    host.program("set", f"setsid sleep 3 & echo $! > {host.folder}/child; exit 0")
    host.sign(timeout_seconds=0.5)
    begun = time.monotonic()
    with pytest.raises(TemporaryError, match="did not end"):
        await host.connector().apply(operation(), {}, "key")
    assert time.monotonic() - begun < 2


async def test_what_nobody_waits_for_any_more_is_killed(host: Host) -> None:
    host.program("set", f"echo $$ > {host.folder}/child; exec sleep 100")
    child = host.folder / "child"
    task = asyncio.create_task(host.connector().apply(operation(), {}, "key"))
    await asyncio.to_thread(soon, lambda: child.is_file() and child.read_text() != "")
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    gone(int(child.read_text()))


async def test_output_is_bounded(host: Host) -> None:
    host.program("set", "exec yes")
    with pytest.raises(PermanentError, match="says more than"):
        await host.connector().apply(operation(), {}, "key")


@pytest.mark.parametrize(
    ("script", "problem"),
    [("echo []", "no object"), ("echo x", "not JSON"), ("echo no such service >&2; exit 3", "ended with 3: no such")],
)
async def test_what_went_wrong_is_said(host: Host, script: str, problem: str) -> None:
    host.program("look", script)
    with pytest.raises(PermanentError, match=problem):
        await host.connector().observe(operation())


async def test_a_program_may_ask_for_another_try(host: Host) -> None:
    host.program("set", "exit 75")
    with pytest.raises(TemporaryError, match="ended with 75"):
        await host.connector().apply(operation(), {}, "key")


@pytest.mark.parametrize(
    "changes",
    [
        {"apply": ["set"]},
        {"apply": ["/bin/{level}"]},
        {"apply": ["/bin/true", "{unknown}"]},
        {"apply": []},
        {"arguments": {"level": {"type": "text", "pattern": "("}}},
        {"arguments": {"level": {"type": "number"}}},
        {"timeout": 5},
    ],
)
async def test_a_signed_manifest_can_still_be_wrong(host: Host, changes: dict[str, Any]) -> None:
    host.sign(**changes)
    with pytest.raises(PermanentError, match=r"commands\.yaml: "):
        await host.connector().observe(operation())


async def test_programs_that_cannot_be_run_are_found_before_they_are_needed(host: Host) -> None:
    assert [item.held for item in await host.connector().check()] == [True, True]
    (host.folder / "set").chmod(0o644)
    found = {item.right: item.held for item in await host.connector().check()}
    assert found == {f"run {host.folder}/look": True, f"run {host.folder}/set": False}


async def test_it_is_read_only_until_enabled(host: Host) -> None:
    settings = LocalCommands(manifest=host.manifest, public_key=host.public_key)
    reading = build(ConnectorsSettings(exec={"host": settings}))["exec.host"]
    before = await reading.observe(operation())
    with pytest.raises(PermanentError, match="read-only"):
        await reading.apply(operation(), before, "key")
    assert host.level.read_text() == "low"
    assert not (host.folder / "keys").is_file()
