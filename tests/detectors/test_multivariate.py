"""The entity detector: many metrics as one, each in its own spread."""

import numpy as np
import pytest

from detectors.multivariate import MAX_DEVIATION_WITHOUT_SPREAD, EntityDetector

METRICS = 6


@pytest.fixture
def history() -> np.ndarray:
    rng = np.random.default_rng(0)
    past: np.ndarray = rng.normal(size=(2000, METRICS)) * np.array([1.0, 10.0, 0.1, 1.0, 1.0, 1.0]) + 50.0
    return past


def fitted(history: np.ndarray, entity: np.ndarray | None = None) -> EntityDetector:
    detector = EntityDetector(np.zeros(history.shape[1], np.intp) if entity is None else entity)
    detector.fit(history)
    return detector


def test_metrics_that_move_together_weigh_more_than_one(history: np.ndarray) -> None:
    spread = history.std(axis=0)
    usual = history.mean(axis=0)
    one, all_together = fitted(history), fitted(history)
    single = usual + spread * np.array([4.0, 0, 0, 0, 0, 0])
    assert all_together.step(usual + 4.0 * spread).smooth[0] > 2.0 * one.step(single).smooth[0]


def test_what_lasts_weighs_more_than_a_blip(history: np.ndarray) -> None:
    usual, bad = history.mean(axis=0), history.mean(axis=0) + 5.0 * history.std(axis=0)
    blip, lasting = fitted(history), fitted(history)
    blip.step(bad)
    lasting.step(bad)
    assert lasting.step(bad).smooth[0] > blip.step(usual).smooth[0]


def test_it_names_the_metric(history: np.ndarray) -> None:
    value = history.mean(axis=0)
    value[2] += 3.0
    assert int(fitted(history).step(value).deviations.argmax()) == 2


def test_units_of_each_metric_mean_nothing(history: np.ndarray) -> None:
    units = np.array([1.0, 1e-6, 1024.0, 1e9, 3.0, 0.5])
    plain, scaled = fitted(history), fitted(history * units)
    rng = np.random.default_rng(1)
    for value in rng.normal(50.0, 5.0, size=(50, METRICS)):
        assert plain.step(value).smooth[0] == pytest.approx(scaled.step(value * units).smooth[0], rel=1e-6)


def test_a_metric_that_never_moved_may_not_decide_alone(history: np.ndarray) -> None:
    history[:, 0] = 7.0
    value = history.mean(axis=0)
    value[0] = 1e6
    assert fitted(history).step(value).deviations[0] <= MAX_DEVIATION_WITHOUT_SPREAD * 2.0


def test_entities_do_not_see_each_other(history: np.ndarray) -> None:
    both = fitted(np.hstack((history, history)), np.repeat([0, 1], METRICS))
    usual = history.mean(axis=0)
    found = both.step(np.concatenate((usual + 100.0, usual)))
    alone = fitted(history).step(usual)
    assert found.smooth[1] == pytest.approx(alone.smooth[0])
    assert found.smooth[0] > 10.0 * max(found.smooth[1], 0.1)


def test_a_missing_value_says_nothing(history: np.ndarray) -> None:
    value = history.mean(axis=0)
    value[3] = np.nan
    found = fitted(history).step(value)
    assert np.isfinite(found.smooth).all()
    assert found.deviations[3] == 0.0


def test_a_metric_without_history_is_refused() -> None:
    with pytest.raises(ValueError, match="no value"):
        EntityDetector(np.zeros(2, np.intp)).fit(np.array([[1.0, np.nan], [2.0, np.nan]]))
