from __future__ import annotations

from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from console.models import IncidentSummary, Overrides
from console.present import Presenter
from console.view import MAX_PER_INCIDENT, View, Viewed
from schemas.outcome import Result
from tests.console.records import T0, command, control, decision, incident, outcome, seconds

VALIDITY = 900.0


def fold(*records: Viewed, max_incidents: int = 100) -> View:
    view = View(max_incidents=max_incidents)
    view.add(records)
    return view


def present(view: View) -> Presenter:
    return Presenter(view, approval_validity_seconds=VALIDITY)


def whole_story() -> list[Viewed]:
    """Two incidents: one approved and mitigated, one open, with a stop lifted and one in force."""
    first, again = incident(1, 1), incident(1, 2)
    over = incident(1, 3, status="resolved")
    asked, asked_again = decision(first), decision(again)
    issued = command(first, asked.id, T0 + seconds(72))
    other = incident(2)
    return [
        first,
        again,
        over,
        asked,
        asked_again,
        issued,
        outcome(issued),
        other,
        decision(other, "escalate"),
        control("approve", T0 + seconds(71), decision_id=asked.id, incident_id=first.id),
        control("stop", T0 + seconds(80)),
        control("resume", T0 + seconds(90)),
        control("stop", T0 + seconds(100), environment="shop", service="checkout"),
        control("feedback", T0 + seconds(300), incident_id=first.id, verdict="true_positive"),
    ]


def everything(view: View) -> tuple[object, ...]:
    shown = present(view)
    summaries = shown.summaries()
    return (*summaries, *(shown.detail(s.id) for s in summaries), shown.overrides())


@settings(deadline=None)
@given(st.permutations(whole_story()), st.lists(st.sampled_from(whole_story()), max_size=5))
def test_order_and_repeats_change_nothing(order: Sequence[Viewed], repeats: Sequence[Viewed]) -> None:
    assert everything(fold(*order, *repeats)) == everything(fold(*whole_story()))


def test_the_highest_revision_is_the_incident() -> None:
    view = fold(incident(1, 3, title="third"), incident(1, 2, title="second"))
    case = view.case(incident(1).id)
    assert case is not None
    assert case.incident is not None
    assert case.incident.title == "third"


def test_hearsay_of_an_unseen_incident_is_kept_but_not_listed() -> None:
    unseen = incident(1)
    view = fold(decision(unseen))
    assert present(view).summaries() == ()
    assert present(view).detail(unseen.id) is None
    view.add([unseen])
    detail = present(view).detail(unseen.id)
    assert detail is not None
    assert [entry.kind for entry in detail.timeline] == ["decision"]


def test_the_timeline_is_in_order_of_time() -> None:
    detail = present(fold(*whole_story())).detail(incident(1).id)
    assert detail is not None
    # The stops came after this incident was over, and are none of its business.
    kinds = ["decision", "decision", "control", "action", "outcome", "control"]
    assert [entry.kind for entry in detail.timeline] == kinds
    times = [entry.time_unix_nano for entry in detail.timeline]
    assert times == sorted(times)


def test_a_stop_during_an_incident_is_part_of_its_timeline() -> None:
    stop = control("stop", T0 + seconds(62), environment="shop")
    elsewhere = control("stop", T0 + seconds(62), environment="lab")
    detail = present(fold(incident(1), stop, elsewhere)).detail(incident(1).id)
    assert detail is not None
    assert [entry.record for entry in detail.timeline] == [stop]


def test_a_word_on_tiers_is_part_of_the_timeline_and_stops_nothing() -> None:
    ratified = control("ratify", T0 + seconds(62), environment="shop", service="checkout", playbook="p", tier="approve")
    pinned = control("pin", T0 + seconds(63), incident_id=incident(1).id, tier="observe")
    elsewhere = control("ratify", T0 + seconds(62), environment="lab", service="checkout", playbook="p", tier="approve")
    view = fold(incident(1), ratified, pinned, elsewhere)
    detail = present(view).detail(incident(1).id)
    assert detail is not None
    assert [entry.record for entry in detail.timeline] == [ratified, pinned]
    assert present(view).overrides() == Overrides(stopped=False, stops=())


def test_the_longest_quiet_resolved_incident_goes_first_then_the_open() -> None:
    view = fold(incident(1), incident(2, status="resolved"), incident(3, status="resolved"), max_incidents=3)
    changes = view.add([incident(4)])
    assert changes.removed == {incident(2).id}
    assert view.add([incident(5)]).removed == {incident(3).id}
    assert view.add([incident(6)]).removed == {incident(1).id}
    assert {s.id for s in present(view).summaries()} == {incident(n).id for n in (4, 5, 6)}


def test_what_belongs_to_a_dropped_incident_goes_with_it() -> None:
    old = incident(1, status="resolved")
    view = fold(old, decision(old), control("approve", decision_id=decision(old).id), incident(2), max_incidents=2)
    view.add([incident(3)])
    assert view.decision(decision(old).id) is None
    assert view.said_of(decision(old).id) == []


def test_an_incident_holds_its_latest_decisions_only() -> None:
    revisions = [incident(1, revision) for revision in range(1, MAX_PER_INCIDENT + 6)]
    view = fold(*(decision(revision) for revision in revisions), revisions[-1])
    case = view.case(revisions[0].id)
    assert case is not None
    assert set(case.decisions) == {decision(revision).id for revision in revisions[5:]}
    assert view.decision(decision(revisions[0]).id) is None


def test_a_stop_holds_until_its_own_or_a_wider_resume() -> None:
    here = {"environment": "shop", "service": "checkout"}
    stop, wide = control("stop", T0, **here), control("stop", T0 + 1)
    assert present(fold(stop, wide)).overrides() == Overrides(stopped=True, stops=(stop, wide))
    lifted = control("resume", T0 + 2, **here)
    assert present(fold(stop, wide, lifted)).overrides() == Overrides(stopped=True, stops=(wide,))
    assert present(fold(stop, wide, control("resume", T0 + 3))).overrides() == Overrides(stopped=False, stops=())


def proposal_answer(view: View) -> str:
    summary = present(view).summary(incident(1).id)
    assert summary is not None
    if summary.proposal is None:
        return "none"
    return "waits" if summary.proposal.answer is None else summary.proposal.answer.kind


FIRST, AGAIN = incident(1, 1), incident(1, 2)
ASKED = decision(FIRST)
APPROVED = control("approve", T0 + seconds(70), decision_id=ASKED.id)
REJECTED = control("reject", T0 + seconds(70), decision_id=ASKED.id)
ISSUED = command(FIRST, ASKED.id, T0 + seconds(71))


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        ([FIRST, ASKED], "waits"),
        ([FIRST, decision(FIRST, "act")], "none"),
        ([FIRST, ASKED, incident(1, 2, status="resolved")], "none"),
        ([FIRST, ASKED, APPROVED], "approve"),
        ([FIRST, ASKED, REJECTED], "reject"),
        # The next revision asks for the same again: who has answered is not asked twice.
        ([AGAIN, ASKED, decision(AGAIN), REJECTED], "reject"),
        ([AGAIN, ASKED, decision(AGAIN), APPROVED], "approve"),
        # An approval is used up once its action has ended.
        ([AGAIN, ASKED, decision(AGAIN), APPROVED, outcome(ISSUED, Result.EXPIRED)], "waits"),
        # Something else is asked for: that is a new question.
        ([AGAIN, ASKED, REJECTED, decision(AGAIN, actions=())], "waits"),
    ],
)
def test_who_is_asked(records: list[Viewed], expected: str) -> None:
    assert proposal_answer(fold(*records)) == expected


def test_nobody_is_called_again_about_what_somebody_looks_after_until_there_is_news() -> None:
    called = decision(FIRST, "escalate")
    before = control("acknowledge", called.time_unix_nano - 1, incident_id=FIRST.id, by="ada")
    after = control("acknowledge", called.time_unix_nano + 1, incident_id=FIRST.id, by="bob")

    def summary(*records: Viewed) -> IncidentSummary:
        found = present(fold(*records)).summary(FIRST.id)
        assert found is not None
        return found

    assert summary(FIRST, called).needs_person
    assert summary(FIRST, called, before).needs_person
    assert not summary(FIRST, called, after).needs_person
    assert summary(FIRST, called, after, before).acknowledged_by == ("ada", "bob")
    later = decision(AGAIN, "escalate").model_copy(update={"time_unix_nano": after.time_unix_nano + 1})
    assert summary(AGAIN, called, after, later).needs_person, "it looks another"
    # A question is answered by an answer alone.
    assert summary(FIRST, ASKED, control("acknowledge", ASKED.time_unix_nano + 1, incident_id=FIRST.id)).needs_person
    other = FIRST.model_copy(update={"acknowledged_by": ("pager",)})
    assert summary(other).acknowledged_by == ("pager",)


def test_an_open_incident_needs_a_person_when_it_asks_or_escalates() -> None:
    def needs(*records: Viewed) -> bool:
        summary = present(fold(*records)).summary(FIRST.id)
        assert summary is not None
        return summary.needs_person

    assert needs(FIRST, ASKED)
    assert not needs(FIRST, ASKED, REJECTED)
    assert needs(FIRST, decision(FIRST, "escalate"))
    assert needs(FIRST, decision(FIRST, "act"), outcome(ISSUED, Result.REVERTED, escalate=True))
    assert not needs(FIRST, decision(FIRST, "observe"))
    assert not needs(incident(1, 2, status="resolved"), decision(FIRST, "escalate"))


def test_an_altered_trace_is_called_so() -> None:
    shown = present(fold(FIRST, ASKED)).decision(ASKED.id)
    assert shown is not None
    assert shown.intact
    altered = ASKED.model_copy(update={"reason": "nothing to see here"})
    shown = present(fold(FIRST, altered)).decision(ASKED.id)
    assert shown is not None
    assert not shown.intact
