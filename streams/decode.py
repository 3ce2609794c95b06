"""Batches of raw metric records to columns, as fast as Python goes.

Called by `streams.kernel.detect` with the lists of one `streams.transport.Batch`; the columns go to `detectors.bank`.
`streams.decode_events` does the same for logs and alerts.

The quick path parses a record once, typed, with what names its series left as bytes: those are the same in every
sample of the series, so they are looked up, not parsed (`SeriesTable.find`). It accepts only a part of what
`schemas.codec` accepts: no unknown fields, no number that needs care. What it does not accept is sorted out record by
record with the codec as the last judge, so a verdict and its reason are the codec's. One thing is not looked into:
what a duplicated key hides (the last one counts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from operator import attrgetter

import msgspec
import numpy as np
import orjson
from numpy.typing import NDArray

from schemas import codec
from schemas.envelope import Record
from schemas.errors import RecordError, Rejection
from schemas.topics import RAW_METRICS
from streams.decode_json import UNUSABLE, Block, ExtendedSample, Sample, SeriesFields, is_strict_json, parse_each
from streams.decode_series import REFUSED, TEMPORALITY, UNKNOWN, Identity, SeriesTable

Ints = NDArray[np.int64]
Floats = NDArray[np.float64]

_NANOS_PER_MILLI = 1_000_000
_NO_LIMIT = 2**63 - 1

_decode_sample = msgspec.json.Decoder(Sample).decode
_decode_extended = msgspec.json.Decoder(ExtendedSample).decode
_decode_block = msgspec.json.Decoder(Block).decode
_decode_series = msgspec.json.Decoder(SeriesFields).decode
# A spelling is these five JSON values with commas between: an array without its brackets.
_sample_parts = attrgetter("name", "resource", "attributes", "kind", "unit")


@dataclass(frozen=True, slots=True)
class MetricColumns:
    """The samples of a batch in the order of their records, within a record in the order of their times."""

    series: Ints  # row of the SeriesTable
    time_unix_nano: Ints
    value: Floats  # finite
    record: Ints  # position in the batch
    # By position in the batch. A record of many samples may be here and still have given those that were good.
    rejected: list[tuple[int, RecordError]]

    def __len__(self) -> int:
        return len(self.series)


@dataclass(slots=True)
class _Grid:
    """The samples of a record of many: `value[i, j]` is that of spelling `first + i` at `time[j]`, NaN for none."""

    position: int
    first: int
    time: Ints
    value: Floats


@dataclass(slots=True)
class _Found:
    """What has been made of a batch so far."""

    keys: Sequence[bytes | None]
    values: Sequence[bytes | None]
    samples: list[Sample | ExtendedSample]
    positions: list[int]  # of the samples
    in_order: bool  # no record needed sorting out
    grids: list[_Grid] = field(default_factory=list)
    grid_spellings: list[bytes] = field(default_factory=list)
    grid_positions: list[int] = field(default_factory=list)  # of the grids' spellings
    rejected: dict[int, RecordError] = field(default_factory=dict)
    bad: set[int] = field(default_factory=set)  # rejected whole, after their samples were already taken in
    judged: dict[int, Record] = field(default_factory=dict)

    def judge(self, position: int) -> Record:
        """Ask the codec about a record; raises what it raises."""
        if position not in self.judged:
            self.judged[position] = codec.decode(RAW_METRICS, self.keys[position], self.values[position])
        return self.judged[position]

    def flatten(self) -> _Flat:
        """Put all samples of the batch side by side."""
        samples = self.samples
        flat = _Flat(
            np.arange(len(samples)),
            np.array([sample.time_unix_nano for sample in samples], np.int64),
            np.array([sample.value for sample in samples], np.float64),
            np.array(self.positions, np.int64),
        )
        if self.in_order:
            return flat
        parts = [flat, *(_flatten_grid(grid, len(samples)) for grid in self.grids)]
        flat = _Flat(*(np.concatenate(columns) for columns in zip(*map(_Flat.columns, parts), strict=True)))
        # By time within a record: no record may make its own samples late.
        return flat.take(np.lexsort((flat.time, flat.record)))


@dataclass(slots=True)
class _Flat:
    """Samples whose series are known by their spellings only."""

    entry: Ints  # which spelling: the samples' first, then the grids'
    time: Ints
    value: Floats
    record: Ints

    def columns(self) -> tuple[Ints, Ints, Floats, Ints]:
        return self.entry, self.time, self.value, self.record

    def take(self, which: Ints | NDArray[np.bool_]) -> _Flat:
        return _Flat(self.entry[which], self.time[which], self.value[which], self.record[which])


def _flatten_grid(grid: _Grid, offset: int) -> _Flat:
    height, width = grid.value.shape
    flat = _Flat(
        np.repeat(np.arange(height) + grid.first + offset, width),
        np.tile(grid.time, height),
        grid.value.ravel(),
        np.full(height * width, grid.position),
    )
    return flat.take(~np.isnan(flat.value))


class MetricDecoder:
    """Decodes the batches of one partition, and keeps its series."""

    def __init__(self, table: SeriesTable, *, future_limit_nanos: int) -> None:
        self.table = table
        self._future_limit = future_limit_nanos

    def decode(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> MetricColumns:
        """Decode one batch.

        Args:
            keys: of the records.
            values: of the records, as they came.
            timestamps: broker timestamps in milliseconds; what is not above 0 is not known.

        """
        found = self._parse(keys, values)
        flat = self._on_time(found, timestamps)
        series = self._rows(found, flat)[flat.entry]
        keep = series >= 0
        if not keep.all():
            self.table.overflow += int(np.count_nonzero(series == REFUSED))
            series, flat = series[keep], flat.take(keep)
        return MetricColumns(series, flat.time, flat.value, flat.record, sorted(found.rejected.items(), key=_position))

    def _parse(self, keys: Sequence[bytes | None], values: Sequence[bytes | None]) -> _Found:
        samples, others = parse_each(_decode_sample, keys, values, RAW_METRICS.max_message_bytes)
        skip = set(others)
        positions = [i for i in range(len(values)) if i not in skip] if skip else list(range(len(values)))
        found = _Found(keys, values, [*samples], positions, not others)
        for position in others:
            try:
                _sort_out(found, position)
            except RecordError as error:
                found.rejected[position] = error
        return found

    def _on_time(self, found: _Found, timestamps: Sequence[int]) -> _Flat:
        """Drop samples from the future: one of them would move the watermark past everything that is right."""
        flat = found.flatten()
        now = np.array(timestamps, np.int64) * _NANOS_PER_MILLI
        limits = np.where(now > 0, now + self._future_limit, _NO_LIMIT)
        ahead = flat.time > limits[flat.record]
        if not ahead.any():
            return flat
        for position in np.unique(flat.record[ahead]).tolist():
            seconds = (int(flat.time[ahead & (flat.record == position)].max()) - int(now[position])) / 1e9
            detail = f"clock: {seconds:.1f} s ahead of the broker"
            found.rejected[position] = RecordError(Rejection.INVALID_SCHEMA, detail)
        return flat.take(~ahead)

    def _rows(self, found: _Found, flat: _Flat) -> Ints:
        """Return the row of each spelling: REFUSED where there is no room, UNKNOWN where the record is bad."""
        spellings = [*map(b",".join, map(_sample_parts, found.samples)), *found.grid_spellings]
        rows = np.array(list(map(self.table.find, spellings, repeat(UNKNOWN))), np.int64)
        unknown = np.flatnonzero(rows == UNKNOWN)
        if len(unknown):
            self._admit(found, rows, [(i, spellings[i]) for i in unknown.tolist()], set(flat.entry.tolist()))
        return rows

    def _admit(self, found: _Found, rows: Ints, unknown: list[tuple[int, bytes]], sampled: set[int]) -> None:
        """Give rows to new series.

        All are looked into before any is admitted, and none without a sample: what is never sampled is never idle,
        and would keep its row for ever.
        """
        owners = found.positions + found.grid_positions
        identities: dict[bytes, SeriesFields | None] = {}
        for i, spelling in unknown:
            if identities.get(spelling) is None:
                identities[spelling] = _identify(found, owners[i], spelling)
        for i, spelling in unknown:
            fields = identities[spelling]
            if fields is not None and i in sampled and owners[i] not in found.bad:
                row = self.table.find(spelling, UNKNOWN)
                rows[i] = self.table.admit(spelling, _identity(fields), fields.unit) if row == UNKNOWN else row
        if found.bad:
            rows[[i for i, owner in enumerate(owners) if owner in found.bad]] = UNKNOWN


def _sort_out(found: _Found, position: int) -> None:
    """Take one record that the quick parse did not: many samples, fields of a newer producer, or nothing usable."""
    value = found.values[position]
    codec.check_envelope(RAW_METRICS, found.keys[position], value)
    assert value is not None  # noqa: S101 - check_envelope refused None
    if _add_block(found, position, value):
        return
    sample: Sample | ExtendedSample | None = _read_extended(value)
    if sample is None:
        again = codec.encode(found.judge(position))
        if _add_block(found, position, again):
            return
        sample = _decode_sample(again)
    found.samples.append(sample)
    found.positions.append(position)


def _add_block(found: _Found, position: int, value: bytes) -> bool:
    try:
        block = _decode_block(value)
        samples = np.array(block.value, np.float64)  # None becomes NaN; rows of unequal length are a ValueError
    except (*UNUSABLE, ValueError):
        return False
    if samples.shape != (len(block.series), len(block.time_unix_nano)):
        return False
    grid = _Grid(position, len(found.grid_spellings), np.array(block.time_unix_nano, np.int64), samples)
    found.grids.append(grid)
    resource = block.resource
    found.grid_spellings.extend(b",".join((s.name, resource, s.attributes, s.kind, s.unit)) for s in block.series)
    found.grid_positions.extend([position] * len(block.series))
    return True


def _read_extended(value: bytes) -> ExtendedSample | None:
    try:
        sample = _decode_extended(value)
    except UNUSABLE:
        return None
    return sample if is_strict_json(value) else None


def _identify(found: _Found, position: int, spelling: bytes) -> SeriesFields | None:
    """Return what a spelling says, None where it makes its record bad."""
    array = b"[" + spelling + b"]"
    try:
        return _decode_series(array)
    except UNUSABLE:
        pass
    try:
        found.judge(position)
    except RecordError as error:
        found.bad.add(position)
        found.rejected[position] = error
        return None
    return SeriesFields(*orjson.loads(array))


def _identity(fields: SeriesFields) -> Identity:
    return Identity(fields.name, fields.kind, TEMPORALITY[fields.kind], fields.attributes, fields.resource)


def _position(rejected: tuple[int, RecordError]) -> int:
    return rejected[0]
