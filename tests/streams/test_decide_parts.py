"""What the decide stage remembers, and that finding it costs the same however much there is."""

from __future__ import annotations

import json
from collections.abc import Callable
from time import process_time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.rails import RailsSettings
from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.outcome import NOT_TRIED, Result
from schemas.topics import ACTIONS, CONTROLS, INCIDENTS, LEARNING, Topic
from streams.incident_to_decision import Decide
from streams.kernel.agenda import Agenda
from streams.kernel.decide_rails import SavedStorms, Storms, Tally
from streams.kernel.decide_scopes import Ending
from tests.actions.builders import T0, command, incident, seconds
from tests.streams.test_decide import control, decide, outcome, revision, take

NAMES = st.sampled_from("abcdefgh")
LIMITS = RailsSettings(storm_incidents=3, storm_window_seconds=60, storm_cooldown_seconds=300)


@given(st.lists(st.tuples(NAMES, st.one_of(st.none(), st.integers(0, 50)))), st.lists(st.integers(0, 60)))
def test_an_agenda_gives_what_is_due_once_in_order(puts: list[tuple[str, int | None]], looks: list[int]) -> None:
    agenda, due = Agenda(), {}
    for name, at in puts:
        agenda.put(name, at)
        due[name] = at
    waiting = {(at, name) for name, at in due.items() if at is not None}
    for until in sorted(looks):
        assert list(agenda.until(until)) == sorted(one for one in waiting if one[0] <= until)
        waiting = {one for one in waiting if one[0] > until}
        assert len(agenda) == len(waiting)


def test_what_is_put_off_again_and_again_takes_no_more_room() -> None:
    agenda = Agenda()
    for at in range(100_000):
        agenda.put("checkout", at)
    assert len(agenda._heap) < 200
    assert list(agenda.until(100_000)) == [(99_999, "checkout")]


def opened(at: int) -> Incident:
    return incident(id=f"incident-{at}", opened_unix_nano=T0 + seconds(at))


@given(st.lists(st.integers(0, 2000), unique=True, max_size=30), st.randoms(use_true_random=False), st.data())
def test_storms_are_the_same_in_any_order_and_after_a_restart(times: list[int], any_order: Any, data: Any) -> None:
    """As far as the order is off by no more than what is remembered: a window and a cool-down."""

    def last_until(at: list[int]) -> int | None:
        storms = [b for a, b in zip(at, at[2:], strict=False) if b - a <= 60]
        return T0 + seconds(storms[-1] + 300) if storms else None

    late = sorted(times, key=lambda at: at + any_order.random() * 300)
    storms, restart = Storms(LIMITS, SavedStorms()), data.draw(st.integers(0, 30))
    for number, at in enumerate(late):
        if number == restart:
            storms = Storms(LIMITS, storms.saved)
        storms.note(opened(at))
        storms.note(opened(at))
    assert storms.until_unix_nano == last_until(sorted(times))


ENDINGS = st.builds(
    Ending,
    id=st.uuids().map(str),
    action_id=st.just("action"),
    decision_id=st.just("decision"),
    playbook=st.sampled_from(("one", "other")),
    result=st.sampled_from(Result),
    time_unix_nano=st.integers(0, 100),
)


@given(st.lists(ENDINGS), st.data())
def test_a_tally_counts_what_was_not_forgotten(endings: list[Ending], data: Any) -> None:
    tally = Tally()
    for ending in endings:
        tally.add(ending)
    gone = data.draw(st.sets(st.sampled_from(range(len(endings))))) if endings else set()
    for number in gone:
        tally.remove(endings[number])
    left = [ending for number, ending in enumerate(endings) if number not in gone and ending.result not in NOT_TRIED]
    failed = [ending for ending in left if ending.playbook == "one" and ending.result is not Result.VERIFIED]
    assert tally.tried_since(50) == sum(ending.time_unix_nano >= 50 for ending in left)
    assert tally.failed_since("one", 50) == sum(ending.time_unix_nano >= 50 for ending in failed)


def test_a_storm_is_not_over_because_its_incidents_are() -> None:
    kernel = decide()
    for number in range(10):
        begun = {"id": f"other-{number}", "service": f"service-{number}", "active_subjects": ()}
        take(kernel, INCIDENTS, incident(**begun))
        take(kernel, INCIDENTS, incident(**begun, revision=2, status="resolved", resolved_unix_nano=T0 + NANOS))
    restored = decide(state=kernel.snapshot())
    (held,) = take(restored, INCIDENTS, revision(2))
    assert (held.verdict, held.reason) == ("observe", "no_storm: storm for 298.0 s more")
    assert take(restored, INCIDENTS, revision(400, classification=held.classification, id="later"))[-1].verdict == "act"


def test_services_are_counted_by_environment() -> None:
    kernel = decide()
    for number in range(20):
        take(
            kernel,
            INCIDENTS,
            incident(
                id=f"o-{number}",
                environment="staging",
                service=f"service-{number}",
                opened_unix_nano=T0 - seconds(3600 + 100 * number),
            ),
        )
    (decision,) = take(kernel, INCIDENTS, revision(1))
    told = {check.name: check.detail for check in decision.checks}
    assert told["not_too_much_broken"] == "1 of 1 services have an open incident, 10 allowed"
    assert decision.verdict == "act"


def filled(scopes: int) -> Decide:
    """One with so many scopes, in each an incident that a stop holds and an action of the past."""
    kernel = decide()
    take(kernel, CONTROLS, control("stop"))
    (held,) = take(kernel, INCIDENTS, revision(1, environment="of-one"))
    take(kernel, LEARNING, outcome(held.actions[0]).model_copy(update={"incident_id": "past"}))
    state = json.loads(kernel.snapshot())
    one = json.dumps(state["scopes"]["of-one/checkout"])
    copies = {
        f"of-{i}/checkout": one.replace("of-one", f"of-{i}").replace("incident-1", f"i-{i}") for i in range(scopes)
    }
    state["scopes"] = {scope: json.loads(memory) for scope, memory in copies.items()}
    return decide(state=json.dumps(state).encode())


RECORDS: dict[str, Callable[[int], tuple[Topic, Any]]] = {
    "a new incident": lambda n: (INCIDENTS, revision(25, id=f"incident-{n}")),
    "an incident that looks as before": lambda _: (INCIDENTS, revision(25)),
    "an outcome": lambda n: (LEARNING, outcome(command(), Result.REFUSED).model_copy(update={"id": f"outcome-{n}"})),
    "a command": lambda _: (ACTIONS, command()),
    "an answer": lambda n: (CONTROLS, control("reject", T0 + n, decision_id="none", incident_id="none")),
    "a resume elsewhere": lambda n: (CONTROLS, control("resume", T0 + n, environment="demo", service="payment")),
    "a resume of an incident": lambda n: (CONTROLS, control("resume", T0 + n, incident_id="none")),
}


@pytest.mark.parametrize("kind", RECORDS)
def test_the_cost_of_a_record_does_not_grow_with_the_number_of_scopes(kind: str, crowds: tuple[Decide, Decide]) -> None:
    def cost(kernel: Decide, start: int) -> float:
        """CPU seconds, the least of some runs."""
        spent = []
        for run in range(5):
            records = [RECORDS[kind](start + 20 * run + n) for n in range(20)]
            begun = process_time()
            for topic, record in records:
                kernel.one(topic, record)
            spent.append(process_time() - begun)
        return min(spent)

    few, many = (cost(kernel, 0) for kernel in crowds)
    assert many < 2 * few + 0.001, f"{few * 1000:.2f} ms with 10 scopes, {many * 1000:.2f} ms with 5000"


@pytest.fixture(scope="module")
def crowds() -> tuple[Decide, Decide]:
    return filled(10), filled(5000)
