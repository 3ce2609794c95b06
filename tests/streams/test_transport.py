"""The account of messages in flight, and how Faust finds the driver; the rest is in test_transport_reading."""

from __future__ import annotations

import faust
from faust.transport.drivers import by_url
from faust.types import TP, ConsumerMessage
from hypothesis import given
from hypothesis import strategies as st

from streams.transport import Batching, InFlight, Transport

TP0 = TP("t", 0)


def message(offset: int) -> ConsumerMessage:
    return ConsumerMessage(TP0.topic, TP0.partition, offset, 0.0, 0, None, None, None, None, tp=TP0)


def test_faust_finds_the_driver_by_its_url() -> None:
    assert by_url("reflexarc://broker:9092") is Transport


def test_without_being_told_otherwise_every_message_is_a_record() -> None:
    app = faust.App("plain", broker="reflexarc://broker:9092")
    assert isinstance(app.transport, Transport)
    assert app.transport.batching == Batching()


def test_nothing_is_done_before_the_first_message() -> None:
    assert InFlight(None).settle() is None
    assert InFlight(7).settle() == 7


@given(last_offsets=st.lists(st.integers(0, 1000), min_size=1, max_size=12, unique=True).map(sorted), data=st.data())
def test_the_offset_to_commit_never_passes_a_message_in_flight(last_offsets: list[int], data: st.DataObject) -> None:
    messages = [message(offset) for offset in last_offsets]
    in_flight = InFlight(0)
    in_flight.messages.extend(messages)
    for done in data.draw(st.permutations(messages)):
        done.acked = True
        open_offsets = [m.offset for m in messages if not m.acked]
        before = [m.offset for m in messages if not open_offsets or m.offset < open_offsets[0]]
        assert in_flight.settle() == (before[-1] + 1 if before else 0)
        assert [m.offset for m in in_flight.messages if not m.acked] == open_offsets
    assert not in_flight.messages
