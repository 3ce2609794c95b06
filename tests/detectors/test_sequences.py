"""Detectors of sequences: one contract for both, then what each is for."""

from __future__ import annotations

import doctest
import importlib
from typing import Protocol

import numpy as np
import pytest

from detectors.sequence_memory import MEMORY, NOVELTY, SequenceMemory
from detectors.sequences import MAX_EVENTS, SequenceNovelty

KINDS = (SequenceNovelty, SequenceMemory)
EACH = pytest.mark.parametrize("kind", KINDS, ids=[kind.__name__ for kind in KINDS])


class SequenceDetector(Protocol):
    """What both have."""

    abstaining: str | None
    version: str

    def freeze(self) -> bytes: ...


def calm(count: int, seed: int = 0) -> list[list[int]]:
    """Sessions that open, work in any order, and close."""
    rng = np.random.default_rng(seed)
    return [[1, *rng.permutation([2, 3, 4]).tolist(), *([5] * int(rng.integers(1, 3))), 6] for _ in range(count)]


ODD = [1, 9, 9, 8, 2, 2, 2, 7]


@EACH
def test_its_module_names_the_paper_and_the_example_runs(kind: type[SequenceDetector]) -> None:
    module = importlib.import_module(kind.__module__)
    assert len(module.PAPER) > 20
    assert doctest.testmod(module).attempted > 0
    assert doctest.testmod(module).failed == 0


@EACH
def test_what_is_odd_scores_higher_and_says_why(kind: type[SequenceNovelty | SequenceMemory]) -> None:
    detector = kind().fit(calm(200))
    scores = detector.score([*calm(50, seed=1), ODD])
    assert np.isfinite(scores).all()
    assert scores[-1] > scores[:-1].max()
    said = detector.explain(ODD)
    assert [one.weight for one in said] == sorted((one.weight for one in said), reverse=True)


@EACH
def test_sequences_do_not_see_each_other_and_teach_nothing(
    kind: type[SequenceNovelty | SequenceMemory],
) -> None:
    detector = kind().fit(calm(200))
    before, later = detector.freeze(), [*calm(20, seed=1), ODD]
    together = detector.score(later)
    np.testing.assert_allclose([detector.score([one])[0] for one in later], together)
    np.testing.assert_allclose(detector.score(later[::-1]), together[::-1])
    assert detector.freeze() == before


@EACH
def test_it_abstains_while_it_warms_up_and_says_so(kind: type[SequenceNovelty | SequenceMemory]) -> None:
    detector = kind().fit(calm(5))
    assert detector.abstaining is not None
    assert "warming up: 5 of" in detector.abstaining
    assert np.isnan(detector.score([ODD])).all()
    assert detector.explain(ODD) == ()


@EACH
def test_it_rests_as_bytes_and_goes_on_the_same(kind: type[SequenceNovelty | SequenceMemory]) -> None:
    detector, later = kind().fit(calm(200)), [*calm(20, seed=1), ODD]
    thawed = kind().thaw(detector.freeze())
    np.testing.assert_array_equal(thawed.score(later), detector.score(later))
    assert thawed.version == detector.version == kind().fit(calm(200)).version
    assert kind().fit(calm(200, seed=3)).version != detector.version


@EACH
def test_an_empty_sequence_is_one_too(kind: type[SequenceNovelty | SequenceMemory]) -> None:
    assert np.isfinite(kind().fit([*calm(200), []]).score([[]])).all()


class TestNovelty:
    def test_missing_extra_and_misplaced_events_are_found_and_named(self) -> None:
        novelty = SequenceNovelty().fit(calm(500))
        usual = novelty.score(calm(50, seed=1)).max()
        for events, name in (
            ([1, 2, 3, 4, 5], "event 6: 0 times"),
            ([1, 2, 3, 4, 5, 5, 5, 5, 6], "event 5: 4 times"),
            ([6, 1, 2, 3, 4, 5], "event 1 after 6"),
        ):
            assert novelty.score([events])[0] > usual
            assert name in [one.name for one in novelty.explain(events)]

    def test_a_long_sequence_is_no_fault(self) -> None:
        novelty = SequenceNovelty().fit([[1] * 200 + [2]] * 60)
        same, longer = novelty.score([[1] * 200 + [2], [1] * 210 + [2]])
        assert same == longer

    def test_memory_is_bounded_and_keeps_what_is_common(self) -> None:
        novelty = SequenceNovelty()
        for new in range(3 * MAX_EVENTS):
            novelty.learn([1, 2, 100 + new])
        assert len(novelty.freeze()) < 500_000
        known, never = novelty.score([[1, 2], [1, 3]])
        assert never > known


class TestMemory:
    def test_what_resembles_a_labelled_incident_is_found_although_its_events_are_usual(self) -> None:
        # Two of event 5, which is usual, but not one after the other.
        bad = [[1, 2, 3, 5, 4, 5, 6], [1, 3, 2, 5, 4, 5, 6], [1, 4, 2, 5, 3, 5, 6], [1, 4, 3, 5, 2, 5, 6]] * 3
        told, untold = SequenceMemory().fit(calm(300), bad), SequenceMemory().fit(calm(300))
        like = [1, 3, 4, 5, 2, 5, 6]
        assert told.score([like])[0] >= untold.score([like])[0]
        assert {one.name for one in told.explain(like)} == {NOVELTY, MEMORY}
        assert {c.name: c.weight for c in told.explain(like)}[MEMORY] > 1.5

    def test_scores_are_decades_of_a_p_value(self) -> None:
        scores = SequenceMemory().fit(calm(600)).score(calm(400, seed=1))
        assert (scores >= 1.0).mean() < 0.2
