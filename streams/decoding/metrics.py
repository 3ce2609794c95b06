"""Batches of raw metric records to columns, as fast as Python goes.

Called by `streams.kernel.detect` with the lists of one `streams.batch.Batch`; the columns go to `detectors.bank`.
`streams.decoding.events` does the same for logs and alerts.

Single samples that look like ones before are not parsed at all (`streams.decoding.skeletons`). For the others the quick
path parses a record once, typed, with what names its series left as bytes: those are the same in every sample of the
series, so they are looked up, not parsed (`SeriesTable.find`). It accepts only a part of what
`schemas.codec` accepts: no unknown fields, no number that needs care. What it does not accept is sorted out record by
record with the codec as the last judge, so a verdict and its reason are the codec's. One thing is not looked into:
what a duplicated key hides (the last one counts).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import repeat

import msgspec
import numpy as np

from schemas.errors import RecordError, Rejection
from streams.decoding.batch import MetricBatch
from streams.decoding.histogram import Distribution, Histograms
from streams.decoding.samples import Floats, Ints, Samples
from streams.decoding.series import REFUSED, UNKNOWN, Identity, SeriesTable

_NANOS_PER_MILLI = 1_000_000
# Records decoded at a time. What is parsed of so many still is in the processor's cache when it is looked up: 1.1
# microseconds a record, where pieces of 5000 take 1.4 and of 20 000 take 1.7.
_PIECE = 1500
_NO_LIMIT = 2**63 - 1
# A histogram is at least a count, a sum and three percentiles: a full table cannot hold more of them than this share.
_SERIES_PER_HISTOGRAM = 5


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


class _State(msgspec.Struct):
    """A decoder at rest."""

    table: bytes
    histograms: list[tuple[bytes, Distribution]]


class MetricDecoder:
    """Decodes the batches of one partition, and keeps its series."""

    def __init__(self, table: SeriesTable, *, future_limit_nanos: int) -> None:
        self.table = table
        self._future_limit = future_limit_nanos
        self._histograms = Histograms(max(1, table.max_series // _SERIES_PER_HISTOGRAM))

    def decode(
        self, keys: Sequence[bytes | None], values: Sequence[bytes | None], timestamps: Sequence[int]
    ) -> MetricColumns:
        """Decode one batch.

        Args:
            keys: of the records.
            values: of the records, as they came.
            timestamps: broker timestamps in milliseconds; what is not above 0 is not known.

        """
        now = np.array(timestamps, np.int64) * _NANOS_PER_MILLI
        limits = np.where(now > 0, now + self._future_limit, _NO_LIMIT)
        known = self.table.skeletons.read(values)
        if known is None:
            return self._parsed(keys, values, limits)
        hit = (known.row >= 0) & (known.time <= limits)
        if not all(keys):
            hit &= np.fromiter(map(bool, keys), np.bool_, len(keys))
        at = np.flatnonzero(hit)
        found = MetricColumns(known.row[at], known.time[at], known.value[at], at, [])
        if len(at) == len(values):
            return found
        others = np.flatnonzero(~hit).tolist()
        rest = self._parsed([keys[i] for i in others], [values[i] for i in others], limits[others])
        return _merged(found, rest, others)

    def _parsed(self, keys: Sequence[bytes | None], values: Sequence[bytes | None], limits: Ints) -> MetricColumns:
        """Decode records whose skeletons are not known, a piece at a time."""
        pieces = [slice(start, start + _PIECE) for start in range(0, max(1, len(values)), _PIECE)]
        parsed = _joined([(piece.start, self._decode(keys[piece], values[piece], limits[piece])) for piece in pieces])
        alone = np.bincount(parsed.record)[parsed.record] == 1
        self.table.skeletons.learn(values, parsed.record[alone].tolist(), parsed.series[alone].tolist())
        return parsed

    def _decode(self, keys: Sequence[bytes | None], values: Sequence[bytes | None], limits: Ints) -> MetricColumns:
        batch = MetricBatch(keys, values, limits, self._histograms, self.table)
        samples = _on_time(batch, limits)
        series = self._rows(batch, samples)[samples.entry]
        keep = series >= 0
        if not keep.all():
            self.table.overflow += int(np.count_nonzero(series == REFUSED))
            series, samples = series[keep], samples.take(keep)
        rejected = [(position, batch.rejected[position]) for position in sorted(batch.rejected)]
        return MetricColumns(series, samples.time, samples.value, samples.record, rejected)

    def snapshot(self) -> bytes:
        """State to `restore` from."""
        return msgspec.msgpack.encode(_State(self.table.snapshot(), self._histograms.snapshot()))

    @classmethod
    def restore(cls, state: bytes, *, max_series: int, future_limit_nanos: int) -> MetricDecoder:
        """Return the decoder a snapshot was taken of; every series keeps its row."""
        saved = msgspec.msgpack.decode(state, type=_State)
        decoder = cls(SeriesTable.restore(saved.table, max_series), future_limit_nanos=future_limit_nanos)
        decoder._histograms.restore(saved.histograms)
        return decoder

    def _rows(self, batch: MetricBatch, samples: Samples) -> Ints:
        """Return the row of each entry: REFUSED where there is no room, UNKNOWN where the record is bad."""
        spellings = batch.spellings()
        rows = np.fromiter(map(self.table.find, spellings, repeat(UNKNOWN)), np.int64, len(spellings))
        unknown = np.flatnonzero(rows == UNKNOWN)
        if len(unknown):
            self._admit(batch, rows, [(i, spellings[i]) for i in unknown.tolist()], set(samples.entry.tolist()))
        for layout, first, height in batch.missed():
            found = rows[first : first + height]
            if (found >= 0).all():
                self.table.remember_layout(layout, found.copy())
        known = batch.known_rows
        return np.concatenate([rows, known]) if len(known) else rows

    def _admit(self, batch: MetricBatch, rows: Ints, unknown: list[tuple[int, bytes]], sampled: set[int]) -> None:
        """Give rows to new series.

        All are looked into before any is admitted, and none without a sample: what is never sampled is never idle,
        and would keep its row for ever.
        """
        owners = batch.owners
        identities: dict[bytes, Identity | None] = {}
        for i, spelling in unknown:
            if identities.get(spelling) is None:
                identities[spelling] = batch.identify(owners[i], spelling)
        for i, spelling in unknown:
            identity = identities[spelling]
            if identity is not None and i in sampled and owners[i] not in batch.disowned:
                row = self.table.find(spelling, UNKNOWN)
                rows[i] = self.table.admit(spelling, identity) if row == UNKNOWN else row
        if batch.disowned:
            rows[[i for i, owner in enumerate(owners) if owner in batch.disowned]] = UNKNOWN


def _merged(found: MetricColumns, rest: MetricColumns, positions: Sequence[int]) -> MetricColumns:
    """Put the records at `positions` in their places among the others."""
    record = np.concatenate([found.record, np.array(positions, np.int64)[rest.record]])
    order = np.argsort(record, kind="stable")
    return MetricColumns(
        np.concatenate([found.series, rest.series])[order],
        np.concatenate([found.time_unix_nano, rest.time_unix_nano])[order],
        np.concatenate([found.value, rest.value])[order],
        record[order],
        [(positions[position], error) for position, error in rest.rejected],
    )


def _joined(pieces: Sequence[tuple[int, MetricColumns]]) -> MetricColumns:
    """Put pieces of a batch, each with the position where it begins, together."""
    return MetricColumns(
        np.concatenate([piece.series for _, piece in pieces]),
        np.concatenate([piece.time_unix_nano for _, piece in pieces]),
        np.concatenate([piece.value for _, piece in pieces]),
        np.concatenate([piece.record + start for start, piece in pieces]),
        [(start + i, error) for start, piece in pieces for i, error in piece.rejected],
    )


def _on_time(batch: MetricBatch, limits: Ints) -> Samples:
    """Drop samples from the future: one of them would move the watermark past everything that is right."""
    samples = batch.samples()
    ahead = samples.time > limits[samples.record]
    if not ahead.any():
        return samples
    for position, time in zip(samples.record[ahead].tolist(), samples.time[ahead].tolist(), strict=True):
        seconds = (time - int(limits[position])) / 1e9
        detail = f"clock: {seconds:.1f} s further ahead of the broker than allowed"
        batch.rejected[position] = RecordError(Rejection.INVALID_SCHEMA, detail)
    return samples.take(~ahead)
