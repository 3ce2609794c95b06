"""Other witnesses than a series' own past, asked once a tick: the entity as a whole, its peers, what was promised.

Hung into the series bank (`detectors.bank.Witness`) by `streams.kernel.detect_witnesses`, which says what series are
about and puts their verdicts into words. Each sees the numbers that the bank judges, in the same tick.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.bank import Change, SeriesBank, Verdict
from detectors.entity_watch import EntityWatch
from detectors.objectives import Objective, ObjectiveWatch
from detectors.peers import PeerWatch
from detectors.profile import ProfileWatch

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class WitnessSettings:
    """Limits, each per partition."""

    max_entities: int = 20_000
    max_metrics: int = 256
    """Of one entity."""
    false_signals_per_day: float = 1.0
    """Of all entities, and of all comparisons with peers."""
    objectives: tuple[Objective, ...] = ()


@dataclass(frozen=True, slots=True)
class Place:
    """What a series is about."""

    row: int
    scope: str
    metric: str
    entity: Hashable
    siblings: Hashable | None
    """What all series have in common that it may be compared with; None: it stands alone."""


@dataclass(slots=True)
class _Numbers:
    """Dense numbers for keys, each for as long as some row has it."""

    most: int
    each: int
    by_key: dict[Hashable, int] = field(default_factory=dict)
    keys: dict[int, Hashable] = field(default_factory=dict)
    rows: dict[int, int] = field(default_factory=dict)
    free: list[int] = field(default_factory=list)  # a heap: the lowest comes first, also after a restart

    def take(self, key: Hashable) -> int:
        """Return the number of a key for one more row; -1 where there is no room."""
        number = self.by_key.get(key)
        if number is None:
            if len(self.by_key) >= self.most:
                return -1
            number = heappop(self.free) if self.free else len(self.by_key)
            self._put(key, number)
        if self.rows[number] >= self.each:
            return -1
        self.rows[number] += 1
        return number

    def give(self, number: int) -> bool:
        """Take a row back; whether it was the last of its number."""
        if number < 0:
            return False
        self.rows[number] -= 1
        if self.rows[number]:
            return False
        del self.by_key[self.keys.pop(number)], self.rows[number]
        heappush(self.free, number)
        return True

    def again(self, key: Hashable, number: int) -> None:
        """Give a row the number it had before a restart."""
        if number >= 0:
            if number not in self.rows:
                self._put(key, number)
            self.rows[number] += 1

    def settle(self) -> None:
        """After all rows have their numbers `again`: those in between are free."""
        self.free = sorted(set(range(max(self.rows, default=-1) + 1)) - set(self.rows))
        heapify(self.free)

    def _put(self, key: Hashable, number: int) -> None:
        self.by_key[key], self.keys[number], self.rows[number] = number, key, 0


class Witnesses:
    """All of a partition's metric series."""

    def __init__(self, settings: WitnessSettings, bank: SeriesBank, max_series: int) -> None:
        self._entity_numbers = _Numbers(settings.max_entities, settings.max_metrics)
        self._group_numbers = _Numbers(max_series, max_series)
        self.entities = EntityWatch(bank.settings, settings.false_signals_per_day)
        self.peers = PeerWatch(bank.settings, settings.false_signals_per_day)
        self.objectives = ObjectiveWatch(bank.settings, settings.objectives)
        self.profiles = ProfileWatch()
        self.join(bank)

    def join(self, bank: SeriesBank) -> None:
        """Judge the ticks of a bank, too."""
        bank.witness, self._bank = self, bank

    def admit(self, places: Sequence[Place]) -> None:
        """Give rows to new series."""
        if not places:
            return
        rows = np.array([place.row for place in places], np.int64)
        take = self._group_numbers.take
        groups = [-1 if place.siblings is None else take(place.siblings) for place in places]
        self.entities.admit(rows, np.array([self._entity_numbers.take(place.entity) for place in places], np.int64))
        self.peers.admit(rows, np.array(groups, np.int64))
        for place in places:
            self.objectives.admit(place.row, place.scope, place.metric)

    def forget(self, rows: Iterable[int]) -> None:
        """Take rows out of use, and with its last one an entity."""
        found = np.array(list(rows), np.int64)
        owners = self.entities.detector.entity[found].tolist()
        self.profiles.forget(owners)
        gone = [n for n in owners if self._entity_numbers.give(n)]
        for number in self.peers.group[found].tolist():
            self._group_numbers.give(number)
        nobody = np.full(len(found), -1, np.int64)
        self.entities.admit(found, nobody)
        self.entities.forget(np.array(gone, np.int64))
        self.peers.admit(found, nobody)
        self.objectives.forget(found)

    def last_of(self, rows: Iterable[int]) -> list[tuple[int, int]]:
        """Entities that would be gone without these rows: number, and one of its rows."""
        left: dict[int, int] = {}
        one: dict[int, int] = {}
        for row in rows:
            number = int(self.entities.detector.entity[row])
            if number >= 0:
                left[number] = left.get(number, self._entity_numbers.rows[number]) - 1
                one.setdefault(number, row)
        return [(number, one[number]) for number, count in left.items() if not count]

    def look(self, tick: int, rows: Ints, values: Floats, times: Ints, sample: int) -> Iterator[Verdict]:
        """Ask each: see `detectors.bank.Witness`."""
        raised = []
        for witness in (self.entities, self.peers, self.objectives):
            for verdict in witness.look(tick, rows, values, times, sample):
                raised += [verdict.series] * (verdict.change is Change.FIRING)
                yield verdict
        owner = self.entities.detector.entity
        yield from self.profiles.look(tick, rows, values, sample, bank=self._bank, owner=owner, raised=raised)

    def freeze(self) -> bytes:
        """Everything they know."""
        each = (self.entities, self.peers, self.objectives, self.profiles)
        return msgspec.msgpack.encode([one.freeze() for one in each])

    def thaw(self, state: bytes, places: Iterable[Place]) -> None:
        """Become what `freeze` was called on; `places` are those of all series there are."""
        entities, peers, objectives, profiles = msgspec.msgpack.decode(state, type=list[bytes])
        self.entities.thaw(entities)
        self.peers.thaw(peers)
        self.objectives.thaw(objectives)
        self.profiles.thaw(profiles)
        for place in places:
            self._entity_numbers.again(place.entity, int(self.entities.detector.entity[place.row]))
            self._group_numbers.again(place.siblings, int(self.peers.group[place.row]))
        self._entity_numbers.settle()
        self._group_numbers.settle()
