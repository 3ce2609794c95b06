"""The memory of causes: one example each teaches them; the watch says which is at work, once, without look-ahead."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from detectors.cause_memory import CauseDecision, CauseMemory, CauseWatch, Example, Lesson

ONSET, END, TICKS = 60, 110, 130
# Which of six metrics each cause moves, in spreads.
CAUSES = {
    "cpu saturation": (8, 0, 0, 6, 0, 0),
    "lock contention": (0, 9, -5, 0, 0, 0),
    "slow network": (0, 0, 0, -6, 7, 5),
}


def run(cause: str, seed: int, scale: float = 1.0) -> NDArray[np.float64]:
    """Calm, then the cause, then calm again."""
    values = np.random.default_rng(seed).normal(100.0, 5.0, (TICKS, 6))
    values[ONSET:END] += 5.0 * np.array(CAUSES.get(cause, (0,) * 6))
    return values * scale


def decisions(watch: CauseWatch, values: NDArray[np.float64]) -> list[CauseDecision]:
    return [decision for row in values if (decision := watch.step(row)) is not None]


@pytest.fixture(scope="module")
def memory() -> CauseMemory:
    return CauseMemory.learn([Lesson.of(Example(c, run(c, seed), ONSET, END)) for seed, c in enumerate(CAUSES)])


@pytest.mark.parametrize("cause", CAUSES)
@pytest.mark.parametrize("scale", [1.0, 1024.0])
def test_a_cause_seen_once_is_recognised_once_within_seconds_in_any_unit(
    memory: CauseMemory, cause: str, scale: float
) -> None:
    (decision,) = decisions(CauseWatch(memory), run(cause, seed=100, scale=scale))
    assert decision.cause == cause
    assert abs(decision.onset - ONSET) <= 2
    assert ONSET < decision.decided <= ONSET + 15
    assert sum(share for _, share in decision.causes) == pytest.approx(1.0)
    assert {name for name, _ in decision.causes} == set(CAUSES)


def test_calm_is_no_cause(memory: CauseMemory) -> None:
    assert decisions(CauseWatch(memory), run("none", seed=101)) == []


def test_a_decision_needs_nothing_that_comes_later(memory: CauseMemory) -> None:
    values = run("lock contention", seed=102)
    (whole,) = decisions(CauseWatch(memory), values)
    assert decisions(CauseWatch(memory), values[: whole.decided + 1]) == [whole]
    assert decisions(CauseWatch(memory), values[: whole.decided]) == []


def test_the_next_incident_is_decided_anew(memory: CauseMemory) -> None:
    both = np.vstack([run("cpu saturation", seed=103), run("none", seed=104), run("slow network", seed=105)])
    assert [d.cause for d in decisions(CauseWatch(memory), both)] == ["cpu saturation", "slow network"]


def test_metrics_that_go_missing_are_taken_as_unchanged(memory: CauseMemory) -> None:
    values = run("none", seed=106)
    values[ONSET:END, 2] = np.nan
    assert decisions(CauseWatch(memory), values) == []


def test_a_metric_that_never_moved_counts_when_it_moves() -> None:
    examples = []
    for seed in range(2):
        values = run("none", seed)
        values[:, 5] = 0.0
        values[ONSET:END, 5] = 3.0 + seed
        examples.append(Lesson.of(Example("pending flush", values, ONSET, END)))
    values = run("none", seed=107)
    values[:, 5] = 0.0
    values[ONSET:END, 5] = 2.0
    (decision,) = decisions(CauseWatch(CauseMemory.learn(examples)), values)
    assert decision.cause == "pending flush"
