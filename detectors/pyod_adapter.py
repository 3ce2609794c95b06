"""PyOD's detectors under our protocol: those that suit streams, standardised, deterministic, and at rest without code.

Each is checked by the contract battery (`tests/detectors/test_contract.py`); the live stage calls none, because none
adds to the entity detector (`benchmarks.entity_models`, docs/detection.md). A row is what is known of an entity at one
time. Each column is put in robust deviations of the history first, so that units mean nothing and a metric that never
moved counts, but not for more than all others. Rows are judged by `decision_function` of a model that stands still: it
sees each row alone.
Left out on purpose: ECOD and COPOD, whose scores of a row depend on the other rows of the call; and `contamination`
and `predict`, which would declare a fixed share of any history abnormal.

At rest a model is the history it was fitted on: fitting is deterministic, so thawing fits again and gets the same. No
pickles: a snapshot comes from a topic, and reading one must not run code.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from detectors.bank_rows import freeze_rows, thaw_rows
from detectors.base import RELATIVE_ROUNDING, Contribution, Detector

Floats = NDArray[np.float64]

# 1.4826 makes the median absolute deviation estimate a normal standard deviation.
MAD_TO_SIGMA = 1.4826
# A metric counts for no more than this many deviations: beyond, it is certain and would only drown the others.
MAX_DEVIATION = 30.0
# A spread below a hundredth of the widest excursion is rounding. Such a metric has no scale, only the fact that this
# never happened: it counts for ten deviations at most.
RANGE_FLOOR = 0.01
MAX_DEVIATION_WITHOUT_SPREAD = 10.0
# Fewer rows than this are no distribution: a histogram or a covariance of them is noise.
WARM_ROWS = 64
# Rows of history kept: more are thinned evenly. Models of 512 and of 2048 rows measure the same (docs/detection.md).
MAX_ROWS = 512
SEED = 20_240_229


class _History:
    """What a model was fitted on, as arrays."""

    def __init__(self, rows: Floats) -> None:
        self.rows = rows.astype(np.float32)


class PyodDetector(Detector):
    """A PyOD model on robust deviations."""

    warm_rows = WARM_ROWS
    name: ClassVar[str]

    @abstractmethod
    def _model(self, deviations: Floats) -> Any:
        """Make the model and fit it."""

    def _fit(self, history: Floats) -> None:
        every = max(1, -(-len(history) // MAX_ROWS))
        # From the end backwards: the newest row is always among those kept.
        self._history = _History(history[::-1][::every][::-1])
        self._learn()

    def _learn(self) -> None:
        rows = self._history.rows.astype(np.float64)
        self._known = np.isfinite(rows).any(axis=0)
        rows = rows[:, self._known]
        self._centre = np.nanmedian(rows, axis=0)
        distance = np.abs(rows - self._centre)
        spread = MAD_TO_SIGMA * np.nanmedian(distance, axis=0)
        # Where most of a history is one value, the median deviation is zero and the mean one is not.
        spread = np.where(spread > 0.0, spread, np.nanmean(distance, axis=0))
        rounding = np.maximum(RELATIVE_ROUNDING * np.abs(self._centre), RANGE_FLOOR * distance.max(axis=0, initial=0.0))
        flat = spread <= rounding
        self._limit = np.where(flat, MAX_DEVIATION_WITHOUT_SPREAD, MAX_DEVIATION)
        self._scale = np.where(flat, np.where(rounding > 0.0, rounding, 1.0), spread)
        self._fitted = self._model(self._deviations(rows))

    def _deviations(self, rows: Floats) -> Floats:
        """Robust deviations of known columns; what is missing is as usual."""
        deviation: Floats = np.clip(np.nan_to_num((rows - self._centre) / self._scale), -self._limit, self._limit)
        return deviation

    def _score(self, rows: Floats) -> Floats:
        scores: Floats = np.asarray(self._fitted.decision_function(self._deviations(rows[:, self._known])), np.float64)
        return scores

    def _explain(self, row: Floats) -> Sequence[Contribution]:
        """Say what the score falls by when a column is put back to its usual value; the rest stay as they are."""
        deviation = self._deviations(row[:, self._known])
        put_back = np.repeat(deviation, deviation.shape[1], axis=0)
        np.fill_diagonal(put_back, 0.0)
        scores = np.asarray(self._fitted.decision_function(np.vstack((deviation, put_back))), np.float64)
        columns = np.flatnonzero(self._known).tolist()
        return [Contribution(f"column {c}", float(scores[0] - s)) for c, s in zip(columns, scores[1:], strict=True)]

    def _freeze(self) -> bytes:
        return freeze_rows(self._history)

    def _thaw(self, state: bytes) -> None:
        self._history = _History(np.zeros((0, 0)))
        thaw_rows(self._history, state)
        self._learn()


class Hbos(PyodDetector):
    """Histogram-based outlier score: how empty the bins are that the columns fall in, as if they were independent.

    >>> rng = np.random.default_rng(0)
    >>> detector = Hbos().fit(rng.normal(size=(300, 3)))
    >>> calm, odd = detector.score(np.array([[0.0, 0.0, 0.0], [0.0, 9.0, 0.0]]))
    >>> bool(odd > calm), detector.explain(1)[0].name
    (True, 'column 1')
    """

    name = "hbos"
    paper = "Goldstein & Dengel, Histogram-based Outlier Score (HBOS), KI 2012"

    def _model(self, deviations: Floats) -> Any:
        from pyod.models.hbos import HBOS  # noqa: PLC0415 - PyOD takes seconds to import

        return HBOS().fit(deviations)


class IForest(PyodDetector):
    """Isolation forest: how few random cuts set a row apart.

    >>> rng = np.random.default_rng(0)
    >>> detector = IForest().fit(rng.normal(size=(300, 3)))
    >>> calm, odd = detector.score(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]]))
    >>> bool(odd > calm)
    True
    """

    name = "iforest"
    paper = "Liu, Ting & Zhou, Isolation Forest, ICDM 2008"

    def _model(self, deviations: Floats) -> Any:
        from pyod.models.iforest import IForest as Model  # noqa: PLC0415 - PyOD takes seconds to import

        return Model(n_estimators=50, random_state=SEED).fit(deviations)


class Loda(PyodDetector):
    """Lightweight on-line detector of anomalies: histograms of sparse random projections.

    >>> rng = np.random.default_rng(0)
    >>> detector = Loda().fit(rng.normal(size=(300, 3)))
    >>> calm, odd = detector.score(np.array([[0.0, 0.0, 0.0], [9.0, -9.0, 9.0]]))
    >>> bool(odd > calm)
    True
    """

    name = "loda"
    paper = "Pevny, Loda: Lightweight on-line detector of anomalies, Machine Learning 102, 2016"

    def _model(self, deviations: Floats) -> Any:
        from pyod.models.loda import LODA  # noqa: PLC0415 - PyOD takes seconds to import

        return LODA(random_state=SEED).fit(deviations)


class Knn(PyodDetector):
    """Distance to the fifth nearest row of the history.

    >>> rng = np.random.default_rng(0)
    >>> detector = Knn().fit(rng.normal(size=(300, 3)))
    >>> calm, odd = detector.score(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]]))
    >>> bool(odd > calm), detector.explain(1)[0].name
    (True, 'column 2')
    """

    name = "knn"
    paper = "Ramaswamy, Rastogi & Shim, Efficient Algorithms for Mining Outliers from Large Data Sets, SIGMOD 2000"

    def _model(self, deviations: Floats) -> Any:
        from pyod.models.knn import KNN  # noqa: PLC0415 - PyOD takes seconds to import

        return KNN(n_neighbors=5).fit(deviations)


class Pca(PyodDetector):
    """Principal components: distance from what the history moves between, directions it hardly moves in weighing more.

    >>> rng = np.random.default_rng(0)
    >>> detector = Pca().fit(rng.normal(size=(300, 3)))
    >>> calm, odd = detector.score(np.array([[0.0, 0.0, 0.0], [0.0, 0.0, 9.0]]))
    >>> bool(odd > calm), detector.explain(1)[0].name
    (True, 'column 2')
    """

    name = "pca"
    paper = "Shyu et al., A Novel Anomaly Detection Scheme Based on Principal Component Classifier, ICDM 2003"

    def _model(self, deviations: Floats) -> Any:
        from pyod.models.pca import PCA  # noqa: PLC0415 - PyOD takes seconds to import

        moves = int(np.linalg.matrix_rank(deviations - deviations.mean(axis=0), rtol=RANGE_FLOOR**2))
        if not moves:  # nothing ever moved: any direction is as good as another
            unit = np.eye(deviations.shape[1])
            return PCA(random_state=SEED).fit(np.vstack((unit, -unit)))
        # Directions in which nothing moved have no scale: PyOD would divide by it.
        return PCA(n_components=moves, random_state=SEED).fit(deviations)
