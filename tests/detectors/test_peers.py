"""Peers as witnesses: unlike the siblings, and not so before."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from detectors.bank import BankSettings, Change, Verdict
from detectors.peer_loops import MIN_PEERS, WARM_LOOKS, Comparison, compare
from detectors.peers import PeerWatch

INSTANCES = 6
ROWS = np.arange(INSTANCES)
SETTINGS = BankSettings(adapt_ticks=300)


def watch(instances: int = INSTANCES) -> PeerWatch:
    made = PeerWatch(SETTINGS)
    made.admit(np.arange(instances), np.zeros(instances, np.int64))
    return made


def values(ticks: int) -> np.ndarray:
    """A load that all share, and what each has of its own; the last instance always has more than the others."""
    rng = np.random.default_rng(0)
    shared = 100.0 + 30.0 * np.sin(np.arange(ticks) / 50.0)[:, None]
    made: np.ndarray = shared + rng.normal(size=(ticks, INSTANCES)) + np.array([0.0] * (INSTANCES - 1) + [40.0])
    return made


def seen(one: PeerWatch, ticks: np.ndarray, first: int = 0) -> list[Verdict]:
    found: list[Verdict] = []
    for tick, value in enumerate(ticks, first):
        rows = np.arange(len(value))
        found += one.look(tick, rows, value, np.full(len(value), tick * SETTINGS.tick_nanos), 0)
    return found


@settings(deadline=None)
@given(
    groups=st.lists(
        st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
        min_size=1,
        max_size=4,
    ),
    seed=st.integers(0, 9),
)
def test_each_is_put_against_the_median_of_the_others(groups: list[list[float]], seed: int) -> None:
    group = np.array([number for number, group in enumerate(groups) for _ in group])
    value = np.array([one for group in groups for one in group])
    order = np.random.default_rng(seed).permutation(len(group))
    found = Comparison(*compare(group[order], value[order]))
    judged = {int(order[at]): median for at, median in zip(found.at, found.median, strict=True)}
    for i in range(len(group)):
        others = [value[j] for j in range(len(group)) if j != i and group[j] == group[i]]
        assert (i in judged) == (len(others) >= MIN_PEERS)
        if i in judged:
            assert judged[i] == pytest.approx(np.median(others), abs=1e-9)


def test_the_scale_is_that_of_the_better_half() -> None:
    found = Comparison(*compare(np.zeros(5, np.int64), np.array([100.0, 110.0, 120.0, 1e6, -1e6])))
    assert found.scale.max() < 60.0


def test_a_load_that_all_share_and_a_difference_there_always_was_are_nothing() -> None:
    assert seen(watch(), values(2000)) == []


def test_the_one_that_departs_from_its_siblings_is_found_and_clears() -> None:
    ticks = values(600)
    ticks[500:520, 2] += 60.0
    found = seen(watch(), ticks)
    assert [(v.series, v.change) for v in found] == [(2, Change.FIRING), (2, Change.CLEARED)]
    assert found[0].peers == INSTANCES - 1
    assert found[0].onset_unix_nano == 500 * SETTINGS.tick_nanos
    assert found[0].observed - found[0].expected > 50.0


def test_what_all_do_together_is_the_services_matter() -> None:
    ticks = values(600)
    ticks[500:520] += 500.0
    assert seen(watch(), ticks) == []


def test_a_group_that_falls_apart_says_nothing_of_anyone() -> None:
    ticks = values(600)
    ticks[500:520, [1, 2, 3]] += 500.0
    assert seen(watch(), ticks) == []


def test_four_peers_are_enough_and_three_are_not() -> None:
    ticks = values(600)
    ticks[500:520, 0] += 60.0
    assert seen(watch(5), ticks[:, :5])
    assert not seen(watch(4), ticks[:, :4])


def test_it_abstains_until_a_difference_has_a_past() -> None:
    ticks = values(WARM_LOOKS)
    ticks[WARM_LOOKS - 10 :, 0] += 1000.0
    assert seen(watch(), ticks) == []


def test_one_error_where_there_never_was_any_is_not_yet_evidence() -> None:
    ticks = np.zeros((600, INSTANCES))
    ticks[500, 0] = 1.0
    assert seen(watch(), ticks) == []
    ticks[500:505, 0] = 1.0
    assert [v.series for v in seen(watch(), ticks)][:1] == [0]


def test_it_adapts_to_a_difference_that_stays() -> None:
    ticks = values(1200)
    ticks[500:, 2] += 60.0
    assert [v.change for v in seen(watch(), ticks)] == [Change.FIRING, Change.ADAPTED]


def test_it_rests_as_bytes_and_goes_on_the_same() -> None:
    ticks = values(600)
    ticks[500:520, 2] += 60.0
    one, other = watch(), PeerWatch(SETTINGS)
    seen(one, ticks[:510])
    other.thaw(one.freeze())
    later = seen(one, ticks[510:], 510)
    assert later
    assert seen(other, ticks[510:], 510) == later
    assert other.freeze() == one.freeze()


def test_huge_values_break_nothing() -> None:
    ticks = values(100)
    ticks[50, 0], ticks[51, 1] = 1e300, -1e300
    assert all(np.isfinite(v.height) for v in seen(watch(), ticks))
