"""Packages of evidence: what changed since they were sealed is found, what was left behind is told."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import orjson
import pytest
from typer.testing import CliRunner, Result

from actions import evidence_folder, signing
from actions.forensics import Forensics, ForensicsSettings
from streams.cli import app
from tests.actions.test_forensics import Scene, two_files, wanted


@pytest.fixture
def key(tmp_path: Path) -> Path:
    signing.new_key(tmp_path / "key")
    return tmp_path / "key"


@pytest.fixture
def root(tmp_path: Path, key: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder, settings = tmp_path / "evidence", tmp_path / "reflexarc.toml"
    settings.write_text(f'[forensics]\nfolder = "{folder}"\nsigning_key = "{key}"\n')
    monkeypatch.setenv("REFLEXARC_CONFIG", str(settings))
    return folder


async def package(root: Path, key: Path | None) -> Path:
    forensics = Forensics(ForensicsSettings(folder=root, signing_key=key), "executor-1", time.time_ns)
    told = await forensics.collect(wanted(), Scene(two_files), {"version": "v1"})
    return Path(told["forensics"]["package"])


def run(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["evidence", *map(str, arguments)])


def changed(path: Path, content: bytes) -> None:
    path.chmod(0o600)
    path.write_bytes(content)


def manifest_says_otherwise(folder: Path) -> None:
    found = orjson.loads((folder / "manifest.json").read_bytes())
    found["target"] = "another"
    changed(folder / "manifest.json", orjson.dumps(found))


async def test_a_package_is_as_it_was_sealed(root: Path, key: Path) -> None:
    found = run("verify", await package(root, key), "--key", f"{key}.pub")
    assert (found.exit_code, "as it was sealed" in found.output) == (0, True)
    assert "4 files" in run("list").output
    assert " signed" in run("list").output


CHANGES: dict[str, Callable[[Path], object]] = {
    "log.txt: its size or hash": lambda folder: changed(folder / "log.txt", b"one\ntwo!"),
    "log.txt: it is gone": lambda folder: (folder / "log.txt").unlink(),
    "new: it was not there": lambda folder: (folder / "new").write_text("x"),
    "manifest.json: its signature": manifest_says_otherwise,
    "manifest.json: it was not signed": lambda folder: (folder / "manifest.json.sig").unlink(),
    "it was never sealed": lambda folder: (folder / "manifest.json").unlink(),
}


@pytest.mark.parametrize("told", CHANGES)
async def test_what_is_not_as_it_was_is_named(told: str, root: Path, key: Path) -> None:
    folder = await package(root, key)
    CHANGES[told](folder)
    found = run("verify", folder, "--key", f"{key}.pub")
    assert found.exit_code == 1
    assert "NOT as it was sealed" in found.output
    assert told in found.output.replace("\n", "")


async def test_who_has_another_key_cannot_seal_it_anew(root: Path, key: Path, tmp_path: Path) -> None:
    folder = await package(root, key)
    signing.new_key(tmp_path / "theirs")
    manifest = (folder / "manifest.json").read_bytes()
    changed(folder / "manifest.json.sig", signing.sign(manifest, signing.private_key(tmp_path / "theirs")))
    assert run("verify", folder, "--key", f"{key}.pub").exit_code == 1


async def test_without_a_key_nothing_is_signed(root: Path, key: Path) -> None:
    folder = await package(root, None)
    assert not (folder / "manifest.json.sig").exists()
    assert "not signed" in run("list").output
    assert run("verify", folder, "--key", f"{key}.pub").exit_code == 1


def abandoned(root: Path, hours: float) -> Path:
    folder = evidence_folder.new_folder(root, "action-9")
    (folder / "log.txt").write_text("half a")
    then = time.time() - hours * 3600
    for path in (folder / "log.txt", folder):
        os.utime(path, (then, then))
    return folder


async def test_what_an_executor_died_over_is_told_and_sealed_and_loses_nothing(
    root: Path, key: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = abandoned(root, hours=1.1)
    with caplog.at_level(logging.WARNING):
        await package(root, key)
    assert "1 packages of evidence were never sealed" in caplog.text
    assert "action-9.1  1 files  6 bytes  ABANDONED" in run("list").output
    assert f"{folder}: sealed, 1 files" in run("seal").output.replace("\n", "")
    assert run("verify", folder, "--key", f"{key}.pub").exit_code == 0
    manifest = orjson.loads((folder / "manifest.json").read_bytes())
    assert [one["complete"] for one in manifest["files"]] == [False]
    assert "died over it" in manifest["problem"]
    assert (folder / "log.txt").read_text() == "half a"
    assert "nothing is left unsealed" in run("seal").output


def test_what_may_still_be_written_is_let_be(root: Path) -> None:
    folder = abandoned(root, hours=0.9)
    assert "being written" in run("list").output
    assert "nothing is left unsealed" in run("seal").output
    assert not (folder / "manifest.json").exists()


def test_without_a_folder_it_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "none.toml").write_text("")
    monkeypatch.setenv("REFLEXARC_CONFIG", str(tmp_path / "none.toml"))
    assert "forensics.folder is not set" in str(run("list").exception)


def test_an_empty_place_has_no_packages(root: Path) -> None:
    assert run("list").output == ""
    shutil.rmtree(root, ignore_errors=True)
    assert "nothing is left" in run("seal").output
