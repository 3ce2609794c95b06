"""Spans to signals: whose time it is, what fails, who calls whom, and what is bounded."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from schemas.envelope import NANOS, Record
from schemas.incident import Incident
from schemas.raw import Span
from schemas.signal import MOST_CALLS, Progress, Signal
from schemas.topics import RAW_SPANS
from streams.kernel.base import Emit
from streams.kernel.correlate import Correlator
from streams.kernel.detect import OVERFLOW, DetectRules
from streams.kernel.detect_spans import TELL_AGAIN_NANOS, SpanDetect
from streams.kernel.grouping import CorrelateRules
from streams.kernel.span_rows import DURATION, ERRORS, OF, PARTITION, SPAN_NAME
from tests.streams.arc import at, batch, progresses, signals, span, trace

RULES = DetectRules(signal_partitions=2, span_tick=NANOS, span_wait=2 * NANOS)


def firing(kernel: SpanDetect, records: Iterable[Record], first: int = 0) -> list[Signal]:
    told = signals(kernel.take(RAW_SPANS, batch(RAW_SPANS, records, first=first)))
    return [signal for signal in told if signal.state == "firing"]


def calm(seconds: int = 60) -> list[Span]:
    took = np.random.default_rng(0).normal(0.1, 0.005, seconds).tolist()
    return [one for t in range(seconds) for one in trace(t + 0.5, took[t], number=t)]


def faulty(took: float, *, failed: bool = False, start: int = 60, seconds: int = 10) -> list[Span]:
    return [one for t in range(start, start + seconds) for one in trace(t + 0.5, took, number=t, failed=failed)]


def test_what_is_slow_by_itself_is_told_from_what_waits_for_it() -> None:
    told = firing(SpanDetect(RULES, 3), [*calm(), *faulty(0.6)])
    own = {signal.entity.service for signal in told if OF in signal.attributes}
    edges = {(signal.entity.service, signal.attributes.get("peer.service")) for signal in told}
    assert own == {"cart"}
    assert ("shop", "cart") in edges
    assert {signal.name for signal in told} == {DURATION}
    slow = next(signal for signal in told if OF in signal.attributes)
    assert slow.reasons[0].startswith('"cart": own time: ')
    assert (slow.entity.instance, slow.attributes[SPAN_NAME], slow.attributes[PARTITION]) == ("cart-1", "cart", "3")
    # It began when it was, and is told when its tick had waited.
    assert at(60) <= slow.onset_unix_nano < at(62) < slow.time_unix_nano


def test_spans_that_fail_are_told_of_the_service_that_fails() -> None:
    told = firing(SpanDetect(RULES, 3), [*calm(), *faulty(0.1, failed=True)])
    assert {(signal.entity.service, signal.name) for signal in told} == {("cart", ERRORS)}


def test_spans_that_come_out_of_order_make_no_difference_while_they_are_waited_for() -> None:
    records = [*calm(), *faulty(0.6)]
    late = sorted(records, key=lambda one: one.time_unix_nano + (int(1.5 * NANOS) if one.span_id == "b" else 0))
    seen = [
        [(one.subject, one.onset_unix_nano) for one in firing(SpanDetect(RULES, 3), some)] for some in (records, late)
    ]
    assert seen[0] == seen[1] != []


def test_a_span_of_a_tick_that_has_been_judged_is_late() -> None:
    kernel = SpanDetect(RULES, 3)
    firing(kernel, calm())
    firing(kernel, [span(10, 0.1, "cart")], first=1000)
    assert kernel.bank.late == 1


def test_which_service_calls_which_is_told_to_every_partition_once_an_hour() -> None:
    kernel = SpanDetect(RULES, 3)
    told = [
        record
        for start in (0, 30, TELL_AGAIN_NANOS // NANOS + 10)
        for record in progresses(
            kernel.take(
                RAW_SPANS,
                batch(
                    RAW_SPANS, [one for t in range(10) for one in trace(start + t, 0.1, number=start + t)], first=start
                ),
            )
        )
    ]
    calls = [(call.caller, call.called, call.time_unix_nano) for record in told for call in record.calls]
    assert [(caller, called) for caller, called, _ in calls] == [("shop", "cart")] * 4  # two partitions, two times
    # None is from before what had been promised when it was told.
    promised = 0
    for record in told[::2]:  # of one partition
        assert all(promised < call.time_unix_nano <= record.time_unix_nano for call in record.calls)
        promised = record.time_unix_nano


def test_more_calls_than_fit_into_a_record_come_before_what_is_promised() -> None:
    kernel = SpanDetect(replace(RULES, max_calls=MOST_CALLS + 20), 0)
    many = [span(1, 0.1, "shop", "client", own=str(i), peer_service=f"s{i}") for i in range(MOST_CALLS + 50)]
    told = progresses(kernel.take(RAW_SPANS, batch(RAW_SPANS, [*many, span(9, 0.1, "shop", own="last")])))
    assert [len(record.calls) for record in told] == [MOST_CALLS] * 2 + [20] * 2
    assert told[0].time_unix_nano < told[-1].calls[0].time_unix_nano


def test_calls_that_ended_make_room_for_others() -> None:
    kernel = SpanDetect(replace(RULES, max_calls=1), 0)
    hour = TELL_AGAIN_NANOS / NANOS
    ends = [(1, "a"), (2, "b"), (1.5 * hour, "b"), (4 * hour, "b"), (4 * hour + 9, "b")]
    asked = [span(t, 0.1, "shop", "client", own=str(t), peer_service=called) for t, called in ends]
    told = progresses(kernel.take(RAW_SPANS, batch(RAW_SPANS, asked)))
    assert [[call.called for call in record.calls] for record in told] == [["a", "b"]] * 2


def test_operations_of_a_service_beyond_those_kept_apart_are_one() -> None:
    kernel = SpanDetect(replace(RULES, max_span_names=5), 0)
    firing(kernel, [span(t, 0.1, "shop", own=str(t), name=f"GET /{t}") for t in range(100)])
    names = [kernel.table.describe(row).attributes.get(SPAN_NAME) for row in kernel.table.rows()]
    assert len(set(names)) == 6
    assert len(names) == 18  # errors, duration and own time of each


@pytest.mark.parametrize("rules", [replace(RULES, max_spans=5), replace(RULES, max_series=3)])
def test_what_has_no_room_is_counted_and_reported(rules: DetectRules) -> None:
    kernel = SpanDetect(rules, 0)
    many = [span(t / 10, 0.1, f"s{t % 20}", own=str(t)) for t in range(100)]
    assert [signal.name for signal in firing(kernel, many)] == [OVERFLOW]
    assert kernel.table.overflow > 0


def test_a_snapshot_of_other_ticks_is_of_no_use() -> None:
    kernel = SpanDetect(RULES, 3)
    firing(kernel, calm())
    longer = SpanDetect(replace(RULES, span_tick=2 * NANOS), 3, kernel.snapshot())
    assert len(longer.table) == 0
    assert len(SpanDetect(RULES, 3, kernel.snapshot()).table) == len(kernel.table) > 0


def test_nobody_waits_for_spans_while_there_are_none() -> None:
    kernel = SpanDetect(RULES, 0)
    firing(kernel, calm())
    assert [record.idle for record in progresses(kernel.wake(0.0))] == [True, True]
    assert kernel.wake(0.0) == []


def test_the_first_span_tells_how_far_its_source_has_been_read() -> None:
    told = progresses(SpanDetect(RULES, 0).take(RAW_SPANS, batch(RAW_SPANS, [span(5, 0.1, "cart")])))
    assert [record.time_unix_nano for record in told] == [at(5)] * 2


def test_too_many_spans_are_reported_before_any_has_been_judged() -> None:
    (told,) = firing(SpanDetect(replace(RULES, max_spans=1), 0), [span(5, 0.1, "cart", own=str(i)) for i in range(3)])
    assert (told.name, told.time_unix_nano, told.observed) == (OVERFLOW, at(5), 2.0)


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 1000))
def test_incidents_do_not_depend_on_how_partitions_interleave(seed: int) -> None:
    """Traces are spread over two partitions, which are read in turns as chance has it."""
    records = [*calm(120), *faulty(0.6, failed=True, start=120, seconds=20), *trace(160, 0.1, number=160)]
    of = [[one for one in records if int(one.trace_id[1:]) % 2 == partition] for partition in (0, 1)]
    whole = incidents(of, Random(0), at_once=1000)
    assert whole
    assert {one.root_causes[0].entity.service for one in whole} == {"cart"}
    assert incidents(of, Random(seed), at_once=20) == whole


def incidents(of: Sequence[Sequence[Span]], rng: Random, at_once: int) -> list[Incident]:
    """Read partitions in pieces, and make incidents of what is told."""
    kernels = [SpanDetect(RULES, partition) for partition in range(len(of))]
    # Sources are known from the start, or one that nobody has heard of could not be waited for.
    correlator, read = Correlator(CorrelateRules()), [0] * len(of)
    for kernel in kernels:
        correlator.take(Progress(source=kernel.source, time_unix_nano=1))
    found: list[Incident] = []
    while left := [i for i, some in enumerate(of) if read[i] < len(some)]:
        i = rng.choice(left)
        piece = of[i][read[i] : read[i] + rng.randint(1, at_once)]
        told = kernels[i].take(RAW_SPANS, batch(RAW_SPANS, piece, first=read[i], partition=i))
        read[i] += len(piece)
        for output in told:
            if isinstance(output, Emit) and isinstance(output.record, Signal | Progress) and not output.partition:
                found += correlator.take(output.record)
    return found
