from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.bank import BankSettings
from schemas.envelope import NANOS, Record
from schemas.errors import Rejection
from schemas.signal import Signal
from schemas.topics import DEAD_LETTERS, RAW_ALERTS, RAW_LOGS, RAW_METRICS, RAW_SPANS, Topic
from streams.kernel.base import Emit, Kernel, Output
from streams.kernel.detect import OVERFLOW, DetectRules
from streams.kernel.detect_alerts import AlertDetect
from streams.kernel.detect_logs import LogDetect
from streams.kernel.detect_metrics import MetricDetect
from streams.kernel.detect_silence import NAME as SILENCE
from streams.kernel.detect_spans import SpanDetect
from streams.kernel.log_rows import ERROR_COUNT, RECORD_COUNT, TEMPLATE
from tests.streams.arc import alert, at, batch, cut, log, metric, progresses, signals, trace

RULES = DetectRules(
    signal_partitions=2, bank=BankSettings(lateness_nanos=NANOS // 2), span_tick=NANOS, span_wait=2 * NANOS
)
Make = Callable[[bytes | None], Kernel]

KERNELS: list[tuple[Topic, Make]] = [
    (RAW_METRICS, lambda state: MetricDetect(RULES, 3, state)),
    (RAW_LOGS, lambda state: LogDetect(RULES, 3, state)),
    (RAW_SPANS, lambda state: SpanDetect(RULES, 3, state)),
    (RAW_ALERTS, lambda state: AlertDetect(RULES, 3, state)),
]


def calm_then_faulty(seed: int = 0) -> list[Record]:
    """Sixty calm seconds, ten with a fault, ten calm ones; two samples a second, a little out of order."""
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 80, 160)) + rng.uniform(-0.3, 0.3, 160) + 1
    return [metric(t, float(rng.normal(0.1, 0.005) + 0.5 * (60 < t < 70))) for t in times]


PEOPLE = ("alice", "bob", "carol")


def logs_with_errors(seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    times = np.sort(rng.uniform(0, 80, 160)) + rng.uniform(-0.3, 0.3, 160) + 1
    lines: list[Record] = [
        log(t, f"boom {i}", 17) if 60 < t < 70 and i % 2 else log(t, f"served {rng.choice(PEOPLE)} in {i} ms")
        for i, t in enumerate(times.tolist())
    ]
    lines.insert(100, log(50, "rollout", event="deployment.started", deployment="d1"))
    return lines


def alerts(seed: int = 0) -> list[Record]:
    rng = np.random.default_rng(seed)
    return [alert(float(t), str(rng.choice(["firing", "resolved"])), f"f{rng.integers(3)}") for t in range(1, 40)]


def traces(seed: int = 0) -> list[Record]:
    """Traces of which the cart is slow for ten seconds; spans a little out of order."""
    rng = np.random.default_rng(seed)
    spans = [
        (one, float(t + rng.uniform(-0.3, 0.3)))
        for number, t in enumerate(np.sort(rng.uniform(1, 80, 80)).tolist())
        for one in trace(t, float(rng.normal(0.1, 0.005) + 0.5 * (60 < t < 70)), number=number)
    ]
    return [one for one, _ in sorted(spans, key=lambda entry: entry[1])]


TELEMETRY: dict[str, Callable[[int], list[Record]]] = {
    RAW_METRICS.name: calm_then_faulty,
    RAW_LOGS.name: logs_with_errors,
    RAW_SPANS.name: traces,
    RAW_ALERTS.name: alerts,
}
CUTS = st.lists(st.integers(1, 158), max_size=10, unique=True)
EACH_KERNEL = pytest.mark.parametrize(("topic", "make"), KERNELS, ids=lambda v: getattr(v, "name", ""))


def run(kernel: Kernel, topic: Topic, records: Sequence[Record | bytes], cuts: Sequence[int] = ()) -> list[Output]:
    return [output for part in cut(topic, records, cuts) for output in kernel.take(topic, part)]


@EACH_KERNEL
@settings(max_examples=15, deadline=None)
@given(cuts=CUTS, seed=st.integers(0, 3))
def test_how_records_are_cut_into_batches_changes_no_signal(
    topic: Topic, make: Make, cuts: list[int], seed: int
) -> None:
    records = TELEMETRY[topic.name](seed)
    whole = signals(run(make(None), topic, records))
    assert signals(run(make(None), topic, records, cuts)) == whole
    assert any(signal.state == "firing" for signal in whole)


@EACH_KERNEL
@settings(max_examples=15, deadline=None)
@given(cuts=CUTS.filter(bool), seed=st.integers(0, 3))
def test_a_restored_kernel_goes_on_byte_for_byte(topic: Topic, make: Make, cuts: list[int], seed: int) -> None:
    parts = cut(topic, TELEMETRY[topic.name](seed), cuts)
    kernel = make(None)
    for part in parts[: len(parts) // 2]:
        kernel.take(topic, part)
    restored = make(kernel.snapshot())
    for part in parts[len(parts) // 2 :]:
        assert signals(restored.take(topic, part)) == signals(kernel.take(topic, part))
    assert restored.snapshot() == kernel.snapshot()


@EACH_KERNEL
@settings(max_examples=15, deadline=None)
@given(cuts=CUTS, seed=st.integers(0, 3))
def test_no_signal_is_from_before_what_was_promised_to_be_complete(
    topic: Topic, make: Make, cuts: list[int], seed: int
) -> None:
    kernel, promised = make(None), 0
    for part in cut(topic, TELEMETRY[topic.name](seed), cuts):
        outputs = kernel.take(topic, part)
        assert all(signal.time_unix_nano > promised for signal in signals(outputs))
        promised = max([promised, *(progress.time_unix_nano for progress in progresses(outputs))])


@EACH_KERNEL
def test_every_partition_of_the_signals_topic_is_told_how_far_the_source_was_read(topic: Topic, make: Make) -> None:
    outputs = run(make(None), topic, TELEMETRY[topic.name](0))
    told = [o.partition for o in outputs if isinstance(o, Emit) and o.record in progresses(outputs)]
    assert told == [0, 1]
    assert {progress.source for progress in progresses(outputs)} == {f"{topic.name}/3"}


@EACH_KERNEL
def test_what_cannot_be_read_is_dead_lettered_once_and_the_rest_still_counts(topic: Topic, make: Make) -> None:
    hostile = [b"", b"{", b"\xff\xfe", b"[]", b'{"time_unix_nano": NaN}', b'{"schema_version": 9}']
    good = TELEMETRY[topic.name](0)
    records: list[Record | bytes] = [*good[:5], *hostile, *good[5:]]
    outputs = run(make(None), topic, records)
    letters = [o.record for o in outputs if isinstance(o, Emit) and o.topic is DEAD_LETTERS]
    assert [(letter.offset, letter.value) for letter in letters] == list(enumerate(hostile, start=5))  # type: ignore[attr-defined]  # dead letters, by their topic
    assert signals(outputs)


def test_a_metric_signal_says_what_where_and_why() -> None:
    records = calm_then_faulty()
    first, cleared = signals(run(MetricDetect(RULES, 3), RAW_METRICS, records))
    assert (first.kind, first.state, first.name) == ("metric", "firing", "http.server.request.duration")
    assert str(first.entity) == "demo/checkout/checkout-1"
    assert at(60) <= first.onset_unix_nano <= first.time_unix_nano <= at(64)
    assert first.p_value is not None
    assert first.p_value < 1e-5
    assert "robust deviations above" in first.reasons[0]
    assert first.origin is not None
    assert (first.origin.topic, first.origin.partition) == ("raw.metrics", 3)
    assert records[first.origin.offset].time_unix_nano <= first.time_unix_nano + NANOS  # type: ignore[attr-defined]  # metric samples
    assert (cleared.state, cleared.subject) == ("cleared", first.subject)


def test_a_new_version_is_compared_with_the_one_before() -> None:
    kernel = MetricDetect(RULES, 0)
    records: list[Record] = [metric(t, 0.1 + 0.001 * (t % 5), **{"service.version": "v1"}) for t in range(60)]
    records += [metric(60 + t, 5.0, **{"service.version": "v2"}) for t in range(5)]
    assert [signal.state for signal in signals(run(kernel, RAW_METRICS, records))] == ["firing"]


def test_a_future_record_moves_nothing_and_is_a_dead_letter() -> None:
    kernel = MetricDetect(RULES, 0)
    (output, *_) = kernel.take(RAW_METRICS, batch(RAW_METRICS, [metric(3600, 1.0)], seconds=0))
    assert isinstance(output, Emit)
    assert output.record.reason == Rejection.INVALID_SCHEMA  # type: ignore[attr-defined]  # a dead letter
    assert kernel.bank.watermark == 0


def test_an_overflow_is_reported_when_it_begins_and_when_there_is_room_again() -> None:
    rules = replace(RULES, max_series=2, series_ttl=60 * NANOS)
    kernel = MetricDetect(rules, 0)
    many: list[Record] = [metric(1, 1.0, name=f"m{i}") for i in range(5)]
    (full,) = signals(kernel.take(RAW_METRICS, batch(RAW_METRICS, many)))
    assert (full.name, full.state, full.observed) == (OVERFLOW, "firing", 3.0)
    assert full.entity.service == "reflexarc"
    later = [metric(200, 1.0, name="m0")]
    assert signals(kernel.take(RAW_METRICS, batch(RAW_METRICS, later, first=5))) == []
    (room,) = signals(kernel.take(RAW_METRICS, batch(RAW_METRICS, [metric(201, 1.0, name="m0")], first=6)))
    assert (room.name, room.state, room.subject) == (OVERFLOW, "cleared", full.subject)
    assert len(kernel.table) == 1


def test_a_series_that_fell_silent_while_firing_is_forgotten_and_that_is_no_recovery() -> None:
    kernel = MetricDetect(replace(RULES, series_ttl=60 * NANOS), 0)
    run(kernel, RAW_METRICS, [metric(t, 0.1 + 0.001 * (t % 5)) for t in range(60)])
    (fired,) = signals(kernel.take(RAW_METRICS, batch(RAW_METRICS, [metric(60, 9.0)], first=60)))
    outputs = kernel.take(RAW_METRICS, batch(RAW_METRICS, [metric(300, 1.0, name="other")], first=61))
    (gone,) = signals(outputs)
    assert (gone.state, gone.subject) == ("adapted", fired.subject)
    assert "forgotten" in gone.reasons[0]


def test_a_changed_window_makes_a_snapshot_useless_and_the_kernel_begins_anew() -> None:
    kernel = MetricDetect(RULES, 0)
    run(kernel, RAW_METRICS, calm_then_faulty())
    other = replace(RULES, bank=replace(RULES.bank, window=32))
    assert MetricDetect(other, 0, kernel.snapshot()).bank.high == 0


def test_errors_are_counted_and_quoted_without_what_could_steer_a_terminal() -> None:
    records: list[Record] = [log(t) for t in range(40)]
    records += [log(40 + t / 3, "Unhandled\n\tmore\nKeyError: \x1b[31m'rate'", 17) for t in range(15)]
    fired, template = signals(run(LogDetect(RULES, 0), RAW_LOGS, records))
    assert (fired.kind, fired.name, fired.state, fired.attributes) == ("log", ERROR_COUNT, "firing", {})
    assert fired.reasons[-1] == "newest error: Unhandled … KeyError:  [31m'rate'"
    assert (template.name, template.state) == (ERROR_COUNT, "firing")
    assert template.attributes == {TEMPLATE: "Unhandled more KeyError: <*>"}
    assert template.reasons[0].startswith('"Unhandled more KeyError: <*>": ')
    assert "new here: the service was heard for 40 s without it" in template.reasons


def test_a_new_warning_is_judged_from_its_first_line_on_and_new_chatter_has_to_be_known_first() -> None:
    records: list[Record] = [log(t) for t in range(40)]
    for t in range(40, 60):
        records += [
            log(t),
            log(t + 0.1, f"pool nearly exhausted, {t} of 60 in use", 13),
            log(t + 0.2, f"cache warm {t}"),
        ]
    (fired,) = signals(run(LogDetect(RULES, 0), RAW_LOGS, records))
    assert (fired.name, fired.attributes) == (RECORD_COUNT, {TEMPLATE: "pool nearly exhausted, <*> of <*> in use"})
    assert at(40) < fired.time_unix_nano < at(46)


def test_what_is_said_no_more_is_no_fault_but_a_silence() -> None:
    records: list[Record] = [log(t + i / 8, f"heartbeat {t}") for t in range(60) for i in range(4)]
    records += [log(t, "something else") for t in range(60, 80)]
    assert {one.name for one in signals(run(LogDetect(RULES, 0), RAW_LOGS, records))} == {SILENCE}


def test_more_of_the_same_chatter_than_ever_is_told() -> None:
    records: list[Record] = [log(t + i / 8, f"retry {t}") for t in range(60) for i in range(1 + t % 2)]
    records += [log(t + i / 50, f"retry {t}") for t in range(60, 70) for i in range(40)]
    (fired,) = signals(run(LogDetect(RULES, 0), RAW_LOGS, records))
    assert (fired.state, fired.attributes) == ("firing", {TEMPLATE: "retry <*>"})


def test_templates_leave_room_for_the_errors_of_every_entity() -> None:
    rules = replace(RULES, max_series=8)
    kernel = LogDetect(rules, 0)
    run(kernel, RAW_LOGS, [log(t, f"{'abcdefghijklmnop'[t % 16] * 3} happened") for t in range(40)])
    assert len(kernel.table) == 4
    run(kernel, RAW_LOGS, [log(50, "x", service=f"shop-{i}") for i in range(4)])
    assert len(kernel.table) == 8
    assert kernel.table.overflow == 0


def test_a_deployment_is_noted_at_once() -> None:
    event = log(5, "rollout of v2", event="deployment.started", deployment="d1")
    (noted,) = signals(LogDetect(RULES, 0).take(RAW_LOGS, batch(RAW_LOGS, [log(4), event])))
    assert (noted.kind, noted.state, noted.name) == ("change", "noted", "deployment.started")
    assert noted.time_unix_nano == noted.onset_unix_nano == at(5)
    assert noted.attributes["deployment.id"] == "d1"


def test_silence_of_logs_is_idleness_first_and_then_a_fact() -> None:
    kernel = LogDetect(RULES, 0)
    run(kernel, RAW_LOGS, [log(t) for t in range(40)])
    errors = [log(40 + t / 3, "boom", 17) for t in range(15)]
    fired = signals(kernel.take(RAW_LOGS, batch(RAW_LOGS, errors, first=40)))
    idle = kernel.wake(0.0)
    assert [progress.idle for progress in progresses(idle)] == [True, True]
    assert kernel.wake(0.0) == []
    assert kernel.wake(4.0) == []
    cleared = signals(quiet := kernel.wake(20.0))
    assert {signal.state for signal in cleared} == {"cleared"}
    assert sorted(signal.subject for signal in cleared) == sorted(signal.subject for signal in fired)
    # Read to there, which is evidence; and nobody need wait for more.
    assert [progress.idle for progress in progresses(quiet)] == [False, False, True, True]


def test_an_alert_is_one_signal_until_it_is_resolved() -> None:
    kernel = AlertDetect(RULES, 0)
    told = [alert(10), alert(10), alert(20, "resolved"), alert(30)]
    found = signals(kernel.take(RAW_ALERTS, batch(RAW_ALERTS, told, seconds=100)))
    assert [signal.state for signal in found] == ["firing", "cleared", "firing"]
    assert found[0].onset_unix_nano == at(10)
    assert found[0].time_unix_nano >= at(100)
    assert found[0].attributes["severity"] == "critical"
    assert found[0].id != found[2].id
    assert len({signal.subject for signal in found}) == 1


def test_an_alert_that_flaps_says_so_after_what_its_source_says_also_after_a_restart() -> None:
    kernel = AlertDetect(RULES, 0)
    told = [alert(at, "resolved" if at % 20 else "firing") for at in range(20, 80, 10)]
    first, second = (batch(RAW_ALERTS, told[:3], seconds=100), batch(RAW_ALERTS, told[3:], seconds=200))
    before = signals(kernel.take(RAW_ALERTS, first))
    found = before + signals(AlertDetect(RULES, 0, kernel.snapshot()).take(RAW_ALERTS, second))
    said, summary, flaps = next(signal.reasons for signal in reversed(found) if signal.state == "firing")
    assert (said, summary) == ("alertmanager says firing", "5 % of requests fail")
    assert flaps.startswith("flapping: fired 3 times within ")
    assert [len(signal.reasons) for signal in found] == [2, 2, 2, 2, 3, 2]


def test_an_alert_is_told_anew_when_people_say_something_of_it() -> None:
    plain, over = alert(10), alert(20, "resolved")
    held = plain.model_copy(update={"suppressed_by": ("silence 7f of anna: planned\nreboot",)})
    other = plain.model_copy(update={"suppressed_by": ("silence 8a",)})  # which of them, is no news
    mine = plain.model_copy(update={"acknowledged_by": "Anna"})
    told = [plain, held, held, other, plain, mine, over, alert(30)]
    found: list[Signal] = []
    kernel = AlertDetect(RULES, 0)
    for nth, record in enumerate(told):
        found += signals(kernel.take(RAW_ALERTS, batch(RAW_ALERTS, [record], first=nth, seconds=100 + nth)))
        kernel = AlertDetect(RULES, 0, kernel.snapshot())
    assert [(s.state, s.muted, s.acknowledged_by) for s in found] == [
        ("firing", False, ""),
        ("firing", True, ""),
        ("firing", False, ""),
        ("firing", False, "Anna"),
        ("cleared", False, ""),
        ("firing", False, ""),
    ]
    assert len({s.id for s in found}) == len(found)
    assert {s.onset_unix_nano for s in found[:5]} == {at(10)}
    assert found[1].reasons[-1] == "held back by silence 7f of anna: planned … reboot"
    assert found[3].reasons[-1] == "acknowledged by Anna"


def test_the_end_of_an_alert_nobody_here_saw_begin_is_passed_on() -> None:
    (ended,) = signals(AlertDetect(RULES, 0).take(RAW_ALERTS, batch(RAW_ALERTS, [alert(20, "resolved")])))
    assert ended.state == "cleared"


def test_alerts_are_bounded() -> None:
    kernel = AlertDetect(replace(RULES, max_series=10), 0)
    kernel.take(RAW_ALERTS, batch(RAW_ALERTS, [alert(1, fingerprint=f"f{i}") for i in range(1000)]))
    small = AlertDetect(replace(RULES, max_series=10), 0)
    small.take(RAW_ALERTS, batch(RAW_ALERTS, [alert(1, fingerprint=f"f{i}") for i in range(10)]))
    assert len(kernel.snapshot()) == len(small.snapshot())
