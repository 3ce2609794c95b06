"""Series to signals: let the bank judge them, say in words what it found.

One kernel per raw partition. `SeriesDetect` is what metrics (`detect_metrics`) and logs (`detect_logs`) have in common:
a table of series, a bank over the same rows, and the watermark published after every batch. The promise behind that
watermark: no signal published later is from before it.

What comes out does not depend on how records were cut into batches, with two stated exceptions at the edges of memory:
when a series that was silent for `series_ttl` is forgotten, and when an overflow is reported.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

import msgspec

from detectors.bank import BankSettings, Change, SeriesBank, Verdict
from detectors.bank_state import freeze, thaw
from detectors.witnesses import WitnessSettings
from schemas.envelope import Entity
from schemas.signal import Origin, Progress, Signal, SignalKind, signal_id
from schemas.topics import SIGNALS, Topic
from streams.decoding.samples import Ints
from streams.decoding.series import Series, SeriesTable
from streams.kernel.base import Emit, Output, Records

STAGE = "detect"
DETECTOR = "robust-cusum"
COARSE_DETECTOR = "univariate-looks"
MODEL_VERSION = "3"
# Layout of the snapshot: one of another layout is of no use.
LAYOUT = 5
OVERFLOW = "reflexarc.series.overflow"
# Series are looked through for forgotten ones this often per time to live: at most 1/16 of it too late.
SWEEPS_PER_TTL = 16

# The scale of a series that is zero and has always been: `SeriesBank` gives it the smallest there is.
_NEVER_VARIED = 1e-30

_CONTESTED = ("contested: samples of it that came out of turn disagree, so more than one producer speaks for it",)

# More looks than this in a signal are not read.
LOOKS_SAID = 4

_STATES: dict[Change, str] = {Change.FIRING: "firing", Change.CLEARED: "cleared", Change.ADAPTED: "adapted"}


@dataclass(frozen=True, slots=True)
class DetectRules:
    """Settings of the detect kernels; durations in nanoseconds of event time."""

    signal_partitions: int
    bank: BankSettings = field(default_factory=BankSettings)
    witnesses: WitnessSettings = field(default_factory=WitnessSettings)
    max_series: int = 100_000
    series_ttl: int = 3600 * 1_000_000_000
    future_limit: int = 60 * 1_000_000_000
    quiet_after: int = 5 * 1_000_000_000
    process_learning: int = 86_400 * 1_000_000_000
    session_attributes: tuple[str, ...] = ("session.id",)
    session_idle: int = 60 * 1_000_000_000
    span_tick: int = 5 * 1_000_000_000
    span_wait: int = 6 * 1_000_000_000
    max_spans: int = 50_000
    max_span_names: int = 200
    max_calls: int = 10_000


class _Saved(msgspec.Struct):
    """A snapshot."""

    window: int
    table: bytes
    bank: bytes
    last_offset: int
    swept: int
    overflowing_since: int
    refused: int
    extra: bytes
    layout: int = 1
    tick_nanos: int = 0  # 0: not said by older releases


class SeriesDetect:
    """Series of one partition, judged. Subclasses bring the samples."""

    kind: SignalKind
    topic: Topic

    def __init__(self, rules: DetectRules, partition: int) -> None:
        self.rules = rules
        self.partition = partition
        self.source = f"{self.topic.name}/{partition}"
        self.table = SeriesTable(rules.max_series)
        self.bank = SeriesBank(rules.bank)
        self._last_offset = 0
        self._swept = 0
        self._promised = 0
        self._overflowing_since = 0
        self._refused = 0

    def restore(self, state: bytes) -> bool:
        """Go on from a snapshot; false where it was made with other ticks or another release and is of no use."""
        saved = msgspec.msgpack.decode(state, type=_Saved)
        bank = self.rules.bank
        if (saved.layout, saved.window) != (LAYOUT, bank.window) or saved.tick_nanos not in {0, bank.tick_nanos}:
            return False
        self.restore_table(saved.table)
        self.bank = thaw(saved.bank, self.rules.bank)
        self._last_offset, self._swept = saved.last_offset, saved.swept
        self._overflowing_since, self._refused = saved.overflowing_since, saved.refused
        self.table.overflow = saved.refused
        self.restore_extra(saved.extra)
        return True

    def snapshot(self) -> bytes:
        saved = _Saved(
            window=self.rules.bank.window,
            table=self.snapshot_table(),
            bank=freeze(self.bank),
            last_offset=self._last_offset,
            swept=self._swept,
            overflowing_since=self._overflowing_since,
            refused=self._refused,
            extra=self.snapshot_extra(),
            layout=LAYOUT,
            tick_nanos=self.rules.bank.tick_nanos,
        )
        return msgspec.msgpack.encode(saved)

    def snapshot_table(self) -> bytes:
        return self.table.snapshot()

    def restore_table(self, state: bytes) -> None:
        """Take back what `snapshot_table` gave."""
        self.table = SeriesTable.restore(state, self.rules.max_series)

    def snapshot_extra(self) -> bytes:
        return b""

    def restore_extra(self, state: bytes) -> None:
        """Take back what `snapshot_extra` gave."""

    def signals(
        self, verdicts: Iterable[Verdict], records: Sequence[int] | Ints, offsets: Sequence[int]
    ) -> list[Output]:
        """Put verdicts into words; `records` says which record each folded sample came from, `offsets` where it was."""
        found: list[Output] = []
        for verdict in verdicts:
            offset = offsets[records[verdict.sample]] if verdict.sample >= 0 else self._last_offset
            found.append(emit(self._signal(verdict, offset)))
        return found

    def closing(self, records: Records) -> list[Output]:
        """End every batch with: overflow, forgotten series, the watermark."""
        self._last_offset = records.offsets[-1]
        return [*self._report_overflow(), *self._sweep(), *self.progress()]

    @property
    def newest(self) -> int:
        """The newest event time that was read; 0 before the first record."""
        return self.bank.high

    @property
    def reached(self) -> int:
        """Event time up to which everything has been told; 0 before the first record."""
        return self.bank.watermark

    def progress(self, *, idle: bool = False) -> list[Output]:
        """Tell every partition of the signals topic how far this source has been read."""
        reached = self.reached
        if reached <= 0 or (reached <= self._promised and not idle):
            return []
        self._promised = max(reached, self._promised)
        partitions, abstaining = self.rules.signal_partitions, self.bank.abstaining
        return progress(self.source, reached, partitions, idle=idle, abstaining=abstaining)

    def reasons(self, verdict: Verdict, series: Series) -> tuple[str, ...]:
        return explain(verdict, series)

    def _signal(self, verdict: Verdict, offset: int) -> Signal:
        series = self.table.describe(verdict.series)
        return signal(self.kind, verdict, series, self.reasons(verdict, series), self._origin(offset))

    def _origin(self, offset: int) -> Origin:
        return Origin(topic=self.topic.name, partition=self.partition, offset=offset)

    def _report_overflow(self) -> list[Output]:
        """Say when samples begin to be refused for want of room, and when there is room again."""
        refused, self._refused = self.table.overflow - self._refused, self.table.overflow
        full = len(self.table) >= self.rules.max_series
        if refused and not self._overflowing_since:
            self._overflowing_since = self.newest
            return [self._overflow("firing", refused, self.overflow_reason())]
        if self._overflowing_since and not refused and not full:
            found = [self._overflow("cleared", 0, f"{len(self.table)} of {self.rules.max_series} series")]
            self._overflowing_since = 0
            return found
        return []

    def overflow_reason(self) -> str:
        return f"{len(self.table)} series are all there is room for"

    def _overflow(self, state: str, refused: int, reason: str) -> Output:
        subject = f"{OVERFLOW}/{self.source}"
        return emit(
            Signal(
                id=signal_id(subject, state, self._overflowing_since),
                kind="metric",
                state=state,
                entity=Entity(service="reflexarc", instance=self.source),
                subject=subject,
                name=OVERFLOW,
                time_unix_nano=self.newest,
                onset_unix_nano=self._overflowing_since,
                observed=float(refused),
                expected=0.0,
                unit="{sample}",
                detector="capacity",
                model_version="1",
                reasons=(reason,),
                origin=self._origin(self._last_offset),
            )
        )

    def _sweep(self) -> list[Output]:
        """Forget series without samples for `series_ttl`."""
        tick_nanos = self.rules.bank.tick_nanos
        now = self.reached
        if now - self._swept < self.rules.series_ttl // SWEEPS_PER_TTL:
            return []
        self._swept = now
        rows = self.bank.idle_since((now - self.rules.series_ttl) // tick_nanos)
        if not len(rows):
            return []
        gone = [self._gone(int(row), now) for row in rows[self.bank.columns.firing[rows]]]
        gone += self.gone_extra(rows.tolist(), now)
        self.bank.forget(rows)
        self.table.forget(rows.tolist())
        self.forget_extra(rows.tolist())
        return gone

    def gone_extra(self, rows: list[int], now: int) -> list[Output]:  # noqa: ARG002 - the subclass needs them
        """Say of what else still fired for these rows that it is no longer abnormal."""
        return []

    def forget_extra(self, rows: list[int]) -> None:
        """Drop what a subclass keeps by row."""

    def _gone(self, row: int, now: int) -> Output:
        """Say of what still fired when it fell silent that it is no longer abnormal; nor has it recovered."""
        series, onset = self.table.describe(row), int(self.bank.columns.onset[row])
        silent = self.rules.series_ttl / 1e9
        return emit(
            Signal(
                id=signal_id(series.id, "adapted", onset),
                kind=self.kind,
                state="adapted",
                entity=series.entity,
                subject=series.id,
                name=series.name,
                attributes=series.attributes,
                time_unix_nano=now + 1,
                onset_unix_nano=onset,
                unit=series.unit,
                detector=DETECTOR,
                support="own history",
                model_version=MODEL_VERSION,
                reasons=(f"no samples for {silent:g} s: forgotten, recovered or not",),
                origin=self._origin(self._last_offset),
            )
        )


def progress(source: str, time: int, partitions: int, *, idle: bool, abstaining: int = 0) -> list[Output]:
    """One progress record for every partition of the signals topic."""
    record = Progress(source=source, time_unix_nano=time, idle=idle, abstaining=abstaining)
    return [Emit(SIGNALS, source.encode(), record, partition) for partition in range(partitions)]


def signal(kind: SignalKind, verdict: Verdict, series: Series, reasons: tuple[str, ...], origin: Origin) -> Signal:
    """Make the signal of a verdict."""
    state = _STATES[verdict.change]
    said = f"{state}, contested" if verdict.contested else state
    return Signal(
        id=signal_id(series.id, said, verdict.onset_unix_nano),
        kind=kind,
        state=state,
        entity=series.entity,
        subject=series.id,
        name=series.name,
        attributes=series.attributes,
        time_unix_nano=verdict.time_unix_nano,
        onset_unix_nano=verdict.onset_unix_nano,
        release_unix_nano=verdict.release_unix_nano if verdict.release_unix_nano < verdict.time_unix_nano else None,
        p_value=verdict.p_value if verdict.change is Change.FIRING else None,
        observed=verdict.observed,
        expected=verdict.expected,
        unit=series.unit,
        detector=COARSE_DETECTOR if verdict.looks else DETECTOR,
        support="own history",
        model_version=MODEL_VERSION,
        models=verdict.models,
        contested=verdict.contested,
        reasons=(*reasons, *_CONTESTED) if verdict.contested else reasons,
        origin=origin,
    )


def explain(verdict: Verdict, series: Series) -> tuple[str, ...]:
    """Say why, in words and numbers, strongest first."""
    # UCUM writes what is counted in braces: {request}/s.
    unit = "" if series.unit in {"", "1"} else f" {series.unit.replace('{', '').replace('}', '')}"
    varies = verdict.scale > _NEVER_VARIED
    normal = f"{verdict.expected:.4g}{unit}{f' ± {verdict.scale:.2g}' if varies else ' and never anything else'}"
    values = f"{verdict.observed:.4g}{unit}, normally {normal}"
    seconds = (verdict.time_unix_nano - verdict.onset_unix_nano) / 1e9
    if verdict.change is Change.CLEARED:
        return (f"back to normal: {values}",)
    if verdict.change is Change.ADAPTED:
        return (f"{values}: stayed there for {seconds:.0f} s, so this is its normal now",)
    where = "above" if verdict.observed > verdict.expected else "below"
    far = f"{abs(verdict.observed - verdict.expected) / verdict.scale:.1f} robust deviations " if varies else ""
    odds = f"p = {verdict.p_value:.1g}, raised below {verdict.level:.1g}"
    if verdict.looks:
        looks = ", ".join(f"{name} ({found:.1f} decades)" for name, found in verdict.looks[:LOOKS_SAID])
        return f"{values}: {far}{where}", f"unlike its own past: {looks}", f"{odds}, against its own calm record"
    return f"{values}: {far}{where}", f"evidence of {verdict.height:.1f} decades within {seconds:.1f} s", odds


def emit(found: Signal) -> Output:
    """Publish a signal."""
    return Emit(SIGNALS, found.key, found)
