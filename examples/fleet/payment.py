"""The payment service: a dependency of checkout, and an innocent bystander when checkout is deployed badly."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from typing import Any

# An authorisation at the acquirer: 8 ms at the median, one in a hundred beyond 18 ms.
AUTHORISE_MEDIAN_SECONDS = 0.008
AUTHORISE_SIGMA = 0.35
# The acquirer turns one in two thousand away: about two a minute at the default load. A healthy system has errors.
UNAVAILABLE_SHARE = 0.0005


class AcquirerUnavailableError(Exception):
    """The acquirer turned the authorisation away."""


def build(rng: random.Random) -> Callable[[dict[str, Any]], Awaitable[dict[str, Any]]]:
    """Build the service; its versions behave alike."""

    async def authorise(request: dict[str, Any]) -> dict[str, Any]:
        await asyncio.sleep(rng.lognormvariate(0.0, AUTHORISE_SIGMA) * AUTHORISE_MEDIAN_SECONDS)
        if rng.random() < UNAVAILABLE_SHARE:
            raise AcquirerUnavailableError("acquirer is busy")
        return {"authorised_cents": request["cents"]}

    return authorise
