"""Row 10 on made telemetry: what the live path raises of it, and how that is judged."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.scoreboard.live import DAY, Fault, LivePartition, Raised, Subject, Telemetry, tally
from schemas.envelope import NANOS

T0 = 1_700_000_000 * NANOS
LENGTH, START, END = 300, 200, 240


def made(*, broken: bool) -> Telemetry:
    """Two metrics of one instance and one of another, each second; the first service breaks, if at all."""
    rng = np.random.default_rng(0)
    time = T0 + np.arange(LENGTH) * NANOS
    values = rng.normal(100.0, 5.0, (3, LENGTH))
    values[:2, START:END] += 2000.0 * broken
    subjects = (Subject("shop", "a", "latency"), Subject("shop", "a", "errors"), Subject("mail", "b", "latency"))
    faults = [Fault(int(time[START]), int(time[END]), int(time[END]) + 10 * NANOS, "shop")] if broken else []
    return Telemetry.of([(subject, time, row) for subject, row in zip(subjects, values, strict=True)], faults)


def test_a_fault_is_found_by_signals_and_one_incident_and_calm_says_nothing() -> None:
    telemetry = made(broken=True)
    played = LivePartition().play(telemetry)
    signals, incidents = tally(played.signals, telemetry), tally(played.incidents, telemetry)
    assert (signals.true, signals.false, signals.found) == (2, 0, 1)
    assert (incidents.true, incidents.false, incidents.found) == (1, 0, 1)
    quiet = LivePartition().play(made(broken=False))
    assert (quiet.signals, quiet.incidents) == ([], [])


def test_a_copy_of_a_partition_goes_on_from_what_it_has_seen() -> None:
    calm, later = made(broken=False), made(broken=True)
    moved = Telemetry(later.subjects, later.subject, later.time + LENGTH * NANOS, later.value)
    partition = LivePartition()
    partition.play(calm)
    first, second = partition.copy().play(moved), partition.copy().play(moved)
    assert first == second
    assert len(first.signals) == 2


def test_numbers_that_are_none_are_not_sent() -> None:
    time = T0 + np.arange(3) * NANOS
    telemetry = Telemetry.of([(Subject("shop", "a", "latency"), time, np.array([1.0, np.nan, np.inf]))])
    assert telemetry.value.tolist() == [1.0]


@pytest.mark.parametrize(
    ("service", "onset", "raised", "judged"),
    [
        ("shop", 15, 16, "true"),
        ("shop", 5, 12, "true"),
        ("shop", 5, 9, "false"),
        ("shop", 21, 25, "neither"),  # its effects may last
        ("shop", 31, 32, "false"),
        ("mail", 15, 16, "false"),
    ],
)
def test_what_is_raised_is_true_by_the_fault_of_its_own_service(
    service: str, onset: int, raised: int, judged: str
) -> None:
    time = np.arange(0, 2 * DAY, DAY)
    subjects = (Subject("shop", "a", "latency"), Subject("mail", "b", "latency"))
    series = [(subject, time, np.zeros(2)) for subject in subjects]
    telemetry = Telemetry.of(series, [Fault(10, 20, 30, "shop")])
    found = tally([Raised(service, onset, raised)], telemetry)
    assert (found.true, found.false) == (int(judged == "true"), int(judged == "false"))
    assert (found.found, found.faults) == (int(judged == "true"), 1)


def test_calm_time_is_what_no_fault_covers_in_the_mean_of_the_services_that_have_their_own() -> None:
    time = np.arange(0, 3 * DAY, DAY)
    series = [(Subject(name, "a", "latency"), time, np.zeros(3)) for name in ("shop", "mail")]
    half = Fault(0, DAY // 2, DAY, None)
    assert Telemetry.of(series, [half]).calm_days() == 1.0
    overlapping = [Fault(0, 5, DAY, "shop"), Fault(7, 8, DAY, "shop")]
    assert Telemetry.of(series, overlapping).calm_days() == 1.5
