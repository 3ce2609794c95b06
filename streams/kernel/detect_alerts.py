"""Raw alerts to signals: what another system found abnormal, once per alert however often it is repeated.

One kernel per partition of the raw alerts. An alert's own time is when its status began, which may be long ago; the
signal is as of the broker's timestamp of the record, when it became known here. Alerts come seldom, so this source is
always idle: nobody waits for it. An alert that its source silences, inhibits or has had acknowledged meanwhile, or no
longer does, is told anew: the same firing, with what people said of it.
"""

from __future__ import annotations

import msgspec

from detectors.alerts import AlertHistory
from schemas.envelope import AttributeValue, content_id
from schemas.signal import Origin, Signal, signal_id
from schemas.topics import RAW_ALERTS, SIGNALS, Topic
from streams.decoding.events import Resource, alert_decoder
from streams.decoding.native import AlertRow
from streams.kernel.base import Emit, Output, Records, letter
from streams.kernel.detect import STAGE, DetectRules, progress
from streams.kernel.text import one_line

_NANOS_PER_MILLI = 1_000_000
# One character a label is hardly ever more than this many; a signal takes 128 attributes, alerts bring 50 labels.
MAX_LABEL = 1024


class _Said(msgspec.Struct, frozen=True):
    """What people said of an alert, as its source has it."""

    suppressed_by: tuple[str, ...] = ()
    acknowledged_by: str = ""


_NOTHING_SAID = _Said()


class _Saved(msgspec.Struct):
    firing: dict[str, int]
    reached: int
    history: bytes | None = None
    said: dict[str, _Said] = {}


class AlertDetect:
    """Alerts of one partition."""

    def __init__(self, rules: DetectRules, partition: int, state: bytes | None = None) -> None:
        self._rules = rules
        self._partition = partition
        self._source = f"{RAW_ALERTS.name}/{partition}"
        self._decoder = alert_decoder(future_limit_nanos=rules.future_limit)
        saved = msgspec.msgpack.decode(state, type=_Saved) if state is not None else _Saved({}, 0)
        self._firing, self._reached = saved.firing, saved.reached  # subject -> onset, in the order of their firing
        self._said = saved.said  # subject -> what was said last of those of which anything was
        self._history = AlertHistory(rules.max_series, saved.history)

    def take(self, topic: Topic, records: Records) -> list[Output]:  # noqa: ARG002 - there is only one
        events = self._decoder.decode(records.keys, records.values, records.timestamps)
        found: list[Output] = [letter(STAGE, records, i, error) for i, error in events.rejected]
        for row, resource, i in zip(events.rows, events.resources, events.record, strict=True):
            known_at = records.timestamps[i] * _NANOS_PER_MILLI or row.time_unix_nano
            # After everything this source has promised to have told, also when its clock steps back.
            self._reached = max(known_at, self._reached + 1)
            found += self._turn(row, resource, records.offsets[i])
        if self._reached:
            found += progress(self._source, self._reached, self._rules.signal_partitions, idle=True)
        return found

    def wake(self, quiet_seconds: float) -> list[Output]:  # noqa: ARG002 - nothing here depends on time
        return []

    def snapshot(self) -> bytes:
        return msgspec.msgpack.encode(_Saved(self._firing, self._reached, self._history.freeze(), self._said))

    def _turn(self, row: AlertRow, resource: Resource, offset: int) -> list[Output]:
        subject = content_id("alert", row.source, row.fingerprint)
        if row.status == "firing":
            said = _Said(row.suppressed_by, one_line(row.acknowledged_by))
            known = self._firing.get(subject)
            if known is not None:
                return self._told_anew(row, resource, subject, offset, onset=known, said=said)
            self._firing[subject] = row.time_unix_nano
            if len(self._firing) > self._rules.max_series:
                # The oldest goes: most likely its end was never reported. Should it be repeated, its id is the same.
                oldest = next(iter(self._firing))
                del self._firing[oldest]
                self._said.pop(oldest, None)
            before = self._history.fired(subject, row.name, resource.entity.scope, self._reached)
            self._note(subject, said)
            return [self._signal(row, resource, subject, offset, onset=row.time_unix_nano, before=before)]
        # The end of an alert that began before our time is passed on, too: it may be known further down.
        onset = self._firing.pop(subject, row.time_unix_nano)
        self._said.pop(subject, None)
        return [self._signal(row, resource, subject, offset, onset=onset)]

    def _told_anew(
        self, row: AlertRow, resource: Resource, subject: str, offset: int, *, onset: int, said: _Said
    ) -> list[Output]:
        """Pass a repetition on only where it was silenced, acknowledged, or neither any more since it was told last."""
        before = self._said.get(subject, _NOTHING_SAID)
        # Which of several silences it is, is no news: Alertmanager names them in turn.
        if (bool(before.suppressed_by), before.acknowledged_by) == (bool(said.suppressed_by), said.acknowledged_by):
            return []
        self._note(subject, said)
        return [self._signal(row, resource, subject, offset, onset=onset, anew=True)]

    def _note(self, subject: str, said: _Said) -> None:
        if said == _NOTHING_SAID:
            self._said.pop(subject, None)
        else:
            self._said[subject] = said

    def _signal(
        self,
        row: AlertRow,
        resource: Resource,
        subject: str,
        offset: int,
        *,
        onset: int,
        before: tuple[str, ...] = (),
        anew: bool = False,
    ) -> Output:
        said = self._said.get(subject, _NOTHING_SAID)
        suppressed = tuple(filter(None, map(one_line, said.suppressed_by)))
        state = "firing" if row.status == "firing" else "cleared"
        labels: dict[str, AttributeValue] = {name: value[:MAX_LABEL] for name, value in row.labels.items()}
        summary = one_line(row.summary)
        signal = Signal(
            # The same firing told anew is another record, but the same firing.
            id=content_id("told anew", subject, onset, self._reached) if anew else signal_id(subject, state, onset),
            kind="alert",
            state=state,
            entity=resource.entity,
            subject=subject,
            name=row.name,
            attributes={**labels, "severity": row.severity},
            time_unix_nano=self._reached,
            onset_unix_nano=onset,
            detector=row.source,
            model_version="1",
            reasons=tuple(filter(None, (f"{row.source} says {row.status}", summary, *before, *_in_words(said)))),
            suppressed_by=suppressed,
            acknowledged_by=said.acknowledged_by,
            origin=Origin(topic=RAW_ALERTS.name, partition=self._partition, offset=offset),
        )
        return Emit(SIGNALS, signal.key, signal)


def _in_words(said: _Said) -> tuple[str, ...]:
    held = tuple(f"held back by {one_line(by)}" for by in said.suppressed_by)
    return (*held, f"acknowledged by {said.acknowledged_by}") if said.acknowledged_by else held
