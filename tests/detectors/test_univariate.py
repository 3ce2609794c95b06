"""The univariate detector: what each look sees, and the contract all detectors keep."""

import numpy as np
import pytest

from detectors.novelty import REPRESENTATIVES, ValueNovelty
from detectors.seasonal import HOUR_NANOS, SeasonalProfile
from detectors.tail import ANCHOR_LOOKS, MAX_DECADES, WARM_LOOKS, TailCalibrator
from detectors.univariate import LOOKS, UnivariateDetector

MINUTE = 60 * 1_000_000_000
TICK = 5 * MINUTE
Floats = np.ndarray


def run(values: Floats, tick: int = TICK, detector: UnivariateDetector | None = None) -> tuple[Floats, Floats]:
    """Scores and looks of one series."""
    detector = detector or UnivariateDetector(1)
    found = [
        detector.step(np.array([0]), np.array([(n + 1) * tick]), np.array([value])) for n, value in enumerate(values)
    ]
    return np.array([one.score[0] for one in found]), np.array([one.looks[0] for one in found])


def look(looks: Floats, name: str) -> Floats:
    return looks[:, LOOKS.index(name)]


@pytest.fixture(scope="module")
def noise() -> Floats:
    return np.random.default_rng(7).normal(100.0, 5.0, 800)


class TestLooks:
    def test_calm_noise_stays_low_and_a_spike_stands_out_at_once(self, noise: Floats) -> None:
        values = noise.copy()
        values[700] = 180.0
        score, looks = run(values)
        assert int(np.nanargmax(score)) in range(700, 703)
        assert look(looks, "new value")[700] > 3.0

    def test_a_level_shift_is_a_new_level_for_hours(self, noise: Floats) -> None:
        values = noise.copy()
        values[600:] += 40.0
        score, looks = run(values)
        assert look(looks, "new level over 24 ticks")[600:620].max() > 3.0
        assert score[610] > np.nanmax(score[200:600])

    def test_a_flatline_is_quiet(self, noise: Floats) -> None:
        values = noise.copy()
        values[600:] = 100.0
        _, looks = run(values)
        assert look(looks, "quiet over 48 ticks")[660] > 2.0
        assert look(looks, "quiet over 48 ticks")[599] < 1.0

    def test_more_noise_is_restless(self, noise: Floats) -> None:
        values = noise.copy()
        values[600:] = 100.0 + 4.0 * (values[600:] - 100.0)
        _, looks = run(values)
        for name in ("restless over 48 ticks", "jumping over 12 ticks"):
            assert look(looks, name)[600:650].max() > 1.3 * look(looks, name)[200:600].max()

    def test_a_usual_value_at_an_unusual_hour_is_unlike_this_hour(self) -> None:
        rng = np.random.default_rng(3)
        hour = np.arange(48 * 10) // 2 % 24
        values = np.where(hour < 12, 10.0, 50.0) + rng.normal(0.0, 0.5, len(hour))
        values[48 * 9 + 6 : 48 * 9 + 20] += 40.0
        _, looks = run(values, tick=30 * MINUTE)
        after = 48 * 9 + 13
        assert look(looks, "unlike this hour for 6 ticks")[after] > 2.0
        assert look(looks, "unlike this hour for 6 ticks")[48 * 9 + 3] < 2.0


class TestContract:
    def test_a_row_does_not_depend_on_the_rows_beside_it(self, noise: Floats) -> None:
        beside = UnivariateDetector(3)
        other = np.random.default_rng(8).normal(size=(800, 2)) ** 3
        rows = np.arange(3)
        scores = []
        for n, value in enumerate(noise):
            values = np.array([other[n, 0], value, other[n, 1]])
            scores.append(beside.step(rows, np.full(3, (n + 1) * TICK), values).score[1])
        alone, _ = run(noise)
        np.testing.assert_allclose(scores, alone, atol=0.15)  # rows take turns to refresh their tails
        # Which row a series has decides only its turn; asked for one by one, rows give what they give together.
        together, apart = UnivariateDetector(2), UnivariateDetector(2)
        for n, value in enumerate(noise[:120]):
            time = np.full(2, (n + 1) * TICK)
            pair = np.array([value, other[n, 0]])
            both = together.step(np.arange(2), time, pair).score
            single = [apart.step(np.array([r]), time[:1], pair[r : r + 1]).score[0] for r in (1, 0)][::-1]
            np.testing.assert_array_equal(both, single)

    def test_scale_and_offset_of_a_series_mean_nothing(self, noise: Floats) -> None:
        base, _ = run(noise)
        scaled, _ = run(noise * 4096.0)
        np.testing.assert_allclose(base, scaled, atol=1e-4)

    def test_it_abstains_while_it_warms_up_and_never_after(self, noise: Floats) -> None:
        score, _ = run(noise)
        assert np.isnan(score[: ANCHOR_LOOKS + WARM_LOOKS - 5]).all()
        assert np.isfinite(score[ANCHOR_LOOKS + WARM_LOOKS + 5 :]).all()

    def test_a_constant_series_is_never_surprising(self) -> None:
        score, _ = run(np.full(200, 3.0))
        assert np.nanmax(score) <= 0.5

    def test_the_same_data_give_the_same_scores(self, noise: Floats) -> None:
        np.testing.assert_array_equal(run(noise)[0], run(noise)[0])

    def test_longer_ticks_need_less_evidence(self) -> None:
        flat = np.full(200, 3.0)
        hourly, minutely = run(flat, tick=60 * MINUTE)[0], run(flat, tick=MINUTE)[0]
        assert hourly[-1] - minutely[-1] == pytest.approx(0.4 * np.log10(60), abs=0.01)


class TestTail:
    def test_decades_are_the_share_of_the_past_that_was_as_large(self) -> None:
        rng = np.random.default_rng(0)
        tail = TailCalibrator(1, 1)
        row = np.array([0])
        past = rng.pareto(3.0, 4000) + 1.0
        decades = np.array([tail.step(row, np.array([[value]]))[0, 0] for value in past])
        calm = decades[1000:]
        assert np.mean(calm > 1.0) == pytest.approx(0.1, abs=0.02)
        assert np.mean(calm > 2.0) == pytest.approx(0.01, abs=0.006)
        # Beyond anything seen the power law goes on: P(X > x) = x^-3, so 100 is worth six decades.
        assert tail.step(row, np.array([[100.0]]))[0, 0] == pytest.approx(6.0, abs=1.2)

    def test_values_far_above_the_histogram_make_room(self) -> None:
        tail = TailCalibrator(1, 1)
        row = np.array([0])
        rng = np.random.default_rng(1)
        for value in rng.exponential(size=300):
            tail.step(row, np.array([[value]]))
        assert tail.step(row, np.array([[1e30]]))[0, 0] == MAX_DECADES
        for value in rng.exponential(size=100):
            assert tail.step(row, np.array([[value]]))[0, 0] < 4.0

    def test_nothing_is_said_of_nothing(self) -> None:
        tail = TailCalibrator(1, 2)
        row = np.array([0])
        for _ in range(100):
            decades = tail.step(row, np.array([[1.0, np.nan]]))
        assert np.isfinite(decades[0, 0])
        assert np.isnan(decades[0, 1])


class TestNovelty:
    def test_rare_values_stay_known_among_many_common_ones(self) -> None:
        novelty = ValueNovelty(1)
        row = np.array([0])
        novelty.step(row, np.array([1000.0]))
        for value in np.random.default_rng(2).normal(size=5000):
            novelty.step(row, np.array([value]))
        assert novelty.step(row, np.array([1000.0]))[0] < 1.0
        assert novelty.step(row, np.array([500.0]))[0] > 400.0

    def test_memory_is_bounded(self) -> None:
        assert ValueNovelty(7).centres.shape == (7, REPRESENTATIVES)


class TestSeason:
    def test_hours_are_expected_as_they_were(self) -> None:
        season = SeasonalProfile(1)
        row = np.array([0])
        for hour in range(24 * 8):
            expected, usual = season.step(row, np.array([(hour + 1) * HOUR_NANOS]), np.array([float((hour + 1) % 24)]))
        assert expected[0] == pytest.approx(0.0, abs=1e-6)
        assert usual[0] == pytest.approx(0.0, abs=1e-6)

    def test_the_weekly_profile_takes_over_where_weekdays_differ(self) -> None:
        season = SeasonalProfile(1)
        row = np.array([0])
        errors = []
        for hour in range(24 * 7 * 5):
            value = 100.0 if hour // 24 % 7 in {2, 3} else 10.0
            expected, _ = season.step(row, np.array([hour * HOUR_NANOS + 1]), np.array([value]))
            errors.append(abs(expected[0] - value))
        assert np.mean(errors[-168:]) < 1.0
