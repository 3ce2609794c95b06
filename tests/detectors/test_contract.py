"""The contract of every detector: each one that is found goes through the same checks."""

from __future__ import annotations

import doctest
import importlib
from dataclasses import dataclass

import numpy as np
import pytest

from detectors.base import Detector, NotFittedError, discover

Floats = np.ndarray
Fitted = dict[type[Detector], Detector]
HOUR = 3600e9
WIDTH = 4


@dataclass(frozen=True)
class Case:
    """A detector and calm data of the shape it takes: two weeks of hours."""

    kind: type[Detector]

    def make(self) -> Detector:
        return self.kind()

    def rows(self, count: int, seed: int = 0, *, after: int = 0) -> Floats:
        rng = np.random.default_rng(seed)
        hours = after + np.arange(count)
        width = self.kind.values or WIDTH
        values = 100.0 + 10.0 * np.sin(2 * np.pi * hours / 24)[:, None] + rng.normal(size=(count, width))
        return np.column_stack(((hours + 1) * HOUR, values)) if self.kind.timed else values

    def odd(self, row: Floats) -> Floats:
        changed = row.copy()
        changed[int(self.kind.timed) :] += 500.0
        return changed

    def scaled(self, rows: Floats, factor: float) -> Floats:
        changed = rows.copy()
        changed[:, int(self.kind.timed) :] *= factor
        return changed

    def with_values(self, rows: Floats, value: float) -> Floats:
        changed = rows.copy()
        changed[:, int(self.kind.timed) :] = value
        return changed

    @property
    def history(self) -> Floats:
        return self.rows(336)

    @property
    def later(self) -> Floats:
        return self.rows(48, seed=1, after=336)


FOUND = discover()
EACH = pytest.mark.parametrize("case", [Case(kind) for kind in FOUND], ids=[kind.__name__ for kind in FOUND])


@pytest.fixture(scope="session")
def fitted() -> Fitted:
    return {case.kind: case.make().fit(case.history) for case in map(Case, FOUND)}


def test_the_detectors_are_found() -> None:
    names = {kind.__name__ for kind in FOUND}
    assert {"Entity", "Hbos", "IForest", "Loda", "Knn", "Pca", "Univariate", "NovelValue", "UnlikeThisHour"} <= names


@EACH
def test_it_names_its_paper_and_shows_a_runnable_example(case: Case) -> None:
    assert len(case.kind.paper) > 20
    found = doctest.DocTestFinder(recurse=False).find(
        case.kind, case.kind.__name__, globs=vars(importlib.import_module(case.kind.__module__)).copy()
    )
    assert [test for test in found if test.examples]
    for test in found:
        assert doctest.DocTestRunner(optionflags=doctest.ELLIPSIS).run(test).failed == 0


@EACH
def test_it_gives_one_number_a_row_and_what_is_odd_scores_higher(case: Case, fitted: Fitted) -> None:
    detector, later = fitted[case.kind], case.later
    scores = detector.score(later)
    assert scores.shape == (len(later),)
    assert np.isfinite(scores).all()
    assert detector.score(np.array([case.odd(later[0])]))[0] > np.quantile(scores, 0.95)


@EACH
def test_a_row_alone_scores_what_it_scores_in_a_batch_in_any_order(case: Case, fitted: Fitted) -> None:
    detector, later = fitted[case.kind], case.later
    together = detector.score(later)
    alone = np.array([detector.score(later[[i]])[0] for i in range(len(later))])
    np.testing.assert_allclose(alone, together, rtol=1e-6, atol=1e-9)
    order = np.random.default_rng(0).permutation(len(later))
    np.testing.assert_allclose(detector.score(later[order]), together[order], rtol=1e-6, atol=1e-9)


@EACH
def test_an_odd_row_in_the_batch_changes_no_other(case: Case, fitted: Fitted) -> None:
    detector, later = fitted[case.kind], case.later
    beside = np.vstack((later, case.odd(later[0])))
    np.testing.assert_allclose(detector.score(beside)[:-1], detector.score(later), rtol=1e-6, atol=1e-9)


@EACH
def test_scoring_teaches_nothing(case: Case, fitted: Fitted) -> None:
    detector, before = fitted[case.kind], fitted[case.kind].freeze()
    detector.score(np.array([case.odd(row) for row in case.later]))
    assert detector.freeze() == before


@EACH
def test_it_abstains_while_it_warms_up_and_says_so(case: Case) -> None:
    detector = case.make()
    assert detector.abstaining == "never fitted"
    with pytest.raises(NotFittedError):
        detector.score(case.later)
    detector.fit(case.rows(case.kind.warm_rows - 1))
    assert detector.abstaining is not None
    assert f"of {case.kind.warm_rows} rows" in detector.abstaining
    assert np.isnan(detector.score(case.later)).all()
    assert detector.explain(0) == ()
    assert detector.fit(case.history).abstaining is None


@EACH
def test_a_row_without_any_value_is_abstained_from(case: Case, fitted: Fitted) -> None:
    detector, later = fitted[case.kind], case.later[:3]
    gap = case.with_values(later[[1]], np.nan)
    scores = detector.score(np.vstack((later[0], gap[0], later[2])))
    assert np.isfinite(scores).tolist() == [True, False, True]
    assert detector.explain(1) == ()


@EACH
def test_gaps_in_history_are_no_values(case: Case) -> None:
    history = case.history
    first = int(case.kind.timed)
    history[::7, first:] = np.nan
    history[::5, -1] = np.nan
    assert np.isfinite(case.make().fit(history).score(case.later)).all()


@EACH
def test_a_constant_history_finds_nothing_in_more_of_the_same(case: Case) -> None:
    detector = case.make().fit(case.with_values(case.history, 7.0))
    same, other = case.with_values(case.later[:1], 7.0), case.with_values(case.later[:1], 1e6)
    scores = detector.score(np.vstack((same, other)))
    assert np.isfinite(scores).all()
    assert scores[1] >= scores[0]


@EACH
def test_units_mean_nothing(case: Case, fitted: Fitted) -> None:
    """Powers of two are exact: not one bit of the judgement may depend on the unit."""
    scaled = case.make().fit(case.scaled(case.history, 1024.0))
    rows = np.vstack((case.later, case.odd(case.later[0])))
    np.testing.assert_allclose(scaled.score(case.scaled(rows, 1024.0)), fitted[case.kind].score(rows), rtol=1e-6)


@EACH
def test_the_same_history_gives_the_same_detector(case: Case, fitted: Fitted) -> None:
    again = case.make().fit(case.history)
    np.testing.assert_array_equal(again.score(case.later), fitted[case.kind].score(case.later))
    assert again.version == fitted[case.kind].version
    assert case.make().fit(case.rows(336, seed=9)).version != again.version


@EACH
def test_it_rests_as_bytes_and_goes_on_the_same(case: Case, fitted: Fitted) -> None:
    thawed = case.make().thaw(fitted[case.kind].freeze())
    np.testing.assert_array_equal(thawed.score(case.later), fitted[case.kind].score(case.later))
    assert thawed.freeze() == fitted[case.kind].freeze()
    early = case.make().fit(case.rows(1))
    assert case.make().thaw(early.freeze()).abstaining == early.abstaining


@EACH
def test_it_explains_a_row_strongest_first(case: Case, fitted: Fitted) -> None:
    detector, row = fitted[case.kind], case.later[0].copy()
    row[-1] += 500.0
    detector.score(np.array([case.later[1], row]))
    said = detector.explain(1)
    assert said
    assert [one.weight for one in said] == sorted((one.weight for one in said), reverse=True)
    if case.kind.values is None:
        assert said[0].name == f"column {WIDTH - 1}"


@EACH
def test_wrong_shapes_are_refused(case: Case) -> None:
    with pytest.raises(ValueError, match=case.kind.__name__):
        case.make().fit(case.history[0])
    with pytest.raises(ValueError, match=case.kind.__name__):
        case.make().fit(case.history[:, : int(case.kind.timed)])
    with pytest.raises(ValueError, match=case.kind.__name__):
        case.make().fit(case.history).score(np.hstack((case.later, case.later)))
