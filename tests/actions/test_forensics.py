"""Evidence is written down before the first change: bounded, hashed, sealed, and never in the way of containment."""

from __future__ import annotations

import asyncio
import hashlib
import stat
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, ClassVar

import orjson
import pytest

from actions.connectors.base import Connector, Files, Params
from actions.connectors.docker_evidence import connections, demultiplexed
from actions.controls import Controls
from actions.forensics import Forensics, ForensicsSettings
from actions.ledger import Ledger, connect
from actions.rails import RailsSettings
from actions.rails_store import RailsStore
from actions.reversals import Reversals
from actions.run import carry_out
from actions.tools import Tools
from schemas.action import ActionCommand, Operation
from schemas.errors import PermanentError, TemporaryError
from streams.embedded import EmbeddedValkey
from tests.actions.builders import T0, command
from tests.actions.interleaving import SimulatedConnector, SimulatedTarget, SimulatedTelemetry
from tests.actions.test_executor_rails import NoWaiting

MIB = 1024 * 1024
Collecting = Callable[[Files], Awaitable[None]]


class Scene(SimulatedConnector):
    """A target with evidence."""

    collections: ClassVar[Mapping[str, type[Params]]] = {"scene": Params}

    def __init__(self, collecting: Collecting, target: SimulatedTarget | None = None) -> None:
        super().__init__(target or SimulatedTarget(), NoWaiting())
        self._collecting = collecting

    async def collect(self, operation: Operation, package: Files) -> None:
        await super().collect(operation, package)
        await self._collecting(package)


def wanted(**changes: Any) -> ActionCommand:
    scene = Operation(connector="http.deployments", operation="scene")
    return command(changes={"forensics": scene, **changes})


async def pieces(*content: bytes) -> AsyncIterator[bytes]:
    for piece in content:
        yield piece


async def two_files(package: Files) -> None:
    await package.add("log.txt", pieces(b"one\n", b"two\n"))
    await package.add_document("processes.json", {"pid": 1})


async def collect(folder: Path, collecting: Collecting, **settings: Any) -> dict[str, Any]:
    forensics = Forensics(ForensicsSettings(folder=folder, **settings), "executor-1", lambda: T0)
    told = await forensics.collect(wanted(), Scene(collecting), {"version": "v1"})
    found: dict[str, Any] = told["forensics"]
    return found


def manifest(told: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = orjson.loads((Path(told["package"]) / "manifest.json").read_bytes())
    return found


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def within(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.rglob("*"))


async def test_a_package_is_hashed_and_sealed(tmp_path: Path) -> None:
    told = await collect(tmp_path, two_files)
    folder, sealed = Path(told["package"]), (Path(told["package"]) / "manifest.json").read_bytes()
    assert told["manifest_sha256"] == hashlib.sha256(sealed).hexdigest()
    files = {item["name"]: item for item in manifest(told)["files"]}
    assert list(files) == ["command.json", "state.json", "log.txt", "processes.json"]
    for name, item in files.items():
        content = (folder / name).read_bytes()
        assert (item["sha256"], item["bytes"]) == (hashlib.sha256(content).hexdigest(), len(content))
        assert item["complete"]
        assert mode(folder / name) == 0o400
    assert mode(folder) == 0o700
    assert manifest(told)["custody"] == [{"by": "executor-1", "did": "collected", "at_unix_nano": T0}]
    assert manifest(told)["incident_id"] == "incident-1"
    assert orjson.loads((folder / "state.json").read_bytes()) == {"version": "v1"}


async def test_asked_again_after_a_crash_the_first_package_counts(tmp_path: Path) -> None:
    first = await collect(tmp_path, two_files)

    async def never(_: Files) -> None:
        pytest.fail("what is there now may be the action's own doing")

    assert await collect(tmp_path, never) == first


async def test_what_was_begun_and_not_sealed_stays_as_it_was(tmp_path: Path) -> None:
    first = await collect(tmp_path, two_files)
    (Path(first["package"]) / "manifest.json").unlink()
    second = await collect(tmp_path, two_files)
    assert second["package"] != first["package"]
    assert (Path(first["package"]) / "log.txt").is_file()


async def test_size_is_bounded_and_what_is_cut_off_is_said(tmp_path: Path) -> None:
    async def large(package: Files) -> None:
        await package.add("files.tar", pieces(*[bytes(MIB // 2)] * 10))
        await package.add("log.txt", pieces(b"late"))

    told = await collect(tmp_path, large, package_mib=1)
    assert told["bytes"] == MIB
    assert told["incomplete"] == ["files.tar", "log.txt"]


async def test_time_is_bounded_and_what_was_read_is_kept(tmp_path: Path) -> None:
    async def slow() -> AsyncIterator[bytes]:
        yield b"begun"
        await asyncio.sleep(60)

    async def hanging(package: Files) -> None:
        await package.add("log.txt", slow())

    told = await collect(tmp_path, hanging, seconds=0.2)
    assert told["problem"] == "not all was collected in 0.2 s"
    assert told["incomplete"] == ["log.txt"]
    assert (Path(told["package"]) / "log.txt").read_bytes() == b"begun"


async def test_what_cannot_be_read_is_noted_and_the_rest_goes_on(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"begun"
        raise PermanentError("404")

    async def partly(package: Files) -> None:
        await package.add("log.txt", broken())
        await two_files_but_log(package)

    async def two_files_but_log(package: Files) -> None:
        await package.add_document("processes.json", {})

    told = await collect(tmp_path, partly)
    assert told["incomplete"] == ["log.txt"]
    (log,) = [item for item in manifest(told)["files"] if item["name"] == "log.txt"]
    assert (log["problem"], log["bytes"]) == ("404", 5)


async def test_what_the_topics_say_is_added_even_when_the_target_is_out_of_reach(tmp_path: Path) -> None:
    async def away(_: Files) -> None:
        raise TemporaryError("it cannot be reached")

    async def records(about: ActionCommand, package: Files) -> None:
        await package.add_document("decision.json", [about.decision_id])

    forensics = Forensics(ForensicsSettings(folder=tmp_path), "executor-1", lambda: T0, records)
    told = (await forensics.collect(wanted(), Scene(away), {}))["forensics"]
    assert told["problem"] == "it cannot be reached"
    assert [item["name"] for item in manifest(told)["files"]] == ["command.json", "state.json", "decision.json"]


async def test_a_bug_of_ours_does_not_hold_containment_up(tmp_path: Path, expected_errors: list[str]) -> None:
    expected_errors.append("evidence of action")

    async def broken(package: Files) -> None:
        await two_files(package)
        raise KeyError("State")

    told = await collect(tmp_path, broken)
    assert told["problem"] == "KeyError: 'State'"
    assert told["incomplete"] == []


async def test_a_full_folder_takes_no_more(tmp_path: Path) -> None:
    (tmp_path / "old").write_bytes(bytes(MIB))
    told = await collect(tmp_path, two_files, folder_mib=1)
    assert "is full" in told["problem"]
    assert within(tmp_path) == ["old"]


@pytest.mark.parametrize("name", ["../up", "a/b", "", "manifest.json"])
async def test_a_file_stays_in_its_package(tmp_path: Path, name: str) -> None:
    async def hostile(package: Files) -> None:
        await package.add(name, pieces(b"x"))

    told = await collect(tmp_path, hostile)
    assert "no name of a file" in told["problem"]
    package = Path(told["package"]).name
    assert within(tmp_path) == sorted([package, "command.json", "manifest.json", "state.json"])


async def test_a_hostile_action_is_no_folder(tmp_path: Path) -> None:
    forensics = Forensics(ForensicsSettings(folder=tmp_path / "packages"), "executor-1", lambda: T0)
    told = await forensics.collect(wanted(id="../up"), Scene(two_files), {})
    assert "none of ours" in told["forensics"]["problem"]
    assert within(tmp_path) == []


async def test_nothing_is_collected_that_nobody_asked_for(tmp_path: Path) -> None:
    off = Forensics(ForensicsSettings(), "executor-1", lambda: T0)
    assert await off.collect(wanted(), Scene(two_files), {}) == {}
    on = Forensics(ForensicsSettings(folder=tmp_path), "executor-1", lambda: T0)
    assert await on.collect(command(), Scene(two_files), {}) == {}
    assert within(tmp_path) == []


@pytest.mark.integration
@pytest.mark.parametrize("fails", [False, True])
async def test_the_executor_collects_before_it_changes_anything(
    valkey: EmbeddedValkey, topic_prefix: str, tmp_path: Path, fails: bool
) -> None:
    redis, schedule, target = connect(valkey.url), NoWaiting(), SimulatedTarget()
    changed_then: list[int] = []

    async def collecting(package: Files) -> None:
        changed_then.append(len(target.log))
        await two_files(package)
        if fails:
            raise PermanentError("it cannot be reached")

    async def controls() -> Controls:
        return Controls()

    connectors: dict[str, Connector] = {"http.deployments": Scene(collecting, target)}
    tools = Tools(
        name="executor",
        ledger=Ledger(redis, prefix=topic_prefix, lease_seconds=60),
        rails=RailsStore(redis, RailsSettings(), prefix=topic_prefix),
        limits=RailsSettings(),
        reversals=Reversals(redis, prefix=topic_prefix),
        connectors=connectors,
        controls=controls,
        evidence=lambda evidence: SimulatedTelemetry(evidence, target, schedule, "better"),
        clock=lambda: schedule.now,
        sleep=schedule.pause,
        forensics=Forensics(ForensicsSettings(folder=tmp_path), "executor", lambda: schedule.now),
    )
    try:
        outcome = (await carry_out(wanted(), tools, lambda: False)).outcome
    finally:
        await redis.aclose()
    assert changed_then == [0]
    assert target.log, "missing evidence holds nothing up"
    assert outcome.before["forensics"]["problem"] == ("it cannot be reached" if fails else None)
    assert outcome.before["forensics"]["manifest_sha256"]


def framed(kind: int, text: bytes) -> bytes:
    return bytes([kind, 0, 0, 0]) + len(text).to_bytes(4, "big") + text


@pytest.mark.parametrize("size", [1, 3, 7, 8, 1000])
async def test_the_log_of_a_container_is_read_however_it_is_cut(size: int) -> None:
    whole = framed(1, b"said\n") + framed(2, b"complained\n") + framed(1, b"") + framed(1, b"broken off")[:-4]
    cut = [whole[at : at + size] for at in range(0, len(whole), size)]
    assert b"".join([piece async for piece in demultiplexed(pieces(*cut))]) == b"said\ncomplained\nbroken"


@pytest.mark.skipif(sys.byteorder == "big", reason="the kernel prints words in the order of bytes of the machine")
async def test_connections_are_read_as_the_kernel_prints_them(tmp_path: Path) -> None:
    process = tmp_path / "42"
    (process / "net").mkdir(parents=True)
    (process / "cgroup").write_text("0::/libpod_parent/libpod-abc\n")
    lines = {
        "tcp": "0: 0100007F:1F90 0202000A:01BB 01 00000000:00000000",
        "tcp6": "0: 00000000000000000000000001000000:0016 00000000000000000000000000000000:0000 0A 0",
        "udp": "0: 00000000:0035 00000000:0000 07 0",
        "udp6": "",
    }
    for name, line in lines.items():
        (process / "net" / name).write_text(f"  sl  local_address rem_address\n{line}".rstrip() + "\n")
    said = b"".join([piece async for piece in connections(42, "abc", tmp_path)]).decode().splitlines()
    assert said == [
        "tcp 127.0.0.1:8080 10.0.2.2:443 ESTABLISHED",
        "tcp6 [::1]:22 [::]:0 LISTEN",
        "udp 0.0.0.0:53 0.0.0.0:0 CLOSE",
    ]
    for number, container in ((42, "another"), (43, "abc")):
        with pytest.raises(PermanentError):
            await anext(connections(number, container, tmp_path))
