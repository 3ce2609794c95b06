"""One round of learning: candidates from lessons and recordings, put to the gate, kept and published.

Called by `reflexarc learn` and by the role `reflexarc learner`. One version goes live at a time, so that what its
figures show is its own; what else passed is a candidate for the next round.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from importlib.metadata import version as version_of
from pathlib import Path
from typing import NamedTuple

from actions.catalog import load
from learning.calibration import Calibration
from learning.candidates import Candidate, candidates
from learning.confidence import RECORDS, Records, calibration, restated
from learning.confidence import build as build_records
from learning.gate import Ruling, judge
from learning.lessons import Lesson, doubtful, tempered
from learning.registry import CONFIDENCE_CALIBRATION, POLICY_THRESHOLDS, Registry
from learning.thresholds import CONFIDENCE, Built
from learning.thresholds import build as build_thresholds
from schemas.model import ModelVersion
from streams.commands.models import publish, registry_of
from streams.commands.recall import recall
from streams.commands.recording import play_bar, recorded, workers_that_pay
from streams.histories import read_history
from streams.outcome_to_lesson import Lessons
from streams.replay import trial
from streams.replay.backtest import Backtest
from streams.replay.span import span
from streams.settings import LEARNT, Settings, pinned, value_of, with_learnt

ROLLED_BACK = "a person rolled back a model that set the same"


class Recordings(NamedTuple):
    """What candidates are to be played on; nothing named: lessons alone are judged."""

    archives: tuple[Path, ...] = ()
    since: str | None = None
    until: str | None = None
    labels: tuple[Path, ...] = ()

    @property
    def named(self) -> bool:
        return bool(self.archives or self.since or self.until)


class Learnt(NamedTuple):
    """What came of it."""

    versions: list[ModelVersion]
    why_not: str
    lessons: Sequence[Lesson]
    records: Records
    """Of the classifier's rules, as they were live."""

    def calibrations(self) -> dict[str, Calibration]:
        """Say what confidences are worth by what is live, and what they would be worth by the newest records."""
        made = next((one for one in self.versions if one.kind == CONFIDENCE_CALIBRATION), None)
        found = {"as it is": calibration(self.lessons, self.records)}
        if made is not None:
            found[f"by {made.id[:8]}, {made.status}"] = calibration(self.lessons, made.parameters[RECORDS])
        return found


def learn_once(settings: Settings, recordings: Recordings, *, dry_run: bool = False) -> Learnt:
    """Build candidates and judge them; what passed best goes live.

    Raises:
        ReflexArcError: the brokers, Redis or a recording cannot be read.

    """
    registry = registry_of(settings)
    learnt = _played(settings, registry, recordings) if recordings.named else _told(settings, registry)
    if not dry_run and learnt.versions:
        publish(settings, [changed for one in learnt.versions for changed in registry.add(one)])
    return learnt


def _told(settings: Settings, registry: Registry) -> Learnt:
    """Learn from lessons, and from nothing else: what the older ask for is judged by the newer."""
    lessons = recall(settings, Lessons.lessons)
    found = [(kind, one) for kind, one in _built(settings, lessons).items() if isinstance(one, Built)]
    if not found:
        why = "; ".join(dict.fromkeys(str(one) for one in _built(settings, lessons).values()))
        return Learnt([], why, lessons, settings.correlate.rule_records)
    tried = [
        trial.Tried(Candidate(kind, one.parameters), dict(one.figures), _ruling(registry, kind, one))
        for kind, one in found
    ]
    (_, first), *_ = found
    live = {name: value for _, one in found for name, value in one.live_figures.items()}
    made = trial.versions(live, tried, first.data, version_of("reflexarc"), time.time_ns())
    return Learnt(made, "", lessons, settings.correlate.rule_records)


def _played(settings: Settings, registry: Registry, asked: Recordings) -> Learnt:
    """Learn from recordings: every candidate plays them beside what is live."""
    meant = span(asked.since, asked.until, (), time.time_ns() // 1_000_000)
    truth = read_history(asked.labels) if asked.labels else None
    serves = {playbook.name: playbook.serves.classes for playbook in load()}
    records = settings.correlate.rule_records
    with recorded(asked.archives, settings, meant) as archives:
        lessons = trial.recorded_lessons(archives) if asked.archives else recall(settings, Lessons.lessons)
        found = _candidates(settings, registry, lessons)
        if not found:
            return Learnt([], "people have set, or rolled back, all that could be tried", lessons, records)
        played = [settings, *(with_learnt(settings, one.kind, one.parameters) for one in found)]
        with play_bar(archives, played) as moved:
            tests = [Backtest(one, workers=workers_that_pay(one), moved=moved) for one in archives]
            live, tried = trial.Trial(tests, truth, serves).judge(settings, found)
        data = trial.data_range(archives)
    return Learnt(trial.versions(live, tried, data, version_of("reflexarc"), time.time_ns()), "", lessons, records)


def _candidates(settings: Settings, registry: Registry, lessons: Sequence[Lesson]) -> list[Candidate]:
    """List what may be tried: steps of every threshold, and what lessons ask for; nothing that people rolled back."""
    now = {name: value_of(settings, name) for names in LEARNT.values() for name in names}
    live = {kind: one.parameters for kind in LEARNT if (one := registry.live(kind)) is not None}
    found = list(candidates(now, live, pinned(), doubtful(lessons)))
    for kind, built in _built(settings, lessons).items():
        if isinstance(built, Built):
            found.append(Candidate(kind, {**live.get(kind, {}), **built.parameters}))
    return [
        one
        for at, one in enumerate(found)
        if one not in found[:at] and not registry.is_withdrawn(one.kind, one.parameters)
    ]


def _built(settings: Settings, lessons: Sequence[Lesson]) -> dict[str, Built | str]:
    """Build what lessons ask for, of each kind that they can ask for; a text says why not."""
    served = {label for playbook in load() for label in playbook.serves.classes}
    heard, set_by_people, live = tempered(lessons), pinned(), settings.correlate.rule_records
    said = "was set by people: a variable or a settings file says it"
    return {
        POLICY_THRESHOLDS: f"{CONFIDENCE} {said}"
        if CONFIDENCE in set_by_people
        # Of what is live: a threshold is for confidences as they are stated now.
        else build_thresholds([restated(one, live) for one in heard], settings.policy, served),
        CONFIDENCE_CALIBRATION: f"{RECORDS} {said}"
        if RECORDS in set_by_people
        else build_records(heard, settings.policy, served, live),
    }


def _ruling(registry: Registry, kind: str, built: Built) -> Ruling:
    if registry.is_withdrawn(kind, built.parameters):
        return Ruling(passed=False, reason=ROLLED_BACK)
    return judge(built.live_figures, built.figures, kind)
