"""Raw spans to signals: how many calls, how many fail, how long they take, and who calls whom.

One kernel per partition of the raw spans. A tick of spans is held for `span_wait`, until the spans that belong to it
are there (`detectors.span_tree`); then it counts for its series (`streams.kernel.span_rows`), which are judged like
any others. What is found gets its place in the order of all signals when it is found, so that nobody has to wait for
spans; its onset is when it was.

Who calls whom is told to the correlate stage with the progress records.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import numpy as np

from detectors.bank import Verdict
from detectors.span_tree import Held, SpanTree
from detectors.topology import peer_of
from schemas.signal import MOST_CALLS, Call, Progress, Signal
from schemas.topics import RAW_SPANS, SIGNALS, Topic
from streams.decoding.events import Resource, SpanDecoder
from streams.decoding.native import SpanRow
from streams.decoding.series import Series
from streams.kernel.base import Emit, Output, Records, letter
from streams.kernel.detect import STAGE, DetectRules, SeriesDetect, emit, explain
from streams.kernel.span_rows import MAX_NAME, OF, SPAN_NAME, SpanRows
from streams.kernel.text import one_line

# A call that goes on is told again this often, so that one that ended can be forgotten.
TELL_AGAIN_NANOS = 3600 * 1_000_000_000


class _Extra(msgspec.Struct):
    """What a snapshot holds besides the series."""

    tree: bytes | None = None
    high: int = 0
    told: list[tuple[str, str, int]] = []
    forgot: int = 0


class SpanDetect(SeriesDetect):
    """Spans of one partition."""

    kind = "metric"
    topic = RAW_SPANS

    def __init__(self, rules: DetectRules, partition: int, state: bytes | None = None) -> None:
        ticks = rules.bank.adapt_ticks * rules.bank.tick_nanos // rules.span_tick
        bank = replace(
            rules.bank, tick_nanos=rules.span_tick, lateness_nanos=rules.span_wait, adapt_ticks=max(1, ticks)
        )
        super().__init__(replace(rules, bank=bank), partition)
        self._decoder = SpanDecoder(future_limit_nanos=rules.future_limit)
        self._begin(_Extra())
        if state is not None:
            self.restore(state)

    def _begin(self, extra: _Extra) -> None:
        self._tree = SpanTree(self.rules.span_tick, self.rules.max_spans, extra.tree)
        self._rows = SpanRows(self.table, self.partition, self.rules.max_span_names)
        self._high = extra.high  # newest end of a span
        # When each call was last told.
        self._told = {(caller, called): at for caller, called, at in extra.told}
        self._forgot = extra.forgot  # when calls that ended were last forgotten
        self._calls: list[Call] = []  # to tell with the next progress record
        self._silent = False

    def take(self, topic: Topic, records: Records) -> list[Output]:  # noqa: ARG002 - there is only one
        self._silent = False
        events = self._decoder.decode(records.keys, records.values, records.timestamps)
        found: list[Output] = [letter(STAGE, records, i, error) for i, error in events.rejected]
        dropped = self._tree.dropped
        for row, resource, record in zip(events.rows, events.resources, events.record, strict=True):
            opened, self._high = self._first_open, max(self._high, row.time_unix_nano)
            if self._first_open > opened:
                found += self._pass_time(records.offsets[record])
            if row.time_unix_nano // self.rules.span_tick < self._first_open:
                self.bank.late += 1
            else:
                self._tree.add(_held(row, resource))
        self.table.overflow += self._tree.dropped - dropped
        return [*found, *self.closing(records)]

    def wake(self, quiet_seconds: float) -> list[Output]:  # noqa: ARG002 - what is held waits for spans, not for time
        """Let nobody wait for spans while there are none."""
        if self._silent:
            return []
        self._silent = True
        return self.progress(idle=True)

    def progress(self, *, idle: bool = False) -> list[Output]:
        """Tell every partition of the signals topic how far this source has been read, and which calls it saw."""
        before = max(self._promised, 1)
        told = super().progress(idle=idle)
        if not told:
            return []
        *parts, last = _parts(self._calls) or [()]
        self._calls = []
        # No more fit into one record, and all have to be there before the promise that covers them.
        more = [
            Emit(SIGNALS, self.source.encode(), record, partition)
            for record in (Progress(source=self.source, time_unix_nano=before, calls=part) for part in parts)
            for partition in range(self.rules.signal_partitions)
        ]
        return [*more, *(_with_calls(one, last) for one in told)]

    def reasons(self, verdict: Verdict, series: Series) -> tuple[str, ...]:
        first, *more = explain(verdict, series)
        name = series.attributes.get(SPAN_NAME)
        own = "own time: " if OF in series.attributes else ""
        head = first if name is None else f'"{one_line(str(name))}": {own}{first}'
        return (head, *more)

    def overflow_reason(self) -> str:
        return f"room for {self.rules.max_series} series and {self.rules.max_spans} spans at a time"

    def snapshot_extra(self) -> bytes:
        told = [(*call, at) for call, at in self._told.items()]
        return msgspec.msgpack.encode(_Extra(self._tree.freeze(), self._high, told, self._forgot))

    def restore_extra(self, state: bytes) -> None:
        self._begin(msgspec.msgpack.decode(state, type=_Extra))

    def forget_extra(self, rows: list[int]) -> None:  # noqa: ARG002 - those that are left tell
        self._rows.learn_names()

    @property
    def newest(self) -> int:
        return self._high

    @property
    def reached(self) -> int:
        return self._high

    @property
    def _first_open(self) -> int:
        """The first tick that still waits for spans."""
        return (self._high - self.rules.span_wait) // self.rules.span_tick

    def _pass_time(self, offset: int) -> Iterable[Output]:
        """Judge the ticks that have waited for long enough, now that a record has moved time."""
        for tick, spans in self._tree.take(self._first_open):
            end = (tick + 1) * self.rules.span_tick
            self._tell_calls(spans, end + self.rules.span_wait)
            rows, values = self._rows.count(spans)
            self.bank.admit(*self._rows.take_new())
            times = np.full(len(rows), end - 1, np.int64)
            verdicts = self.bank.fold(np.array(rows, np.int64), times, np.array(values, np.float64))
            yield from self._told_of(verdicts, offset)
            yield from self._told_of(self.bank.advance(end + self.rules.span_wait), offset)
        yield from self._told_of(self.bank.advance(self._high), offset)

    def _told_of(self, verdicts: Iterable[Verdict], offset: int) -> Iterable[Output]:
        for verdict in verdicts:
            yield emit(self._signal(verdict, offset))

    def _signal(self, verdict: Verdict, offset: int) -> Signal:
        # Told when it has been found, not when it was: for that it is too late.
        time, release = (at + self.rules.span_wait for at in (verdict.time_unix_nano, verdict.release_unix_nano))
        return super()._signal(replace(verdict, time_unix_nano=time, release_unix_nano=release), offset)

    def _tell_calls(self, spans: Iterable[Held], at: int) -> None:
        """Note the calls of a tick that are new, or have not been told for long."""
        if at - self._forgot >= TELL_AGAIN_NANOS:
            self._forgot = at
            self._told = {call: told for call, told in self._told.items() if at - told <= 2 * TELL_AGAIN_NANOS}
        for span in spans:
            for called in span.calls:
                call = span.service, called
                told = self._told.get(call)
                if told is None and len(self._told) >= self.rules.max_calls:
                    continue
                if told is None or at - told >= TELL_AGAIN_NANOS:
                    self._told[call] = at
                    self._calls.append(Call(caller=span.service, called=called, time_unix_nano=at))


def _parts(calls: list[Call]) -> list[tuple[Call, ...]]:
    return [tuple(calls[at : at + MOST_CALLS]) for at in range(0, len(calls), MOST_CALLS)]


def _with_calls(told: Output, calls: tuple[Call, ...]) -> Output:
    if not calls or not isinstance(told, Emit):
        return told
    return replace(told, record=told.record.model_copy(update={"calls": calls}))


def _held(row: SpanRow, resource: Resource) -> Held:
    entity, trace = resource.entity, row.trace_id
    return Held(
        key=f"{trace} {row.span_id}",
        parent=f"{trace} {row.parent_span_id}" if row.parent_span_id else "",
        environment=entity.environment,
        service=entity.service,
        instance=entity.instance or "",
        name=row.name[:MAX_NAME],
        kind=row.kind,
        failed=row.status == "error",
        peer=peer_of(row.attributes),
        start=row.time_unix_nano - row.duration_nano,
        end=row.time_unix_nano,
    )
