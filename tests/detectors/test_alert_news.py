"""News among alerts: new to an entity, and to that one alone."""

from __future__ import annotations

import pytest

from detectors import alert_news
from detectors.alert_news import BURST, FRESH, HOLD, LISTENED, Alert, AlertNews
from schemas.envelope import NANOS

LATER = 2 * LISTENED


def told(*alerts: tuple[int, str, str]) -> dict[tuple[int, str], bool]:
    """Of each alert (time, name, entity) whether it is news."""
    news = AlertNews()
    found = [one for time, name, entity in alerts for one in news.hear(Alert(time, name, entity))]
    found += news.rest()
    assert [alert.time_unix_nano for alert, _ in found] == [time for time, *_ in alerts]
    return {(alert.time_unix_nano, alert.entity): new for alert, new in found}


def test_nothing_is_new_before_there_was_a_day_to_hear_what_is_usual() -> None:
    assert not told((0, "hello", "web"), (LISTENED - 1, "shell", "web"))[LISTENED - 1, "web"]
    assert told((0, "hello", "web"), (LISTENED, "shell", "web"))[LISTENED, "web"]


def test_what_a_host_says_daily_is_no_news_even_when_it_is_late() -> None:
    found = told((0, "backup", "web"), (FRESH - 1, "backup", "web"), (2 * FRESH, "backup", "web"))
    assert list(found.values()) == [False, False, True]


def test_a_burst_stays_what_its_first_alert_was() -> None:
    found = told((0, "hello", "web"), *((LATER + i * BURST, "scan", "web") for i in range(3)), (2 * LATER, "x", "web"))
    assert list(found.values())[1:4] == [True, True, True]


def test_what_several_report_at_once_is_news_of_none_and_hides_nothing_later() -> None:
    together = [(LATER, "rotated", "web"), (LATER + HOLD, "rotated", "db")]
    found = told((0, "hello", "web"), *together, (LATER + LISTENED // 2, "rotated", "web"))
    assert list(found.values()) == [False, False, False, True]
    apart = [(LATER, "rotated", "web"), (LATER + HOLD + 1, "rotated", "db")]
    # The first could not know of the second, which knows of the first.
    assert list(told((0, "hello", "web"), *apart).values()) == [False, True, False]


def test_an_alert_is_held_for_a_minute_and_no_longer() -> None:
    news = AlertNews()
    assert news.hear(Alert(0, "a", "web")) == []
    assert news.hear(Alert(HOLD, "b", "web")) == []
    assert [alert.name for alert, _ in news.hear(Alert(HOLD + 1, "c", "web"))] == ["a"]


def test_memory_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(alert_news, "MAX_HELD", 10)
    news = AlertNews()
    released = [one for i in range(100) for one in news.hear(Alert(i * NANOS, f"alert {i}", "web"))]
    assert len(released) >= 100 - 10 - 1
