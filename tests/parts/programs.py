"""Whether the programs of a part are installed and may do what they must, for parts that are Debian's programs."""

from __future__ import annotations

import os
import shutil
from collections.abc import Sequence


def root_obstacle(programs: Sequence[str], *, packages: str, what: str) -> str | None:
    """Say why a part cannot be had on this machine, or None.

    Args:
        programs: that must be in the path.
        packages: of Debian that bring them.
        what: needs root, in the plural.

    """
    missing = [program for program in programs if shutil.which(program) is None]
    if missing:
        return f"not installed: {', '.join(missing)} (Debian: {packages})"
    return None if os.geteuid() == 0 else f"{what} need root here"
