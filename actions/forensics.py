"""Evidence of a target, written down before an action changes it: files, their hashes, and who took them when.

Called by `actions.steps` once an action is let through and before its first change. What there is to collect the
connector knows (`Connector.collect`); here it is bounded in size and time, hashed, sealed, and copied to a bucket if
there is one. Evidence that cannot be had does not hold an action up: containment comes first, and the package says
what is missing.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
import re
import shutil
from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Annotated, Any, BinaryIO

import orjson
from pydantic import Field, model_validator

from actions import evidence_folder, signing
from actions.connectors.base import Connector, State
from actions.connectors.settings import Group
from actions.evidence_store import MANIFEST, Bucket, BucketSettings
from schemas.action import ActionCommand
from schemas.envelope import NANOS
from schemas.errors import PermanentError, TemporaryError

log = logging.getLogger(__name__)

_MIB = 1024 * 1024
# Ids are made from content, but a command comes from a topic: nothing else may become part of a path.
_ID = re.compile(r"[A-Za-z0-9_-]{1,128}")


class ForensicsSettings(Group):
    """Evidence collected before containment."""

    folder: Path | None = None
    """Where each action's package is written. None: nothing is collected."""
    store: BucketSettings | None = None
    """Where it is copied to from there. What has arrived whole is removed from the folder."""
    signing_key: Path | None = None
    """Private key that the manifests of packages are signed with (`reflexarc keys new`). None: they are not signed."""
    package_mib: Annotated[int, Field(ge=1)] = 256
    """Most that one package may take; what is cut off there is marked so."""
    folder_mib: Annotated[int, Field(ge=1)] = 4096
    """Once the packages together take this, nothing more is collected until a person has made room."""
    seconds: Annotated[float, Field(gt=0, le=60)] = 20.0
    """Longest that containment waits for evidence."""

    @model_validator(mode="after")
    def _written_before_it_is_copied(self) -> ForensicsSettings:
        if self.store is not None and self.folder is None:
            raise ValueError("a store needs a folder, where packages are written before they are copied")
        return self


class Package:
    """One package being written. Connectors add files to it."""

    def __init__(self, folder: Path, most_bytes: int, clock: Callable[[], int]) -> None:
        self.folder = folder
        self.files: list[State] = []
        self._left = most_bytes
        self._clock = clock

    async def add(self, name: str, content: AsyncIterable[bytes]) -> None:
        """Write one file, as far as there is room. What cannot be read is noted, and the rest goes on."""
        if not name or Path(name).name != name or name in {MANIFEST, evidence_folder.SIGNATURE}:
            raise PermanentError(f"{name!r:.100} is no name of a file")
        entry: State = {"name": name, "complete": False, "problem": None, "begun_unix_nano": self._clock()}
        self.files.append(entry)
        try:
            with (self.folder / name).open("xb") as file:
                entry["complete"] = await self._write(file, content)
        except (PermanentError, TemporaryError, OSError) as error:
            entry["problem"] = str(error)[:300]
        finally:
            entry["ended_unix_nano"] = self._clock()

    async def add_document(self, name: str, document: Any) -> None:
        await self.add(name, _once(orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_SORT_KEYS)))

    async def _write(self, file: BinaryIO, content: AsyncIterable[bytes]) -> bool:
        async for chunk in content:
            piece = chunk[: self._left]
            # Disks stall; the loop does not.
            await asyncio.to_thread(file.write, piece)
            self._left -= len(piece)
            if len(piece) < len(chunk):
                return False
        return True


Collecting = Callable[[ActionCommand, Package], Awaitable[None]]


class Forensics:
    """Where an executor keeps evidence.

    Raises:
        ConfigurationError: the library for the bucket is not installed.
        PermanentError: the key to sign with cannot be used.

    """

    def __init__(
        self, settings: ForensicsSettings, executor: str, clock: Callable[[], int], records: Collecting | None = None
    ) -> None:
        self._settings = settings
        self._executor = executor
        self._clock = clock
        self._records = records
        self._bucket = None if settings.store is None else Bucket(settings.store)
        self._key = None if settings.signing_key is None else signing.private_key(settings.signing_key)
        self._say_what_was_left()

    def _say_what_was_left(self) -> None:
        found = [] if self._settings.folder is None else evidence_folder.packages(self._settings.folder)
        left = [one for one in found if one.is_abandoned(self._clock() / NANOS)]
        if left:
            log.warning("%d packages of evidence were never sealed: see `reflexarc evidence list`", len(left))

    async def collect(self, command: ActionCommand, connector: Connector, before: State) -> State:
        """Collect what the step asks for; gives what the outcome says of it, nothing when nothing was asked for."""
        if command.forensics is None or self._settings.folder is None:
            return {}
        try:
            return {"forensics": await self._package(command, connector, before, self._settings.folder)}
        except (PermanentError, TemporaryError, OSError) as error:
            return {"forensics": {"problem": f"nothing was collected: {error}"[:300]}}

    async def _package(self, command: ActionCommand, connector: Connector, before: State, root: Path) -> State:
        if _ID.fullmatch(command.id) is None:
            raise PermanentError("the action's id is none of ours")
        found = await asyncio.to_thread(_sealed, root, command.id)
        if found is not None:
            # Taken before a crash; what is there now may be the action's own doing.
            return await self._delivered(command.id, found)
        held = await self._held(command.id)
        if held is not None:
            return held
        if await asyncio.to_thread(evidence_folder.size, root) >= self._settings.folder_mib * _MIB:
            raise PermanentError(f"{root} is full")
        package = Package(evidence_folder.new_folder(root, command.id), self._settings.package_mib * _MIB, self._clock)
        problem = await self._fill(package, command, connector, before)
        sealed = await asyncio.to_thread(self._seal, package, command, problem)
        return await self._delivered(command.id, sealed)

    async def _held(self, action_id: str) -> State | None:
        """Look for the package of another executor, which died after it was copied."""
        if self._bucket is None:
            return None
        with contextlib.suppress(TemporaryError):
            found = await self._bucket.sealed(action_id)
            return None if found is None else _summary(*found)
        return None

    async def _delivered(self, action_id: str, sealed: State) -> State:
        """Copy a package to the bucket; what could not be copied stays in the folder, and it is said."""
        if self._bucket is None:
            return sealed
        folder = Path(sealed["package"])
        try:
            place = await self._bucket.copy(action_id, evidence_folder.copying_order(folder))
        except TemporaryError as error:
            problems = [problem for problem in (sealed["problem"], f"it could not be copied: {error}"[:300]) if problem]
            return sealed | {"problem": "; ".join(problems)}
        await asyncio.to_thread(shutil.rmtree, folder)
        return sealed | {"package": place}

    async def _fill(self, package: Package, command: ActionCommand, connector: Connector, before: State) -> str | None:
        assert command.forensics is not None  # noqa: S101 - the caller looked
        await package.add_document("command.json", command.model_dump(mode="json"))
        await package.add_document("state.json", before)
        problem = None
        try:
            async with asyncio.timeout(self._settings.seconds):
                problem = await _tried(connector.collect(command.forensics, package), command)
                if self._records is not None:
                    problem = await _tried(self._records(command, package), command) or problem
        except TimeoutError:
            return f"not all was collected in {self._settings.seconds:g} s"
        return problem

    def _seal(self, package: Package, command: ActionCommand, problem: str | None) -> State:
        manifest = {
            "action_id": command.id,
            "incident_id": command.incident_id,
            "decision_id": command.decision_id,
            "target": str(command.target),
            "problem": problem,
            "files": [item | evidence_folder.locked(package.folder / item["name"]) for item in package.files],
            "custody": [{"by": self._executor, "did": "collected", "at_unix_nano": self._clock()}],
        }
        return _summary(str(package.folder), evidence_folder.seal(package.folder, manifest, self._key))


async def _tried(collecting: Awaitable[None], command: ActionCommand) -> str | None:
    """Collect; say what went wrong."""
    try:
        await collecting
    except (PermanentError, TemporaryError) as error:
        return str(error)
    except Exception as error:
        # A bug of ours. It must not keep anything from being contained.
        log.exception("evidence of action %s", command.id)
        return f"{type(error).__name__}: {error}"
    return None


def _sealed(root: Path, name: str) -> State | None:
    found = sorted(root.glob(f"{name}.*/{MANIFEST}"))
    return _summary(str(found[0].parent), found[0].read_bytes()) if found else None


def _summary(place: str, manifest: bytes) -> State:
    found = orjson.loads(manifest)
    return {
        "package": place,
        "manifest_sha256": hashlib.sha256(manifest).hexdigest(),
        "files": len(found["files"]),
        "bytes": sum(item["bytes"] for item in found["files"]),
        "incomplete": [item["name"] for item in found["files"] if not item["complete"]],
        "problem": found["problem"],
    }


async def _once(content: bytes) -> AsyncIterator[bytes]:
    yield content
