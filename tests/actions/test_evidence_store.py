"""Packages of evidence in a bucket of a real S3 server that checks signatures."""

from __future__ import annotations

import hashlib
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import orjson
import pytest
from pydantic import SecretStr, ValidationError

from actions.connectors.base import Files
from actions.evidence_store import BucketSettings
from actions.forensics import Forensics, ForensicsSettings
from schemas.errors import ConfigurationError, TemporaryError
from tests.actions.builders import T0
from tests.actions.test_forensics import Collecting, Scene, pieces, two_files, wanted, within
from tests.parts import s3

MIB = 1024 * 1024
NAMES = ["command.json", "log.txt", "manifest.json", "processes.json", "state.json"]


@dataclass(frozen=True)
class Kept:
    """A bucket as settings name it, and the folder in which its objects are files."""

    settings: BucketSettings
    objects: Path

    def names(self, number: int = 1) -> list[str]:
        return sorted(path.name for path in self.place(number).iterdir())

    def place(self, number: int = 1) -> Path:
        return self.objects / "evidence" / wanted().id / f"{number:02}"


@pytest.fixture
def bucket(s3_server: s3.S3Server) -> Kept:
    name = f"b{uuid4().hex[:12]}"
    given = {"bucket": name, "prefix": "evidence", "endpoint": s3_server.url, "seconds": 20}
    keys = {"access_key_id": s3.KEY_ID, "secret_access_key": s3.SECRET}
    return Kept(BucketSettings.model_validate({**given, **keys}), s3_server.bucket(name))


@pytest.fixture
def nobody() -> Iterator[str]:
    """Give an address at which connections are taken and nothing is ever answered."""
    with socket.create_server(("127.0.0.1", 0)) as listening:
        yield f"http://127.0.0.1:{listening.getsockname()[1]}"


async def collect(folder: Path, store: BucketSettings, collecting: Collecting = two_files) -> dict[str, Any]:
    forensics = Forensics(ForensicsSettings(folder=folder, store=store), "executor-1", lambda: T0)
    found: dict[str, Any] = (await forensics.collect(wanted(), Scene(collecting), {"version": "v1"}))["forensics"]
    return found


async def never(_: Files) -> None:
    pytest.fail("what is there now may be the action's own doing")


async def test_a_package_is_copied_whole_and_then_leaves_the_folder(bucket: Kept, tmp_path: Path) -> None:
    told = await collect(tmp_path, bucket.settings)
    assert told["package"] == f"s3://{bucket.settings.bucket}/evidence/{wanted().id}/01"
    assert told["problem"] is None
    assert bucket.names() == NAMES
    sealed = (bucket.place() / "manifest.json").read_bytes()
    assert told["manifest_sha256"] == hashlib.sha256(sealed).hexdigest()
    for item in orjson.loads(sealed)["files"]:
        assert item["sha256"] == hashlib.sha256((bucket.place() / item["name"]).read_bytes()).hexdigest()
    assert within(tmp_path) == []


async def test_asked_again_by_another_executor_the_first_package_counts(bucket: Kept, tmp_path: Path) -> None:
    first = await collect(tmp_path / "one", bucket.settings)
    assert await collect(tmp_path / "two", bucket.settings, never) == first


async def test_what_an_executor_had_copied_when_it_died_stays_as_it_was(bucket: Kept, tmp_path: Path) -> None:
    await collect(tmp_path, bucket.settings)
    (bucket.place() / "manifest.json").unlink()
    (bucket.place() / "log.txt").write_bytes(b"as it was")
    told = await collect(tmp_path, bucket.settings)
    assert told["package"].endswith("/02")
    assert bucket.names(2) == NAMES
    assert (bucket.place() / "log.txt").read_bytes() == b"as it was"


@pytest.mark.parametrize("mib", [1, 9], ids=["in one piece", "in parts"])
async def test_an_object_that_is_there_is_never_overwritten(bucket: Kept, tmp_path: Path, mib: int) -> None:
    async def large(package: Files) -> None:
        await package.add("files.tar", pieces(*[bytes(MIB)] * mib))

    # A stranger's: of what is ours the first file takes the place.
    bucket.place().mkdir(parents=True)
    (bucket.place() / "files.tar").write_bytes(b"theirs")
    told = await collect(tmp_path / "packages", bucket.settings, large)
    assert "could not be copied" in told["problem"]
    assert (bucket.place() / "files.tar").read_bytes() == b"theirs"
    assert not (bucket.place() / "manifest.json").exists()
    assert (Path(told["package"]) / "files.tar").stat().st_size == mib * MIB


async def test_what_is_large_goes_in_parts(bucket: Kept, tmp_path: Path) -> None:
    async def large(package: Files) -> None:
        await package.add("files.tar", pieces(*[bytes([number]) * MIB for number in range(20)]))

    told = await collect(tmp_path, bucket.settings, large)
    assert told["problem"] is None
    (entry,) = [
        item for item in orjson.loads((bucket.place() / "manifest.json").read_bytes())["files"] if "tar" in item["name"]
    ]
    content = (bucket.place() / "files.tar").read_bytes()
    assert (len(content), hashlib.sha256(content).hexdigest()) == (20 * MIB, entry["sha256"])


@pytest.mark.parametrize("problem", ["refused", "silent", "wrong key", "no such bucket"])
async def test_a_store_that_does_not_take_it_is_said_and_the_package_is_kept(
    bucket: Kept, tmp_path: Path, nobody: str, problem: str
) -> None:
    changes: dict[str, dict[str, Any]] = {
        "refused": {"endpoint": "http://127.0.0.1:1"},
        "silent": {"endpoint": nobody, "seconds": 0.5},
        "wrong key": {"secret_access_key": SecretStr("another")},
        "no such bucket": {"bucket": "nowhere"},
    }
    store = BucketSettings.model_validate({**bucket.settings.model_dump(), **changes[problem]})
    told = await collect(tmp_path, store)
    assert "it could not be copied: the store of evidence" in told["problem"]
    assert "\n" not in told["problem"]
    folder = Path(told["package"])
    assert within(folder) == NAMES
    assert told["manifest_sha256"] == hashlib.sha256((folder / "manifest.json").read_bytes()).hexdigest()
    assert not list(bucket.objects.rglob("*.json"))


async def test_what_was_kept_is_copied_when_it_is_asked_for_again(bucket: Kept, tmp_path: Path) -> None:
    away = bucket.settings.model_copy(update={"bucket": "nowhere"})
    kept = await collect(tmp_path, away)
    told = await collect(tmp_path, bucket.settings, never)
    assert told["manifest_sha256"] == kept["manifest_sha256"]
    assert told["package"].startswith("s3://")
    assert bucket.names() == NAMES


async def test_what_could_not_be_collected_is_said_beside_what_could_not_be_copied(
    bucket: Kept, tmp_path: Path, nobody: str
) -> None:
    async def away(_: Files) -> None:
        raise TemporaryError("the target cannot be reached")

    store = BucketSettings.model_validate({**bucket.settings.model_dump(), "endpoint": nobody, "seconds": 0.2})
    told = await collect(tmp_path, store, away)
    assert told["problem"].startswith("the target cannot be reached; it could not be copied: the store")


def test_secrets_are_sent_in_the_clear_to_nobody_but_this_machine() -> None:
    with pytest.raises(ValidationError, match="only https"):
        BucketSettings.model_validate({"bucket": "evidence", "endpoint": "http://store.example"})
    BucketSettings.model_validate({"bucket": "evidence", "endpoint": "https://store.example"})


def test_a_store_needs_a_folder() -> None:
    with pytest.raises(ValidationError, match="needs a folder"):
        ForensicsSettings(store=BucketSettings(bucket="evidence"))


def test_without_the_library_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "obstore.store", None)
    settings = ForensicsSettings(folder=tmp_path, store=BucketSettings(bucket="evidence"))
    with pytest.raises(ConfigurationError, match=r"pip install 'reflexarc\[s3\]'"):
        Forensics(settings, "executor-1", lambda: T0)
