"""Entities as witnesses: how improbable, by what, and for how long."""

import numpy as np

from detectors.bank import BankSettings, Change, Verdict
from detectors.entity_watch import EntityWatch
from detectors.multivariate import WARM_LOOKS

METRICS = 8
ENTITIES = 3
ROWS = np.arange(ENTITIES * METRICS)
SETTINGS = BankSettings(adapt_ticks=300)


def watch(allowed: float = 1.0) -> EntityWatch:
    made = EntityWatch(SETTINGS, allowed)
    made.admit(ROWS, np.repeat(np.arange(ENTITIES), METRICS))
    return made


def values(ticks: int, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    made: np.ndarray = 100.0 + rng.normal(size=(ticks, len(ROWS)))
    return made


def seen(one: EntityWatch, ticks: np.ndarray, first: int = 0) -> list[Verdict]:
    found: list[Verdict] = []
    for tick, value in enumerate(ticks, first):
        found += one.look(tick, ROWS, value, np.full(len(ROWS), tick * SETTINGS.tick_nanos), 0)
    return found


def test_calm_entities_are_left_alone() -> None:
    assert seen(watch(), values(3000)) == []


def test_several_metrics_that_depart_together_raise_their_entity_and_are_named() -> None:
    ticks = values(600)
    ticks[500:540, [8, 10, 13]] += 60.0
    found = seen(watch(), ticks)
    assert [verdict.change for verdict in found] == [Change.FIRING, Change.CLEARED]
    fired = found[0]
    assert {row for row, _ in fired.parts[:3]} == {8, 10, 13}
    assert fired.onset_unix_nano == 500 * SETTINGS.tick_nanos
    assert fired.observed > 5.0 * fired.expected
    assert found[1].time_unix_nano <= 546 * SETTINGS.tick_nanos


def test_one_metric_alone_is_not_an_entity() -> None:
    ticks = values(600)
    ticks[500:540, 8] += 1000.0
    assert seen(watch(), ticks) == []


def test_it_abstains_while_it_warms_up() -> None:
    ticks = values(WARM_LOOKS)
    ticks[WARM_LOOKS - 5 :] += 1000.0
    assert seen(watch(), ticks) == []


def test_what_stays_becomes_the_normal_and_is_judged_anew() -> None:
    ticks = values(1400)
    ticks[500:, [0, 1, 2]] += 60.0
    ticks[1300:, [3, 4, 5]] += 60.0
    found = seen(watch(), ticks)
    assert [v.change for v in found[:3]] == [Change.FIRING, Change.ADAPTED, Change.FIRING]
    assert found[2].onset_unix_nano == 1300 * SETTINGS.tick_nanos
    assert {row for row, _ in found[2].parts[:3]} == {3, 4, 5}


def test_a_wider_dial_raises_what_a_narrow_one_does_not() -> None:
    ticks = values(600)
    ticks[500:510, :3] += 18.0
    assert seen(watch(1e-4), ticks) == []
    assert seen(watch(1e4), ticks)


def test_who_departs_often_has_to_depart_further() -> None:
    ticks = values(4000)
    for start in range(600, 4000, 100):
        ticks[start : start + 2, :3] += 60.0
    found = [v for v in seen(watch(), ticks) if v.change is Change.FIRING]
    early = sum(v.time_unix_nano < 2000 * SETTINGS.tick_nanos for v in found)
    assert early
    assert len(found) - early < early


def test_it_rests_as_bytes_and_goes_on_the_same() -> None:
    ticks = values(600)
    ticks[500:540, [8, 10, 13]] += 60.0
    one, other = watch(), EntityWatch(SETTINGS)
    seen(one, ticks[:520])
    other.thaw(one.freeze())
    later = seen(one, ticks[520:], 520)
    assert later
    assert seen(other, ticks[520:], 520) == later
    assert other.freeze() == one.freeze()


def test_an_entity_that_is_gone_leaves_nothing_to_the_next() -> None:
    ticks = values(520)
    ticks[500:, [8, 10, 13]] += 60.0
    one = watch()
    seen(one, ticks)
    assert one.firing(1) == 500 * SETTINGS.tick_nanos
    one.admit(ROWS[8:16], np.full(METRICS, -1))
    one.forget(np.array([1]))
    assert one.firing(1) is None
