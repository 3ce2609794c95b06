"""Loops say the same, to the last bit, as Python and compiled."""

import subprocess
import sys
from collections.abc import Callable

import numpy as np
import pytest

from detectors import bank_state, compiled
from detectors.bank import BankSettings, SeriesBank, Verdict
from detectors.bank_columns import Kind
from detectors.compiled import Loop, ensure, jit, loop
from detectors.objectives import Objective
from detectors.witnesses import Place, Witnesses, WitnessSettings

SERIES, METRICS, TICKS = 60, 5, 400
SECOND = 1_000_000_000
Result = tuple[list[Verdict], bytes, bytes]


@pytest.fixture
def as_python(monkeypatch: pytest.MonkeyPatch) -> Callable[[], Result]:
    """Judge without anything compiled, whatever other tests had compiled."""

    def run() -> Result:
        # What other tests had begun to compile must not come in between, or it is taken back with the rest.
        compiled.settle()
        with monkeypatch.context() as patch:
            for one in compiled._loops:
                patch.setattr(one, "_compiled", None)
                patch.setattr(one, "_rows", compiled.WORTH_ROWS)
            return judged()

    return run


def judged() -> Result:
    """Everything that happens to series: gaps, floods, faults of one and of all, counters, resets, coarse ones."""
    settings = BankSettings(adapt_ticks=60)
    bank = SeriesBank(settings)
    witnesses = Witnesses(
        WitnessSettings(false_signals_per_day=20.0, objectives=(Objective("m1", above=13.0),)), bank, SERIES
    )
    rows = np.arange(SERIES)
    owner, metric = rows // METRICS, rows % METRICS
    kinds = np.array([Kind.GAUGE, Kind.GAUGE, Kind.GAUGE, Kind.COUNT, Kind.COUNTER], np.int8)[metric]
    bank.admit(rows, kinds, np.where(kinds == Kind.COUNT, settings.window, 0))
    places = [
        Place(i, f"prod/s{o // 6}", f"m{m}", ("entity", o), (o // 6, m))
        for i, o, m in zip(rows.tolist(), owner.tolist(), metric.tolist(), strict=True)
    ]
    witnesses.admit(places)
    rng = np.random.default_rng(7)
    base = rng.uniform(5, 12, SERIES)
    total = np.zeros(SERIES)
    verdicts: list[Verdict] = []
    for tick in range(TICKS):
        value = base * (1.0 + 0.02 * rng.standard_t(4, SERIES)) if tick else np.full(SERIES, 7.0)
        value[owner == 3] += 8.0 * (200 <= tick < 230)
        value[11] += 30.0 * (tick >= 300)
        value[20] = 1e300 if tick == 250 else 5.0
        total = np.where(rng.random(SERIES) < 0.002, 0.0, total + np.abs(value))
        here = rng.permutation(rows[(rng.random(SERIES) < 0.9) & ((rows != 30) | (tick % 90 == 0))])
        sample = np.where(metric == 4, total, value)[here]
        time = (tick * SECOND + 10**18) + rng.integers(-SECOND // 3, SECOND, len(here))
        verdicts += bank.fold(here, time, sample)
    verdicts += bank.flush()
    return verdicts, bank_state.freeze(bank), witnesses.freeze()


def test_compiled_or_not_every_bit_is_the_same(as_python: Callable[[], Result]) -> None:
    python = as_python()
    assert {verdict.by for verdict in python[0]} == {"own history", "entity", "peers", "objective", "profile"}
    ensure(judged)
    names = {one.__name__ for one in compiled._loops if one._compiled is not None}
    assert {"gather", "arrive", "judge", "push", "refresh", "follow", "learn", "compare"} <= names
    assert judged() == python


def test_what_cannot_be_compiled_stays_as_it_is(expected_errors: list[str]) -> None:
    expected_errors.append("strange stays slow")

    @loop()
    def strange(rows: list[object]) -> int:
        return len([type(row) for row in rows])

    assert isinstance(strange, Loop)
    ensure(lambda: strange([1, "two"]))
    assert strange._compiled is None
    assert strange([1, "two"]) == 2
    compiled._loops.remove(strange)


def test_what_is_kept_of_other_constants_is_not_taken() -> None:
    def scaled(rows: np.ndarray) -> float:
        return float(rows.sum() * FACTOR)  # type: ignore[name-defined]  # noqa: F821 - given below

    names = [jit(scaled, {"FACTOR": factor}) for factor in (2.0, 3.0, 2.0)]
    assert [one(np.ones(4)) for one in names] == [8.0, 12.0, 8.0]
    first, second, third = (one.py_func.__qualname__ for one in names)
    assert first == third != second


def test_where_nothing_can_be_kept_it_is_compiled_all_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise RuntimeError("no locator available")

    monkeypatch.setattr("numba.core.dispatcher.Dispatcher.enable_caching", refuse)
    assert jit(lambda rows: rows + 1)(2) == 3


def test_a_loop_is_compiled_once_it_is_worth_it(monkeypatch: pytest.MonkeyPatch) -> None:
    @loop()
    def double(rows: np.ndarray) -> np.ndarray:
        return rows * 2

    monkeypatch.setattr(compiled, "WORTH_ROWS", 10)
    for _ in range(3):
        assert double(np.arange(4)).tolist() == [0, 2, 4, 6]
    compiled.settle()
    assert double._compiled is not None
    assert double(np.arange(4)).tolist() == [0, 2, 4, 6]
    compiled._loops.remove(double)


def test_a_process_that_ends_does_not_wait_for_what_is_compiled() -> None:
    code = "import time; from detectors.compiled import beside; beside(lambda: time.sleep(300))"
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
