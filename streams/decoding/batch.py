"""One batch of raw metric records on its way to columns: what each record turned out to be.

Used by `streams.decoding.metrics`, which asks for the samples, then for the spellings of their series, and for the
identity behind a spelling only where the series table does not know it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from operator import attrgetter
from typing import Any, TypeVar

import msgspec
import numpy as np
import orjson

from schemas import codec
from schemas.errors import RecordError
from schemas.raw import MetricBlock
from schemas.topics import RAW_METRICS
from streams.decoding.blocks import Blocks, Missed
from streams.decoding.histogram import Histograms
from streams.decoding.native import (
    UNUSABLE,
    Block,
    ExtendedSample,
    SeriesFields,
    decode_sample,
    is_strict_json,
    parse_each,
)
from streams.decoding.otlp import Stream, read_points, unusable
from streams.decoding.samples import Ints, Samples
from streams.decoding.series import TEMPORALITY, Identity, SeriesTable

_decode_extended = msgspec.json.Decoder(ExtendedSample).decode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_series = msgspec.json.Decoder(SeriesFields).decode
# A native spelling is these five JSON values with commas between: an array without its brackets.
_spelling_parts = attrgetter("name", "resource", "attributes", "kind", "unit")
_time, _value = attrgetter("time_unix_nano"), attrgetter("value")

Row = TypeVar("Row")


class MetricBatch:
    """The records of a batch, sorted out."""

    def __init__(
        self,
        keys: Sequence[bytes | None],
        values: Sequence[bytes | None],
        limits: Ints,
        histograms: Histograms,
        table: SeriesTable,
    ) -> None:
        self.rejected: dict[int, RecordError] = {}
        # Rejected when some of their samples had been taken in already: none of those may stay.
        self.disowned: set[int] = set()
        self._keys = keys
        self._values = values
        self._limits = limits
        self._histograms = histograms
        self._judged: dict[int, Any] = {}
        # Entries come in this order: single samples; series of OTLP records; series of blocks, spelt out; series of
        # blocks whose rows are known, which have no spelling.
        self._singles: list[Any] = []  # Sample or ExtendedSample
        self._single_positions: list[int] = []
        self._only_singles = False
        self._points: list[Samples] = []
        self._point_spellings: list[bytes] = []
        self._point_positions: list[int] = []
        self._origins: dict[bytes, tuple[Stream, Any]] = {}
        self._blocks = Blocks(table)
        self._parse()

    @property
    def owners(self) -> list[int]:
        """The position of the record that each entry with a spelling came from."""
        return [*self._single_positions, *self._point_positions, *self._blocks.spelling_positions]

    @property
    def known_rows(self) -> Ints:
        """The rows of the entries that have no spelling."""
        return self._blocks.known_rows()

    def missed(self) -> list[Missed]:
        """Return the blocks whose series had to be spelt out, with the first entry of each."""
        return self._blocks.missed(len(self._singles) + len(self._point_spellings))

    def spellings(self) -> list[bytes]:
        """Return the spelling of the series of each entry but the last, whose rows are known."""
        found = list(map(b",".join, map(_spelling_parts, self._singles)))
        found += self._point_spellings
        found += self._blocks.spellings
        return found

    def samples(self) -> Samples:
        """Return all samples, by record and, where a record has many, by time: it must not make its own ones late."""
        entry = np.arange(len(self._singles))
        singles = Samples(
            entry,
            np.fromiter(map(_time, self._singles), np.int64, len(entry)),
            np.fromiter(map(_value, self._singles), np.float64, len(entry)),
            entry if self._only_singles else np.array(self._single_positions, np.int64),
        )
        if self._only_singles:
            return singles
        points = [Samples(many.entry + len(entry), many.time, many.value, many.record) for many in self._points]
        blocks = self._blocks.samples(len(entry) + len(self._point_spellings))
        parts = [part for part in (singles, *points, blocks) if len(part.entry)]
        return Samples.joined(parts).in_order() if parts else singles

    def identify(self, position: int, spelling: bytes) -> Identity | None:
        """Return what a spelling says; None, and the record rejected, where it says nothing that can be used."""
        if spelling in self._origins:
            stream, point = self._origins[spelling]
            try:
                return stream.identity(point)
            except RecordError as error:
                self.rejected.setdefault(position, error)
                return None
        array = b"[" + spelling + b"]"
        try:
            fields = _decode_series(array)
        except UNUSABLE:
            try:
                self._judge(position)
            except RecordError as error:
                self.rejected[position] = error
                self.disowned.add(position)
                return None
            fields = SeriesFields(*orjson.loads(array))
        temporality = TEMPORALITY[fields.kind]
        return Identity(fields.name, fields.kind, temporality, fields.attributes, fields.resource, fields.unit)

    def _parse(self) -> None:
        steps = [self._add_singles, self._add_blocks]
        # No record is both, so the order is only what trying in vain costs; producers rarely mix.
        if self._values and b'"series"' in (self._values[0] or b""):
            steps.reverse()
        left: Sequence[int] = range(len(self._values))
        for step in (*steps, self._add_extended):
            if left:
                left = step(left)
        for position in left:
            try:
                self._sort_out(position)
            except RecordError as error:
                self.rejected[position] = error

    def _tried(
        self, decode: Callable[[bytes], Row], positions: Sequence[int]
    ) -> tuple[list[Row], Sequence[int], list[int]]:
        """Parse these records; returns what came out, where it came from, and the positions of the others."""
        keys, values = self._keys, self._values
        if len(positions) < len(values):
            keys, values = [keys[i] for i in positions], [values[i] for i in positions]
        found, refused = parse_each(decode, keys, values, RAW_METRICS.max_message_bytes)
        if not refused:
            return found, positions, []
        skip = set(refused)
        return found, [p for i, p in enumerate(positions) if i not in skip], [positions[i] for i in refused]

    def _add_singles(self, positions: Sequence[int]) -> list[int]:
        found, taken, others = self._tried(decode_sample, positions)
        self._singles = found
        self._single_positions = list(taken)
        self._only_singles = len(found) == len(self._values)
        return others

    def _add_blocks(self, positions: Sequence[int]) -> list[int]:
        found, taken, others = self._tried(_decode_block, positions)
        refused = [p for p, block in zip(taken, found, strict=True) if not self._blocks.add(p, block)]
        return sorted(others + refused) if refused else others

    def _add_extended(self, positions: Sequence[int]) -> list[int]:
        """Take the records that only have fields of a newer producer; returns the positions of the others."""
        found, taken, others = self._tried(_decode_extended, positions)
        for position, sample in zip(taken, found, strict=True):
            if is_strict_json(self._values[position]):
                self._singles.append(sample)
                self._single_positions.append(position)
            else:
                others.append(position)
        return sorted(others)

    def _sort_out(self, position: int) -> None:
        """Take one record that the quick parses did not: many samples, another format, or nothing that can be used."""
        value = self._values[position]
        if value and len(value) <= RAW_METRICS.max_message_bytes and self._add_otlp(position, value):
            return
        codec.check_envelope(RAW_METRICS, self._keys[position], value)
        judged = self._judge(position)
        # The codec's own spelling of it is one that the quick types take.
        again = codec.encode(judged)
        if isinstance(judged, MetricBlock) and self._blocks.add(position, _decode_block(again)):
            return
        self._singles.append(decode_sample(again))
        self._single_positions.append(position)

    def _add_otlp(self, position: int, value: bytes) -> bool:
        points = read_points(value, self._histograms, int(self._limits[position]))
        if points is None:
            return False
        if points.faults:
            self.rejected[position] = unusable(len(points.faults), points.faults[0])
        self._origins.update(zip(points.spellings, points.origins, strict=True))
        first = len(self._point_spellings)
        self._point_spellings.extend(points.spellings)
        self._point_positions.extend([position] * len(points.spellings))
        entry = np.arange(first, first + len(points.spellings))
        times, numbers = np.array(points.times, np.int64), np.array(points.values, np.float64)
        self._points.append(Samples(entry, times, numbers, np.full(len(entry), position)))
        return True

    def _judge(self, position: int) -> Any:
        """Ask the codec about a record, once."""
        if position not in self._judged:
            self._judged[position] = codec.decode(RAW_METRICS, self._keys[position], self._values[position])
        return self._judged[position]
