"""Incidents carry the profile of their worst instance; it opens nothing and belongs to its own service."""

from __future__ import annotations

from random import Random

from schemas.incident import Incident
from schemas.signal import Progress, Signal
from streams.kernel.correlate import Correlator, CorrelatorState
from tests.streams.arc import at
from tests.streams.test_correlate import RULES, play, progress, signal


def profile(
    seconds: float,
    far: dict[str, float],
    *,
    began: float = 12,
    service: str = "checkout",
    instance: str = "checkout-1",
) -> Signal:
    made = signal(seconds, f"p-{instance}", "noted", name="reflexarc.profile", service=service, instance=instance)
    length = sum(value**2 for value in far.values()) ** 0.5
    told = {"attributes": far, "observed": length, "onset_unix_nano": at(began)}
    return made.model_copy(update={**told, "id": f"{made.id}-{seconds}"})


OPENS = [signal(12, "latency"), signal(12.5, "errors", name="http.server.request.error_ratio")]
EARLY, LATE = {"cpu": 5.0, "rate": 2.0}, {"cpu": 4.0, "rate": -1.0}


def last(*records: Signal | Progress) -> Incident:
    return play([*OPENS, *records])[-1]


def test_a_later_look_at_the_same_takes_the_place_of_an_earlier_one() -> None:
    assert last(profile(20, EARLY), progress(40)).profile == EARLY
    assert last(profile(20, EARLY), profile(28, LATE), progress(40)).profile == LATE


def test_of_several_looks_the_one_counts_that_is_farthest_from_its_level() -> None:
    other = {"cpu": 6.0, "rate": 0.0}
    assert last(profile(20, EARLY), profile(29, LATE, began=21), progress(40)).profile == EARLY
    assert last(profile(20, EARLY), profile(29, other, instance="checkout-2"), progress(40)).profile == other


def test_alone_it_is_no_trouble_and_it_ends_with_its_incident() -> None:
    assert play([profile(20, EARLY), progress(100)]) == []
    cleared = [
        signal(30, "latency", "cleared"),
        signal(31, "errors", "cleared", name="http.server.request.error_ratio"),
    ]
    again = [signal(200, "latency"), signal(200.5, "errors", name="http.server.request.error_ratio")]
    told = play([*OPENS, profile(20, EARLY), *cleared, progress(100), *again, progress(230)])
    assert [one.profile for one in told if one.status == "resolved"] == [EARLY]
    assert told[-1].profile == {}


def test_that_of_another_service_is_not_its_own() -> None:
    assert last(profile(20, EARLY, service="orders"), progress(40)).profile == {}


def test_it_bears_nothing_out_and_is_no_evidence() -> None:
    with_it, without = last(profile(20, EARLY), progress(40)), play([*OPENS, progress(40)])[-1]
    assert with_it.signals == without.signals
    assert with_it.classification == without.classification
    assert with_it.active_subjects == without.active_subjects


def test_neither_a_restart_nor_the_order_of_records_changes_it() -> None:
    records: list[Signal | Progress] = [
        *OPENS,
        profile(20, EARLY),
        profile(28, LATE),
        profile(29, {"cpu": 9.0}, instance="checkout-2"),
    ]
    whole = play([*records, progress(40)])
    for seed in range(10):
        shuffled = Random(seed).sample(records, len(records))
        correlator, told = Correlator(RULES), []
        for record in [*shuffled, progress(40)]:
            told += correlator.take(record)
            correlator = Correlator(RULES, CorrelatorState.model_validate_json(correlator.snapshot().model_dump_json()))
        assert told == whole
