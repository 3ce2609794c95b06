"""What speaks for an incident, and how long a lone subject has to last."""

from __future__ import annotations

from detectors.corroboration import support, wait
from schemas.envelope import NANOS
from schemas.signal import Signal
from tests.detectors.test_severity import signal

LONE = 30 * NANOS


def by(said: str | None, at: int = 1, kind: str = "metric") -> Signal:
    return signal("latency", at=at, support=said, kind=kind)


def test_each_kind_beyond_the_first_halves_the_wait() -> None:
    assert wait([by("own history"), by("own history")], LONE) == LONE
    assert wait([by(None)], LONE) == LONE
    assert wait([by("own history"), by("peers")], LONE) == LONE // 2
    assert wait([by("own history"), by("peers"), by("objective")], LONE) == LONE // 4


def test_what_speaks_for_an_incident_is_named_once_each() -> None:
    own, peers = by("own history"), by("peers", at=5)
    assert support([own, own], NANOS, LONE) == ("own history",)
    assert support([peers, own], NANOS, LONE) == ("own history", "peers")
    assert support([own, by(None, kind="alert")], NANOS, LONE) == ("own history", "another signal type")
    assert support([own], 31 * NANOS, LONE) == ("own history", "persistence")
    assert support([own], 30 * NANOS, LONE) == ("own history",)
    assert support([], 30 * NANOS, LONE) == ()
