"""Events of processes to suspicions: which process does what was hardly ever seen, with the reasons.

Called by `streams.kernel.detect_logs` for records that have an event name. `detectors.processes` judges each event with
what started the process, then learns it. For a calm period from its first event on it only learns; and it abstains
while more than one process in twenty is suspicious to it, because then it knows nothing.

Whoever can write logs can make a process look suspicious. So a suspicion is a signal like any other and no alarm of a
system that looks for intruders: the classes whose playbooks cut something off need such an alarm besides
(`docs/classes.md`).
"""

from __future__ import annotations

from collections import OrderedDict
from dataclasses import dataclass

import msgspec

from detectors.processes import ProcessEvent, ProcessLineage
from schemas.envelope import NANOS, Entity

# Decades, its own and inherited: the point fixed on part A of the scoreboard (row 8), rounded.
SUSPICIOUS = 11.0
# A share of processes that cross the bar above which nothing can be said of one.
MOST_SUSPECTS = 0.05
# Nothing more for this long: it is no longer told. No recovery, because nothing was measured.
TOLD_FOR = 3600 * NANOS
# Processes told at a time: one intruder's shell may start thousands, and all of them inherit.
MAX_TOLD = 64


@dataclass(frozen=True, slots=True)
class Suspicion:
    """What is told of a process when it first crosses the bar."""

    process: str
    image: str
    score: float
    p_value: float
    """Share of processes that gave as much reason of their own accord."""
    reasons: tuple[str, ...]


class Told(msgspec.Struct, array_like=True):
    """A process that is told at the moment."""

    environment: str
    service: str
    instance: str | None
    onset: int
    last: int

    @property
    def entity(self) -> Entity:
        """Where it runs."""
        return Entity(environment=self.environment, service=self.service, instance=self.instance)


class _Saved(msgspec.Struct):
    lineage: bytes
    since: int
    started: int
    suspects: int
    told: list[tuple[str, Told]]


class ProcessWatch:
    """Processes of the entities of one partition.

    Args:
        learning: event time in nanoseconds from its first event on in which it only learns.
        state: what `freeze` returned.

    """

    def __init__(self, learning: int, state: bytes | None = None) -> None:
        self._learning = learning
        self._lineage = ProcessLineage()
        self._since = self._started = self._suspects = 0
        self._told: OrderedDict[str, Told] = OrderedDict()  # by process, in the order of their last evidence
        if state is not None:
            saved = msgspec.msgpack.decode(state, type=_Saved)
            self._lineage.thaw(saved.lineage)
            self._since, self._started, self._suspects = saved.since, saved.started, saved.suspects
            self._told = OrderedDict(saved.told)

    def freeze(self) -> bytes:
        """State to go on from."""
        told = list(self._told.items())
        return msgspec.msgpack.encode(
            _Saved(self._lineage.freeze(), self._since, self._started, self._suspects, told),
        )

    @property
    def share(self) -> float:
        """Share of processes that gave reason of their own accord, as if the next one did."""
        return (self._suspects + 1) / (self._started + 1)

    def judge(self, event: ProcessEvent, entity: Entity, now: int) -> Suspicion | None:
        """Return a suspicion when a process of an entity first gives reason for it; `now` is event time."""
        self._since = self._since or now
        self._started += event.kind == "start"
        verdict = self._lineage.judge(event)
        if verdict.score < SUSPICIOUS:
            return None
        if event.process in self._told:
            self._told[event.process].last = now
            self._told.move_to_end(event.process)
            return None
        share = self.share
        # What follows from a process that is told already is the same matter.
        self._suspects += event.parent not in self._told
        if now - self._since < self._learning or share > MOST_SUSPECTS or len(self._told) >= MAX_TOLD:
            return None
        self._told[event.process] = Told(entity.environment, entity.service, entity.instance, now, now)
        return Suspicion(event.process, event.image, verdict.score, share, verdict.reasons)

    def silent(self, now: int) -> list[tuple[str, Told]]:
        """Forget the processes of which nothing more was said for an hour, and return them."""
        found = []
        while self._told and now - next(iter(self._told.values())).last >= TOLD_FOR:
            found.append(self._told.popitem(last=False))
        return found
