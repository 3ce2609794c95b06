"""What a service depends on comes first: from signals to the decision, with the graph of services."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from actions.rails import RailsSettings
from actions.settings import Grant, PolicySettings
from detectors.topology import Topology
from schemas.decision import Decision
from schemas.incident import Classification
from schemas.outcome import Result
from schemas.signal import Signal
from schemas.topics import INCIDENTS, LEARNING
from streams.incident_to_decision import Decide
from tests.actions.builders import AUTONOMOUS, T0, incident, seconds, shipped
from tests.streams.test_correlate import rollout
from tests.streams.test_correlate_topology import play, trouble
from tests.streams.test_decide import decide, emitted, outcome, take

NAMES = st.sampled_from("abcdefghij")
ANYWHERE = PolicySettings(grants=(Grant(tier="autonomous", playbook="rollback-*"),))


def failed(decision: Decision) -> dict[str, str]:
    return {check.name: check.detail for check in decision.checks if not check.passed}


@given(st.lists(st.tuples(NAMES, NAMES), max_size=25))
def test_the_order_of_services_never_runs_in_a_circle(calls: list[tuple[str, str]]) -> None:
    topology = Topology(learnt=calls)
    below = {name: topology.upstream(name) for name in "abcdefghij"}
    for name, nearest in below.items():
        seen, edge = set[str](), set(nearest)
        while edge:
            seen |= edge
            edge = {further for one in edge for further in below[one]} - seen
        assert name not in seen


def two_causes(*more: Signal) -> list[Signal]:
    """The database is in trouble, and so is a service above it, by a change of its own."""
    return [*trouble(10, "orders-db"), rollout(14), *trouble(15, "checkout"), *more]


def played(kernel: Decide, records: list[Signal], end: float, **given: Any) -> list[Decision]:
    return [found for one in play(records, end, **given) for found in take(kernel, INCIDENTS, one)]


def test_from_signals_on_only_the_order_of_services_holds_the_action() -> None:
    kernel = decide(ANYWHERE)
    *_, held = played(kernel, two_causes(), 20)
    assert (held.service, held.verdict) == ("checkout", "observe")
    told = "orders-db comes first: it fires, and began within 600 s of this"
    assert failed(held) == {"dependency_order": told}
    assert held.reason == f"dependency_order: {told}"
    assert held.actions[0].depends_on == ("orders-db", "payment")
    (free,) = [one for one in played(decide(ANYWHERE), two_causes(), 20, calls={}) if one.service == "checkout"]
    assert free.verdict == "act", "without the graph nothing else would hold it"


def test_it_goes_on_when_what_came_first_is_well_again() -> None:
    kernel = decide(ANYWHERE)
    played(kernel, two_causes(*trouble(30, "orders-db", "cleared")), 60)
    (again,) = emitted(kernel.wake(60.0))
    assert isinstance(again, Decision)
    assert (again.service, again.verdict) == ("checkout", "act")


def test_what_depends_on_a_service_does_not_hold_it() -> None:
    kernel = decide(AUTONOMOUS)
    take(kernel, INCIDENTS, incident(id="above", service="shop", depends_on=("checkout",)))
    assert take(kernel, INCIDENTS, incident())[0].verdict == "act"


def test_while_an_action_is_at_work_below_nothing_is_begun_above() -> None:
    kernel = decide(PolicySettings(grants=(Grant(tier="autonomous"),), rails=RailsSettings(backoff_seconds=1)))
    (below,) = take(kernel, INCIDENTS, incident(id="below", service="orders-db", onset_unix_nano=T0 - seconds(7200)))
    assert below.verdict == "act"
    calm = incident(id="below", service="orders-db", revision=2, onset_unix_nano=T0 - seconds(7200), active_subjects=())
    take(kernel, INCIDENTS, calm)
    (above,) = take(kernel, INCIDENTS, incident(depends_on=("orders-db",)))
    assert failed(above) == {"dependency_order": "orders-db comes first: an action is at work on it"}
    take(kernel, LEARNING, outcome(below.actions[0], Result.FAILED))
    assert [one.verdict for one in emitted(kernel.wake(60.0)) if one.service == "checkout"] == ["act"]


def test_trouble_below_that_is_calm_or_of_another_time_holds_nothing() -> None:
    for changes in ({"active_subjects": ()}, {"onset_unix_nano": T0 - seconds(601)}):
        kernel = Decide(shipped(), AUTONOMOUS, 0)
        below = {"id": "below", "service": "orders-db", "classification": Classification(), **changes}
        take(kernel, INCIDENTS, incident(**below))
        assert take(kernel, INCIDENTS, incident(depends_on=("orders-db",)))[0].verdict == "act", changes
