"""References to the state in a step's parameters: a number may be scaled, and a bound never takes away."""

from __future__ import annotations

from typing import Any

import pytest

from actions.connectors.base import resolve
from schemas.errors import PermanentError


@pytest.mark.parametrize(
    ("scaling", "expected"),
    [
        ({}, 100),
        ({"times": 1.5}, 150),
        ({"times": 1.5, "at_most": 120}, 120),
        ({"plus": 1}, 101),
        ({"times": 1.5, "plus": 1, "at_most": 200}, 151),
        # Beyond the bound already: it stays.
        ({"times": 1.5, "at_most": 80}, 100),
    ],
)
def test_a_number_is_scaled_up_to_its_bound(scaling: dict[str, Any], expected: int) -> None:
    assert resolve({"memory": {"$state": "/limit", **scaling}}, {"limit": 100}) == {"memory": expected}


@pytest.mark.parametrize("found", ["100", None, True, [100]])
def test_what_is_no_number_is_not_scaled(found: Any) -> None:
    with pytest.raises(PermanentError, match="not a number"):
        resolve({"$state": "/limit", "times": 2}, {"limit": found})
