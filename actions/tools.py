"""What the steps of every action share: the executor's tools, and the words for why an action was not done.

Made once by the executor, handed down to each run.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from actions.connectors.base import Connector
from actions.controls import Controls
from actions.forensics import Forensics
from actions.ledger import Ledger
from actions.rails import RailsSettings
from actions.rails_store import RailsStore
from actions.reversals import Reversals
from actions.verify import Evidence
from schemas.errors import PermanentError, RefusedError


class ExpiredError(RefusedError):
    """The command is older than its validity."""


class BlockedError(RefusedError):
    """Another action holds the target."""


class RailError(RefusedError):
    """A rail forbids the action, and a person is needed."""


class NotAppliedError(PermanentError):
    """The change did not happen, and the target was seen to be as it was."""


class EvidenceReader(Protocol):
    """Where evidence comes from: fills the `Evidence` it was made with."""

    async def start(self, since_unix_nano: int) -> None: ...
    async def catch_up(self) -> None: ...
    def poll(self) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Tools:
    """What every action of an executor needs."""

    name: str
    ledger: Ledger
    rails: RailsStore
    limits: RailsSettings
    reversals: Reversals
    connectors: Mapping[str, Connector]
    controls: Callable[[], Awaitable[Controls]]
    evidence: Callable[[Evidence], EvidenceReader]
    clock: Callable[[], int]
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    forensics: Forensics | None = None
