"""Sequences far from every calm one, or near those of labelled incidents: novelty and memory, each calibrated.

Called by the scoreboard with traces of system calls. Sequences become vectors of their 1- to 3-grams (TF-IDF, term
frequencies damped), in which two judges look at them: the mean cosine distance to the five nearest calm sequences, and
a logistic regression of calm against what was labelled bad. Each judge's score becomes decades of a conformal p-value
against calm sequences that it was not fitted on, and the score is the larger: either is reason enough. The two err
differently: attacks of a new family look like those of a known one, or like nothing at all.

At rest it is the sequences it was fitted on: fitting is deterministic, and a snapshot holds no code.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.base import Contribution, NotFittedError

Floats = NDArray[np.float64]
Events = Sequence[int]

PAPER = (
    "Liao & Vemuri, Use of K-Nearest Neighbor Classifier for Intrusion Detection, Computers & Security 21, 2002; "
    "conformal p-values: Laxhammar & Falkman, Annals of Mathematics and Artificial Intelligence 74, 2015"
)

WARM_SEQUENCES = 64
LONGEST_GRAM = 3
NEIGHBOURS = 5
# Calm sequences are judged by a model fitted without their third: enough to fit on, and few fits.
FOLDS = 3
# What is labelled bad teaches nothing from fewer examples.
MIN_BAD = 8
# Inverse regularisation; from 1 to 100 it measures the same.
INVERSE_REGULARISATION = 10.0
NOVELTY, MEMORY = "unlike every calm sequence", "like a labelled incident"


class SequenceMemory:
    """Calm sequences, and labelled bad ones if there are any.

    >>> calm = [[1, 2, 3, 4] * 3, [1, 2, 4, 3] * 3, [2, 1, 3, 4] * 3, [1, 3, 2, 4] * 3] * 25
    >>> memory = SequenceMemory().fit(calm)
    >>> usual, odd = memory.score([[1, 2, 3, 4] * 3, [7, 8, 9] * 4])
    >>> bool(odd > usual), memory.explain([7, 8, 9] * 4)[0].name
    (True, 'unlike every calm sequence')
    """

    def __init__(self) -> None:
        self._calm: list[list[int]] | None = None
        self._bad: list[list[int]] = []

    @property
    def abstaining(self) -> str | None:
        """Why it says nothing, in words; None when it is ready."""
        if self._calm is None:
            return "never fitted"
        if len(self._calm) >= WARM_SEQUENCES:
            return None
        return f"warming up: {len(self._calm)} of {WARM_SEQUENCES} sequences seen"

    @property
    def version(self) -> str:
        """Which model this is: equal for equal history."""
        return blake2b(self.freeze(), digest_size=4).hexdigest()

    def fit(self, calm: Sequence[Events], bad: Sequence[Events] = ()) -> SequenceMemory:
        """Forget, and learn these; fewer than `MIN_BAD` bad ones are not used."""
        self._calm, self._bad = [list(one) for one in calm], [list(one) for one in bad]
        if self.abstaining is None:
            judged = [self._held_out(fold) for fold in range(FOLDS)]
            self._references = np.sort(np.concatenate(judged), axis=0)
            self._judges = _Judges(self._calm, self._bad)
        return self

    def score(self, sequences: Sequence[Events]) -> Floats:
        """Decades of the smaller conformal p-value of each; NaN while it abstains."""
        decades: Floats = self._decades(sequences).max(axis=1)
        return decades

    def explain(self, events: Events) -> tuple[Contribution, ...]:
        """Say which judge made the score, in decades, strongest first."""
        if self.abstaining is not None:
            return ()
        names = (NOVELTY, MEMORY)
        said = [Contribution(n, float(d)) for n, d in zip(names, self._decades([events])[0], strict=False)]
        return tuple(sorted(said, key=lambda one: -one.weight))

    def freeze(self) -> bytes:
        """Everything it knows, as bytes that hold no code."""
        return msgspec.msgpack.encode((self._calm, self._bad))

    def thaw(self, state: bytes) -> SequenceMemory:
        """Become what `freeze` was called on."""
        calm, bad = msgspec.msgpack.decode(state, type=tuple[list[list[int]] | None, list[list[int]]])
        return SequenceMemory() if calm is None else self.fit(calm, bad)

    def _decades(self, sequences: Sequence[Events]) -> Floats:
        if self._calm is None:
            raise NotFittedError("SequenceMemory.score before fit")
        if self.abstaining is not None:
            return np.full((len(sequences), 1), np.nan)
        scores = self._judges.score(sequences)
        return np.column_stack([_decades(r, s) for r, s in zip(self._references.T, scores.T, strict=True)])

    def _held_out(self, fold: int) -> Floats:
        """Score a third of the calm sequences by judges that saw the rest."""
        calm = self._calm or []
        rest = [events for i, events in enumerate(calm) if i % FOLDS != fold]
        return _Judges(rest, self._bad).score(calm[fold::FOLDS])


class _Judges:
    """Vectors, neighbours and, where there is enough that is bad, a regression."""

    def __init__(self, calm: Sequence[Events], bad: Sequence[Events]) -> None:
        # Here, not above: scikit-learn takes seconds to import.
        from sklearn.feature_extraction.text import TfidfVectorizer  # noqa: PLC0415
        from sklearn.linear_model import LogisticRegression  # noqa: PLC0415
        from sklearn.neighbors import NearestNeighbors  # noqa: PLC0415

        self._vectors: Any = TfidfVectorizer(analyzer=_grams, sublinear_tf=True)
        calm_rows = self._vectors.fit([*calm, *bad]).transform(calm)
        self._neighbours: Any = NearestNeighbors(n_neighbors=NEIGHBOURS, metric="cosine").fit(calm_rows)
        self._regression: Any = None
        if len(bad) >= MIN_BAD:
            from scipy.sparse import vstack  # noqa: PLC0415

            rows = vstack((calm_rows, self._vectors.transform(bad)))
            labels = np.repeat([0, 1], [len(calm), len(bad)])
            model = LogisticRegression(C=INVERSE_REGULARISATION, class_weight="balanced", max_iter=500)
            self._regression = model.fit(rows, labels)

    def score(self, sequences: Sequence[Events]) -> Floats:
        rows = self._vectors.transform(sequences)
        far: Floats = self._neighbours.kneighbors(rows)[0].mean(axis=1)
        if self._regression is None:
            return far[:, None]
        return np.column_stack((far, self._regression.decision_function(rows)))


def _grams(events: Events) -> Iterator[tuple[int, ...]]:
    for length in range(1, LONGEST_GRAM + 1):
        yield from zip(*(events[start:] for start in range(length)), strict=False)


def _decades(reference: Floats, scores: Floats) -> Floats:
    """-log10 of the conformal p-value against an ascending reference."""
    above = len(reference) - np.searchsorted(reference, scores, side="left")
    decades: Floats = -np.log10((above + 1) / (len(reference) + 1))
    return decades
