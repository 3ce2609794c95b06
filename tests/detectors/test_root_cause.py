"""Candidate causes of one incident: onset, strength, distance in calls, and signals that point elsewhere."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from detectors.root_cause import MAX_CANDIDATES, rank_causes
from detectors.topology import called_by
from schemas.envelope import NANOS, Entity
from schemas.incident import RootCause
from schemas.signal import Signal, SignalKind, signal_id

T0 = 1_800_000_000 * NANOS


def signal(
    service: str,
    name: str,
    second: float = 0.0,
    *,
    kind: SignalKind = "metric",
    p_value: float | None = 1e-5,
    peer: str = "",
    reason: str = "",
) -> Signal:
    """Make what one series or template of a service tells, so many seconds after the start."""
    subject = f"{service}/{name}/{peer}"
    at = T0 + int(second * NANOS)
    return Signal(
        id=signal_id(subject, "firing", at),
        kind=kind,
        state="noted" if kind == "change" else "firing",
        entity=Entity(environment="prod", service=service),
        subject=subject,
        name=name,
        attributes={"peer.service": peer} if peer else {},
        time_unix_nano=at + NANOS,
        onset_unix_nano=at,
        p_value=p_value,
        detector="test",
        model_version="1",
        reasons=(reason,) if reason else (),
    )


def named(causes: Sequence[RootCause]) -> list[tuple[str, str]]:
    return [(one.entity.service, one.what) for one in causes]


def test_of_equal_onset_the_less_probable_in_calm_comes_first() -> None:
    found = rank_causes([signal("cart", "memory", p_value=1e-3), signal("cart", "cpu", p_value=1e-7)], ())
    assert named(found) == [("cart", "cpu"), ("cart", "memory")]


def test_the_sooner_is_likelier_and_a_change_before_is_likelier_still() -> None:
    signals = [signal("cart", "errors", 30.0), signal("cart", "cpu")]
    assert named(rank_causes(signals, ()))[0] == ("cart", "cpu")
    change = signal("cart", "deployment.started", -20.0, kind="change", p_value=None)
    assert named(rank_causes(signals, [change]))[0] == ("cart", "deployment.started")


def test_a_slow_call_points_at_the_called_service_and_explains_its_caller() -> None:
    call = signal("shop", "client.duration", peer="payment")
    found = rank_causes([signal("shop", "server.duration"), call], ())
    assert found[0].entity.service == "payment"
    assert "shop tells" in found[0].because


def test_what_departed_well_before_a_slow_call_is_not_explained_by_it() -> None:
    found = rank_causes([signal("shop", "cpu"), signal("shop", "client.duration", 40.0, peer="payment")], ())
    assert named(found)[0] == ("shop", "cpu")


def test_slow_calls_to_many_are_the_callers() -> None:
    calls = [signal("shop", "client.duration", peer=peer) for peer in ("payment", "stock", "mail")]
    assert named(rank_causes(calls, ()))[0] == ("shop", "client.duration")


def test_an_error_that_names_what_is_depended_on_is_a_witness() -> None:
    error = signal("shop", "log.error.count", kind="log", reason="no instances available for stock")
    assert rank_causes([error], (), depends_on=("stock",))[0].entity.service == "stock"
    assert rank_causes([error], (), depends_on=("payment",))[0].entity.service == "shop"
    assert rank_causes([error], (), depends_on=("instances-of-stock",))[0].entity.service == "shop"


def test_what_is_felt_further_off_weighs_less() -> None:
    signals = [signal("stock", "cpu"), signal("shop", "errors", p_value=1e-7)]
    assert named(rank_causes(signals, (), {"shop": 2}))[0] == ("stock", "cpu")


def test_many_series_of_one_name_are_one_candidate() -> None:
    many = [signal("shop", "latency").model_copy(update={"id": f"{i}", "subject": f"{i}"}) for i in range(20)]
    found = rank_causes([*many, signal("shop", "cpu", 5.0)], ())
    assert named(found) == [("shop", "latency"), ("shop", "cpu")]


@pytest.mark.parametrize(
    ("attributes", "call"),
    [
        ({}, None),
        ({"peer.service": "cart"}, ("shop", "cart")),
        ({"peer.service": "cart", "span.kind": "SPAN_KIND_CLIENT"}, ("shop", "cart")),
        ({"peer.service": "cart", "span.kind": "SPAN_KIND_SERVER"}, ("cart", "shop")),
        ({"peer.service": "cart", "span.kind": "consumer"}, ("cart", "shop")),
        ({"peer.service": "shop"}, None),
        ({"peer.service": 7}, None),
        ({"peer.service": ""}, None),
        ({"peer.service": "x" * 5000}, None),
    ],
)
def test_who_calls_whom(attributes: dict[str, str | int], call: tuple[str, str] | None) -> None:
    assert called_by("shop", attributes) == call


SIGNALS = st.lists(
    st.builds(
        signal,
        st.sampled_from(["shop", "stock"]),
        st.sampled_from(["cpu", "latency", "errors"]),
        st.floats(0, 100),
        kind=st.sampled_from(["metric", "log"]),
        p_value=st.none() | st.floats(0, 1),
        peer=st.sampled_from(["", "stock", "payment"]),
        reason=st.sampled_from(["", "stock failed"]),
    ),
    min_size=1,
    max_size=12,
)


@given(signals=SIGNALS, rnd=st.randoms())
def test_shares_sum_to_one_in_any_order_of_signals(signals: list[Signal], rnd: Random) -> None:
    found = rank_causes(signals, (), depends_on=("stock",))
    assert 1 <= len(found) <= MAX_CANDIDATES
    assert sum(one.score for one in found) == pytest.approx(1.0)
    assert [one.score for one in found] == sorted((one.score for one in found), reverse=True)
    shuffled = [*signals]
    rnd.shuffle(shuffled)
    assert named(rank_causes(shuffled, (), depends_on=("stock",))) == named(found)
