"""What incidents turned out to be, with where it is known from: lessons, and what they say of each detector.

Made by the learn stage (`streams.outcome_to_lesson`), read by `reflexarc learn`. Pure. One incident is one lesson,
however much is said of it: the last word counts, and who wants to be heard twice has to find another incident. Where
nobody says anything, the end of the action for its class is a lesson, too: verified by telemetry, or not better.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from pydantic import Field

from detectors.classify import decisive
from learning.statistics import Estimate, rate
from schemas.control import Control
from schemas.envelope import Model, Name, Record, TimeUnixNano
from schemas.incident import Classification, Incident
from schemas.outcome import Outcome, Result

# Applied and not better, taken back or not: the class was wrong, or as good as.
_WORKED = {Result.VERIFIED: True, Result.REVERTED: False, Result.UNDONE_FAILED: False}
# Of a detector's alarms at a place: fewer prove nothing, however one-sided they are.
LEAST_ALARMS = 5
MOSTLY = 0.5
# A share above which one person's word is no longer one among many.
MOST_OF_ONE_PERSON = 0.5


class Alarm(Model):
    """Which detector spoke, and of what."""

    detector: Name
    name: Name


class Sketch(Model):
    """What a lesson needs of an incident."""

    environment: Name
    service: Name
    classification: Classification
    """Without the rules and neighbours it rests on."""
    rule: Name | None = None
    """The rule that its class rests on."""
    revision: int
    opened_unix_nano: TimeUnixNano
    alarms: tuple[Alarm, ...] = ()

    def revised(self, incident: Incident) -> Sketch:
        """Fold a revision in; an older one only adds what it saw."""
        newer = sketch(incident)
        base = newer if incident.revision >= self.revision else self
        return base.model_copy(update={"alarms": _merged(self.alarms, newer.alarms)})


class Lesson(Record):
    """What people said last of one incident, or what became of the action on it, and everything it rests on."""

    incident_id: str
    control_id: str = Field(description="id of the control, or of the outcome where nobody has said anything")
    by: Name = Field(description="the person, or the executor")
    time_unix_nano: TimeUnixNano
    verdict: Literal["true_positive", "false_positive"] | None
    true_label: Name | None
    """The class people gave it; the one it had, where they confirmed it."""
    better_playbook: Name | None
    note: str
    worked: bool | None = None
    """Whether the action for its class was verified; None where people spoke, or none was tried."""
    about: Sketch

    @property
    def right(self) -> bool | None:
        """Whether the class was right; None where nothing tells."""
        if self.verdict == "false_positive":
            return False
        return self.worked if self.true_label is None else self.true_label == self.about.classification.label


class FalseAlarms(Model):
    """How often one detector's word on one name was a false alarm at one place."""

    environment: str
    service: str
    detector: str
    name: str
    true: int
    false: int
    false_share: Estimate

    @property
    def place(self) -> str:
        """Where and of what, as `correlate.doubted` names it."""
        return f"{self.environment}/{self.service}:{self.name}"

    @property
    def mostly_false(self) -> bool:
        """Whether it surely raises more false alarms than true ones."""
        return self.true + self.false >= LEAST_ALARMS and (self.false_share.lower or 0.0) > MOSTLY


def sketch(incident: Incident) -> Sketch:
    """Keep of an incident what lessons need."""
    rule = decisive(incident.classification)
    alarms = (Alarm(detector=one.detector, name=one.name) for one in incident.signals if one.state == "firing")
    return Sketch(
        environment=incident.environment,
        service=incident.service,
        classification=incident.classification.model_copy(update={"rules": (), "neighbours": ()}),
        rule=None if rule is None else rule.name,
        revision=incident.revision,
        opened_unix_nano=incident.opened_unix_nano,
        alarms=_merged((), tuple(alarms)),
    )


def lesson(control: Control, about: Sketch) -> Lesson | None:
    """Make the lesson of a feedback; None where it says nothing that can be learnt."""
    verdict = control.verdict or ("true_positive" if control.label is not None else None)
    if verdict is None and control.playbook is None and not control.note:
        return None
    confirmed = about.classification.label if verdict == "true_positive" else None
    return Lesson(
        incident_id=str(control.incident_id),
        control_id=control.id,
        by=control.by,
        time_unix_nano=control.time_unix_nano,
        verdict=verdict,
        true_label=None if verdict == "false_positive" else control.label or confirmed,
        better_playbook=control.playbook,
        note=control.note,
        about=about,
    )


def tells(outcome: Outcome) -> bool:
    """Whether the end of an action says something of the class that it was taken for."""
    return outcome.undoes is None and outcome.result in _WORKED


def outcome_lesson(outcome: Outcome, about: Sketch) -> Lesson:
    """Make the lesson of an action's end that tells."""
    return Lesson(
        incident_id=outcome.incident_id,
        control_id=outcome.id,
        by=outcome.executor,
        time_unix_nano=outcome.timing.finished_unix_nano,
        verdict=None,
        true_label=None,
        better_playbook=None,
        note="",
        worked=_WORKED[outcome.result],
        about=about,
    )


def false_alarms(lessons: Iterable[Lesson]) -> list[FalseAlarms]:
    """Count each detector's true and false alarms, most false ones first."""
    counts: dict[tuple[str, str, str, str], Counter[bool]] = defaultdict(Counter)
    for one in lessons:
        if one.verdict is not None:
            for alarm in one.about.alarms:
                key = (one.about.environment, one.about.service, alarm.detector, alarm.name)
                counts[key][one.verdict == "false_positive"] += 1
    found = [
        FalseAlarms(
            environment=environment,
            service=service,
            detector=detector,
            name=name,
            true=count[False],
            false=count[True],
            false_share=rate(count[True], count.total()),
        )
        for (environment, service, detector, name), count in sorted(counts.items())
    ]
    return sorted(found, key=lambda one: (-one.false, one.true))


def tempered(lessons: Iterable[Lesson]) -> list[Lesson]:
    """Leave out what one person says beyond half of all, so that nobody teaches alone where others speak, too.

    The oldest of theirs stay: who floods late gains nothing. Where only one person speaks, all of it stays, and the
    gate is what holds it. What became of actions is nobody's word, and stays.
    """
    ordered = sorted(lessons, key=lambda one: (one.time_unix_nano, one.control_id))
    spoken = [one for one in ordered if one.worked is None]
    counts = Counter(one.by for one in spoken)
    loudest, said = max(counts.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    others = len(spoken) - said
    if not others or said <= MOST_OF_ONE_PERSON * len(spoken):
        return ordered
    beyond = {one.control_id for one in [one for one in spoken if one.by == loudest][others:]}
    return [one for one in ordered if one.control_id not in beyond]


def doubtful(lessons: Iterable[Lesson]) -> tuple[str, ...]:
    """Name what mostly raises false alarms, whichever detector says it, as `correlate.doubted` does."""
    record = false_alarms(tempered(lessons))
    sound = {one.place for one in record if not one.mostly_false}
    return tuple(sorted({one.place for one in record if one.mostly_false} - sound))


def _merged(known: Sequence[Alarm], more: Sequence[Alarm]) -> tuple[Alarm, ...]:
    unique = {(one.detector, one.name): one for one in (*known, *more)}
    return tuple(unique[key] for key in sorted(unique))
