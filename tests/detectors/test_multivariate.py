"""The entity detector: many metrics as one, each in its own spread."""

import numpy as np
import pytest

from detectors import multivariate
from detectors.multivariate import MAX_DEVIATION_WITHOUT_SPREAD, WARM_LOOKS, EntityDetector

METRICS = 6
ROWS = np.arange(METRICS)


@pytest.fixture
def history() -> np.ndarray:
    rng = np.random.default_rng(0)
    past: np.ndarray = rng.normal(size=(1024, METRICS)) * np.array([1.0, 10.0, 0.1, 1.0, 1.0, 1.0]) + 50.0
    return past


def fitted(history: np.ndarray, entity: np.ndarray | None = None) -> EntityDetector:
    detector = EntityDetector()
    rows = np.arange(history.shape[1])
    detector.admit(rows, np.zeros(len(rows), np.int64) if entity is None else entity)
    for value in history:
        detector.learn(rows, value, detector.step(rows, value))
    return detector


def test_metrics_that_move_together_weigh_more_than_one(history: np.ndarray) -> None:
    spread = history.std(axis=0)
    usual = history.mean(axis=0)
    one, all_together = fitted(history), fitted(history)
    single = usual + spread * np.array([4.0, 0, 0, 0, 0, 0])
    assert all_together.step(ROWS, usual + 4.0 * spread).smooth[0] > 1.5 * one.step(ROWS, single).smooth[0]


def test_what_one_metric_says_is_not_what_the_rest_says(history: np.ndarray) -> None:
    value = history.mean(axis=0)
    before = fitted(history).step(ROWS, value)
    value[1] += 500.0
    found = fitted(history).step(ROWS, value)
    assert found.smooth[0] > 3.0 * before.smooth[0]
    assert found.rest[0] == pytest.approx(before.rest[0], rel=0.1)


def test_what_lasts_weighs_more_than_a_blip(history: np.ndarray) -> None:
    usual, bad = history.mean(axis=0), history.mean(axis=0) + 5.0 * history.std(axis=0)
    blip, lasting = fitted(history), fitted(history)
    blip.step(ROWS, bad)
    lasting.step(ROWS, bad)
    assert lasting.step(ROWS, bad).smooth[0] > blip.step(ROWS, usual).smooth[0]


def test_it_names_the_metric(history: np.ndarray) -> None:
    value = history.mean(axis=0)
    value[2] += 3.0
    assert int(fitted(history).step(ROWS, value).power.argmax()) == 2


def test_units_of_each_metric_mean_nothing(history: np.ndarray) -> None:
    units = np.array([1.0, 1e-6, 1024.0, 1e9, 3.0, 0.5])
    plain, scaled = fitted(history), fitted(history * units)
    for value in np.random.default_rng(1).normal(50.0, 5.0, size=(50, METRICS)):
        judged = plain.step(ROWS, value).smooth[0]
        assert judged == pytest.approx(scaled.step(ROWS, value * units).smooth[0], rel=1e-6)


def test_a_metric_that_never_moved_may_not_decide_alone(history: np.ndarray) -> None:
    history[:, 0] = 7.0
    value = history.mean(axis=0)
    value[0] = 1e6
    assert fitted(history).step(ROWS, value).power[0] <= 4.0 * MAX_DEVIATION_WITHOUT_SPREAD**2


def test_entities_do_not_see_each_other(history: np.ndarray) -> None:
    both = fitted(np.hstack((history, history)), np.repeat([0, 1], METRICS))
    usual = history.mean(axis=0)
    found = both.step(np.arange(2 * METRICS), np.concatenate((usual + 100.0, usual)))
    alone = fitted(history).step(ROWS, usual)
    assert found.smooth[1] == pytest.approx(alone.smooth[0])
    assert found.smooth[0] > 10.0 * max(found.smooth[1], 0.1)


def test_the_order_in_which_metrics_are_given_changes_nothing(history: np.ndarray) -> None:
    value = history.mean(axis=0) + history.std(axis=0)
    order = np.random.default_rng(2).permutation(METRICS)
    mixed = fitted(history).step(ROWS[order], value[order])
    assert mixed.smooth[0] == pytest.approx(fitted(history).step(ROWS, value).smooth[0])


def test_a_missing_value_says_nothing(history: np.ndarray) -> None:
    value, some = history.mean(axis=0), np.array([0, 1, 2, 4, 5])
    found = fitted(history).step(some, value[some])
    assert found.entity.tolist() == [0]
    assert len(found.power) == len(some)


def test_it_abstains_where_most_metrics_are_missing_or_too_few_or_not_warm(history: np.ndarray) -> None:
    value = history.mean(axis=0)
    assert not len(fitted(history).step(ROWS[:2], value[:2]).entity)
    assert not len(fitted(history[:, :2]).step(ROWS[:2], value[:2]).entity)
    assert not len(fitted(history[: WARM_LOOKS - 1]).step(ROWS, value).entity)
    assert len(fitted(history[:WARM_LOOKS]).step(ROWS, value).entity)


def test_spreads_are_taken_anew_and_what_is_long_over_is_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(multivariate, "MEMORY", 512)
    rng = np.random.default_rng(0)
    detector, rows = fitted(rng.normal(0.0, 10.0, size=(WARM_LOOKS, METRICS))), ROWS
    wide = detector.step(rows, np.full(METRICS, 20.0)).power.sum()
    for value in rng.normal(size=(1024, METRICS)):
        detector.learn(rows, value, detector.step(rows, value))
    assert detector.step(rows, np.full(METRICS, 20.0)).power.sum() > 20.0 * wide


def test_it_rests_as_bytes_and_goes_on_the_same(history: np.ndarray) -> None:
    detector = fitted(history)
    thawed = EntityDetector.thaw(*detector.freeze())
    value = history.mean(axis=0) + 1.0
    assert thawed.step(ROWS, value).smooth[0] == detector.step(ROWS, value).smooth[0]
    assert thawed.freeze() == detector.freeze()


def test_a_row_given_to_another_metric_knows_nothing(history: np.ndarray) -> None:
    detector = fitted(history)
    detector.admit(ROWS, np.zeros(METRICS, np.int64))
    assert not len(detector.step(ROWS, history[0]).entity)
