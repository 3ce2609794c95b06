"""What people say about incidents, with where it comes from: lessons, and what they say of each detector.

Made by the learn stage (`streams.outcome_to_lesson`), read by `reflexarc learn`. Pure. One incident is one lesson,
however much is said of it: the last word counts, and who wants to be heard twice has to find another incident.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Literal

from learning.statistics import Estimate, rate
from schemas.control import Control
from schemas.envelope import Model, Name, Record, TimeUnixNano
from schemas.incident import Classification, Incident

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
    revision: int
    opened_unix_nano: TimeUnixNano
    alarms: tuple[Alarm, ...] = ()

    def revised(self, incident: Incident) -> Sketch:
        """Fold a revision in; an older one only adds what it saw."""
        newer = sketch(incident)
        base = newer if incident.revision >= self.revision else self
        return base.model_copy(update={"alarms": _merged(self.alarms, newer.alarms)})


class Lesson(Record):
    """What people said last of one incident, and everything it rests on."""

    incident_id: str
    control_id: str
    by: Name
    time_unix_nano: TimeUnixNano
    verdict: Literal["true_positive", "false_positive"] | None
    true_label: Name | None
    """The class people gave it; the one it had, where they confirmed it."""
    better_playbook: Name | None
    note: str
    about: Sketch

    @property
    def right(self) -> bool | None:
        """Whether the class was right; None where nobody said."""
        if self.verdict == "false_positive":
            return False
        return None if self.true_label is None else self.true_label == self.about.classification.label


class FalseAlarms(Model):
    """How often one detector's word on one name was a false alarm at one place."""

    environment: str
    service: str
    detector: str
    name: str
    true: int
    false: int
    false_share: Estimate


def sketch(incident: Incident) -> Sketch:
    """Keep of an incident what lessons need."""
    alarms = (Alarm(detector=one.detector, name=one.name) for one in incident.signals if one.state == "firing")
    return Sketch(
        environment=incident.environment,
        service=incident.service,
        classification=incident.classification.model_copy(update={"rules": (), "neighbours": ()}),
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
    gate is what holds it.
    """
    ordered = sorted(lessons, key=lambda one: (one.time_unix_nano, one.control_id))
    counts = Counter(one.by for one in ordered)
    loudest, said = max(counts.items(), key=lambda item: (item[1], item[0]), default=("", 0))
    others = len(ordered) - said
    if not others or said <= MOST_OF_ONE_PERSON * len(ordered):
        return ordered
    allowed = {one.control_id for one in [one for one in ordered if one.by == loudest][:others]}
    return [one for one in ordered if one.by != loudest or one.control_id in allowed]


def _merged(known: Sequence[Alarm], more: Sequence[Alarm]) -> tuple[Alarm, ...]:
    unique = {(one.detector, one.name): one for one in (*known, *more)}
    return tuple(unique[key] for key in sorted(unique))
