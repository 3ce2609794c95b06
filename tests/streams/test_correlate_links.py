"""What is learnt of services that nothing is known of, and what parts an effect from what it was taken to be one of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.signal import Progress, Signal
from streams.kernel.correlate import Correlator, CorrelatorState
from streams.kernel.grouping import CorrelateRules
from streams.settings import CorrelateSettings
from streams.signal_to_incident import rules_of
from tests.streams.test_correlate import progress, signal
from tests.streams.test_correlate_topology import CALLS, RULES, last, play, trouble

DAY = 86_400.0


def weeks(times: int, *, apart: float = 20.0) -> list[Signal]:
    """Every week a trouble of two services of which nothing is known, half an hour long; the last one lasts."""
    found: list[Signal] = []
    for week in range(1, times + 1):
        start = week * 7 * DAY
        found += trouble(start, "ledger") + trouble(start + apart, "mailer")
        if week < times:
            found += trouble(start + 1800, "mailer", "cleared") + trouble(start + 1801, "ledger", "cleared")
    return found


def run(
    records: Sequence[Signal], rules: CorrelateRules = RULES, calls: dict[str, list[str]] | None = None
) -> list[Incident]:
    correlator = Correlator(rules, calls=calls or {})
    end = (max(s.time_unix_nano for s in records) - signal(0).time_unix_nano) / NANOS + 120
    taken: list[Signal | Progress] = [*records, progress(end)]
    return [found for record in taken for found in correlator.take(record)]


def test_troubles_that_coincide_again_and_again_become_one_incident() -> None:
    revisions = run(weeks(4))
    opened = [one for one in revisions if one.revision == 1]
    assert [one.service for one in opened] == [*["ledger", "mailer"] * 3, "ledger"]
    joined = revisions[-1]
    assert joined.services == ("ledger", "mailer")
    assert joined.services_because == ("mailer: 4 times its troubles and those of ledger began together",)


def test_it_can_be_turned_off() -> None:
    rules = rules_of(CorrelateSettings(learn_links=False))
    assert all(one.services == (one.service,) for one in run(weeks(6), rules))


def test_what_people_have_told_of_a_service_is_not_guessed() -> None:
    known = {"mailer": ["smtp"]}
    assert all(one.services == (one.service,) for one in run(weeks(6), RULES, known))


def test_of_linked_services_too_a_change_of_its_own_keeps_one_apart() -> None:
    records = weeks(5)
    start = 5 * 7 * DAY
    change = signal(start + 5, "d", "noted", name="deployment.started", kind="change", service="mailer", instance=None)
    revisions = run(sorted([*records, change], key=lambda s: s.time_unix_nano))
    assert {one.service for one in revisions if one.opened_unix_nano >= signal(start).time_unix_nano} == {
        "ledger",
        "mailer",
    }


def test_two_that_once_did_not_begin_together_stay_apart() -> None:
    records = [*weeks(4)[:-2], *trouble(4 * 7 * DAY + 90, "mailer")]
    assert all(one.services == (one.service,) for one in run(records)[-2:])


# -- a change of its own


ROLLOUT = signal(30, "d", "noted", name="deployment.started", kind="change", service="checkout", instance=None)


def felt_then_rolled_out(*later: Signal) -> list[Incident]:
    return play([*trouble(10, "orders-db"), *trouble(15, "checkout"), ROLLOUT, *later], 60)


def worse(seconds: float, name: str, instance: str = "checkout-2") -> Signal:
    return signal(seconds, f"{name}-{instance}", name=name, service="checkout", instance=instance)


def test_trouble_since_a_change_of_its_own_parts_an_effect_from_its_cause() -> None:
    revisions = felt_then_rolled_out(worse(35, "cpu"), worse(36, "http.server.request.error_ratio"))
    found = last(revisions)
    assert found.keys() == {"orders-db@10", "checkout@36"}
    cause, own = found["orders-db@10"], found["checkout@36"]
    assert own.split_from == cause.id
    assert own.onset_unix_nano == signal(35).time_unix_nano
    assert own.classification.label == "deployment_regression"
    assert [s.name for s in own.changes] == ["deployment.started"]
    assert len(own.active_subjects) == 4  # what it felt before fires on, and ends with it
    assert cause.active_subjects == tuple(sorted(s.subject for s in trouble(10, "orders-db")))
    assert {s.id for s in cause.signals}.isdisjoint({worse(35, "cpu").id})
    assert cause.updated_unix_nano == own.opened_unix_nano


def test_one_more_symptom_after_a_change_may_be_more_of_the_same() -> None:
    assert last(felt_then_rolled_out(worse(35, "cpu"))).keys() == {"orders-db@10"}


def test_what_is_worse_without_a_change_is_more_of_the_same() -> None:
    records = [*trouble(10, "orders-db"), *trouble(15, "checkout"), worse(35, "cpu"), worse(36, "memory")]
    assert last(play(records, 60)).keys() == {"orders-db@10"}


# -- whatever comes


def _anything(rng: Random) -> list[Signal]:
    """Troubles and changes of services of which some call each other and some are unknown, over two months."""
    found: list[Signal] = []
    for week in range(8):
        for service in ("checkout", "orders-db", "ledger", "mailer"):
            start = week * 7 * DAY + rng.choice((0.0, 15.0, 300.0)) + rng.uniform(0, 30)
            if rng.random() < 0.15:
                found.append(
                    signal(start - 5, f"d{week}", "noted", name="deployment.started", kind="change", service=service)
                )
            for subject in ("a", "b", "c"):
                at = round(start + rng.uniform(0, 20), 2)
                found.append(signal(at, subject, name=subject, service=service))
                if rng.random() < 0.9:
                    found.append(
                        signal(round(at + rng.uniform(1, 400), 2), subject, "cleared", name=subject, service=service)
                    )
    return sorted(found, key=lambda one: (one.time_unix_nano, one.id))


@settings(max_examples=12, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_neither_interleaving_nor_a_restart_changes_anything(seed: int) -> None:
    rng = Random(seed)
    signals = _anything(rng)
    end = 70 * DAY
    rules = replace(RULES, resolve_after=30 * NANOS, repeat_interval=round(100 * DAY) * NANOS)
    straight = Correlator(rules, calls=CALLS)
    taken: list[Signal | Progress] = [*signals, progress(end)]
    whole = [found for record in taken for found in straight.take(record)]
    queues = {
        s: [one for one in signals if one.entity.service == s] for s in sorted({s.entity.service for s in signals})
    }
    mixed: list[Signal | Progress] = [progress(0, name) for name in queues]
    while any(queues.values()):
        name = rng.choice([name for name, queue in queues.items() if queue])
        mixed.append(queues[name].pop(0))
    mixed += [progress(end, name) for name in queues]
    correlator, found = Correlator(rules, calls=CALLS), []
    for record in mixed:
        found += correlator.take(record)
        if rng.random() < 0.02:
            saved = correlator.snapshot().model_dump_json()
            correlator = Correlator(rules, CorrelatorState.model_validate_json(saved), CALLS)
    assert found == whole
    held: dict[str, Incident] = {}
    for one in whole:
        held[one.id] = one
        open_ = [subject for other in held.values() if other.status == "open" for subject in other.active_subjects]
        assert one.status != "open" or len(open_) == len(set(open_))
