"""Models beside the entity detector: how their scores are made comparable, and judged."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.entity_models import decades, entity_scores, figures, smoothed
from benchmarks.scoreboard.data import Machine


def test_decades_are_shares_of_calm_scores_and_go_on_beyond_the_highest() -> None:
    calm = np.random.default_rng(0).exponential(size=10_000)
    found = decades(calm, np.array([np.median(calm), np.quantile(calm, 0.99), 3.0 * calm.max()]))
    assert found[0] == pytest.approx(0.3, abs=0.01)
    assert found[1] == pytest.approx(2.0, abs=0.1)
    assert found[2] > 8.0


def test_smoothing_has_a_half_life_of_two_looks() -> None:
    assert smoothed(np.array([1.0, 1.0, 1.0, 1.0]))[[1, 3]].tolist() == pytest.approx([0.5, 0.75])


def test_a_fault_scores_above_calm_and_is_found() -> None:
    rng = np.random.default_rng(0)
    value, anomalous = rng.normal(size=(400, 4)), np.zeros(400, np.bool_)
    value[200:220] += 30.0
    anomalous[200:220] = True
    machine = Machine("m", rng.normal(size=(300, 4)), value, anomalous)
    calm, judged = entity_scores(machine)
    assert judged[202:220].min() > calm.max()
    volume, recall, false = (float(cell) for cell in figures([machine], [judged]).split(" | "))
    assert (recall, false) == (1.0, 0.0)
    assert volume > 0.8
