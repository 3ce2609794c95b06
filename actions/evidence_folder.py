"""The folder of evidence: one folder a package, `<action>.<number>`, sealed by its manifest.

Used by `actions.forensics` to write packages, and by `reflexarc evidence` to say which there are, to check them, and to
seal those whose executor died over them.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from actions import signing
from actions.evidence_store import MANIFEST
from schemas.errors import PermanentError

SIGNATURE = MANIFEST + signing.SUFFIX
# A package takes at most a minute to write (`forensics.seconds`); who has been at it for an hour is gone.
ABANDONED_SECONDS = 3600.0


@dataclass(frozen=True, slots=True)
class Found:
    """A package in the folder."""

    folder: Path
    files: int
    bytes: int
    touched: float
    """When anything of it was last written, in seconds since 1970."""
    sealed: bool
    signed: bool

    def is_abandoned(self, now: float) -> bool:
        """Whether whoever began it will not seal it any more."""
        return not self.sealed and now - self.touched >= ABANDONED_SECONDS


def packages(root: Path) -> list[Found]:
    """List all packages, the oldest first."""
    if not root.is_dir():
        return []
    found = [one for folder in root.iterdir() if folder.is_dir() for one in _look(folder)]
    return sorted(found, key=lambda one: (one.touched, one.folder.name))


def problems(folder: Path, public_key: Path) -> Iterator[str]:
    """Say everything by which a package is not what its executor sealed.

    Raises:
        PermanentError: the key cannot be used.

    """
    try:
        content = (folder / MANIFEST).read_bytes()
    except OSError as error:
        yield f"{MANIFEST}: {error.strerror}: it was never sealed"
        return
    yield from _doubts(folder, content, public_key)
    try:
        listed = {str(item["name"]): (item["bytes"], item["sha256"]) for item in orjson.loads(content)["files"]}
    except (ValueError, TypeError, KeyError):
        yield f"{MANIFEST}: it is no manifest"
        return
    there = {path.name for path in folder.iterdir()} - {MANIFEST, SIGNATURE}
    # A name that leads out of the package is not among the names in it.
    for name in sorted(listed.keys() - there):
        if listed[name][1] is not None:
            yield f"{name}: it is gone"
    for name in sorted(there - listed.keys()):
        yield f"{name}: it was not there when the package was sealed"
    for name in sorted(there & listed.keys()):
        if not (folder / name).is_file() or hashed(folder / name) != listed[name]:
            yield f"{name}: its size or hash is another one"


def seal(folder: Path, manifest: dict[str, Any], key: Ed25519PrivateKey | None) -> bytes:
    """Write and sign the manifest of a package, whose files are locked; gives its bytes."""
    content = orjson.dumps(manifest, option=orjson.OPT_INDENT_2)
    if key is not None:
        # Before the manifest: where that is, all is.
        (folder / SIGNATURE).write_bytes(signing.sign(content, key))
        locked(folder / SIGNATURE)
    (folder / MANIFEST).write_bytes(content)
    locked(folder / MANIFEST)
    return content


def seal_abandoned(found: Found, by: str, at_unix_nano: int, key: Ed25519PrivateKey | None) -> None:
    """Seal what is there of a package that nobody will finish: it says that of itself, and nothing is deleted.

    Raises:
        PermanentError: it is sealed already, or cannot be written.

    """
    if found.sealed:
        raise PermanentError(f"{found.folder}: it is sealed already")
    names = sorted(path.name for path in found.folder.iterdir() if path.is_file() and path.name != SIGNATURE)
    manifest = {
        "action_id": found.folder.name.rpartition(".")[0],
        "problem": "its executor died over it: what it had written was hashed later, and may not be all",
        "files": [{"name": name, "complete": False} | _entry(found.folder / name) for name in names],
        "custody": [{"by": by, "did": "sealed what was left", "at_unix_nano": at_unix_nano}],
    }
    try:
        (found.folder / SIGNATURE).unlink(missing_ok=True)
        seal(found.folder, manifest, key)
    except OSError as error:
        raise PermanentError(f"{found.folder}: {error.strerror}") from None


def locked(path: Path) -> dict[str, Any]:
    """Give the size and hash of a file that is on disk, and that nobody changes by mistake any more."""
    if not path.exists():
        return {"bytes": 0, "sha256": None}
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.chmod(0o400)
    return _entry(path)


def new_folder(root: Path, name: str) -> Path:
    """Make the folder of a new package."""
    root.mkdir(mode=0o700, parents=True, exist_ok=True)
    # What an executor that died had begun stays as it was.
    number = 1 + sum(1 for _ in root.glob(f"{name}.*"))
    folder = root / f"{name}.{number}"
    folder.mkdir(mode=0o700)
    return folder


def size(root: Path) -> int:
    """How much the packages take together."""
    return sum(bytes_ for bytes_, _ in _files(root))


def copying_order(folder: Path) -> list[Path]:
    """Give the files of a package, its manifest last: where that is, all are."""
    return sorted(folder.iterdir(), key=lambda path: (path.name == MANIFEST, path.name))


def hashed(path: Path) -> tuple[int, str]:
    """Size and SHA-256 of a file."""
    with path.open("rb") as file:
        return path.stat().st_size, hashlib.file_digest(file, "sha256").hexdigest()


def _doubts(folder: Path, manifest: bytes, public_key: Path) -> Iterator[str]:
    try:
        signature = (folder / SIGNATURE).read_bytes()
    except OSError:
        yield f"{MANIFEST}: it was not signed"
        return
    if not signing.is_signed(manifest, signature, public_key):
        yield f"{MANIFEST}: its signature is not that of the key; it was changed, or signed with another one"


def _entry(path: Path) -> dict[str, Any]:
    length, digest = hashed(path)
    return {"bytes": length, "sha256": digest}


def _look(folder: Path) -> Iterator[Found]:
    # It may be copied away, and so be gone, at any moment.
    with contextlib.suppress(FileNotFoundError):
        files = list(_files(folder))
        touched = max([folder.stat().st_mtime, *(at for _, at in files)])
        sealed = (folder / MANIFEST).exists()
        signed = (folder / SIGNATURE).exists()
        yield Found(folder, len(files) - sealed - signed, sum(length for length, _ in files), touched, sealed, signed)


def _files(root: Path) -> Iterator[tuple[int, float]]:
    for path in root.rglob("*"):
        with contextlib.suppress(FileNotFoundError):
            if path.is_file():
                found = path.stat()
                yield found.st_size, found.st_mtime
