"""Metric samples of one partition to signals: each series by its own past, and by what other witnesses say of it.

The bank and what is common with logs are in `streams.kernel.detect`, the witnesses in `detectors.witnesses`: an entity
as a whole, its peers, what was promised.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from detectors.bank import OWN_HISTORY, Verdict
from detectors.bank_columns import Kind
from detectors.witnesses import Place, Witnesses
from schemas.signal import Signal
from schemas.topics import RAW_METRICS, Topic
from streams.decode import MetricDecoder
from streams.kernel import detect_witnesses
from streams.kernel.base import Output, Records, letter
from streams.kernel.detect import STAGE, DetectRules, SeriesDetect, emit


class MetricDetect(SeriesDetect):
    """Metric samples of one partition."""

    kind = "metric"
    topic = RAW_METRICS

    def __init__(self, rules: DetectRules, partition: int, state: bytes | None = None) -> None:
        super().__init__(rules, partition)
        self._decoder = MetricDecoder(self.table, future_limit_nanos=rules.future_limit)
        self._witnesses = Witnesses(rules.witnesses, self.bank, rules.max_series)
        if state is not None:
            self.restore(state)

    def snapshot_table(self) -> bytes:
        return self._decoder.snapshot()

    def restore_table(self, state: bytes) -> None:
        limits = {"max_series": self.rules.max_series, "future_limit_nanos": self.rules.future_limit}
        self._decoder = MetricDecoder.restore(state, **limits)
        self.table = self._decoder.table

    def snapshot_extra(self) -> bytes:
        return self._witnesses.freeze()

    def restore_extra(self, state: bytes) -> None:
        self._witnesses.thaw(state, self._places(self.table.rows()))
        self._witnesses.join(self.bank)

    def forget_extra(self, rows: list[int]) -> None:
        self._witnesses.forget(rows)

    def gone_extra(self, rows: list[int], now: int) -> list[Output]:
        origin = self._origin(self._last_offset)
        silent = self.rules.series_ttl / 1e9
        found = detect_witnesses.gone(self._witnesses, self.table, rows, now=now, silent=silent, origin=origin)
        return [emit(signal) for signal in found]

    def take(self, topic: Topic, records: Records) -> list[Output]:  # noqa: ARG002 - there is only one
        columns = self._decoder.decode(records.keys, records.values, records.timestamps)
        admitted = self.table.take_new()
        kinds = [_kind(*self.table.kind(row)) for row in admitted]
        self.bank.admit(np.array(admitted, np.int64), np.array(kinds, np.int8))
        self._witnesses.admit(list(self._places(admitted)))
        found: list[Output] = [letter(STAGE, records, i, error) for i, error in columns.rejected]
        verdicts = self.bank.fold(columns.series, columns.time_unix_nano, columns.value)
        found += self.signals(verdicts, columns.record, records.offsets)
        return [*found, *self.closing(records)]

    def wake(self, quiet_seconds: float) -> list[Output]:  # noqa: ARG002 - silence of a metric is no measurement
        return []

    def _places(self, rows: Iterable[int]) -> Iterable[Place]:
        for row in rows:
            entity, name, attributes = self.table.place(row)
            scope = entity.scope
            siblings = None if entity.instance is None else (scope, name, *self.table.kind(row), attributes)
            yield Place(row, scope, name, (scope, entity.instance), siblings)

    def _signal(self, verdict: Verdict, offset: int) -> Signal:
        if verdict.by == OWN_HISTORY:
            return super()._signal(verdict, offset)
        return detect_witnesses.signal(verdict, self.table, self._origin(offset))


def _kind(instrument: str, temporality: str) -> Kind:
    # A delta counter is a number of events per report; reports come regularly, so their mean is their rate. Summing
    # them per tick would make zeros of the ticks between two reports.
    return Kind.COUNTER if temporality == "cumulative" and instrument != "gauge" else Kind.GAUGE
