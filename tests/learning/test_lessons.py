"""What people say becomes lessons, whatever is read first; nobody teaches alone where others speak, too."""

from __future__ import annotations

import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.lessons import Lesson, doubtful, false_alarms, sketch, tempered
from schemas.control import Control
from schemas.envelope import Record
from schemas.incident import Classification, Incident, RuleHit
from schemas.outcome import Outcome, Result, Timing
from schemas.topics import CONTROLS, INCIDENTS, LEARNING, Topic
from streams.kernel.base import Keep
from streams.outcome_to_lesson import REMEMBERED, Learn
from tests.console.records import control, decision, incident, outcome, seconds, signal
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


def ended(result: Result, seconds_later: float = 0.0, **about: Any) -> Outcome:
    (asked,) = decision(ABOUT).actions
    later = {"finished_unix_nano": asked.issued_unix_nano + seconds(9 + seconds_later)}
    timing = Timing(received_unix_nano=asked.issued_unix_nano, **later)
    return outcome(asked, result, **{"id": f"o{result}{seconds_later}", "timing": timing, **about})


@pytest.mark.parametrize(
    ("result", "right"),
    [(Result.VERIFIED, True), (Result.REVERTED, False), (Result.UNDONE_FAILED, False)],
)
def test_where_nobody_speaks_the_end_of_the_action_is_the_lesson(result: Result, right: bool) -> None:
    lesson = learnt(ABOUT, ended(result))[ABOUT.id]
    assert (lesson.right, lesson.verdict, lesson.by) == (right, None, "executor-1")


def test_a_lesson_knows_the_rule_that_its_class_rests_on() -> None:
    hits = tuple(
        RuleHit(rule=rule, label=label, because=())
        for rule, label in (
            ("rollout-before-symptoms", "deployment_regression"),
            ("saturation-with-symptoms", "resource_exhaustion"),
        )
    )
    for label, rule in (("deployment_regression", "rollout-before-symptoms"), ("traffic_surge", None)):
        assert sketch(incident(1, classification=Classification(label=label, rules=hits))).rule == rule


@pytest.mark.parametrize("result", [Result.EXPIRED, Result.REFUSED, Result.FAILED, Result.UNKNOWN])
def test_what_was_not_tried_or_is_not_known_says_nothing(result: Result) -> None:
    assert learnt(ABOUT, ended(result)) == {}


def test_what_takes_an_action_back_says_nothing_by_itself() -> None:
    assert learnt(ABOUT, ended(Result.VERIFIED, undoes="a1")) == {}


@given(st.randoms(use_true_random=False))
def test_people_have_the_last_word_and_of_outcomes_the_last_counts(shuffle: random.Random) -> None:
    outcomes: list[Record] = [ended(Result.REVERTED), ended(Result.VERIFIED, 5.0)]
    shuffle.shuffle(outcomes)
    assert learnt(ABOUT, *outcomes)[ABOUT.id].worked is True
    records: list[Record] = [ABOUT, *outcomes, FEEDBACK]
    shuffle.shuffle(records)
    last = learnt(*records)[ABOUT.id]
    assert (last.verdict, last.worked) == ("false_positive", None)


def test_what_became_of_actions_is_nobodys_word() -> None:
    spoken = [told(n, by=f"p{n}") for n in range(2)]
    came = [
        learnt(ABOUT, ended(Result.VERIFIED))[ABOUT.id].model_copy(update={"control_id": f"o{n}"}) for n in range(9)
    ]
    assert len(tempered([*spoken, *came])) == 11


def test_a_name_is_doubted_when_its_alarms_at_a_place_were_surely_mostly_false() -> None:
    assert doubtful([told(n, right=False, by=f"p{n}") for n in range(4)]) == (), "too few"
    assert doubtful([told(n, right=n % 2 == 0, by=f"p{n}") for n in range(20)]) == (), "half of them"
    assert doubtful([told(n, right=n == 0, by=f"p{n}") for n in range(9)]) == (
        "shop/checkout:http.server.request.duration",
    )
    flood = [told(100 + n, right=False, by="mallory") for n in range(50)]
    assert doubtful([*(told(n, by=f"p{n}") for n in range(5)), *flood]) == (), "one liar is no record"


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
