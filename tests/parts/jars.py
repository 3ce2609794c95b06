"""Programs for Java from Maven Central: fetched once into REFLEXARC_CACHE or .build/, run from there.

Used by the parts that are servers on Java. Needs Java 17 or newer, and `mvn` the first time. All at once:

    python -m tests.parts.jars
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from schemas.errors import EmbeddedPartError

_REPOSITORY = Path(__file__).parents[2]
_JAVA = 17  # the oldest that Kafka 4 runs on


@dataclass(frozen=True)
class Jars:
    """The jars of one program, as a `NAME.pom.xml` beside this file lists them."""

    program: str
    pom: str

    def obstacle(self) -> str | None:
        """Say why it cannot run on this machine, or None."""
        java = shutil.which("java")
        if java is None:
            return f"{self.program} needs Java {_JAVA}, and there is no `java` here"
        said = subprocess.run([java, "-version"], capture_output=True, text=True, check=False).stderr
        version = re.search(r'version "(\d+)', said)
        if version is None or int(version[1]) < _JAVA:
            return f"{self.program} needs Java {_JAVA}, and `java` here is: {said.partition(chr(10))[0]}"
        if not self.folder.exists() and shutil.which("mvn") is None:
            return f"the jars of {self.program} are fetched with `mvn`, and there is none here"
        return None

    @property
    def folder(self) -> Path:
        """Where they are; it exists when they have been fetched."""
        cache = Path(os.environ.get("REFLEXARC_CACHE") or _REPOSITORY / ".build")
        return cache / f"{self.pom}-{hashlib.sha256(self._file.read_bytes()).hexdigest()[:12]}"

    def fetch(self) -> Path:
        """Fetch them if they are not there yet."""
        wanted = self.folder
        if wanted.exists():
            return wanted
        wanted.parent.mkdir(parents=True, exist_ok=True)
        # All or none of them, also when this is interrupted or runs twice at a time.
        with tempfile.TemporaryDirectory(dir=wanted.parent) as scratch:
            fetched = Path(scratch) / "jars"
            maven = ["mvn", "--quiet", "--batch-mode", "--file", str(self._file), "dependency:copy-dependencies"]
            self.run([*maven, f"-DoutputDirectory={fetched}"])
            if not wanted.exists():
                fetched.rename(wanted)
        return wanted

    def java(self, *options: str) -> list[str]:
        """Give the words that run Java with these jars; the main class comes after them."""
        java = shutil.which("java")
        if java is None:
            raise EmbeddedPartError(f"{self.program} needs Java {_JAVA}")
        return [java, *options, "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{self.fetch()}/*"]

    def run(self, command: Sequence[str]) -> None:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EmbeddedPartError(f"`{command[0]}` failed for {self.program}:\n{done.stdout}{done.stderr}")

    @property
    def _file(self) -> Path:
        return Path(__file__).with_name(f"{self.pom}.pom.xml")


if __name__ == "__main__":
    for file in sorted(Path(__file__).parent.glob("*.pom.xml")):
        name = file.name.removesuffix(".pom.xml")
        sys.stdout.write(f"{Jars(name, name).fetch()}\n")
