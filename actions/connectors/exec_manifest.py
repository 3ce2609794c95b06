"""The manifest of local commands: which there are, what arguments they take, and who vouches for it.

Read by the connector before every use. An Ed25519 signature beside the file (`actions.signing`) shows that nobody
changed it since; the executor has the public key only, so who breaks into its machine cannot sign. Nothing is ever
looked up in PATH or given to a shell: an argument takes the place of a placeholder within one word of the command, and
stays within it.
"""

from __future__ import annotations

import hashlib
import re
import stat
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, StrictInt, ValidationError, field_validator, model_validator

from actions import signing
from schemas.codec import describe
from schemas.errors import PermanentError

# A few hundred commands; what is larger is no manifest.
_MAX_BYTES = 256 * 1024
_PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")

Argument = str | StrictInt


class Entry(BaseModel):
    """Part of a manifest: a misspelt field is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Text(Entry):
    """An argument that matches a pattern, as a whole."""

    type: Literal["text"]
    # Nothing that a program takes for an option, a path upwards or two words.
    pattern: str = r"[A-Za-z0-9][A-Za-z0-9_.:@-]{0,254}"

    @field_validator("pattern")
    @classmethod
    def _compiles(cls, pattern: str) -> str:
        try:
            re.compile(pattern)
        except re.error as error:
            raise ValueError(f"not a pattern: {error}") from None
        return pattern

    def takes(self, value: object) -> bool:
        return isinstance(value, str) and "\0" not in value and re.fullmatch(self.pattern, value) is not None


class Integer(Entry):
    """An argument that is a whole number within bounds."""

    type: Literal["integer"]
    at_least: int
    at_most: int

    def takes(self, value: object) -> bool:
        return isinstance(value, int) and not isinstance(value, bool) and self.at_least <= value <= self.at_most


class Choice(Entry):
    """An argument that is one of these words."""

    type: Literal["choice"]
    of: Annotated[tuple[str, ...], Field(min_length=1)]

    def takes(self, value: object) -> bool:
        return value in self.of


Kind = Annotated[Text | Integer | Choice, Field(discriminator="type")]
Words = Annotated[tuple[Annotated[str, Field(min_length=1)], ...], Field(min_length=1)]


class Command(Entry):
    """One command: how it is looked at, and how it is run."""

    observe: Words
    """Prints the state as a JSON object, and changes nothing."""
    apply: Words
    arguments: Mapping[str, Kind] = Field(default_factory=dict)
    sha256: Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")] | None = None
    """Of the program that `apply` runs; another one is not run."""
    timeout_seconds: Annotated[float, Field(gt=0, le=120)] = 10.0

    @model_validator(mode="after")
    def _words_are_sound(self) -> Command:
        for words in (self.observe, self.apply):
            if not words[0].startswith("/") or _PLACEHOLDER.search(words[0]):
                raise ValueError(f"{words[0]}: a program is named by its whole path")
            unknown = {name for word in words for name in _PLACEHOLDER.findall(word)} - set(self.arguments)
            if unknown:
                raise ValueError(f"no argument is declared as {', '.join(sorted(unknown))}")
        return self

    def fill(self, words: Words, given: Mapping[str, object]) -> list[str]:
        """Put the arguments in that these words have a place for.

        Raises:
            PermanentError: one is missing, unknown, or not of its kind.

        """
        if set(given) != set(self.arguments):
            raise PermanentError(f"arguments {sorted(given)} given, {sorted(self.arguments)} taken")
        for name in sorted({name for word in words for name in _PLACEHOLDER.findall(word)}):
            if not self.arguments[name].takes(given[name]):
                raise PermanentError(f"argument {name} is {given[name]!r:.100}, which is not allowed")
        return [_PLACEHOLDER.sub(lambda found: str(given[found[1]]), word) for word in words]


class Manifest(Entry):
    """All commands, by name."""

    commands: Mapping[str, Command]


def read(path: Path, public_key: Path) -> Manifest:
    """Read a manifest that is signed with the private key that belongs to this public one.

    Raises:
        PermanentError: it cannot be read, is not signed so, or is not a manifest.

    """
    try:
        content, signature = _bytes(path), _bytes(signing.signature_of(path))
    except OSError as error:
        raise PermanentError(f"{error.filename}: {error.strerror}") from None
    if not signing.is_signed(content, signature, public_key):
        raise PermanentError(f"{path}: its signature is not that of the key; it was changed, or never signed")
    try:
        return Manifest.model_validate(yaml.safe_load(content))
    except yaml.YAMLError as error:
        raise PermanentError(f"{path}: not YAML: {error}") from None
    except ValidationError as error:
        raise PermanentError(f"{path}: {describe(error)}") from None


def check_program(program: Path, sha256: str | None) -> None:
    """See that a program is the one that was vouched for.

    Raises:
        PermanentError: it is not, or others than its owner may change it.

    """
    try:
        mode = program.stat().st_mode
        digest = sha256 and hashlib.sha256(program.read_bytes()).hexdigest()
    except OSError as error:
        raise PermanentError(f"{program}: {error.strerror}") from None
    if not stat.S_ISREG(mode) or mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise PermanentError(f"{program}: not a plain file that only its owner may change")
    if digest != sha256:
        raise PermanentError(f"{program}: it is not the program whose sha256 the manifest states")


def _bytes(path: Path) -> bytes:
    with path.open("rb") as file:
        content = file.read(_MAX_BYTES + 1)
    if len(content) > _MAX_BYTES:
        raise PermanentError(f"{path}: over {_MAX_BYTES} bytes")
    return content
