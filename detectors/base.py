"""What a detector is: learns what is usual from calm history, says how unusual a row is, and why; and it can rest.

Every detector of numbers follows this protocol, is found by `discover` and goes through one battery of checks
(`tests/detectors/test_contract.py`). What comes out is a score of no fixed scale: larger is less usual, NaN is "I do
not know yet". `detectors.calibrate` makes a probability of it. The live path keeps many subjects at once as rows of
arrays (`detectors.bank_rows`) and steps them; a detector of this protocol is the same code for one subject.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from importlib import import_module
from inspect import isabstract
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, ClassVar, Generic, Self, TypeVar

import msgspec
import numpy as np
from numpy.typing import NDArray

from detectors.bank_rows import freeze_rows, repeated, thaw_rows

Floats = NDArray[np.float64]
State = TypeVar("State")

# A gap of this part of the value is rounding, not spread.
RELATIVE_ROUNDING = 1e-9


class NotFittedError(RuntimeError):
    """A detector was asked before it was fitted: a bug of the caller, not a state of the data."""


@dataclass(frozen=True, slots=True)
class Contribution:
    """What one column, or one look at the row, had to do with its score."""

    name: str
    weight: float
    """In the detector's own unit; only the order and the proportions within a row mean something."""


class Detector(ABC):
    """Learns from `fit`, judges rows with `score`, says why with `explain`.

    The rows of one `score` do not see each other: what a row scores depends on what was fitted and on nothing else.
    """

    paper: ClassVar[str]
    """Where the method is published."""
    timed: ClassVar[bool] = False
    """Whether the first column of `X` is event time in nanoseconds; the columns after it are values."""
    values: ClassVar[int | None] = None
    """How many value columns it takes; None: any number."""
    warm_rows: ClassVar[int]
    """Rows of history below which it abstains."""

    def __init__(self) -> None:
        self._rows = -1
        self._columns = 0
        self._scored: Floats = np.zeros((0, 0))

    @property
    def abstaining(self) -> str | None:
        """Why it says nothing, in words; None when it is ready."""
        if self._rows < 0:
            return "never fitted"
        return None if self._rows >= self.warm_rows else f"warming up: {self._rows} of {self.warm_rows} rows seen"

    @property
    def version(self) -> str:
        """Which model this is: equal for equal settings and history, wherever it was fitted."""
        return blake2b(self.freeze(), digest_size=4).hexdigest()

    def fit(self, history: Floats) -> Self:
        """Learn what is usual from `[rows, columns]` of calm history, oldest first; NaN where there is no value.

        What was learned before is forgotten. Too short a history makes it abstain.

        Raises:
            ValueError: the shape is not what this detector takes.

        """
        self._check(history)
        self._rows, self._columns = history.shape
        self._scored = np.zeros((0, 0))
        if self.abstaining is None:
            self._fit(history)
        return self

    def score(self, rows: Floats) -> Floats:
        """How unusual each of `[rows, columns]` is; NaN where it abstains.

        Raises:
            NotFittedError: `fit` was never called.
            ValueError: the shape is not what this detector takes.

        """
        if self._rows < 0:
            raise NotFittedError(f"{type(self).__name__}.score before fit")
        self._check(rows)
        if rows.shape[1] != self._columns:
            raise ValueError(f"{type(self).__name__} was fitted on {self._columns} columns, not {rows.shape[1]}")
        self._scored = rows
        scores = np.full(len(rows), np.nan)
        known = np.isfinite(rows[:, int(self.timed) :]).any(axis=1)
        if self.abstaining is None and known.any():
            scores[known] = self._score(rows[known])
        return scores

    def explain(self, i: int) -> tuple[Contribution, ...]:
        """Say what the score of row `i` of the last `score` came from, strongest first; nothing where it abstained."""
        row = self._scored[[i]]
        if self.abstaining is not None or not np.isfinite(row[:, int(self.timed) :]).any():
            return ()
        return tuple(sorted(self._explain(row), key=lambda one: -one.weight))

    def freeze(self) -> bytes:
        """Everything it knows, as bytes that hold no code."""
        return msgspec.msgpack.encode((self._rows, self._columns, self._freeze() if self.abstaining is None else b""))

    def thaw(self, state: bytes) -> Self:
        """Become what `freeze` was called on; it must have been made with the same settings."""
        self._rows, self._columns, inner = msgspec.msgpack.decode(state, type=tuple[int, int, bytes])
        self._scored = np.zeros((0, 0))
        if self.abstaining is None:
            self._thaw(inner)
        return self

    def _check(self, rows: Floats) -> None:
        if rows.ndim != 2:
            raise ValueError(f"{type(self).__name__} takes [rows, columns], not {rows.shape}")
        given = rows.shape[1] - int(self.timed)
        if given < 1 or self.values not in {None, given}:
            raise ValueError(f"{type(self).__name__} takes {self.values or 'at least one'} value columns, not {given}")

    @abstractmethod
    def _fit(self, history: Floats) -> None: ...

    @abstractmethod
    def _score(self, rows: Floats) -> Floats: ...

    @abstractmethod
    def _explain(self, row: Floats) -> Sequence[Contribution]: ...

    @abstractmethod
    def _freeze(self) -> bytes: ...

    @abstractmethod
    def _thaw(self, state: bytes) -> None: ...


class Streaming(Detector, Generic[State]):
    """A detector whose state moves with every tick: `fit` lets history pass, `score` judges each row as the next tick.

    Every row is judged on a copy of the state of its own, so that none sees another, and none is learned.
    """

    @abstractmethod
    def _blank(self) -> State:
        """Return the state of one subject that knows nothing; arrays have the subject as their first axis."""

    @abstractmethod
    def _judge(self, state: State, rows: Floats) -> Floats:
        """Let row `i` pass subject `i`; return what each look makes of it, `[rows, looks]`."""

    @abstractmethod
    def _names(self) -> Sequence[str]:
        """Name the looks."""

    @abstractmethod
    def _together(self, looks: Floats) -> Floats:
        """Make one score of the looks of each row."""

    def _fit(self, history: Floats) -> None:
        self._state = self._blank()
        for tick in range(len(history)):
            row = history[[tick]]
            if np.isfinite(row[:, int(self.timed) :]).any():
                self._judge(self._state, row)

    def _score(self, rows: Floats) -> Floats:
        return self._together(self._judge(repeated(self._state, len(rows)), rows))

    def _explain(self, row: Floats) -> Sequence[Contribution]:
        looks = self._judge(repeated(self._state, 1), row)[0]
        return [Contribution(n, float(w)) for n, w in zip(self._names(), looks, strict=True) if np.isfinite(w)]

    def _freeze(self) -> bytes:
        return freeze_rows(self._state)

    def _thaw(self, state: bytes) -> None:
        self._state = self._blank()
        thaw_rows(self._state, state)


def discover() -> list[type[Detector]]:
    """Every detector there is, by name: all concrete classes of this protocol in this package."""
    found: dict[str, type[Detector]] = {}
    for module in iter_modules([str(Path(__file__).parent)]):
        for value in vars(import_module(f"detectors.{module.name}")).values():
            if _is_detector(value):
                found[value.__name__] = value
    return [found[name] for name in sorted(found)]


def _is_detector(value: Any) -> bool:
    return isinstance(value, type) and issubclass(value, Detector) and not isabstract(value)
