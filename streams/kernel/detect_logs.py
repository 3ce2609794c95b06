"""Raw logs to signals: what is said and how often, by whom, in what order, and what is said no more.

One kernel per partition of the raw logs. Every record registers its entity, so that an entity that has said something
without an error has a history of zeros. What a record counts for says `streams.kernel.log_rows`; those counts are
judged like any series. Besides, each record is looked at once for what it shows by itself:

* a structured `deployment.*` event is a change: not a fault, but the first suspect of what follows;
* events of processes are judged with what started the process (`detect_processes`);
* lines that carry the id of a session are judged together when it ends (`detect_sessions`);
* a template that came regularly and comes no more is told while its instance still speaks (`detect_silence`).
"""

from __future__ import annotations

from collections.abc import Sequence

import msgspec
import numpy as np

from detectors.bank import Change, Verdict
from detectors.log_templates import ERROR_SEVERITY
from schemas.envelope import NANOS
from schemas.signal import Signal
from schemas.topics import RAW_LOGS, SIGNALS, Topic
from streams.decoding.events import Events, LogDecoder, Resource
from streams.decoding.native import LogRow
from streams.decoding.series import Series
from streams.kernel import log_signals
from streams.kernel.base import Emit, Output, Records, letter
from streams.kernel.detect import STAGE, DetectRules, SeriesDetect, explain
from streams.kernel.detect_processes import SUSPICIOUS, ProcessWatch
from streams.kernel.detect_sessions import Judged, SessionWatch
from streams.kernel.detect_silence import Silence, TemplateSilence
from streams.kernel.log_rows import TEMPLATE, TEMPLATE_SHARE, LogRows, Sample
from streams.kernel.log_signals import Moment
from streams.kernel.process_events import read_process_event
from streams.kernel.text import one_line

CHANGES = ("deployment.",)
DAY_NANOS = 86_400 * NANOS
# Of the id of a session; what is longer is no id.
MAX_ID = 128


class _Extra(msgspec.Struct):
    """What a snapshot holds besides the series."""

    heard: int = 0
    said: dict[int, str] = {}
    rows: bytes | None = None
    silence: bytes | None = None
    sessions: bytes | None = None
    processes: bytes | None = None


class LogDetect(SeriesDetect):
    """Log records of one partition."""

    kind = "log"
    topic = RAW_LOGS

    def __init__(self, rules: DetectRules, partition: int, state: bytes | None = None) -> None:
        super().__init__(rules, partition)
        self._decoder = LogDecoder(future_limit_nanos=rules.future_limit)
        self._begin(_Extra())
        if state is not None:
            self.restore(state)

    def _begin(self, extra: _Extra) -> None:
        rules, bank = self.rules, self.rules.bank
        # The newest error, or unusual session, of each row, as it is quoted.
        self._said = extra.said
        # Event time at the last batch: from there the clock counts when the broker has nothing more.
        self._heard = extra.heard
        self._rows = LogRows(self.table, int(rules.max_series * TEMPLATE_SHARE), bank.tick_nanos, extra.rows)
        self._silence = TemplateSilence(DAY_NANOS / bank.tick_nanos, bank.adapt_ticks, extra.silence)
        self._sessions = SessionWatch(rules.session_idle, self._rows.text, extra.sessions)
        self._processes = ProcessWatch(rules.process_learning, extra.processes)
        # Of the batch at hand: where each quote lies among the samples, so that a signal quotes none from its future.
        self._quotes: dict[int, list[tuple[int, str]]] = {}
        self._silent = False

    def take(self, topic: Topic, records: Records) -> list[Output]:  # noqa: ARG002 - there is only one
        self._silent, self._quotes = False, {}
        events = self._decoder.decode(records.keys, records.values, records.timestamps)
        found: list[Output] = [letter(STAGE, records, i, error) for i, error in events.rejected]
        samples: list[Sample] = []
        told = self._look(events, samples, records.offsets)
        found += [Emit(SIGNALS, signal.key, signal) for signal in told]
        self.bank.admit(*self._rows.take_new())
        found += self._judge(events, samples, records.offsets)
        self._heard = self.bank.high
        return [*found, *self.closing(records)]

    def wake(self, quiet_seconds: float) -> list[Output]:
        """Let nobody wait for logs, which are sparse; and count no errors for a while as the fact it is."""
        passed = int(quiet_seconds * NANOS) - self.rules.quiet_after
        if passed > 0 and self._heard + passed >= self.bank.high + self.rules.bank.tick_nanos:
            found = self.signals(self.bank.advance(self._heard + passed), (), ())
            # Read to here, and nothing more for now.
            return [*found, *self.progress(), *self.progress(idle=True)]
        if self._silent:
            return []
        self._silent = True
        return self.progress(idle=True)

    def reasons(self, verdict: Verdict, series: Series) -> tuple[str, ...]:
        before = [quote for at, quote in self._quotes.get(verdict.series, ()) if at <= verdict.sample]
        quote = before[-1] if before else self._said.get(verdict.series)
        first, *more = explain(verdict, series)
        template = series.attributes.get(TEMPLATE)
        head = first if template is None else f'"{template}": {first}'
        return (head, *more, *self._novelty(verdict), *(() if quote is None else (quote,)))

    def snapshot_extra(self) -> bytes:
        return msgspec.msgpack.encode(
            _Extra(
                self._heard,
                self._said,
                self._rows.freeze(),
                self._silence.freeze(),
                self._sessions.freeze(),
                self._processes.freeze(),
            )
        )

    def restore_extra(self, state: bytes) -> None:
        self._begin(msgspec.msgpack.decode(state, type=_Extra))

    def forget_extra(self, rows: list[int]) -> None:
        for row in rows:
            self._said.pop(row, None)
        self._rows.forget(rows)
        self._silence.forget(rows)

    def _look(self, events: Events[LogRow], samples: list[Sample], offsets: Sequence[int]) -> list[Signal]:
        """Look at each record in turn: give it its rows, and tell what it shows by itself."""
        tick_nanos, ids = self.rules.bank.tick_nanos, self.rules.session_attributes
        found: list[Signal] = []
        high = self.bank.high
        for i, (log, resource) in enumerate(zip(events.rows, events.resources, strict=True)):
            before, high = high, max(high, log.time_unix_nano)
            if high // tick_nanos > before // tick_nanos:
                found += self._pass_time(high, self._moment(high, before, offsets[events.record[i]]), i, samples)
            errors, row, template = self._rows.count(log, resource, i, samples)
            if errors < 0:
                continue
            if log.event_name:
                found += self._event(log, resource, self._moment(log.time_unix_nano, before, offsets[events.record[i]]))
            elif row >= 0:
                heard = self._silence.hear(row, errors, log.time_unix_nano // tick_nanos)
                if heard is not None:
                    found.append(self._fell(heard, self._moment(high, before, offsets[events.record[i]])))
            for name in ids:
                if (session := log.attributes.get(name)) is not None:
                    judged = self._sessions.hear(resource.scope, str(session)[:MAX_ID], errors, template, high)
                    if judged is not None:
                        self._count(judged, i, high, samples)
                    break
        return found

    def _pass_time(self, high: int, moment: Moment, i: int, samples: list[Sample]) -> list[Signal]:
        """Tell what the passing of time shows when the `i`-th record of a batch moves it."""
        bank = self.rules.bank
        silent = self._silence.pass_time(high // bank.tick_nanos, bank.thresholds_at(high).max_false_share)
        found = [self._fell(one, moment) for one in silent]
        for judged in self._sessions.pass_time(high):
            if judged.unusual:
                self._count(judged, i, high, samples)
        for process, told in self._processes.silent(high):
            found.append(log_signals.no_longer_told(process, told.entity, told.onset, moment))
        return found

    def _event(self, log: LogRow, resource: Resource, moment: Moment) -> list[Signal]:
        if log.event_name.startswith(CHANGES):
            return [log_signals.change(log, resource.entity, moment)]
        event = read_process_event(log, resource.entity)
        if event is None:
            return []
        suspicion = self._processes.judge(event, resource.entity, moment.time)
        return [] if suspicion is None else [log_signals.suspicion(suspicion, resource.entity, SUSPICIOUS, moment)]

    def _fell(self, silence: Silence, moment: Moment) -> Signal:
        series = self.table.describe(silence.row)
        return log_signals.silence(silence, series, self.rules.bank.tick_nanos, moment)

    def _count(self, judged: Judged, i: int, now: int, samples: list[Sample]) -> None:
        """Count an unusual session for its entity."""
        have = len(samples)
        self._rows.count_session(self.table.describe(judged.row).entity, i, now, samples)
        if len(samples) > have:
            quote = f"unusual session of {len(judged.events)} lines: {'; '.join(judged.reasons)}"
            self._quotes.setdefault(samples[-1].row, []).append((have, quote))

    def _moment(self, time: int, before: int, offset: int) -> Moment:
        # What the watermark has promised before this record: see `SeriesBank.watermark`.
        lateness = self.rules.bank.lateness_nanos
        return Moment.of(time, before - lateness + 1, lateness, self._origin(offset))

    def _novelty(self, verdict: Verdict) -> tuple[str, ...]:
        """Say of what is counted that it is new to its service."""
        unheard = self._rows.unheard.get(verdict.series, 0)
        if unheard < self.rules.bank.warmup or verdict.change is not Change.FIRING:
            return ()
        return (f"new here: the service was heard for {unheard * self.rules.bank.tick_nanos / NANOS:.0f} s without it",)

    def _judge(self, events: Events[LogRow], samples: Sequence[Sample], offsets: Sequence[int]) -> list[Output]:
        sessions = set(self._quotes)
        for at, (row, i, value) in enumerate(samples):
            if value and events.rows[i].severity_number >= ERROR_SEVERITY and row not in sessions:
                self._quotes.setdefault(row, []).append((at, f"newest error: {one_line(events.rows[i].body)}"))
        times = np.array([events.rows[i].time_unix_nano for _, i, _ in samples], np.int64)
        rows, values = np.array([row for row, _, _ in samples], np.int64), np.array([value for *_, value in samples])
        found = self.signals(self.bank.fold(rows, times, values), [events.record[i] for _, i, _ in samples], offsets)
        self._said |= {row: quotes[-1][1] for row, quotes in self._quotes.items()}
        self._quotes = {}
        return found
