"""Evidence of alerts: learned from labels, added up, decaying; incidents that open, are joined and end by it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from detectors.alert_memory import HALF_LIFE, HOUR, LABELLED, AlertMemory, Event, Learned, learn
from detectors.alert_news import Alert

LEARNED = Learned(-1.0, {"scan": 1.2, "shell": 1.2, "root": 4.0, "login": -0.5})


def heard(*alerts: tuple[int, str], learned: Learned | None = LEARNED, new: bool = False) -> list[Event]:
    memory = AlertMemory(learned)
    return [event for time, name in alerts for event in memory.judge(Alert(time, name, "web"), new=new)]


def told(*alerts: tuple[int, str]) -> list[tuple[str, str | None]]:
    return [(event.told, None if event.alert is None else event.alert.name) for event in heard(*alerts)]


def test_a_burst_counts_once_and_what_was_never_part_of_an_attack_speaks_for_nothing() -> None:
    network = [
        *((second, "scan", "recon") for second in range(100)),
        *((second, "login", None) for second in range(100)),
        (5 * HOUR, "scan", None),
    ]
    learned = learn([network])
    # One phase and two hours of peace: odds of 1.5 to 2.5; and the scan was heard as often in one as in the other.
    assert round(learned.prior, 3) == -0.222
    assert {name: round(weight, 3) for name, weight in learned.weights.items()} == {"scan": 0.222}


def test_evidence_of_different_names_adds_up_and_halves_with_time() -> None:
    assert told((0, "scan"), (HALF_LIFE // 4, "shell")) == [("opens", "shell"), ("joins", "scan")]
    assert told((0, "scan"), (HALF_LIFE, "shell")) == []
    assert told(*((i, "scan") for i in range(100))) == []


def test_an_incident_ends_when_the_odds_are_even() -> None:
    *_, end = heard((0, "root"), (100 * HALF_LIFE, "login"))
    # Four decades above a prior of one against: two half-lives until one is left.
    assert (end.told, end.time_unix_nano) == ("ends", 2 * HALF_LIFE)


def test_what_speaks_for_nothing_neither_joins_nor_prolongs() -> None:
    usual = [(i * HALF_LIFE // 10, name) for i in range(1, 100) for name in ("login", "unheard of")]
    assert told((0, "root"), *usual) == [("opens", "root"), ("ends", None)]


def test_what_speaks_for_it_joins_and_prolongs() -> None:
    events = heard((0, "root"), (HALF_LIFE, "scan"), (10 * HALF_LIFE, "root"))
    assert [event.told for event in events] == ["opens", "joins", "ends", "opens"]
    assert events[2].time_unix_nano > 2 * HALF_LIFE
    assert [event.incident for event in events] == [1, 1, 1, 2]


def test_without_labels_only_news_count_by_how_rare_they_were() -> None:
    hours = [(hour * HOUR, "login") for hour in range(200)]
    late = 200 * HOUR
    both = [(late, "shell"), (late + 1, "root")]
    assert [event.told for event in heard(*hours, *both, learned=None)] == []
    memory = AlertMemory()
    for time, name in hours:
        assert memory.judge(Alert(time, name, "web"), new=False) == []
    found = [event for time, name in both for event in memory.judge(Alert(time, name, "web"), new=True)]
    assert [event.told for event in found] == ["opens", "joins"]
    # News of every hour are none.
    often = AlertMemory()
    assert [e for time, name in hours for e in often.judge(Alert(time, name, "web"), new=True)] == []


@given(st.lists(st.tuples(st.integers(0, HALF_LIFE), st.sampled_from(["scan", "shell", "root", "login"])), max_size=60))
def test_incidents_follow_each_other_and_never_end_before_they_began(gaps: list[tuple[int, str]]) -> None:
    time, alerts = 0, []
    for gap, name in gaps:
        time += gap
        alerts.append((time, name))
    is_open = False
    for event in heard(*alerts):
        assert (event.told == "opens") is not is_open or event.told in {"joins", "ends"}
        if event.told == "opens":
            assert event.evidence >= LABELLED.opens
        is_open = event.told != "ends"
