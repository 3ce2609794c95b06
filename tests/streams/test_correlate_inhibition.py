"""What is inhibited, silenced or acknowledged: context, and no reason to open an incident or to act."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.inhibition import Rule, matcher
from schemas.envelope import NANOS
from schemas.errors import ConfigurationError
from schemas.incident import Incident
from schemas.signal import Progress, Signal
from streams.kernel.correlate import Correlator, CorrelatorState
from streams.kernel.grouping import CorrelateRules
from streams.settings import CorrelateSettings, InhibitSettings
from streams.signal_to_incident import rules_of
from tests.streams.arc import at
from tests.streams.test_correlate import progress, signal
from tests.streams.test_correlate_topology import CALLS, last

NODE_DOWN = Rule((matcher("alertname=NodeDown"),), (matcher("service=~checkout|search"),), ("instance",))
RULES = CorrelateRules(resolve_after=5 * NANOS, group_interval=2 * NANOS, inhibit=(NODE_DOWN,))
NODE = "n-1"


def down(seconds: float, state: str = "firing") -> Signal:
    return signal(seconds, "NodeDown", state, name="NodeDown", kind="alert", service="nodes", instance=NODE)


def slow(seconds: float, state: str = "firing", *, instance: str = NODE) -> list[Signal]:
    names = ("http.server.request.duration", "http.server.request.error_ratio")
    return [signal(seconds, f"{n}/{instance}", state, name=n, instance=instance) for n in names]


def silenced(seconds: float, name: str = "DiskFull", by: str = "silence 7f of anna: planned") -> Signal:
    one = signal(seconds, name, name=name, kind="alert", instance="c-9")
    return one.model_copy(update={"id": f"{one.id}{by}", "suppressed_by": (by,) if by else ()})


def play(records: Sequence[Signal], end: float, rules: CorrelateRules = RULES) -> list[Incident]:
    correlator = Correlator(rules)
    taken: list[Signal | Progress] = [*records, progress(end)]
    return [found for record in taken for found in correlator.take(record)]


def test_what_follows_from_a_source_opens_nothing_while_that_fires() -> None:
    found = last(play([down(10), *slow(11), *slow(12, instance="n-2")], 40))
    assert found.keys() == {"nodes@12", "checkout@12"}
    incident = found["checkout@12"]
    assert {s.entity.instance for s in incident.evidence} == {"n-2"}
    muted = [s for s in incident.signals if s.muted]
    assert {s.inhibited_by for s in muted} == {"while alertname=NodeDown fires with the same instance"}
    assert len(muted) == len(incident.active_subjects) == 2


def test_what_outlasts_the_source_opens_one() -> None:
    found = last(play([down(10), *slow(11), down(30, "cleared")], 60))
    assert {name: one.status for name, one in found.items()} == {"nodes@12": "resolved", "checkout@30": "open"}
    assert found["checkout@30"].onset_unix_nano == at(11)


def test_what_was_open_before_the_source_is_over_for_people_when_it_fires() -> None:
    revisions = play([*slow(10), down(20), down(60, "cleared")], 100)
    first, *_ = revisions
    found = last(revisions)
    assert {name: one.status for name, one in found.items()} == {
        "checkout@10": "resolved",
        "nodes@22": "resolved",
        "checkout@60": "open",
    }
    resolved, again = found["checkout@10"], found["checkout@60"]
    assert resolved.classification == first.classification
    assert again.recurrence_of == resolved.id


def test_it_is_resolved_with_no_word_where_nobody_was_told() -> None:
    records = [down(10), *slow(11), *slow(20, "cleared"), down(30, "cleared")]
    assert last(play(records, 60)).keys() == {"nodes@12"}


def test_another_environment_inhibits_nothing() -> None:
    elsewhere = down(10)
    entity = elsewhere.entity.model_copy(update={"environment": "staging"})
    assert "checkout@11" in last(play([elsewhere.model_copy(update={"entity": entity}), *slow(11)], 40))


def test_rules_that_have_changed_since_a_restart_hold_at_once() -> None:
    correlator = Correlator(RULES)
    taken: list[Signal | Progress] = [down(10), *slow(11), progress(40)]
    for record in taken:
        correlator.take(record)
    state = CorrelatorState.model_validate_json(correlator.snapshot().model_dump_json())
    again = Correlator(replace(RULES, inhibit=()), state)
    assert [one.service for one in again.take(progress(41))] == ["checkout"]


def test_a_silenced_alert_opens_nothing_and_bears_nothing_out() -> None:
    assert play([silenced(10)], 100) == []
    (incident,) = play([silenced(10), signal(20)], 100)
    assert incident.opened_unix_nano == at(50)  # a lone series has to last, as if the alert were not there
    assert incident.severity == "medium"
    assert {s.name: s.suppressed_by for s in incident.signals if s.muted} == {
        "DiskFull": ("silence 7f of anna: planned",)
    }


def test_when_the_silence_ends_the_alert_counts() -> None:
    (incident,) = play([silenced(10), silenced(10, by="").model_copy(update={"time_unix_nano": at(60)})], 100)
    assert incident.opened_unix_nano == at(62)
    assert incident.onset_unix_nano == at(10)
    assert (incident.signal_count, len(incident.signals)) == (1, 1)


def test_the_incident_says_who_looks_after_it() -> None:
    alone = signal(10, "DiskFull", name="DiskFull", kind="alert")
    told = alone.model_copy(update={"id": "anew", "time_unix_nano": at(20), "acknowledged_by": "Anna"})
    *_, incident = play([alone, told], 60)
    assert incident.acknowledged_by == ("Anna",)
    assert (incident.signal_count, len(incident.signals)) == (1, 1)


def test_rules_come_from_the_settings() -> None:
    said = InhibitSettings(source_matchers=("alertname=NodeDown",), target_matchers=('kind="metric"',), equal=("x",))
    (rule,) = rules_of(CorrelateSettings(inhibit=(said,))).inhibit
    assert rule.said == "while alertname=NodeDown fires with the same x"
    wrong = said.model_copy(update={"target_matchers": ("kind",)})
    with pytest.raises(ConfigurationError, match="not a matcher: 'kind'"):
        rules_of(CorrelateSettings(inhibit=(wrong,)))


# -- whatever comes


def _anything(rng: Random) -> list[Signal]:
    found: list[Signal] = []
    for service in ("nodes", "checkout", "search", "orders-db"):
        for subject in ("NodeDown", "b", "c"):
            now, state, silent = rng.uniform(5, 60), "firing", rng.random() < 0.2
            while now < 130 and rng.random() < 0.85:
                one = signal(round(now, 2), subject, state, name=subject, service=service, kind="alert", instance=NODE)
                found.append(one.model_copy(update={"suppressed_by": ("silence",) * (silent and state == "firing")}))
                now, state = now + rng.uniform(1, 60), "cleared" if state == "firing" else "firing"
    return sorted(found, key=lambda one: (one.time_unix_nano, one.id))


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_neither_interleaving_nor_a_restart_changes_anything(seed: int) -> None:
    rng = Random(seed)
    signals = _anything(rng)
    straight = Correlator(RULES, calls=CALLS)
    taken: list[Signal | Progress] = [*signals, progress(1000)]
    whole = [found for record in taken for found in straight.take(record)]
    services = ("nodes", "checkout", "search", "orders-db")
    queues = {name: [s for s in signals if s.entity.service == name] for name in services}
    mixed: list[Signal | Progress] = [progress(1, name) for name in queues]
    while any(queues.values()):
        name = rng.choice([name for name, queue in queues.items() if queue])
        one = queues[name].pop(0)
        mixed += [progress((one.time_unix_nano - at(0)) / NANOS - 0.001, name), one]
    mixed += [progress(1000, name) for name in queues]
    correlator, found = Correlator(RULES, calls=CALLS), []
    for record in mixed:
        found += correlator.take(record)
        if rng.random() < 0.2:
            saved = correlator.snapshot().model_dump_json()
            correlator = Correlator(RULES, CorrelatorState.model_validate_json(saved), CALLS)
    assert found == whole


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 100_000))
def test_nothing_that_is_muted_is_told_as_firing(seed: int) -> None:
    signals = _anything(Random(seed))
    silent = {s.subject for s in signals if s.suppressed_by}
    for incident in play(signals, 1000):
        by_subject = {s.subject: s for s in incident.signals if s.state == "firing"}
        assert not any(subject in silent and by_subject[subject].muted for subject in incident.active_subjects)
        assert incident.revision > 1 or any(not s.muted for s in incident.evidence)
