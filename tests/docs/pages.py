"""The pages people read, and what can be checked in them."""

from __future__ import annotations

import re
from pathlib import Path

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
PAGES = sorted([README, ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md"), *(ROOT / "examples").rglob("*.md")])

_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`([^`\n]+)`")


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


def blocks(page: Path, language: str) -> list[str]:
    """Return the fenced code in one language."""
    return [code for kind, code in _FENCE.findall(page.read_text()) if kind == language]


def code(page: Path) -> list[str]:
    """Return every line of shell and every piece of inline code: where commands are named."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [*lines, *_INLINE.findall(_FENCE.sub("", page.read_text()))]


def commands(page: Path, program: str) -> set[str]:
    """Return what is named as `program word`, by its words up to the first that is no plain word."""
    pattern = re.compile(rf"(?:^|[\s/]){program}((?: [a-z][a-z-]*)+)")
    return {found.strip() for piece in code(page) for found in pattern.findall(piece)}
