from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import NANOS, Entity
from schemas.incident import Incident
from schemas.signal import Progress, Signal, SignalKind, signal_id
from schemas.topics import INCIDENTS, SIGNALS
from streams.kernel.base import Emit, Output
from streams.kernel.correlate import Correlator
from streams.kernel.detect_silence import NAME as SILENCE
from streams.kernel.grouping import MAX_SIGNALS, CorrelateRules
from streams.signal_to_incident import Correlate
from tests.streams.arc import at, batch, progresses

RULES = CorrelateRules(resolve_after=5 * NANOS, group_interval=2 * NANOS)


def signal(
    seconds: float,
    subject: str = "a",
    state: str = "firing",
    *,
    name: str = "http.server.request.duration",
    service: str = "checkout",
    instance: str | None = "checkout-1",
    kind: SignalKind = "metric",
) -> Signal:
    return Signal.model_validate(
        {
            "id": signal_id(f"{service}/{subject}", state, at(seconds)),
            "kind": kind,
            "state": state,
            "entity": Entity(environment="demo", service=service, instance=instance),
            "subject": f"{service}/{subject}",
            "name": name,
            "time_unix_nano": at(seconds),
            "onset_unix_nano": at(seconds),
            "p_value": 1e-9 if state == "firing" else None,
            "observed": 2.0,
            "expected": 1.0,
            "detector": "test",
            "model_version": "1",
            "reasons": ("because",),
        }
    )


def rollout(seconds: float) -> Signal:
    return signal(seconds, f"d{seconds}", "noted", name="deployment.started", kind="change", instance=None)


def progress(seconds: float, source: str = "raw.metrics/0", *, idle: bool = False) -> Progress:
    return Progress(source=source, time_unix_nano=at(seconds), idle=idle)


def play(records: Iterable[Signal | Progress], rules: CorrelateRules = RULES) -> list[Incident]:
    correlator = Correlator(rules)
    return [incident for record in records for incident in correlator.take(record)]


BAD_ROLLOUT = [
    rollout(10),
    signal(12, "latency"),
    signal(12.5, "errors", name="http.server.request.error_ratio"),
    signal(30, "latency", "cleared"),
    signal(31, "errors", "cleared", name="http.server.request.error_ratio"),
]


def test_instances_judged_as_a_whole_wait_for_what_it_is() -> None:
    wholes = [
        signal(12, one, name="reflexarc.entity", instance=one).model_copy(update={"detector": "entity"})
        for one in ("checkout-1", "checkout-2")
    ]
    (alone, *_) = play([rollout(10), *wholes, progress(100)])
    assert alone.opened_unix_nano == at(12) + RULES.group_wait
    (first, *_) = play([rollout(10), *wholes, *BAD_ROLLOUT[1:], progress(100)])
    assert first.opened_unix_nano == at(12)
    assert first.classification.label == "deployment_regression"


def test_a_bad_rollout_is_one_incident_from_its_onset_to_its_resolution() -> None:
    revisions = play([*BAD_ROLLOUT, progress(100)])
    first, last = revisions[0], revisions[-1]
    assert len({incident.id for incident in revisions}) == 1
    assert [incident.revision for incident in revisions] == list(range(1, len(revisions) + 1))
    assert first.classification.label == "deployment_regression"
    assert first.onset_unix_nano == at(12)
    assert first.opened_unix_nano == at(12.5)
    assert first.root_causes[0].what == "deployment.started"
    assert [s.kind for s in first.signals] == ["change", "metric", "metric"]
    assert last.status == "resolved"
    assert last.resolved_unix_nano == at(36)
    assert all(incident.updated_unix_nano <= at(36) for incident in revisions)


def test_the_first_calm_is_told_at_once() -> None:
    revisions = play([*BAD_ROLLOUT, progress(32)])
    assert (revisions[-1].active_subjects, revisions[-1].updated_unix_nano) == ((), at(31))
    assert revisions[-1].status == "open"


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_incidents_do_not_depend_on_how_the_sources_interleave(seed: int) -> None:
    """Each source keeps its own order, with its watermarks; how they mix is chance."""
    rng = Random(seed)
    sources = {
        "raw.metrics/0": [signal(12, "latency"), signal(30, "latency", "cleared")],
        "raw.metrics/1": [signal(12.5, "errors", name="x.errors"), signal(31, "errors", "cleared", name="x.errors")],
        "raw.logs/0": [rollout(10), rollout(60)],
    }
    queues = {name: _with_watermarks(name, found, rng) for name, found in sources.items()}
    # All sources are known from the start, or one that nobody has heard of could not be waited for.
    mixed: list[Signal | Progress] = [progress(1, name) for name in queues]
    while any(queues.values()):
        mixed.append(queues[rng.choice([name for name, queue in queues.items() if queue])].pop(0))
    together = sorted((s for found in sources.values() for s in found), key=lambda s: s.time_unix_nano)
    assert play(mixed) == play([*together, progress(100)])


def _with_watermarks(source: str, found: Sequence[Signal], rng: Random) -> list[Signal | Progress]:
    queue: list[Signal | Progress] = []
    for one in found:
        seconds = (one.time_unix_nano - at(0)) / NANOS
        if rng.random() < 0.7:
            queue.append(progress(seconds - 0.1, source))
        queue.append(one)
    return [*queue, progress(100, source)]


@settings(max_examples=30, deadline=None)
@given(where=st.integers(0, 11))
def test_a_restored_correlator_goes_on_exactly(where: int) -> None:
    records: list[Signal | Progress] = [
        x for one in BAD_ROLLOUT for x in (one, progress((one.time_unix_nano - at(0)) / NANOS + 0.2))
    ]
    records.append(progress(100))
    whole, first = Correlator(RULES), Correlator(RULES)
    for record in records[:where]:
        assert first.take(record) == whole.take(record)
    restored = Correlator(RULES, type(first.snapshot()).model_validate_json(first.snapshot().model_dump_json()))
    for record in records[where:]:
        assert restored.take(record) == whole.take(record)


def test_that_a_signal_is_contested_is_told_at_once_and_in_its_place() -> None:
    fired = [signal(10, "a"), signal(10, "b", name="errors")]
    doubted = fired[0].model_copy(
        update={"id": "doubted", "contested": True, "time_unix_nano": at(11), "onset_unix_nano": at(10)}
    )
    found = play([*fired, progress(10.5), doubted, progress(11.5)])
    assert [[s.contested for s in revision.signals] for revision in found] == [[False, False], [False, True]]
    assert found[1].updated_unix_nano == at(11), "not after group_interval"


def test_a_repeated_signal_changes_nothing() -> None:
    twice = [record for record in BAD_ROLLOUT for _ in range(2)]
    assert play([*twice, progress(100)]) == play([*BAD_ROLLOUT, progress(100)])


def test_one_lone_series_needs_to_last() -> None:
    assert play([signal(10), progress(39)]) == []
    (opened,) = play([signal(10), progress(41)])
    assert opened.opened_unix_nano == at(40)
    assert play([signal(10), signal(20, state="cleared"), progress(100)]) == []


def test_a_lone_series_that_is_unlike_its_peers_too_needs_to_last_half_as_long() -> None:
    own = signal(10).model_copy(update={"support": "own history"})
    peers = signal(12, "peers-of-a").model_copy(update={"support": "peers"})
    (opened,) = play([own, peers, progress(26)])
    assert opened.opened_unix_nano == at(25)
    assert opened.support == ("own history", "peers")
    (lasting, *_) = play([own, progress(41)])
    assert lasting.support == ("own history", "persistence")


def test_what_an_instance_says_no_more_supports_and_opens_nothing() -> None:
    silent = [signal(10 + i, f"s{i}", name=SILENCE, kind="log") for i in range(5)]
    assert play([*silent, progress(3000)]) == []
    (opened,) = play([silent[0], signal(20), progress(21)])
    assert opened.opened_unix_nano == at(20)
    # Two instances do not hand their work to each other.
    (both,) = play([silent[0], signal(20, "b", name=SILENCE, kind="log", instance="checkout-2"), progress(21)])
    assert both.opened_unix_nano == at(20)


def test_an_alert_waits_for_company_and_then_opens_by_itself() -> None:
    (alone,) = play([signal(10, kind="alert"), progress(13)])
    assert alone.opened_unix_nano == at(12)
    (joined,) = play([signal(10, kind="alert"), signal(11, "b"), progress(12)])
    assert joined.opened_unix_nano == at(11)


def test_what_is_clear_at_once_does_not_wait_for_its_own_time() -> None:
    early = [
        signal(12, "latency").model_copy(update={"release_unix_nano": at(11.5)}),
        signal(12, "errors", name="errors").model_copy(update={"release_unix_nano": at(11.5)}),
    ]
    assert play([*early, progress(11.4)]) == []
    (found,) = play([*early, progress(11.5)])
    assert found.opened_unix_nano == found.updated_unix_nano == at(12)  # not before what it says was seen
    (again,) = play([*early, progress(11.4), progress(13)])
    assert again == found


def test_services_are_not_mixed() -> None:
    found = play([signal(10, "a"), signal(10, "b", service="payment"), progress(20)])
    assert found == []


def test_a_recurrence_is_a_new_incident() -> None:
    again = [
        s.model_copy(update={"id": f"{s.id}-2", "time_unix_nano": s.time_unix_nano + 60 * NANOS}) for s in BAD_ROLLOUT
    ]
    again = [s.model_copy(update={"onset_unix_nano": s.time_unix_nano}) for s in again]
    found = play([*BAD_ROLLOUT, *again, progress(300)])
    assert len({incident.id for incident in found}) == 2
    assert [i.status for i in found].count("resolved") == 2


def test_a_recurrence_names_the_incident_before_it_and_what_is_another_trouble_does_not() -> None:
    def pair(seconds: float, *names: str) -> list[Signal]:
        both = ((seconds, "firing"), (seconds + 9, "cleared"))
        return [signal(moment, name, state, name=name) for moment, state in both for name in names]

    records = [
        *pair(10, "a", "b"),
        *pair(60, "b", "c"),
        *pair(110, "d", "e"),
        *pair(160, "a", "b"),
        *pair(5000, "b", "a"),
    ]
    revisions = play([*records, progress(6000)])
    first, second, third, fourth, fifth = dict.fromkeys(incident.id for incident in revisions)
    told = {incident.id: (incident.recurrence, incident.recurrence_of) for incident in revisions}
    # The fourth shares nothing with the one just before it, the fifth comes too late.
    assert told == {first: (0, None), second: (1, first), third: (0, None), fourth: (0, None), fifth: (0, None)}


def test_what_was_over_before_a_rollout_does_not_date_its_effects_back() -> None:
    before = [
        signal(1, "x"),
        signal(1, "y", instance="checkout-2"),
        signal(5, "x", "cleared"),
        signal(5, "y", "cleared"),
    ]
    found = play([*before, rollout(6), signal(8, "latency"), signal(8.5, "errors", name="errors"), progress(9)])
    assert found[-1].classification.label == "deployment_regression"


def test_a_rollout_of_long_ago_is_no_suspect_and_a_recent_one_stays_it_however_long_the_incident_lasts() -> None:
    fault = [signal(2000, "latency"), signal(2000.5, "errors", name="errors")]
    (old,) = play([rollout(10), *fault, progress(2001)])
    assert old.classification.label != "deployment_regression"
    assert [s.kind for s in old.signals] == ["metric", "metric"]
    still = [signal(2000 + t, f"s{t}") for t in range(700, 2000, 400)]
    lasting = play([rollout(1990), *fault, *still, progress(5000)])
    assert {incident.classification.label for incident in lasting} == {"deployment_regression"}


def test_what_was_taken_is_forgotten_in_time() -> None:
    correlator = Correlator(RULES)
    for hour in range(5):
        correlator.take(signal(3600 * hour + 1, f"s{hour}"))
        correlator.take(progress(3600 * hour + 2))
    assert len(correlator.snapshot().taken) <= 2


def test_a_signal_behind_the_watermark_joins_as_of_now_and_is_counted() -> None:
    correlator = Correlator(RULES)
    correlator.take(progress(20))
    assert correlator.take(signal(10, "latency")) == []
    (opened,) = correlator.take(signal(11, "errors", name="errors"))
    assert opened.opened_unix_nano == at(20)
    assert correlator.late == 2


def test_a_storm_is_bounded_and_the_count_is_true() -> None:
    storm = [signal(10 + i / 1000, f"s{i}") for i in range(600)]
    rules = replace(RULES, group_interval=NANOS)
    last = play([*storm, signal(10.9, "other", name="errors"), progress(20)], rules)[-1]
    assert len(last.signals) == MAX_SIGNALS
    assert last.signal_count == 601


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


def incidents(outputs: Iterable[Output]) -> list[Incident]:
    return [o.record for o in outputs if isinstance(o, Emit) and isinstance(o.record, Incident)]


def heard_again(correlate: Correlate) -> list[Output]:
    """Let the clock have its say, and give back what it put on the topic."""
    said = progresses(correlate.wake(0.0))
    return [output for record in said for output in correlate.one(SIGNALS, record)]


def kernel(clock: Clock) -> Correlate:
    return Correlate(RULES, max_hold_seconds=2.0, clock=clock)


def test_a_source_that_holds_everything_back_is_no_longer_waited_for(clock: Clock) -> None:
    correlate = kernel(clock)
    held = [progress(5, "raw.metrics/1"), signal(10, "latency"), signal(10, "errors", name="errors"), progress(11)]
    assert incidents(correlate.take(SIGNALS, batch(SIGNALS, held))) == []
    assert correlate.wake(0.0) == []
    clock.now += 1.9
    assert correlate.wake(0.0) == []
    clock.now += 0.2
    (opened,) = incidents(heard_again(correlate))
    assert opened.opened_unix_nano == at(10)
    assert correlate.wake(0.0) == []


def test_when_every_source_is_silent_time_passes_by_the_clock(clock: Clock) -> None:
    correlate = kernel(clock)
    only_an_alert = [signal(10, kind="alert"), progress(10, "raw.alerts/0", idle=True)]
    assert incidents(correlate.take(SIGNALS, batch(SIGNALS, only_an_alert))) == []
    assert correlate.wake(0.0) == []
    clock.now += 3.9
    assert correlate.wake(0.0) == []
    clock.now += 0.2
    (opened,) = incidents(heard_again(correlate))
    assert opened.opened_unix_nano == at(12)


@settings(max_examples=60, deadline=None)
@given(seed=st.integers(0, 10_000))
def test_whoever_reads_the_partition_makes_the_same_incidents_whatever_the_clock_did(seed: int) -> None:
    """Live, a clock runs and sources fall silent; what it brings about lies in the topic, from which all is made."""
    rng, clock = Random(seed), Clock()
    live, topic, made = kernel(clock), list[Signal | Progress](), list[Incident]()
    records: list[Signal | Progress] = [*BAD_ROLLOUT, progress(20, "raw.metrics/1"), progress(40)]
    records.append(signal(41, "late", instance="checkout-2"))
    rng.shuffle(records)
    for record in records:
        topic.append(record)
        made += incidents(live.one(SIGNALS, record))
        clock.now += rng.choice([0.0, 0.5, 3.0, 30.0])
        said = progresses(live.wake(0.0))
        topic += said
        made += [found for one in said for found in incidents(live.one(SIGNALS, one))]
    silent = kernel(Clock())
    assert [found for record in topic for found in incidents(silent.one(SIGNALS, record))] == made


def test_what_is_not_waited_for_is_said_to_its_own_partition_and_again_until_it_is_heard(clock: Clock) -> None:
    correlate = Correlate(RULES, 3, max_hold_seconds=2.0, clock=clock)
    correlate.take(SIGNALS, batch(SIGNALS, [progress(5, "raw.metrics/1"), signal(10)]))
    assert correlate.wake(0.0) == []
    clock.now += 2.1
    (said,) = correlate.wake(0.0)
    assert isinstance(said, Emit)
    assert (said.topic, said.partition) == (SIGNALS, 3)
    assert said.record == Progress(source="correlate/3", time_unix_nano=at(10), idle=True, excuses=True)
    assert correlate.wake(0.0) == [], "it is on its way"
    clock.now += 2.1
    assert correlate.wake(0.0) == [said], "it may have been lost"


def test_incidents_are_keyed_by_their_scope(clock: Clock) -> None:
    outputs = kernel(clock).take(SIGNALS, batch(SIGNALS, [*BAD_ROLLOUT, progress(100)]))
    assert {(o.topic, o.key) for o in outputs if isinstance(o, Emit)} == {(INCIDENTS, b"demo")}


def test_instances_judged_as_a_whole_wait_for_a_series_that_says_what_is_wrong() -> None:
    whole = [signal(10, f"e{n}", name="reflexarc.entity", instance=f"checkout-{n}") for n in (1, 2)]
    assert play([*whole, progress(40)])[0].opened_unix_nano == at(12)
    assert play([*whole, signal(11, "latency"), progress(40)])[0].opened_unix_nano == at(11)
