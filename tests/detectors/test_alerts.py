"""What is said of an alert given what alerts did before."""

from __future__ import annotations

from detectors.alerts import FLAP_WINDOW, FLAPS, MAX_FIRINGS, STORM, STORM_WINDOW, WARM_FIRINGS, AlertHistory
from schemas.envelope import NANOS

SHOP = "prod/shop"
MINUTE = 60 * NANOS


def fire(history: AlertHistory, times: int, *, every: int, alert: str = "a") -> list[tuple[str, ...]]:
    return [history.fired(alert, "Slow", SHOP, at * every) for at in range(1, times + 1)]


def test_an_alert_that_comes_and_goes_flaps() -> None:
    said = fire(AlertHistory(100), FLAPS, every=MINUTE)
    assert said[-2] == ()
    assert said[-1] == (f"flapping: fired {FLAPS} times within {60 * (FLAPS - 1)} s",)


def test_an_alert_that_comes_seldom_does_not_flap() -> None:
    assert not any(fire(AlertHistory(100), 20, every=FLAP_WINDOW // (FLAPS - 1)))


def test_firings_are_counted_up_to_a_limit_and_it_is_said() -> None:
    history = AlertHistory(100)
    said = fire(history, MAX_FIRINGS + 1, every=NANOS)
    assert said[-2] == (f"flapping: fired {MAX_FIRINGS} times within {MAX_FIRINGS - 1} s",)
    assert said[-1] == (f"flapping: fired {MAX_FIRINGS} times or more within {MAX_FIRINGS - 1} s",)
    size = len(history.freeze())
    fire(history, 1000, every=NANOS)
    # A time takes 5 bytes or 9.
    assert len(history.freeze()) <= size + 4 * (MAX_FIRINGS + 1)


def test_many_alerts_of_one_service_at_once_are_a_storm() -> None:
    history = AlertHistory(100)
    said = [history.fired(f"a{i}", "Slow", SHOP, MINUTE + i) for i in range(STORM)]
    assert not any(said[:-1])
    assert said[-1] == (f"storm: {STORM} or more alerts of this service fired within {STORM_WINDOW // NANOS} s",)
    assert history.fired("b", "Slow", "prod/cart", 2 * MINUTE) == ()
    assert history.fired("c", "Slow", SHOP, 2 * MINUTE + STORM_WINDOW) == ()


def test_one_alert_again_and_again_is_no_storm() -> None:
    said = fire(AlertHistory(100), 3 * STORM, every=NANOS)
    assert not any("storm" in one for reasons in said for one in reasons)


def test_a_name_never_heard_of_a_known_service_is_said_once() -> None:
    history = AlertHistory(100)
    fire(history, WARM_FIRINGS, every=2 * FLAP_WINDOW)
    later = 3 * WARM_FIRINGS * FLAP_WINDOW
    assert history.fired("b", "DiskFull", SHOP, later) == ("first alert of this name on this service",)
    assert history.fired("b", "DiskFull", SHOP, later + FLAP_WINDOW) == ()


def test_nothing_is_new_on_a_service_that_is_not_known_yet() -> None:
    history = AlertHistory(100)
    assert not any(history.fired(f"a{i}", f"name {i}", SHOP, i * STORM_WINDOW) for i in range(1, WARM_FIRINGS + 1))


def test_it_goes_on_from_a_snapshot_as_if_nothing_had_been() -> None:
    whole, first = AlertHistory(100), AlertHistory(100)
    for history in (whole, first):
        fire(history, FLAPS - 1, every=MINUTE)
    second = AlertHistory(100, first.freeze())
    later = FLAPS * MINUTE
    assert second.fired("a", "Slow", SHOP, later) == whole.fired("a", "Slow", SHOP, later) != ()
    assert second.freeze() == whole.freeze()


def test_memory_is_bounded_by_what_is_allowed() -> None:
    small, flooded = AlertHistory(10), AlertHistory(10)
    for history, alerts in ((small, 100), (flooded, 10_000)):
        for i in range(1, alerts + 1):
            history.fired(f"alert {i:05}", f"name {i:05}", f"prod/service {i:05}", i * NANOS)
    assert len(flooded.freeze()) <= len(small.freeze()) + 10 * 4 * len("12345")
