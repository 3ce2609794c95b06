"""Did it help? Three answers, never two: better, worse, inconclusive.

`judge` is pure; the executor calls it again and again with the signals published since the command was issued, until
it answers. Missing data is never success: without fresh evidence of recovery for every subject the answer, at the
deadline, is inconclusive.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from schemas.action import Verification
from schemas.envelope import NANOS
from schemas.signal import Origin, Progress, Signal

# Telemetry is stamped by the clocks of the systems that emit it, apply by ours. Machines kept by NTP agree within
# milliseconds; the stabilisation time, seconds long, absorbs that.
Verdict = Literal["better", "worse", "inconclusive"]


class Judgement(NamedTuple):
    """An answer, and what it rests on."""

    verdict: Verdict
    reason: str
    evidence: tuple[str, ...]


class Evidence:
    """What has been read from the signals topic: the newest word on each subject, and how far each source came."""

    def __init__(self, subjects: Iterable[str]) -> None:
        self._subjects = frozenset(subjects)
        self._newest: dict[str, Signal] = {}
        self._fired: dict[str, Signal] = {}
        self._read_to: dict[str, int] = {}

    def add(self, record: Signal | Progress) -> None:
        """Take one record in. Order does not matter: event time decides."""
        if isinstance(record, Progress):
            # An idle source is one that has nothing to say: no evidence that its subjects stay well.
            if not record.idle:
                self._read_to[record.source] = max(record.time_unix_nano, self._read_to.get(record.source, 0))
            return
        if record.subject not in self._subjects or record.state == "noted":
            return
        _keep_newer(self._newest, record)
        if record.state == "firing":
            _keep_newer(self._fired, record)

    def newest(self, subject: str) -> Signal | None:
        return self._newest.get(subject)

    def fired_since(self, subject: str, since_unix_nano: int) -> Signal | None:
        """Find a firing of the subject whose abnormality began at that time or later."""
        signal = self._fired.get(subject)
        return signal if signal is not None and signal.onset_unix_nano >= since_unix_nano else None

    def recovered_at(self, subject: str, moment_unix_nano: int) -> Signal | None:
        """Find the signal that shows the subject well at that moment or later.

        Either it cleared after that moment, or it cleared before and its source has been read beyond that moment
        without it firing again: the detector that would have said so has looked.
        """
        signal = self._newest.get(subject)
        if signal is None or signal.state != "cleared":
            return None
        looked = 0 if signal.origin is None else self._read_to.get(_source(signal.origin), 0)
        return signal if max(signal.time_unix_nano, looked) >= moment_unix_nano else None


def judge(
    verification: Verification, applied_unix_nano: int, evidence: Evidence, now_unix_nano: int
) -> Judgement | None:
    """Answer, or None while it is too early to tell.

    Args:
        verification: the subjects and the times.
        applied_unix_nano: when the change was complete.
        evidence: what the signals topic has shown so far.
        now_unix_nano: the time now.

    """
    settled = applied_unix_nano + int(verification.stabilisation_seconds * NANOS)
    anew = [signal for subject in verification.subjects if (signal := evidence.fired_since(subject, settled))]
    if anew:
        names = ", ".join(signal.name for signal in anew[:3])
        return Judgement("worse", f"fired anew after stabilisation: {names}", tuple(signal.id for signal in anew))
    well = [signal for subject in verification.subjects if (signal := evidence.recovered_at(subject, settled))]
    ids = tuple(signal.id for signal in well)
    if well and len(well) == len(verification.subjects):
        return Judgement("better", f"all {len(well)} subjects recovered", ids)
    if now_unix_nano >= applied_unix_nano + int(verification.within_seconds * NANOS):
        missing = (
            f"{len(verification.subjects) - len(well)} of {len(verification.subjects)} subjects not seen to recover"
        )
        return Judgement("inconclusive", f"{missing} within {verification.within_seconds:g} s", ids)
    return None


def recovered_already(verification: Verification, evidence: Evidence) -> tuple[str, ...]:
    """Ids of the signals by which every subject has cleared since the decision; empty while any still fires."""
    newest = [evidence.newest(subject) for subject in verification.subjects]
    cleared = tuple(signal.id for signal in newest if signal is not None and signal.state == "cleared")
    return cleared if len(cleared) == len(newest) else ()


def _keep_newer(held: dict[str, Signal], signal: Signal) -> None:
    known = held.get(signal.subject)
    if known is None or _precedence(signal) > _precedence(known):
        held[signal.subject] = signal


def _precedence(signal: Signal) -> tuple[int, bool, str]:
    # Of two words on the same instant the bad one counts; the id makes the rest independent of reading order.
    return signal.time_unix_nano, signal.state == "firing", signal.id


def _source(origin: Origin) -> str:
    return f"{origin.topic}/{origin.partition}"
