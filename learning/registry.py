"""Versions of what was learnt, as files: which are there, which is live, and the way back to any earlier one.

Used by `reflexarc learn` and `reflexarc models`; `streams.settings` reads what is live. One folder a kind, one JSON
file a version, and `live.json`, a copy of the one that is live. Files are replaced whole: nobody reads half of one.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from schemas.envelope import NANOS
from schemas.errors import ConfigurationError, PermanentError
from schemas.model import Held, ModelVersion, Status

LIVE = "live.json"
# The kind whose parameters are settings of the policy.
POLICY_THRESHOLDS = "policy-thresholds"
# The kind whose parameters are settings of detection and correlation.
DETECTION_THRESHOLDS = "detection-thresholds"
# The kind whose parameters say how often each rule of the classifier was right.
CONFIDENCE_CALIBRATION = "confidence-calibration"
# Of a change, before it takes effect: its record reaches every worker within a second, so with a margin for slow ones.
AHEAD_NANOS = 5 * NANOS


class Registry:
    """The versions in one folder."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def versions(self, kind: str | None = None) -> list[ModelVersion]:
        """List versions, the newest first."""
        found = [one for one in self._read() if kind in {None, one.kind}]
        return sorted(found, key=lambda one: (one.built_unix_nano, one.id), reverse=True)

    def live(self, kind: str) -> ModelVersion | None:
        return next((one for one in self.versions(kind) if one.status == "live"), None)

    def find(self, beginning: str) -> ModelVersion:
        """Find the version whose id begins so.

        Raises:
            PermanentError: there is none, or more than one.

        """
        found = [one for one in self.versions() if one.id.startswith(beginning)]
        if len(found) != 1:
            raise PermanentError(f"{len(found) or 'no'} models begin with {beginning!r}; see `reflexarc models list`")
        return found[0]

    def is_withdrawn(self, kind: str, parameters: Mapping[str, Any]) -> bool:
        """Whether a person rolled back a version that sets the same."""
        return any(one.status == "withdrawn" and one.parameters == parameters for one in self.versions(kind))

    def add(self, version: ModelVersion) -> list[ModelVersion]:
        """Keep a version; one that is live retires the one before it. Returns what changed, for the topic."""
        # Built again from the same, it is the same version: when it held stays known.
        known = (one.held for one in self.versions(version.kind) if one.id == version.id)
        version = version.model_copy(update={"held": next(known, version.held)})
        if version.status != "live":
            self._write(version)
            return [version]
        before = self.live(version.kind)
        reason = f"replaced by {version.id}"
        at = version.changed_unix_nano
        replaced = None if before is None or before.id == version.id else _over(before, "retired", reason, at)
        return self._go_live(_begun(version), replaced)

    def rollback(self, version: ModelVersion, *, by: str, now_unix_nano: int) -> list[ModelVersion]:
        """Make an earlier version live again; what was live meanwhile is withdrawn, and is not learnt again.

        Raises:
            PermanentError: it never was live: there is nothing to go back to.

        """
        if version.status not in {"retired", "withdrawn"}:
            raise PermanentError(f"model {version.id} is {version.status}; only one that was live can be gone back to")
        reason, before = f"rolled back to by {by}", self.live(version.kind)
        withdrawn = None if before is None else _over(before, "withdrawn", f"rolled back by {by}", now_unix_nano)
        return self._go_live(_begun(_changed(version, "live", reason, now_unix_nano)), withdrawn)

    def retire(self, kind: str, *, by: str, now_unix_nano: int) -> list[ModelVersion]:
        """Go back to the shipped settings: nothing learnt of this kind is live.

        Raises:
            PermanentError: nothing is.

        """
        live = self.live(kind)
        if live is None:
            raise PermanentError(f"no {kind} is live")
        withdrawn = _over(live, "withdrawn", f"rolled back to the shipped settings by {by}", now_unix_nano)
        # The copy first: after a crash in between, what people wanted gone is gone.
        live_file(self._folder, kind).unlink(missing_ok=True)
        self._write(withdrawn)
        return [withdrawn]

    def _go_live(self, version: ModelVersion, before: ModelVersion | None) -> list[ModelVersion]:
        if before is not None and before.id != version.id:
            version = version.model_copy(update={"replaces": before.id})
            changed = [before, version]
        else:
            changed = [version]
        for one in changed:
            self._write(one)
        self._replace(live_file(self._folder, version.kind), version)
        return changed

    def _read(self) -> Iterator[ModelVersion]:
        for path in sorted(self._folder.glob("*/*.json")):
            if path.name != LIVE:
                yield read(path)

    def _write(self, version: ModelVersion) -> None:
        self._replace(self._folder / version.kind / f"{version.id}.json", version)

    def _replace(self, path: Path, version: ModelVersion) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_suffix(f".{os.getpid()}.tmp")
        fresh.write_text(version.model_dump_json(indent=2) + "\n", encoding="utf-8")
        fresh.replace(path)


def live_file(folder: Path, kind: str) -> Path:
    """Say where the live version of a kind lies; it is absent where none is live."""
    return folder / kind / LIVE


def read(path: Path) -> ModelVersion:
    """Read one version.

    Raises:
        ConfigurationError: it cannot be read.

    """
    try:
        return ModelVersion.model_validate_json(path.read_bytes())
    except (OSError, ValidationError) as error:
        raise ConfigurationError(f"{path}: {str(error).splitlines()[0]}") from None


def _changed(version: ModelVersion, status: Status, reason: str, at: int) -> ModelVersion:
    return version.model_copy(update={"status": status, "reason": reason, "changed_unix_nano": at})


def _begun(version: ModelVersion) -> ModelVersion:
    """Let it hold from now on, or rather from a moment ahead that every worker can be ready for."""
    if any(span.until_unix_nano is None for span in version.held):
        return version
    span = Held(from_unix_nano=version.changed_unix_nano + AHEAD_NANOS)
    return version.model_copy(update={"held": (*version.held, span)})


def _over(version: ModelVersion, status: Status, reason: str, at: int) -> ModelVersion:
    """Let it hold no longer, from the moment on at which another would begin."""
    ended = tuple(
        span if span.until_unix_nano is not None else span.model_copy(update={"until_unix_nano": at + AHEAD_NANOS})
        for span in version.held
    )
    return _changed(version, status, reason, at).model_copy(update={"held": ended})
