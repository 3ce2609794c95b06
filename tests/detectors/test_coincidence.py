"""Links between services are learnt from coincidences that chance does not make, and from no others."""

from __future__ import annotations

from random import Random

import pytest
from scipy.stats import poisson

from detectors.coincidence import (
    ENOUGH,
    MAX_ENVIRONMENTS,
    MAX_PAIRS,
    MAX_SERVICES,
    TOGETHER,
    Coincided,
    Coincidences,
    poisson_tail,
)
from schemas.envelope import NANOS

HOUR = 3600 * NANOS
DAY = 24 * HOUR


def weekly(times: int, apart: int = 20 * NANOS) -> Coincidences:
    seen = Coincidences()
    for week in range(1, times + 1):
        seen.note("prod", "index", week * 7 * DAY)
        seen.note("prod", "search", week * 7 * DAY + apart)
    return seen


@pytest.mark.parametrize(("times", "linked"), [(ENOUGH - 1, ()), (ENOUGH, ("search",))])
def test_it_takes_three(times: int, linked: tuple[str, ...]) -> None:
    assert weekly(times).links("prod", "index", times * 7 * DAY + HOUR) == linked


def test_a_link_has_two_ends_and_one_environment() -> None:
    seen = weekly(4)
    assert seen.links("prod", "search", 29 * DAY) == ("index",)
    assert seen.links("staging", "search", 29 * DAY) == ()
    assert seen.times("prod", "search", "index") == 4


def test_what_begins_minutes_apart_does_not_coincide() -> None:
    assert weekly(9, apart=120 * NANOS).links("prod", "index", 70 * DAY) == ()


def test_in_the_first_hour_everything_may_be_chance() -> None:
    seen = Coincidences()
    for nth in range(6):
        seen.note("prod", "index", HOUR + nth * 660 * NANOS)
        seen.note("prod", "search", HOUR + nth * 660 * NANOS)
    assert seen.links("prod", "index", 2 * HOUR) == ()


def test_what_comes_back_within_ten_minutes_is_one_trouble() -> None:
    seen = Coincidences()
    seen.note("prod", "calm", DAY)
    for nth in range(50):
        seen.note("prod", "index", 8 * DAY + nth * 120 * NANOS)
        seen.note("prod", "search", 8 * DAY + nth * 120 * NANOS)
    assert seen.times("prod", "index", "search") == 1


def test_what_no_longer_coincides_is_forgotten() -> None:
    assert weekly(4).links("prod", "index", 29 * DAY) == ("search",)
    assert weekly(4).links("prod", "index", 700 * DAY) == ()


def test_it_is_kept_as_it_is() -> None:
    seen = weekly(5)
    kept = {name: Coincided.model_validate_json(one.model_dump_json()) for name, one in seen.state.items()}
    again = Coincidences(kept)
    assert again.links("prod", "index", 36 * DAY) == ("search",)
    for one in (seen, again):
        one.note("prod", "index", 40 * DAY)
    assert again.state == seen.state


def test_memory_is_bounded_whatever_comes() -> None:
    seen = Coincidences()
    for nth in range(3 * MAX_SERVICES):
        seen.note("prod", f"s{nth}", DAY + nth * NANOS)
    (world,) = seen.state.values()
    assert len(world.services) == MAX_SERVICES
    assert len(world.pairs) == MAX_PAIRS
    assert (
        max(sum(f"s{nth}" in (one, other) for one, other, _ in world.pairs) for nth in range(2900, 2910))
        <= 2 * TOGETHER
    )
    for nth in range(2 * MAX_ENVIRONMENTS):
        seen.note(f"e{nth}", "s", DAY)
    assert len(seen.state) == MAX_ENVIRONMENTS


def test_independent_troubles_are_not_linked() -> None:
    """200 histories of 90 days, 20 services of two troubles a week each, all of them within three hours of the day.

    At most 0.2 of them may hold a link. Two would come with a probability of 2 %.
    """
    linked = 0
    for seed in range(200):
        rng, seen = Random(seed), Coincidences()
        onsets = sorted(
            (day * DAY + round(rng.uniform(9, 12) * HOUR), f"s{service}")
            for service in range(20)
            for day in range(90)
            if rng.random() < 2 / 7
        )
        found = False
        for began, service in onsets:
            seen.note("prod", service, began)
            found = found or bool(seen.links("prod", service, began))
        linked += found
    assert linked <= 1


@pytest.mark.parametrize("count", [1, 3, 7])
@pytest.mark.parametrize("expected", [1e-6, 0.02, 0.9])
def test_tail(count: int, expected: float) -> None:
    assert poisson_tail(count, expected) == pytest.approx(float(poisson.sf(count - 1, expected)), rel=1e-9)


def test_tail_ends() -> None:
    assert poisson_tail(0, 1) == poisson_tail(2, 5) == 1
    assert poisson_tail(2, 0) == 0
