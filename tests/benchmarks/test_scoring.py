"""The scorers: figures worked out by hand, and the ways to cheat that they must not reward."""

import numpy as np
import pytest

from benchmarks.scoreboard import nab
from benchmarks.scoreboard.pages import Paged, pages, tally, total
from benchmarks.scoreboard.vus import segments, vus_pr


def alarms(records: int, *raised: int) -> np.ndarray:
    result = np.zeros(records, dtype=np.bool_)
    result[list(raised)] = True
    return result


class TestNab:
    def test_raising_at_the_start_of_every_window_is_perfect(self) -> None:
        assert nab.corpus_score([(alarms(1000, 400), [(400, 499)])], nab.STANDARD) == pytest.approx(100.0)

    def test_never_raising_is_zero(self) -> None:
        assert nab.corpus_score([(alarms(1000), [(400, 499)])], nab.STANDARD) == pytest.approx(0.0)

    def test_the_middle_of_a_window_is_worth_the_scaled_sigmoid(self) -> None:
        # y = -(499 - 449 + 1) / 100 = -0.51; sigma(y) / sigma(-1)
        sigma = 2.0 / (1.0 + np.exp(-5 * 0.51)) - 1.0
        reward = sigma / (2.0 / (1.0 + np.exp(-5.0)) - 1.0)
        assert nab.file_score(alarms(1000, 449), [(400, 499)], nab.STANDARD) == pytest.approx(reward)

    def test_only_the_earliest_alarm_in_a_window_counts(self) -> None:
        once = nab.file_score(alarms(1000, 420), [(400, 499)], nab.STANDARD)
        assert nab.file_score(alarms(1000, 420, 430, 480), [(400, 499)], nab.STANDARD) == once

    def test_a_false_alarm_before_any_window_costs_its_full_weight(self) -> None:
        assert nab.file_score(alarms(1000, 300), [], nab.STANDARD) == pytest.approx(-0.11)
        assert nab.file_score(alarms(1000, 300), [], nab.LOW_FALSE_POSITIVES) == pytest.approx(-0.22)

    def test_a_false_alarm_just_after_a_window_costs_less_than_one_far_from_it(self) -> None:
        windows = [(400, 499)]
        near = nab.file_score(alarms(2000, 420, 503), windows, nab.STANDARD)
        far = nab.file_score(alarms(2000, 420, 1900), windows, nab.STANDARD)
        assert far < near < nab.file_score(alarms(2000, 420), windows, nab.STANDARD)

    def test_probation_is_not_scored(self) -> None:
        assert nab.file_score(alarms(1000, *range(150)), [], nab.STANDARD) == 0.0
        assert nab.probation(100_000) == 750


class TestPages:
    def test_a_page_is_followed_by_quiet(self) -> None:
        assert pages(np.full(100, 9.0), 1.0, quiet=30).tolist() == [0, 30, 60, 90]

    def test_nothing_pages_before_the_first_record_or_while_warming_up(self) -> None:
        score = np.array([np.nan, 9.0, 9.0, 0.0])
        assert pages(score, 1.0, quiet=1, first=2).tolist() == [2]

    def test_always_on_is_mostly_false(self) -> None:
        judged = tally(pages(np.ones(1000), 1.0, quiet=10), [(500, 519)])
        assert (judged.recall, judged.false_share) == (1.0, 0.98)

    def test_a_page_that_began_before_the_window_is_false(self) -> None:
        assert tally(np.array([95]), [(100, 120)]) == Paged(true=0, false=1, found=0, windows=1)

    def test_tallies_add_up(self) -> None:
        assert total([Paged(1, 2, 1, 3), Paged(0, 1, 0, 1)]) == Paged(1, 3, 1, 4)


class TestVusPr:
    labels = np.zeros(5000, dtype=np.bool_)
    labels[1000:1050] = labels[3000:3020] = True

    def test_segments(self) -> None:
        assert segments(self.labels) == [(1000, 1049), (3000, 3019)]
        assert segments(np.array([True, False, True])) == [(0, 0), (2, 2)]

    def test_a_perfect_score_beats_a_late_one_and_that_a_random_one(self) -> None:
        rng = np.random.default_rng(0)
        noise = rng.random(5000)
        perfect = vus_pr(self.labels, self.labels + 0.01 * noise)
        late = vus_pr(self.labels, np.roll(self.labels, 15) + 0.01 * noise)
        chance = vus_pr(self.labels, noise)
        assert perfect > late > chance
        assert perfect > 0.8
        assert chance < 0.1

    def test_only_the_order_of_scores_matters(self) -> None:
        score = np.random.default_rng(1).random(5000)
        assert vus_pr(self.labels, score) == pytest.approx(vus_pr(self.labels, np.exp(5 * score)))
