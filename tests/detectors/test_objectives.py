"""Objectives as witnesses: what people said may not be exceeded."""

from math import inf

import numpy as np

from detectors.bank import BankSettings, Change, Verdict
from detectors.objectives import Objective, ObjectiveWatch

SETTINGS = BankSettings()
LATENCY = Objective("http.*.duration", "prod/*", above=0.5)


def seen(one: ObjectiveWatch, ticks: list[float], row: int = 0) -> list[Verdict]:
    found: list[Verdict] = []
    for tick, value in enumerate(ticks):
        time = np.array([tick * SETTINGS.tick_nanos])
        found += one.look(tick, np.array([row]), np.array([value]), time, 0)
    return found


def watch(*objectives: Objective) -> ObjectiveWatch:
    made = ObjectiveWatch(SETTINGS, objectives or (LATENCY,))
    made.admit(0, "prod/checkout", "http.server.duration")
    made.admit(1, "dev/checkout", "http.server.duration")
    made.admit(2, "prod/checkout", "cpu")
    return made


def test_three_in_a_row_break_it_and_three_within_keep_it_again() -> None:
    found = seen(watch(), [0.1, 0.6, 0.6, 0.1, 0.6, 0.7, 0.8, 0.8, 0.1, 0.6, 0.1, 0.1, 0.1])
    assert [(v.change, v.time_unix_nano // SETTINGS.tick_nanos) for v in found] == [
        (Change.FIRING, 7),
        (Change.CLEARED, 13),
    ]
    assert (found[0].observed, found[0].expected) == (0.8, 0.5)
    assert found[0].onset_unix_nano == 4 * SETTINGS.tick_nanos


def test_it_is_about_the_metrics_and_services_it_names() -> None:
    one = watch()
    assert not seen(one, [9.0] * 5, row=1)
    assert not seen(one, [9.0] * 5, row=2)
    assert not seen(one, [9.0] * 5, row=70)
    assert LATENCY.covers("prod/checkout", "http.server.duration")


def test_it_never_becomes_the_normal() -> None:
    one = ObjectiveWatch(BankSettings(adapt_ticks=10), [LATENCY])
    one.admit(0, "prod/checkout", "http.server.duration")
    assert [v.change for v in seen(one, [0.9] * 100)] == [Change.FIRING]


def test_too_little_can_break_one_too_and_the_nearer_bound_is_told() -> None:
    one = watch(Objective("*", above=10.0, below=2.0))
    found = seen(one, [1.0] * 3 + [5.0] * 3 + [12.0] * 3)
    assert [v.expected for v in found] == [2.0, 2.0, 10.0]


def test_the_first_that_covers_counts() -> None:
    one = watch(Objective("http.*", above=inf, below=-1.0), LATENCY)
    assert not seen(one, [9.0] * 5)


def test_it_rests_as_bytes_and_goes_on_the_same() -> None:
    one, other = watch(), ObjectiveWatch(SETTINGS, [LATENCY])
    seen(one, [0.9, 0.9])
    other.thaw(one.freeze())
    assert len(seen(other, [0.9])) == len(seen(one, [0.9])) == 1
    assert other.firing(0) == 0
    other.forget(np.array([0, 50]))
    assert other.firing(0) is None
