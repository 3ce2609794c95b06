"""The series table: which telemetry series are known, as dense rows.

`streams.decoding.metrics` looks every sample up here, by the bytes in which its producer spelt name, labels and
resource; only a spelling never seen before is parsed and made canonical. `streams.kernel.detect` keeps its arrays by
the same rows and asks for the description of a row when it has something to say about it. One table per partition.

Everything here is bounded: rows by `max_series`, spellings by rows, refusals by `max_series`, and all of it by bytes. A
label explosion fills the table, be it with many or with long labels, and then only counts.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from sys import intern
from typing import Literal, NamedTuple
from weakref import WeakValueDictionary

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from schemas.envelope import AttributeValue, Entity, content_id, entity_of
from schemas.raw import InstrumentKind
from streams.decoding.skeletons import Skeletons

Temporality = Literal["unspecified", "cumulative", "delta"]

# What the samples of a native record are; OTLP says it point by point.
TEMPORALITY: dict[InstrumentKind, Temporality] = {
    "gauge": "unspecified",
    "counter": "cumulative",
    "histogram": "unspecified",
}

# One spelling per producer version and language that writes the same series. A producer that spells it differently
# every time replaces its own entries and gains no memory.
SPELLINGS_PER_SERIES = 4

# What names and spellings of series may take, for each series there is room for: ten times what they mostly take.
# Whoever sends more is refused, as if there were too many series.
NAME_BYTES_PER_SERIES = 4096

# What the bytes that name the series of blocks may take, for each series there is room for: four times what they take
# where a block has ten series. Whoever writes them differently every time makes them forgotten, and gains no memory.
LAYOUT_BYTES_PER_SERIES = 512

# Resource attributes that change with every deployment or restart and are no part of what a series is: the new version
# of a service is to be compared with the one before it, not to begin a history of its own.
PASSING = frozenset({"service.version", "process.pid", "container.image.tags", "telemetry.sdk.version"})

# What `find` says of a spelling it has not met, and of a series there was no room for.
UNKNOWN = -1
REFUSED = -2


class Identity(NamedTuple):
    """What makes a series this one and no other; the unit only describes it."""

    name: str
    kind: InstrumentKind
    temporality: Temporality
    attributes: Mapping[str, AttributeValue]
    resource: Mapping[str, AttributeValue]
    unit: str


@dataclass(frozen=True, slots=True)
class Series:
    """Description of a row."""

    id: str
    entity: Entity
    name: str
    unit: str
    kind: InstrumentKind
    temporality: Temporality
    attributes: dict[str, AttributeValue]
    resource: dict[str, AttributeValue]


@dataclass(slots=True, weakref_slot=True)
class _Resource:
    """A resource, kept once for all its series."""

    canonical: bytes
    entity: Entity


@dataclass(slots=True)
class _Row:
    """A series at rest: about 0.6 kB with all that leads to it, where a `Series` takes four times that."""

    id: bytes
    resource: _Resource
    name: str
    unit: str
    kind: InstrumentKind
    temporality: Temporality
    attributes: bytes
    spellings: list[bytes] = field(default_factory=list)

    @property
    def size(self) -> int:
        """Bytes of its name. The resource counts in full: who has as many resources as series is the one to bound."""
        return len(self.name) + len(self.attributes) + len(self.resource.canonical)


class _Saved(msgspec.Struct, array_like=True):
    """A row in a snapshot. Spellings are left out: they are learned again in one batch."""

    row: int
    id: bytes
    resource: bytes
    name: str
    unit: str
    kind: InstrumentKind
    temporality: Temporality
    attributes: bytes


_SAVED = msgspec.msgpack.Decoder(list[_Saved])


class SeriesTable:
    """Series identity -> dense row, and back."""

    def __init__(self, max_series: int) -> None:
        self.max_series = max_series
        # Samples of series there was no room for.
        self.overflow = 0
        self._rows: list[_Row | None] = []
        # A heap: the lowest free row is given out first, whether or not the table was restored in between.
        self._free: list[int] = []
        self._by_id: dict[bytes, int] = {}
        self._by_spelling: dict[bytes, int] = {}
        self._resources: WeakValueDictionary[bytes, _Resource] = WeakValueDictionary()
        self._new: list[int] = []
        self._name_bytes = 0  # of rows and of spellings
        # The hot lookup: `find(spelling, UNKNOWN)` is a row, REFUSED or UNKNOWN.
        self.find = self._by_spelling.get
        self._refused = 0
        # Rows by the bytes in which a block names all its series: `layout(bytes)` is an array of rows, or None.
        self._by_layout: dict[bytes, NDArray[np.int64]] = {}
        self._layout_bytes = 0
        self.layout = self._by_layout.get
        self.skeletons = Skeletons(max_series)

    def __len__(self) -> int:
        return len(self._by_id)

    @property
    def layouts(self) -> int:
        """How many layouts of blocks are remembered."""
        return len(self._by_layout)

    @property
    def spellings(self) -> int:
        """How many spellings are remembered."""
        return len(self._by_spelling)

    def admit(self, spelling: bytes, identity: Identity) -> int:
        """Return the row of a series, giving it one if there is room, and remember this spelling of it.

        Returns:
            The row, or REFUSED.

        """
        row = self._row_of(identity)
        if row == REFUSED:
            self._refuse(spelling)
        else:
            self._remember(spelling, row)
        return row

    def remember_layout(self, layout: bytes, rows: NDArray[np.int64]) -> None:
        """Remember the rows `[n]` of a block's series, all of which are in the table."""
        size = len(layout) + rows.nbytes
        room = LAYOUT_BYTES_PER_SERIES * self.max_series
        if layout in self._by_layout or size > room:
            return
        if self._layout_bytes + size > room:
            self._forget_layouts()
        self._by_layout[layout] = rows
        self._layout_bytes += size

    def describe(self, row: int) -> Series:
        """Return what `row` is about."""
        kept = self._kept(row)
        return Series(
            id=kept.id.hex(),
            entity=kept.resource.entity,
            name=kept.name,
            unit=kept.unit,
            kind=kept.kind,
            temporality=kept.temporality,
            attributes=orjson.loads(kept.attributes),
            resource=orjson.loads(kept.resource.canonical),
        )

    def kind(self, row: int) -> tuple[InstrumentKind, Temporality]:
        """Return how samples of `row` are to be read, without building its description."""
        kept = self._kept(row)
        return kept.kind, kept.temporality

    def place(self, row: int) -> tuple[Entity, str, bytes]:
        """Return entity, name and canonical attributes of `row`, without building its description."""
        kept = self._kept(row)
        return kept.resource.entity, kept.name, kept.attributes

    def rows(self) -> list[int]:
        """Return the rows in use, ascending."""
        return [row for row, kept in enumerate(self._rows) if kept is not None]

    def take_new(self) -> list[int]:
        """Return the rows given out since the last call, for whoever keeps arrays by row."""
        new, self._new = self._new, []
        return new

    def forget(self, rows: Iterable[int]) -> None:
        """Drop series; their rows are given out again, so whoever keeps arrays must have let go of them."""
        for row in rows:
            kept = self._kept(row)
            self._name_bytes -= kept.size
            for spelling in kept.spellings:
                del self._by_spelling[spelling]
                self._name_bytes -= len(spelling)
            del self._by_id[kept.id]
            self._rows[row] = None
            heappush(self._free, row)
        self._forget_refusals()
        # Some may lead to rows that are free now. They are learned again in a few batches.
        self._forget_layouts()
        self.skeletons.clear()

    def snapshot(self) -> bytes:
        """State to `restore` from."""
        return msgspec.msgpack.encode(
            [
                _Saved(i, r.id, r.resource.canonical, r.name, r.unit, r.kind, r.temporality, r.attributes)
                for i, r in enumerate(self._rows)
                if r is not None
            ]
        )

    @classmethod
    def restore(cls, state: bytes, max_series: int) -> SeriesTable:
        """Return the table a snapshot was taken of; every series keeps its row."""
        table = cls(max_series)
        saved = _SAVED.decode(state)
        table._rows = [None] * (max((one.row for one in saved), default=-1) + 1)
        for one in saved:
            resource = table._resource(one.resource)
            table._rows[one.row] = _Row(
                one.id, resource, intern(one.name), intern(one.unit), one.kind, one.temporality, one.attributes
            )
            table._by_id[one.id] = one.row
            table._name_bytes += table._kept(one.row).size
        table._free = [row for row, kept in enumerate(table._rows) if kept is None]
        heapify(table._free)
        return table

    def _row_of(self, identity: Identity) -> int:
        lasting = {name: value for name, value in identity.resource.items() if name not in PASSING}
        attributes, resource = canonical(identity.attributes), canonical(lasting)
        parts = (identity.name, identity.kind, identity.temporality, attributes.decode(), resource.decode())
        key = bytes.fromhex(content_id("series", *parts))
        known = self._by_id.get(key)
        if known is not None:
            return known
        size = len(identity.name) + len(attributes) + len(resource)
        if len(self._by_id) >= self.max_series or not self._has_room(size):
            return REFUSED
        self._name_bytes += size
        row = heappop(self._free) if self._free else len(self._rows)
        if row == len(self._rows):
            self._rows.append(None)
        self._rows[row] = _Row(
            id=key,
            resource=self._resource(resource),
            name=intern(identity.name),
            unit=intern(identity.unit),
            kind=identity.kind,
            temporality=identity.temporality,
            attributes=attributes,
        )
        self._by_id[key] = row
        self._new.append(row)
        return row

    def _resource(self, canonical_resource: bytes) -> _Resource:
        known = self._resources.get(canonical_resource)
        if known is None:
            known = _Resource(canonical_resource, entity_of(orjson.loads(canonical_resource)))
            self._resources[canonical_resource] = known
        return known

    def _remember(self, spelling: bytes, row: int) -> None:
        spellings = self._kept(row).spellings
        if len(spellings) == SPELLINGS_PER_SERIES:
            oldest = spellings.pop(0)
            del self._by_spelling[oldest]
            self._name_bytes -= len(oldest)
        if self._has_room(len(spelling)):
            spellings.append(spelling)
            self._by_spelling[spelling] = row
            self._name_bytes += len(spelling)

    def _refuse(self, spelling: bytes) -> None:
        if self._refused >= self.max_series or not self._has_room(len(spelling)):
            self._forget_refusals()
        if self._has_room(len(spelling)):
            self._by_spelling[spelling] = REFUSED
            self._refused += 1
            self._name_bytes += len(spelling)

    def _forget_refusals(self) -> None:
        if self._refused:
            for spelling in [key for key, row in self._by_spelling.items() if row == REFUSED]:
                del self._by_spelling[spelling]
                self._name_bytes -= len(spelling)
            self._refused = 0

    def _has_room(self, size: int) -> bool:
        return self._name_bytes + size <= NAME_BYTES_PER_SERIES * self.max_series

    def _forget_layouts(self) -> None:
        self._by_layout.clear()
        self._layout_bytes = 0

    def _kept(self, row: int) -> _Row:
        kept = self._rows[row]
        if kept is None:
            raise KeyError(row)
        return kept


def canonical(attributes: Mapping[str, AttributeValue]) -> bytes:
    """Return one spelling for equal attributes: sorted, no spaces."""
    # Not by orjson: its bytes keep the room they were written in, 4 kB each, for as long as a series lives.
    return msgspec.json.encode(attributes, order="deterministic")
