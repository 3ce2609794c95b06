"""The gate on recordings: what is live and each candidate play the same incidents and quiet periods, side by side.

Called by `reflexarc learn` with archives or a span of the topics. Reads recordings only: nothing is published and
nothing executed. What comes next is the registry.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from learning.candidates import Candidate
from learning.gate import BRIER, Ruling, best, judge
from learning.lessons import Lesson
from learning.occurrence import Occurrence
from learning.returns import Assumptions
from learning.statistics import Estimate
from schemas.envelope import content_id
from schemas.model import DataRange, ModelVersion, Status
from streams.kernel.base import Keep
from streams.outcome_to_lesson import Learn
from streams.replay.archive import Archive
from streams.replay.backtest import Backtest
from streams.replay.figures import NANOS_PER_MILLI, Figures, figures
from streams.settings import Settings, with_learnt

# Has no part in what the gate guards.
_REPAIR = Assumptions()


class Tried(NamedTuple):
    """A candidate beside what is live."""

    candidate: Candidate
    figures: dict[str, float]
    ruling: Ruling


class Trial:
    """Recordings, and what is known of them; all figures are over all of them together."""

    def __init__(
        self, tests: Sequence[Backtest], truth: Sequence[Occurrence] | None, serves: Mapping[str, Collection[str]]
    ) -> None:
        self._tests = tests
        self._truth = truth
        self._serves = serves

    def guarded(self, settings: Settings) -> dict[str, float]:
        """Play the recordings with these settings."""
        return pooled([figures(test.play(settings), self._truth, self._serves, _REPAIR, 0.0) for test in self._tests])

    def judge(self, settings: Settings, candidates: Iterable[Candidate]) -> tuple[dict[str, float], list[Tried]]:
        """Play what is live, and each candidate; what is not better on the same records does not pass."""
        live, tried = self.guarded(settings), []
        for one in candidates:
            found = self.guarded(with_learnt(settings, one.kind, one.parameters))
            tried.append(Tried(one, found, judge(live, found, one.kind)))
        return live, tried


def pooled(found: Sequence[Figures]) -> dict[str, float]:
    """Put recordings together: cases count, not recordings."""
    return {
        "false_positive_rate": _share(one.false_incidents for one in found),
        "missed_incidents": _share(
            # What was found of a list, turned round.
            Estimate(value=None if one.found.value is None else 1 - one.found.value, n=one.found.n)
            for one in found
            if one.found is not None
        ),
        "harmful_proposals": _share(one.harmful for one in found),
        **_brier([one.calibration.brier for one in found]),
        "incidents": float(sum(len(one.incidents) for one in found)),
        "proposals": float(sum(one.proposals for one in found)),
        "recordings": float(len(found)),
    }


def versions(
    live: Mapping[str, float], tried: Sequence[Tried], data: DataRange, code: str, now_unix_nano: int
) -> list[ModelVersion]:
    """Make versions of what was tried. One goes live at a time, so that its figures stay its own; it comes last."""
    passed = [one for one in tried if one.ruling.passed]
    chosen = passed[best([one.figures for one in passed])] if passed else None
    made = []
    for one in sorted(tried, key=lambda one: one is chosen):
        status: Status = "live" if one is chosen else "candidate" if one.ruling.passed else "rejected"
        waits = f"; {_told(chosen.candidate)} was better still" if status == "candidate" and chosen else ""
        made.append(
            ModelVersion.built(
                one.candidate.kind,
                one.candidate.parameters,
                data,
                code_version=code,
                now_unix_nano=now_unix_nano,
                status=status,
                reason=one.ruling.reason + waits,
                figures=one.figures,
                live_figures=live,
            )
        )
    return made


def data_range(archives: Sequence[Archive]) -> DataRange:
    """Say what recordings were played."""
    return DataRange(
        first_unix_nano=min(one.since_millis for one in archives) * NANOS_PER_MILLI,
        last_unix_nano=max(one.until_millis for one in archives) * NANOS_PER_MILLI,
        records=sum(one.raw_records for one in archives),
        hash=content_id("archives", [[file.model_dump() for file in one.manifest.files] for one in archives]),
    )


def recorded_lessons(archives: Iterable[Archive]) -> list[Lesson]:
    """Learn what the recordings teach as the learn stage does, oldest first, where they hold both sides of it."""
    kernel, found = Learn(), dict[str, Lesson]()
    for seen in (seen for archive in archives for seen in archive.seen()):
        if seen.topic in Learn.inputs:
            kept = (output.record for output in kernel.one(seen.topic, seen.record) if isinstance(output, Keep))
            found |= {one.incident_id: one for one in kept if isinstance(one, Lesson)}
    return sorted(found.values(), key=lambda one: (one.time_unix_nano, one.control_id))


def _share(found: Iterable[Estimate]) -> float:
    known = [one for one in found if one.value is not None]
    cases = sum(one.n for one in known)
    # Whole cases again, or the same share of other recordings would differ in its last digit.
    return sum(round((one.value or 0.0) * one.n) for one in known) / cases if cases else 0.0


def _brier(found: Iterable[Estimate]) -> dict[str, float]:
    known = [one for one in found if one.value is not None]
    cases = sum(one.n for one in known)
    return {BRIER: sum((one.value or 0.0) * one.n for one in known) / cases} if cases else {}


def _told(candidate: Candidate) -> str:
    return ", ".join(f"{name} = {value}" for name, value in candidate.parameters.items())
