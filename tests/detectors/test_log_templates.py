"""Templates of log lines: grouped, bounded, named for good, the same after a restart."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.log_templates import OTHER, TemplateMiner

WORDS = st.sampled_from(["order", "paid", "failed", "alice", "bob", "17", "18", "retry", "of"])
LINES = st.lists(st.lists(WORDS, max_size=6).map(" ".join), max_size=60)


def numbers(miner: TemplateMiner, lines: list[str]) -> list[int]:
    return [miner.learn("prod/shop", 9, line, at).number for at, line in enumerate(lines)]


def test_lines_that_differ_in_parameters_are_one_template_which_keeps_its_first_name() -> None:
    miner = TemplateMiner(10)
    lines = [f"user {name} logged in from 10.0.0.{i}" for i, name in enumerate(["alice", "bob", "carol"])]
    assert len(set(numbers(miner, lines))) == 1
    template = miner.learn("prod/shop", 9, lines[0], 9)
    assert template.text == "user alice logged in from <*>"
    assert template.words == ["user", "<*>", "logged", "in", "from", "<*>"]


def test_other_words_another_severity_and_another_service_are_other_templates() -> None:
    miner = TemplateMiner(10)
    said = [("a/x", 9, "disk full"), ("a/x", 9, "order paid"), ("a/x", 17, "disk full"), ("b/x", 9, "disk full")]
    assert len({miner.learn(scope, severity, line, 0).number for scope, severity, line in said}) == 4


def test_it_says_for_how_long_a_service_was_heard_without_a_template() -> None:
    miner = TemplateMiner(10)
    assert miner.learn("prod/shop", 9, "order paid", 100).known_nanos == 0
    assert miner.learn("prod/shop", 17, "disk full", 160).known_nanos == 60


@settings(max_examples=200)
@given(lines=LINES, cut=st.integers(0, 60))
def test_a_restart_changes_nothing(lines: list[str], cut: int) -> None:
    whole = numbers(TemplateMiner(10), lines)
    first = TemplateMiner(10)
    before = numbers(first, lines[:cut])
    assert before + numbers(TemplateMiner(10, state=first.freeze()), lines[cut:]) == whole


def test_what_is_more_than_the_templates_of_a_service_may_be_is_counted_together() -> None:
    miner = TemplateMiner(10, max_templates=4)
    numbers(miner, [f"{letter * 3} happened" for letter in "abcd"])
    others = [miner.learn("prod/shop", 9, f"{letter * 3} occurred to {letter}", 9) for letter in "efgh"]
    assert {template.text for template in others} == {OTHER}
    assert numbers(miner, ["aaa happened"]) == [1]


def test_of_too_many_services_the_one_longest_silent_is_forgotten() -> None:
    miner = TemplateMiner(2)
    first = miner.learn("a", 9, "hello", 0).number
    miner.learn("b", 9, "hello", 1)
    assert miner.learn("a", 9, "hello", 2).number == first
    miner.learn("c", 9, "hello", 3)
    assert miner.learn("a", 9, "hello", 4).number == first
    assert miner.learn("b", 9, "hello", 5).number == 4  # a new one: numbers are never given out twice


def test_hostile_lines_are_bounded_in_what_they_leave() -> None:
    miner = TemplateMiner(10)
    assert miner.learn("prod/shop", 17, "\x1b[31mboom " + "9a" * 400_000, 0).text == "<*> <*>"
    assert miner.learn("prod/shop", 9, "", 0).text == "<empty>"
    for i in range(2000):
        miner.learn("prod/shop", 17, "x" * (i % 900) + " y" * 2000, 0)
    assert len(miner.freeze()) < 256 * 1024
