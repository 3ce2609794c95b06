"""Signals of what one log record or its absence shows: a change, a suspicious process, a template fallen silent.

Made for `streams.kernel.detect_logs`; signals of series are made by `streams.kernel.detect`.
"""

from __future__ import annotations

from dataclasses import dataclass

from detectors.processes import program
from schemas.envelope import NANOS, AttributeValue, Entity, content_id
from schemas.signal import Origin, Signal, signal_id
from streams.decoding.native import LogRow
from streams.decoding.series import Series
from streams.kernel import detect_silence
from streams.kernel.detect_processes import Suspicion
from streams.kernel.text import one_line

MODEL_VERSION = "1"
CHANGES_VERSION = "2"
PROCESS = "process.lineage"


@dataclass(frozen=True, slots=True)
class Moment:
    """When a signal is told, and by which record."""

    time: int
    release: int
    origin: Origin

    @classmethod
    def of(cls, time: int, earliest: int, lateness: int, origin: Origin) -> Moment:
        """Place a signal: not before `earliest`, from where on nothing is promised to be complete yet."""
        # A clock may say that it is 1970: times are above zero.
        at = max(time, earliest, 1)
        return cls(at, max(at - lateness, earliest, 1), origin)


def change(log: LogRow, entity: Entity, moment: Moment) -> Signal:
    """Note a change."""
    subject = content_id("event", str(entity), log.event_name, log.attributes)
    said = one_line(log.body)
    return Signal(
        id=signal_id(subject, "noted", log.time_unix_nano),
        kind="change",
        state="noted",
        entity=entity,
        subject=subject,
        name=log.event_name,
        attributes=log.attributes,
        time_unix_nano=moment.time,
        onset_unix_nano=log.time_unix_nano,
        release_unix_nano=moment.release,
        detector="events",
        model_version=CHANGES_VERSION,
        reasons=(said,) if said else (),
        origin=moment.origin,
    )


def suspicion(found: Suspicion, entity: Entity, bar: float, moment: Moment) -> Signal:
    """Tell of a process that gives reason for suspicion."""
    subject = content_id("process", found.process)
    odds = f"{found.score:.1f} decades of evidence, told beyond {bar:g}; {found.p_value:.2g} of processes give as much"
    return Signal(
        id=signal_id(subject, "firing", moment.time),
        kind="log",
        state="firing",
        entity=entity,
        subject=subject,
        name=PROCESS,
        attributes={"process.executable.path": found.image, "process.id": found.process},
        time_unix_nano=moment.time,
        onset_unix_nano=moment.time,
        release_unix_nano=moment.release,
        p_value=found.p_value,
        observed=found.score,
        expected=0.0,
        unit="{decade}",
        detector="process-lineage",
        support="own history",
        model_version=MODEL_VERSION,
        reasons=(one_line(f"{program(found.image)}: {odds}"), *map(one_line, found.reasons)),
        origin=moment.origin,
    )


def no_longer_told(process: str, entity: Entity, onset: int, moment: Moment) -> Signal:
    """End the signal of a process of which nothing more was said."""
    subject = content_id("process", process)
    return Signal(
        id=signal_id(subject, "adapted", onset),
        kind="log",
        state="adapted",
        entity=entity,
        subject=subject,
        name=PROCESS,
        time_unix_nano=moment.time,
        onset_unix_nano=onset,
        detector="process-lineage",
        support="own history",
        model_version=MODEL_VERSION,
        reasons=("nothing more was said of it for an hour: no longer told, harmless or not",),
        origin=moment.origin,
    )


def silence(found: detect_silence.Silence, series: Series, tick_nanos: int, moment: Moment) -> Signal:
    """Tell of a template that fell silent, is heard again, or is given up."""
    seconds = tick_nanos / NANOS
    text = next((str(value) for name, value in series.attributes.items() if name == "log.template"), series.name)
    silent, gap = found.ticks * seconds, found.mean_gap * seconds
    said = {
        "firing": f'"{text}": said every {gap:.3g} s, silent for {silent:.0f} s',
        "cleared": f'"{text}": heard again after {silent:.0f} s',
        "adapted": f'"{text}": silent for {silent:.0f} s, so this is its normal now',
    }[found.state]
    odds = f"p = {found.p_value:.1g} of such a gap"
    onset = (found.since_tick + 1) * tick_nanos
    subject = content_id("silence", series.id)
    attributes: dict[str, AttributeValue] = dict(series.attributes)
    return Signal(
        id=signal_id(subject, found.state, onset),
        kind="log",
        state="firing" if found.state == "firing" else "cleared" if found.state == "cleared" else "adapted",
        entity=series.entity,
        subject=subject,
        name=detect_silence.NAME,
        attributes=attributes,
        time_unix_nano=moment.time,
        onset_unix_nano=onset,
        p_value=found.p_value if found.state == "firing" else None,
        observed=silent,
        expected=gap,
        unit="s",
        detector="template-silence",
        support="own history",
        model_version=MODEL_VERSION,
        reasons=(said, odds, "its instance still speaks") if found.state == "firing" else (said,),
        origin=moment.origin,
    )
