"""One batch of raw metric records on its way to columns: what each record turned out to be.

Used by `streams.decoding.metrics`, which asks for the samples, then for the spellings of their series, and for the
identity behind a spelling only where the series table does not know it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from operator import attrgetter
from typing import Any

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from schemas import codec
from schemas.errors import RecordError
from schemas.topics import RAW_METRICS
from streams.decoding.histogram import Histograms
from streams.decoding.native import UNUSABLE, Block, ExtendedSample, Sample, SeriesFields, is_strict_json, parse_each
from streams.decoding.otlp import Stream, read_points, unusable
from streams.decoding.series import TEMPORALITY, Identity

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_decode_sample = msgspec.json.Decoder(Sample).decode
_decode_extended = msgspec.json.Decoder(ExtendedSample).decode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_series = msgspec.json.Decoder(SeriesFields).decode
# A native spelling is these five JSON values with commas between: an array without its brackets.
_spelling_parts = attrgetter("name", "resource", "attributes", "kind", "unit")
_time, _value = attrgetter("time_unix_nano"), attrgetter("value")


@dataclass(slots=True)
class Samples:
    """Columns of samples whose series are known by their spellings only."""

    entry: Ints  # index into the batch's spellings
    time: Ints
    value: Floats
    record: Ints  # position in the batch

    def take(self, which: Ints | NDArray[np.bool_]) -> Samples:
        """Return some of them."""
        return Samples(self.entry[which], self.time[which], self.value[which], self.record[which])


class MetricBatch:
    """The records of a batch, sorted out."""

    def __init__(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], limits: Ints, histograms: Histograms
    ) -> None:
        self.rejected: dict[int, RecordError] = {}
        # Rejected when some of their samples had been taken in already: none of those may stay.
        self.disowned: set[int] = set()
        self._keys = keys
        self._values = values
        self._limits = limits
        self._histograms = histograms
        self._judged: dict[int, Any] = {}
        # Entries 0 to n - 1 are the single samples; those of records with many samples come after them.
        self._singles: list[Any] = []  # Sample or ExtendedSample
        self._single_positions: list[int] = []
        self._many: list[Samples] = []
        self._many_spellings: list[bytes] = []
        self._many_positions: list[int] = []
        self._origins: dict[bytes, tuple[Stream, Any]] = {}
        self._in_order = True
        self._parse()

    @property
    def owners(self) -> list[int]:
        """The position of the record that each entry came from."""
        return [*self._single_positions, *self._many_positions]

    def spellings(self) -> list[bytes]:
        """Return the spelling of the series of each entry."""
        found = list(map(b",".join, map(_spelling_parts, self._singles)))
        found += self._many_spellings
        return found

    def samples(self) -> Samples:
        """Return all samples, by record and, where a record has many, by time: it must not make its own ones late."""
        entry = np.arange(len(self._singles))
        singles = Samples(
            entry,
            np.fromiter(map(_time, self._singles), np.int64, len(entry)),
            np.fromiter(map(_value, self._singles), np.float64, len(entry)),
            entry if self._in_order else np.array(self._single_positions, np.int64),
        )
        if self._in_order:
            return singles
        parts = [singles, *self._many]
        whole = Samples(
            np.concatenate([entry, *(many.entry + len(entry) for many in self._many)]),
            np.concatenate([part.time for part in parts]),
            np.concatenate([part.value for part in parts]),
            np.concatenate([part.record for part in parts]),
        )
        return whole.take(np.lexsort((whole.time, whole.record)))

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
        values = self._values
        self._singles, others = parse_each(_decode_sample, self._keys, values, RAW_METRICS.max_message_bytes)
        self._single_positions = list(range(len(values)))
        if not others:
            return
        self._in_order = False
        skip = set(others)
        self._single_positions = [i for i in self._single_positions if i not in skip]
        for position in self._add_extended(others):
            try:
                self._sort_out(position)
            except RecordError as error:
                self.rejected[position] = error

    def _add_extended(self, positions: list[int]) -> list[int]:
        """Take the records that only have fields of a newer producer; returns the positions of the others."""
        keys, values = [self._keys[i] for i in positions], [self._values[i] for i in positions]
        samples, refused = parse_each(_decode_extended, keys, values, RAW_METRICS.max_message_bytes)
        found, skip, others = iter(samples), set(refused), []
        for i, position in enumerate(positions):
            sample = None if i in skip else next(found)
            if sample is None or not is_strict_json(values[i]):
                others.append(position)
            else:
                self._singles.append(sample)
                self._single_positions.append(position)
        return others

    def _sort_out(self, position: int) -> None:
        """Take one record that the quick parses did not: many samples, another format, or nothing that can be used."""
        value = self._values[position]
        if value and len(value) <= RAW_METRICS.max_message_bytes and self._add_otlp(position, value):
            return
        codec.check_envelope(RAW_METRICS, self._keys[position], value)
        assert value is not None  # noqa: S101 - check_envelope refused None
        if self._add_block(position, value):
            return
        again = codec.encode(self._judge(position))
        if not self._add_block(position, again):
            self._singles.append(_decode_sample(again))
            self._single_positions.append(position)

    def _add_otlp(self, position: int, value: bytes) -> bool:
        points = read_points(value, self._histograms, int(self._limits[position]))
        if points is None:
            return False
        if points.faults:
            self.rejected[position] = unusable(len(points.faults), points.faults[0])
        self._origins.update(zip(points.spellings, points.origins, strict=True))
        entry = self._add_spellings(position, points.spellings)
        self._add_many(position, entry, np.array(points.times, np.int64), np.array(points.values, np.float64))
        return True

    def _add_block(self, position: int, value: bytes) -> bool:
        # Only saves trying: one that spells it with escapes is taken by the codec, and comes again in plain letters.
        if b'"series"' not in value:
            return False
        try:
            block = _decode_block(value)
            samples = np.array(block.value, np.float64)  # None becomes NaN; rows of unequal length are a ValueError
        except (*UNUSABLE, ValueError):
            return False
        if samples.shape != (len(block.series), len(block.time_unix_nano)):
            return False
        rest = block.resource
        spellings = [b",".join((s.name, rest, s.attributes, s.kind, s.unit)) for s in block.series]
        entry = np.repeat(self._add_spellings(position, spellings), samples.shape[1])
        time = np.tile(np.array(block.time_unix_nano, np.int64), samples.shape[0])
        keep = ~np.isnan(samples.ravel())
        self._add_many(position, entry[keep], time[keep], samples.ravel()[keep])
        return True

    def _add_spellings(self, position: int, spellings: list[bytes]) -> Ints:
        first = len(self._many_spellings)
        self._many_spellings.extend(spellings)
        self._many_positions.extend([position] * len(spellings))
        return np.arange(first, first + len(spellings))

    def _add_many(self, position: int, entry: Ints, time: Ints, value: Floats) -> None:
        self._many.append(Samples(entry, time, value, np.full(len(entry), position)))

    def _judge(self, position: int) -> Any:
        """Ask the codec about a record, once."""
        if position not in self._judged:
            self._judged[position] = codec.decode(RAW_METRICS, self._keys[position], self._values[position])
        return self._judged[position]
