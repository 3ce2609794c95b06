"""Better, worse, inconclusive: and missing data is never success."""

from __future__ import annotations

from itertools import permutations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.verify import Evidence, Judgement, judge, recovered_already
from schemas.action import Verification
from schemas.signal import Progress, Signal
from tests.actions.builders import ERRORS, LATENCY, T0, progress, seconds, signal

RULE = Verification(subjects=(LATENCY, ERRORS), stabilisation_seconds=5, within_seconds=60)
APPLIED = T0 + seconds(10)


def at(count: float) -> int:
    return APPLIED + seconds(count)


FIRING = (signal(LATENCY, "firing", T0), signal(ERRORS, "firing", T0))


def verdict(*records: Signal | Progress, now: float = 30, rule: Verification = RULE) -> Judgement | None:
    evidence = Evidence(rule.subjects)
    for record in (*FIRING, *records):
        evidence.add(record)
    return judge(rule, APPLIED, evidence, at(now))


def test_every_subject_cleared_after_stabilisation_is_better() -> None:
    records = (signal(LATENCY, "cleared", at(5)), signal(ERRORS, "cleared", at(9)))
    found = verdict(*records)
    assert found is not None
    assert found.verdict == "better"
    assert set(found.evidence) == {record.id for record in records}


def test_one_subject_that_did_not_clear_is_not_better() -> None:
    assert verdict(signal(LATENCY, "cleared", at(6))) is None
    found = verdict(signal(LATENCY, "cleared", at(6)), now=60)
    assert found is not None
    assert found.verdict == "inconclusive"


@pytest.mark.parametrize("records", [(), (progress(at(50)),)])
def test_silence_is_inconclusive_at_the_deadline_and_open_before(records: tuple[Progress, ...]) -> None:
    assert verdict(*records, now=59.9) is None
    found = verdict(*records, now=60)
    assert found is not None
    assert found.verdict == "inconclusive"


EARLY = (signal(LATENCY, "cleared", at(2)), signal(ERRORS, "cleared", at(3)))


def test_what_cleared_while_the_system_moved_counts_once_its_source_was_read_beyond() -> None:
    assert verdict(*EARLY) is None
    assert verdict(*EARLY, progress(at(4.9))) is None
    assert verdict(*EARLY, progress(at(20), partition=1)) is None, "another source says nothing about this one"
    assert verdict(*EARLY, progress(at(20), idle=True)) is None, "a source without data proves nothing"
    found = verdict(*EARLY, progress(at(5)))
    assert found is not None
    assert found.verdict == "better"


def test_what_became_normal_by_lasting_is_no_recovery() -> None:
    adapted = (signal(LATENCY, "adapted", at(20)), signal(ERRORS, "cleared", at(20)))
    found = verdict(*adapted, progress(at(59)), now=60)
    assert found is not None
    assert found.verdict == "inconclusive"


def test_a_subject_that_fires_anew_after_stabilisation_is_worse() -> None:
    records = (signal(LATENCY, "cleared", at(6)), signal(ERRORS, "cleared", at(6)))
    found = verdict(*records[:1], signal(ERRORS, "firing", at(8)))
    assert found is not None
    assert found.verdict == "worse"
    assert found.evidence == (signal(ERRORS, "firing", at(8)).id,)


def test_unrest_during_stabilisation_is_not_judged() -> None:
    assert verdict(signal(ERRORS, "firing", at(4))) is None
    late = signal(ERRORS, "firing", at(6), onset=at(3))
    assert verdict(late) is None, "what it rests on is younger than the stabilisation"


def test_of_two_words_on_one_instant_the_bad_one_counts() -> None:
    found = verdict(
        signal(LATENCY, "cleared", at(6)),
        signal(ERRORS, "cleared", at(6)),
        signal(ERRORS, "firing", at(6), onset=T0),
        now=60,
    )
    assert found is not None
    assert found.verdict == "inconclusive"


def test_other_subjects_and_changes_are_no_evidence() -> None:
    strangers = (signal("other", "firing", at(10)), signal(LATENCY, "noted", at(10)))
    assert verdict(*strangers) is None


def test_without_subjects_nothing_can_be_better() -> None:
    nothing = Verification(subjects=(), stabilisation_seconds=5, within_seconds=60)
    assert verdict(progress(at(50)), rule=nothing) is None
    found = verdict(progress(at(59)), rule=nothing, now=60)
    assert found is not None
    assert found.verdict == "inconclusive"


def test_the_order_of_reading_does_not_matter() -> None:
    records: tuple[Signal | Progress, ...] = (
        signal(LATENCY, "cleared", at(2)),
        signal(ERRORS, "cleared", at(7)),
        progress(at(9)),
        signal(ERRORS, "firing", at(1)),
    )
    assert len({verdict(*order) for order in permutations(records)}) == 1


def test_what_recovered_by_itself_is_seen_before_acting() -> None:
    evidence = Evidence(RULE.subjects)
    for record in (*FIRING, signal(LATENCY, "cleared", at(1))):
        evidence.add(record)
    assert recovered_already(RULE, evidence) == ()
    evidence.add(signal(ERRORS, "cleared", at(2)))
    assert len(recovered_already(RULE, evidence)) == 2
    evidence.add(signal(ERRORS, "firing", at(3)))
    assert recovered_already(RULE, evidence) == ()


def test_nothing_known_is_not_recovered() -> None:
    assert recovered_already(RULE, Evidence(RULE.subjects)) == ()


@given(
    st.lists(
        st.tuples(st.sampled_from([LATENCY, ERRORS]), st.sampled_from(["firing", "adapted"]), st.integers(0, 100)),
        max_size=10,
    ),
    st.integers(0, 200),
)
def test_without_a_cleared_signal_nothing_is_ever_better(words: list[tuple[str, str, int]], now: int) -> None:
    records = [signal(subject, state, at(when)) for subject, state, when in words]  # type: ignore[arg-type]
    found = verdict(*records, progress(at(100)), now=now)
    assert found is None or found.verdict != "better"
