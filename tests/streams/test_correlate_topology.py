"""Incidents of services that call each other: one for a cause and what feels it, two where there are two causes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from detectors.topology import KEPT_NANOS, MAX_HOPS, MAX_LEARNT, PEER, Topology, parse
from schemas.envelope import NANOS, Entity
from schemas.errors import ConfigurationError
from schemas.incident import Incident
from schemas.signal import Call, Progress, Signal
from schemas.topics import SIGNALS
from streams.course import Course
from streams.kernel.base import Emit
from streams.kernel.correlate import Correlator, CorrelatorState
from streams.kernel.grouping import MAX_SIGNALS, CorrelateRules
from streams.settings import CorrelateSettings, Settings
from streams.signal_to_incident import calls_of, maker
from tests.streams.arc import at
from tests.streams.test_correlate import progress, rollout, signal

RULES = CorrelateRules(resolve_after=5 * NANOS, group_interval=2 * NANOS)
CALLS = {"shop": ["checkout"], "checkout": ["orders-db", "payment"], "search": ["index"]}


def trouble(seconds: float, service: str, state: str = "firing") -> list[Signal]:
    """Two independent subjects of a service, as an incident needs."""
    names = ("http.server.request.duration", "http.server.request.error_ratio")
    return [signal(seconds, name, state, name=name, service=service, instance=f"{service}-1") for name in names]


def play(records: Iterable[Signal | Progress], end: float, calls: dict[str, list[str]] = CALLS) -> list[Incident]:
    correlator = Correlator(RULES, calls=calls)
    return [found for record in [*records, progress(end)] for found in correlator.take(record)]


def last(revisions: Sequence[Incident]) -> dict[str, Incident]:
    """Last revision of each incident, by service and when it was opened."""
    return {f"{one.service}@{(one.opened_unix_nano - at(0)) / NANOS:g}": one for one in revisions}


def test_what_a_cause_is_felt_by_joins_its_incident() -> None:
    found = last(play([*trouble(10, "orders-db"), *trouble(15, "checkout")], 40))
    assert found.keys() == {"orders-db@10"}
    incident = found["orders-db@10"]
    assert incident.services == ("orders-db", "checkout")
    assert len(incident.active_subjects) == incident.signal_count == 4
    assert incident.title.endswith("felt by 1 other")
    assert {one.entity.service for one in incident.root_causes[:2]} == {"orders-db"}
    assert any("1 call from it" in one.because for one in incident.root_causes)


def test_its_class_rests_on_its_own_service() -> None:
    alone = last(play(trouble(10, "orders-db"), 40))["orders-db@10"]
    felt = last(play([*trouble(10, "orders-db"), *trouble(15, "checkout"), *trouble(16, "shop")], 40))["orders-db@10"]
    assert felt.classification == alone.classification
    assert {s.entity.service for s in felt.evidence} == {"orders-db"}
    assert (alone.severity, felt.severity) == ("high", "critical")


def test_that_others_feel_it_is_told_at_once() -> None:
    revisions = play([*trouble(10, "orders-db"), *trouble(11, "checkout")], 40)
    assert next(one for one in revisions if len(one.services) == 2).updated_unix_nano == at(11)


def test_an_effect_that_was_seen_first_is_merged_into_its_cause() -> None:
    revisions = play([*trouble(10, "checkout"), *trouble(20, "orders-db")], 40)
    found = last(revisions)
    assert found.keys() == {"checkout@10", "orders-db@20"}
    effect, cause = found["checkout@10"], found["orders-db@20"]
    assert (effect.status, effect.merged_into, effect.resolved_unix_nano) == ("merged", cause.id, None)
    assert cause.status == "open"
    assert cause.services == ("orders-db", "checkout")
    assert cause.onset_unix_nano == at(20)
    assert effect.revision == max(one.revision for one in revisions if one.id == effect.id)


def test_a_lone_effect_needs_no_wait() -> None:
    """Alone it would have to last: what it depends on bears it out."""
    (*_, incident) = play([*trouble(10, "orders-db"), signal(12, service="checkout")], 20)
    assert incident.services == ("orders-db", "checkout")


def test_an_effect_may_lie_some_calls_away_and_those_between_be_silent() -> None:
    assert last(play([*trouble(10, "orders-db"), *trouble(15, "shop")], 40)).keys() == {"orders-db@10"}


def test_a_chain_is_gathered_by_its_end() -> None:
    records = [
        *trouble(10, "checkout"),
        *trouble(12, "shop"),
        *trouble(20, "orders-db"),
        signal(25, "late", service="shop", instance="shop-2"),
    ]
    found = last(play(records, 40))
    assert {name: one.status for name, one in found.items()} == {"checkout@10": "merged", "orders-db@20": "open"}
    assert found["orders-db@20"].services == ("orders-db", "checkout", "shop")
    assert found["orders-db@20"].signal_count == 7


@pytest.mark.parametrize(
    "records",
    [
        [*trouble(10, "orders-db"), *trouble(15, "search")],
        # A fault does not move with the calls.
        [*trouble(10, "checkout"), *trouble(11, "checkout", "cleared"), *trouble(12, "orders-db")],
        [*trouble(10, "orders-db"), rollout(14), *trouble(15, "checkout")],
        [*trouble(10, "orders-db"), *trouble(611, "checkout")],
        [*trouble(10, "checkout"), *trouble(71, "orders-db")],
    ],
    ids=["no call between", "over before", "a change of its own", "much later", "much sooner"],
)
def test_two_causes_are_two_incidents(records: list[Signal]) -> None:
    found = last(play(records, 700))
    assert len(found) == 2
    assert all(len(one.services) == 1 and one.merged_into is None for one in found.values())


def test_another_environment_is_another_world() -> None:
    elsewhere = [
        s.model_copy(update={"entity": s.entity.model_copy(update={"environment": "staging"})})
        for s in trouble(15, "checkout")
    ]
    assert len(last(play([*trouble(10, "orders-db"), *elsewhere], 40))) == 2


def test_of_two_that_call_each_other_the_earlier_leads() -> None:
    calls = {"a": ["b"], "b": ["a"]}
    assert last(play([*trouble(10, "b"), *trouble(12, "a")], 40, calls)).keys() == {"b@10"}
    assert last(play([*trouble(10, "a"), *trouble(12, "b")], 40, calls)).keys() == {"a@10"}


def test_calls_are_learnt_from_telemetry_that_names_its_peer() -> None:
    calling = signal(5, "client", service="x").model_copy(update={"attributes": {PEER: "y"}})
    quiet = signal(6, "client", "cleared", service="x")
    assert last(play([calling, quiet, *trouble(10, "y"), *trouble(15, "x")], 40, {})).keys() == {"y@10"}
    assert last(play([*trouble(10, "y"), *trouble(15, "x")], 40, {})).keys() == {"y@10", "x@15"}


def called(seconds: float, caller: str, called: str) -> Progress:
    """A source of spans saw a call, and is not waited for."""
    call = Call(caller=caller, called=called, time_unix_nano=at(seconds))
    return Progress(source="raw.spans/0", time_unix_nano=at(seconds), calls=(call,), idle=True)


def test_calls_are_learnt_from_traces() -> None:
    assert last(play([progress(1), called(9, "x", "y"), *trouble(10, "y"), *trouble(15, "x")], 40, {})).keys() == {
        "y@10"
    }


def test_a_call_counts_from_when_it_was_seen_on() -> None:
    ahead: list[Signal | Progress] = [progress(1), called(14, "x", "y"), *trouble(10, "y"), *trouble(12, "x")]
    assert last(play(ahead, 40, {})).keys() == {"y@10", "x@12"}


def test_a_call_that_is_not_seen_any_more_is_forgotten() -> None:
    day = 86_400
    later = KEPT_NANOS / NANOS + 2 * day
    again = [called(day * n, "x", "z") for n in range(1, 11)]
    records: list[Signal | Progress] = [
        progress(1),
        called(9, "x", "y"),
        *again,
        progress(later),
        *trouble(later + 10, "y"),
    ]
    found = last(play([*records, *trouble(later + 15, "x"), *trouble(later + 20, "z")], later + 40, {}))
    services = {one.service: one.services for one in found.values() if one.merged_into is None}
    assert services == {"y": ("y",), "z": ("z", "x")}


def test_what_people_told_goes_before_what_traces_show() -> None:
    calls = {"x": ["y"]}
    records: list[Signal | Progress] = [progress(1), called(9, "y", "x"), *trouble(10, "y"), *trouble(15, "x")]
    assert last(play(records, 40, calls)).keys() == {"y@10"}
    graph = Topology(calls)
    graph.learn("y", "x", 1)
    graph.learn("x", "y", 1)
    graph.forget(2)
    assert (graph.reach("x"), graph.learnt) == ({"y": 1}, {})


def test_it_is_resolved_when_nothing_of_it_fires() -> None:
    records = [
        *trouble(10, "orders-db"),
        *trouble(15, "checkout"),
        *trouble(30, "orders-db", "cleared"),
        *trouble(40, "checkout", "cleared"),
        *trouble(60, "checkout"),
    ]
    found = last(play(records, 100))
    assert {name: one.status for name, one in found.items()} == {"orders-db@10": "resolved", "checkout@60": "open"}
    assert found["orders-db@10"].resolved_unix_nano == at(45)


def test_what_outlasts_the_cause_is_split_off() -> None:
    records = [*trouble(10, "orders-db"), *trouble(15, "checkout"), *trouble(30, "orders-db", "cleared")]
    found = last(play(records, 200))
    assert {name: one.status for name, one in found.items()} == {"orders-db@10": "resolved", "checkout@90": "open"}
    cause, effect = found.values()
    assert effect.split_from == cause.id
    assert effect.services == ("checkout",)
    assert cause.resolved_unix_nano == at(95)


def test_the_end_of_an_alert_may_be_told_late() -> None:
    effect = [
        s.model_copy(update={"kind": "alert"}) for s in (*trouble(15, "checkout"), *trouble(300, "checkout", "cleared"))
    ]
    records = [*trouble(10, "orders-db"), *effect[:2], *trouble(30, "orders-db", "cleared"), *effect[2:]]
    assert last(play(records, 400)).keys() == {"orders-db@10"}
    found = last(play(records[:-2], 600))
    assert found.keys() == {"orders-db@10", "checkout@390"}, "but not for ever"


def test_a_cause_that_comes_back_in_time_keeps_its_effects() -> None:
    records = [
        *trouble(10, "orders-db"),
        *trouble(15, "checkout"),
        *trouble(30, "orders-db", "cleared"),
        *trouble(80, "orders-db"),
    ]
    found = last(play(records, 200))
    assert found.keys() == {"orders-db@10"}
    assert len(found["orders-db@10"].active_subjects) == 4


def test_a_storm_of_effects_leaves_room_for_the_cause() -> None:
    storm = [signal(12 + n / 100, f"s{n}", service="checkout", instance=f"c-{n}") for n in range(3 * MAX_SIGNALS)]
    (*_, incident) = play([*trouble(10, "orders-db"), *storm], 60)
    assert len(incident.signals) <= MAX_SIGNALS
    assert len(incident.evidence) == 2
    assert incident.signal_count == 3 * MAX_SIGNALS + 2


def test_a_change_elsewhere_forgets_nothing_of_an_incident() -> None:
    records = [
        *trouble(10, "orders-db"),
        *trouble(15, "checkout"),
        *trouble(30, "orders-db", "cleared"),
        signal(31, "d", "noted", name="deployment.started", kind="change", service="orders-db", instance=None),
        signal(32, "more", service="checkout"),
    ]
    (*_, incident) = play(records, 40)
    assert incident.services == ("orders-db", "checkout")


# -- whatever comes


SERVICES = ("shop", "checkout", "orders-db", "payment")


def _anything(rng: Random) -> list[Signal]:
    """Two minutes of signals of services that call each other; what clears has fired before."""
    found: list[Signal] = []
    for service in SERVICES:
        for subject in ("a", "b", "c"):
            now, state = rng.uniform(5, 60), "firing"
            while now < 130 and rng.random() < 0.8:
                found.append(signal(round(now, 2), subject, state, name=subject, service=service))
                now, state = now + rng.uniform(1, 60), "cleared" if state == "firing" else "firing"
    if rng.random() < 0.5:
        at_ = round(rng.uniform(5, 60), 2)
        found.append(signal(at_, "d", "noted", name="deployment.started", kind="change", instance=None))
    return sorted(found, key=lambda one: (one.time_unix_nano, one.id))


@settings(max_examples=120, deadline=None)
@given(seed=st.integers(0, 100_000))
@example(1674)  # merged, and split off again
def test_every_signal_has_one_incident_at_a_time_and_each_ends_once(seed: int) -> None:
    revisions = play(_anything(Random(seed)), 1000)
    seen: dict[str, Incident] = {}
    for one in revisions:
        before = seen.get(one.id)
        assert one.revision == (before.revision + 1 if before else 1)
        assert before is None or before.status == "open"
        assert one.services[0] == one.service
        assert one.merged_into is None or seen[one.merged_into].status == "open"
        assert one.split_from is None or one.split_from in seen
        seen[one.id] = one
        held = [subject for other in seen.values() if other.status == "open" for subject in other.active_subjects]
        if one.status == "open":  # what is merged is held twice until its cause says so, in the next revision
            assert len(held) == len(set(held))
    assert list(play(_anything(Random(seed)), 1000)) == revisions


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_neither_interleaving_nor_a_restart_changes_anything(seed: int) -> None:
    rng = Random(seed)
    signals, told = _anything(rng), rng.choice([CALLS, {}])
    pairs = [rng.sample(SERVICES, 2) for _ in range(5)]
    calls = [called(rng.uniform(2, 130), caller, one) for caller, one in pairs]
    calls.sort(key=lambda one: one.time_unix_nano)
    whole = play([progress(1), *calls, *signals], 1000, told)
    # Each service is a source of its own, ahead or behind as chance has it.
    queues = {name: [s for s in signals if s.entity.service == name] for name in SERVICES}
    mixed: list[Signal | Progress] = [progress(1, name) for name in queues]
    while any(queues.values()):
        name = rng.choice([name for name, queue in queues.items() if queue])
        one = queues[name].pop(0)
        mixed += [progress((one.time_unix_nano - at(0)) / NANOS - 0.001, name), one]
    mixed += [progress(1000, name) for name in queues]
    # A call is told before anybody may have played what comes after it.
    for call in calls:
        before = next(i for i, record in enumerate(mixed) if record.time_unix_nano >= call.time_unix_nano)
        mixed.insert(rng.randint(1, before), call)
    correlator, found = Correlator(RULES, calls=told), []
    for record in mixed:
        found += correlator.take(record)
        if rng.random() < 0.2:
            saved = correlator.snapshot().model_dump_json()
            correlator = Correlator(RULES, CorrelatorState.model_validate_json(saved), told)
    assert found == whole


# -- the graph


def test_distance_is_the_shortest_way_and_has_an_end() -> None:
    chain = Topology({f"s{i}": [f"s{i + 1}"] for i in range(MAX_HOPS + 2)} | {"s0": ["s1", "s2"]})
    assert chain.reach("s0") == {"s1": 1, "s2": 1} | {f"s{i}": i - 1 for i in range(3, MAX_HOPS + 2)}
    assert chain.dependants("s2") == {"s0": 1, "s1": 1}
    assert Topology({"a": ["b"], "b": ["a"]}).reach("a") == {"b": 1}


def test_hostile_telemetry_teaches_no_more_than_there_is_room_for() -> None:
    graph = Topology({"a": ["b"]})
    for i in range(MAX_LEARNT + 10):
        graph.learn("a", f"x{i}")
        graph.learn("a", "b")
        graph.learn("a", "a")
    assert len(graph.learnt) == MAX_LEARNT


@pytest.mark.parametrize("text", ["services: [", "services: {a: {calls: [b]}}", "a: [b]", "", "services: {a: 1}"])
def test_a_file_that_says_something_else_is_an_error_that_names_it(tmp_path: Path, text: str) -> None:
    path = tmp_path / "calls.yaml"
    path.write_text(text)
    with pytest.raises(ConfigurationError, match=r"calls\.yaml: "):
        calls_of(CorrelateSettings(topology=path))
    with pytest.raises(ConfigurationError, match=r"correlate\.topology: "):
        calls_of(CorrelateSettings(topology=tmp_path / "none.yaml"))


def test_a_file_of_calls() -> None:
    text = "services:\n  shop: {depends_on: [checkout]}\n  orders-db: {}\n"
    assert parse(text, "f") == {"shop": ("checkout",), "orders-db": ()}
    assert calls_of(CorrelateSettings()) == {}


def test_the_stage_joins_by_the_file(tmp_path: Path) -> None:
    path = tmp_path / "calls.yaml"
    path.write_text("services: {checkout: {depends_on: [orders-db]}}")
    kernel = maker(Course(Settings(correlate=CorrelateSettings(topology=path))))(0, None)
    records: list[Signal | Progress] = [*trouble(10, "orders-db"), *trouble(15, "checkout"), progress(40)]
    outputs = [output for record in records for output in kernel.one(SIGNALS, record) if isinstance(output, Emit)]
    assert len({output.record.id for output in outputs if isinstance(output.record, Incident)}) == 1


def test_signals_of_an_environment_stay_together() -> None:
    one, other = signal(10, service="shop"), signal(10, service="orders-db")
    assert one.key == other.key != one.model_copy(update={"entity": Entity(environment="x", service="shop")}).key
