"""What recurs is found, and ranked by what automating it would give back."""

from __future__ import annotations

import random
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from learning.assess import Assessment, Pattern, assess
from learning.occurrence import Occurrence, template
from learning.remedies import remedy_of
from schemas.envelope import NANOS

T0 = 1_800_000_000 * NANOS
DAY = 86_400 * NANOS
PLAYBOOKS = {"deployment_regression": "rollback-deployment", "traffic_surge": "scale-out"}


def occurrence(
    number: int, title: str = "Errors after release 4.2", minutes: float | None = 30, **more: str
) -> Occurrence:
    began = T0 + number * DAY
    ended = None if minutes is None else began + int(minutes * 60 * NANOS)
    plain = {"id": f"{title}-{number}", "title": title, "service": "checkout"} | more
    return Occurrence.model_validate({**plain, "started_unix_nano": began, "ended_unix_nano": ended})


def many(count: int, **more: Any) -> list[Occurrence]:
    return [occurrence(number, **more) for number in range(count)]


def only(history: Iterable[Occurrence]) -> Pattern:
    (found,) = assess(history, PLAYBOOKS).patterns
    return found


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Pod checkout-7d9f4 restarted", "Pod checkout-66c2a restarted"),
        ("185 of 200 connections", "9 of 20 connections"),
        ("no route to 10.0.0.1:443", "no route to 192.168.3.77"),
        ("trace 3fa85f64-5717-4562-b3fc-2c963f66afa6 failed", "trace 0fa85f64-5717-4562-b3fc-2c963f66afa1 failed"),
        ("errors after release 4.10.2", "errors  after release 5"),
    ],
)
def test_titles_that_differ_in_numbers_and_names_are_one_pattern(one: str, other: str) -> None:
    assert template(one) == template(other)


def test_titles_that_differ_in_words_are_two() -> None:
    assert template("disk full on db-1") != template("disk slow on db-1")


@given(st.text(max_size=200))
def test_a_template_of_a_template_is_itself(title: str) -> None:
    assert template(template(title)) == template(title)


@pytest.mark.parametrize(
    ("text", "remedy", "reversibility"),
    [
        ("Rolled back to 4.1", "roll back", "reversible"),
        ("restarted, then restored from backup", "restore or delete data", "irreversible"),
        ("rebooted the host", "restart", "repeatable"),
        ("scaled out to 6 replicas", "scale out", "reversible"),
        ("recovered by itself", "none needed", "unknown"),
    ],
)
def test_words_tell_the_remedy_and_the_harshest_counts(text: str, remedy: str, reversibility: str) -> None:
    found = remedy_of(text)
    assert found is not None
    assert (found.name, found.reversibility) == (remedy, reversibility)


def test_words_nobody_knows_tell_none() -> None:
    assert remedy_of("called Bob") is None


def test_what_always_ends_by_the_same_reversible_remedy_may_be_automated() -> None:
    found = only(many(10, resolution="rolled back"))
    assert (found.verdict, found.reversibility, found.playbook) == ("automate", "reversible", "rollback-deployment")
    assert found.hours_spent == pytest.approx(5)
    assert found.predictability == pytest.approx(0.05 ** (1 / 11)), "the 5th percentile of Beta(11, 1)"
    assert found.score_hours_per_week == pytest.approx(5 / (9 / 7) * found.predictability)


def test_what_cannot_be_taken_back_stays_with_people() -> None:
    found = only(many(10, resolution="failed over"))
    assert (found.verdict, found.score_hours_per_week) == ("keep_with_people", 0)


def test_a_restart_counts_half_of_a_roll_back() -> None:
    restart, rollback = (only(many(10, resolution=words)) for words in ("restarted", "rolled back"))
    assert restart.score_hours_per_week == pytest.approx(rollback.score_hours_per_week / 2)


def test_a_new_remedy_each_time_is_to_be_studied() -> None:
    words = ("rolled back", "restarted", "scaled out", "blocked it", "drained it")
    found = only(occurrence(n, resolution=text) for n, text in enumerate(words))
    assert found.verdict == "study"


def test_what_is_over_by_itself_needs_no_action_but_a_quieter_alert() -> None:
    assert only(occurrence(n, minutes=2) for n in range(8)).verdict == "pause_alert"
    assert only(many(8, resolution="false alarm")).verdict == "pause_alert"


def test_without_a_word_on_what_helped_that_is_what_is_missing() -> None:
    assert only(many(8)).verdict == "write_down_the_fix"


def test_few_are_rare_whatever_they_say() -> None:
    assert only(many(2, resolution="rolled back")).verdict == "rare"


def test_unknown_durations_count_as_the_median_of_the_known() -> None:
    history = [occurrence(0, minutes=60), occurrence(1, minutes=60), occurrence(2, minutes=None)]
    found = only(history)
    assert found.hours_spent == pytest.approx(3)
    assert found.known_durations == 2


def test_time_counts_from_the_acknowledgement() -> None:
    late = occurrence(0, minutes=60).model_copy(update={"acknowledged_unix_nano": T0 + 30 * 60 * NANOS})
    assert only([late]).hours_spent == pytest.approx(0.5)


def test_more_hours_rank_first_and_the_rest_follows() -> None:
    small = [occurrence(n, title="Queue full", minutes=5, resolution="scaled out") for n in range(10)]
    found = assess([*small, *many(10, resolution="rolled back"), occurrence(3, title="Odd")], PLAYBOOKS)
    assert [one.template for one in found.patterns] == ["Errors after release <*>", "Queue full", "Odd"]
    assert found.automatable_hours_per_week == pytest.approx(sum(p.score_hours_per_week for p in found.patterns))


def test_the_order_of_a_history_and_repeats_in_it_change_nothing() -> None:
    history = [*many(9, resolution="rolled back"), *(occurrence(n, title="Queue full 7") for n in range(5))]
    shuffled = [*history, *history[:4]]
    random.Random(1).shuffle(shuffled)
    assert assess(shuffled, PLAYBOOKS) == assess(history, PLAYBOOKS)


def test_an_empty_history_is_no_fault() -> None:
    assert assess([], PLAYBOOKS) == Assessment(
        occurrences=0, span_days=1, hours_spent=0, automatable_hours_per_week=0, patterns=()
    )
