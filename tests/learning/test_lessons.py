"""What people say becomes lessons, whatever is read first; nobody teaches alone where others speak, too."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from learning.lessons import Lesson, false_alarms, tempered
from schemas.control import Control
from schemas.envelope import Record
from schemas.incident import Incident
from schemas.topics import CONTROLS, INCIDENTS, LEARNING, Topic
from streams.kernel.base import Keep
from streams.outcome_to_lesson import REMEMBERED, Learn
from tests.console.records import control, incident, seconds, signal
from tests.learning.lessons import told
from tests.streams.arc import batch

ABOUT = incident(1)
FEEDBACK = control("feedback", incident_id=ABOUT.id, verdict="false_positive", note="a load test")


def topic_of(record: Record) -> Topic:
    return {Incident: INCIDENTS, Control: CONTROLS}.get(type(record), LEARNING)


def learnt(*records: Record, kernel: Learn | None = None) -> dict[str, Lesson]:
    """The lessons that are in the store at the end, by incident."""
    kernel = kernel or Learn()
    outputs = [output for one in records for output in kernel.take(topic_of(one), batch(topic_of(one), [one]))]
    kept = [output.record for output in outputs if isinstance(output, Keep)]
    return {one.incident_id: one for one in kept if isinstance(one, Lesson)}


def test_a_lesson_says_who_said_what_of_which_evidence() -> None:
    lesson = learnt(ABOUT, FEEDBACK)[ABOUT.id]
    assert (lesson.by, lesson.verdict, lesson.note, lesson.right) == ("alice", "false_positive", "a load test", False)
    assert [(alarm.detector, alarm.name) for alarm in lesson.about.alarms] == [
        ("evidence", "http.server.request.duration")
    ]


@given(st.randoms(use_true_random=False))
def test_the_order_of_topics_changes_nothing(shuffle: random.Random) -> None:
    later = control("feedback", FEEDBACK.time_unix_nano + 5, incident_id=ABOUT.id, label="traffic_surge")
    revised = incident(1, 2, signals=(signal(name="cpu"),))
    records: list[Record] = [ABOUT, FEEDBACK, later, revised, FEEDBACK]
    expected = learnt(*records)
    shuffle.shuffle(records)
    assert learnt(*records) == expected
    assert expected[ABOUT.id].true_label == "traffic_surge"
    assert len(expected[ABOUT.id].about.alarms) == 2


def test_a_restart_in_between_changes_nothing() -> None:
    before = Learn()
    assert learnt(ABOUT, kernel=before) == {}
    assert learnt(FEEDBACK, kernel=Learn(0, before.snapshot())) == learnt(ABOUT, FEEDBACK)


def test_other_words_are_no_lessons() -> None:
    assert learnt(ABOUT, control("stop"), control("approve", incident_id=ABOUT.id, decision_id="d")) == {}


def test_memory_is_bounded() -> None:
    kernel = Learn()
    for number in range(REMEMBERED + 1):
        kernel.one(CONTROLS, control("feedback", number + 1, incident_id=f"i{number}", verdict="true_positive"))
    assert learnt(incident(1), kernel=kernel) == {}
    assert kernel.snapshot().count(b'"kind":"feedback"') == REMEMBERED


def test_detectors_are_judged_by_their_own_alarms_and_the_worst_come_first() -> None:
    good = [told(n) for n in range(3)]
    found = false_alarms([*good, told(9, right=False)])
    assert [(one.detector, one.true, one.false) for one in found] == [("evidence", 3, 1)]
    assert found[0].false_share.value == 0.25


def test_one_person_cannot_outvote_all_others() -> None:
    others = [told(n, by=f"p{n}") for n in range(5)]
    flood = [told(100 + n, right=False, by="mallory") for n in range(500)]
    kept = tempered([*others, *flood])
    assert len(kept) == 10
    assert [one for one in kept if one.by == "mallory"] == flood[:5], "the oldest: who floods late gains nothing"


def test_a_lone_teacher_is_heard_and_so_are_equals() -> None:
    alone = [told(n) for n in range(20)]
    assert tempered(alone) == alone
    assert len(tempered([*alone, *(told(50 + n, by="bob") for n in range(20))])) == 40
    assert tempered([]) == []


def test_a_note_alone_is_a_lesson_without_a_verdict() -> None:
    said = control("feedback", incident_id=ABOUT.id, note="looked odd", time_unix_nano=seconds(1))
    lesson = learnt(ABOUT, said)[ABOUT.id]
    assert (lesson.verdict, lesson.true_label, lesson.right) == (None, None, None)
    assert false_alarms([lesson]) == []
