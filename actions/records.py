"""What the topics say of an action: its decision with the whole trace, its incident, and the signals around it.

Called by `actions.forensics` after the target's own evidence, which may vanish; topics stay. It goes into the package
all the same, so that who opens it later needs nothing else.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple

import orjson

from actions.connectors.base import Files
from actions.tools import EvidenceReader
from schemas.action import ActionCommand
from schemas.decision import Decision
from schemas.envelope import NANOS
from schemas.errors import PermanentError
from schemas.incident import Incident
from schemas.signal import Signal
from schemas.topics import DECISIONS, INCIDENTS, SIGNALS, Topic

# A person has a quarter of an hour to approve by default; before that the incident had to be noticed.
_LOOK_BACK_SECONDS = 1800
# Of a scope in that time; each is some 1 KB.
_MOST_SIGNALS = 1000

Reading = Callable[[Topic, Callable[[Any], None]], EvidenceReader]


class _Wanted(NamedTuple):
    file: str
    topic: Topic
    most: int
    fits: Callable[[ActionCommand, Any], bool]


_WANTED = (
    _Wanted("decision.json", DECISIONS, 1, lambda asked, it: isinstance(it, Decision) and it.id == asked.decision_id),
    _Wanted("incident.json", INCIDENTS, 1, lambda asked, it: isinstance(it, Incident) and it.id == asked.incident_id),
    _Wanted(
        "signals.json",
        SIGNALS,
        _MOST_SIGNALS,
        lambda asked, it: isinstance(it, Signal) and it.entity.scope == asked.target.scope,
    ),
)


class Records:
    """Reads the topics on behalf of a package."""

    def __init__(self, reading: Reading) -> None:
        self._reading = reading

    async def collect(self, command: ActionCommand, package: Files) -> None:
        """Add a file for each topic; what is not on it any more is noted."""
        for wanted in _WANTED:
            await package.add(wanted.file, self._found(wanted, command))

    async def _found(self, wanted: _Wanted, command: ActionCommand) -> AsyncIterator[bytes]:
        # The newest are kept: of an incident, its last revision.
        kept: deque[Any] = deque(maxlen=wanted.most)
        reader = self._reading(wanted.topic, lambda it: kept.append(it) if wanted.fits(command, it) else None)
        try:
            await reader.start(command.issued_unix_nano - _LOOK_BACK_SECONDS * NANOS)
            await reader.catch_up()
        finally:
            reader.close()
        if not kept:
            raise PermanentError(f"nothing of it on {wanted.topic.name} in the last {_LOOK_BACK_SECONDS} s")
        yield orjson.dumps([it.model_dump(mode="json") for it in kept], option=orjson.OPT_INDENT_2)
