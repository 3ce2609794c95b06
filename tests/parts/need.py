"""What a test needs and this machine may not have."""

from __future__ import annotations

import os

import pytest


def need(why_not: str | None) -> None:
    """Skip what cannot run here; CI has everything, so there it is a failure."""
    if why_not is not None:
        if os.environ.get("CI") == "true":
            pytest.fail(why_not)
        pytest.skip(why_not)
