"""A candidate goes live only when it is worse in nothing and better in something; and there is a way back."""

from __future__ import annotations

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from actions.settings import PolicySettings
from learning.calibration import Claim
from learning.drift import ALARM, martingale, stability_index, watch
from learning.gate import GUARDED, judge
from learning.lessons import Lesson
from learning.registry import POLICY_THRESHOLDS, Registry
from learning.thresholds import CONFIDENCE, LEAST_LESSONS, LOWEST, STEP, Built, backtest, build
from schemas.errors import ConfigurationError, PermanentError
from schemas.model import DataRange, ModelVersion, Status
from streams.settings import Settings, load_settings
from tests.learning.lessons import told

SERVED = {"deployment_regression"}
LEVELS = st.fixed_dictionaries({name: st.sampled_from([0.0, 0.1, 0.2]) for name in GUARDED})


@given(LEVELS, LEVELS)
def test_the_gate_lets_through_just_what_is_better_and_not_worse(
    live: dict[str, float], candidate: dict[str, float]
) -> None:
    better = any(candidate[name] < live[name] for name in GUARDED)
    worse = any(candidate[name] > live[name] for name in GUARDED)
    assert judge(live, candidate).passed == (better and not worse)


@pytest.mark.parametrize("missing", GUARDED)
def test_what_was_not_measured_was_not_proved(missing: str) -> None:
    full = dict.fromkeys(GUARDED, 0.1)
    partial = {name: 0.0 for name in GUARDED if name != missing}
    assert not judge(full, partial).passed
    assert not judge(partial, full).passed
    assert not judge(full, partial | {missing: float("nan")}).passed


def lessons(pattern: list[tuple[float, bool]], count: int = 100) -> list[Lesson]:
    return [told(n, c, right=r) for n, (c, r) in zip(range(count), itertools.cycle(pattern), strict=False)]


def built(pattern: list[tuple[float, bool]], min_confidence: float = 0.8) -> Built | str:
    return build(lessons(pattern), PolicySettings(min_confidence=min_confidence), SERVED)


def test_harm_just_above_the_threshold_raises_it() -> None:
    found = built([(0.95, True), (0.95, True), (0.81, False)])
    assert isinstance(found, Built)
    assert found.parameters[CONFIDENCE] == pytest.approx(0.82)
    assert judge(found.live_figures, found.figures).passed
    assert found.data.records == 70


def test_what_was_always_right_just_below_lowers_it() -> None:
    found = built([(0.95, True), (0.78, True)])
    assert isinstance(found, Built)
    assert found.parameters[CONFIDENCE] == pytest.approx(0.78)
    assert found.figures["missed_incidents"] < found.live_figures["missed_incidents"]


def test_a_few_lucky_ones_below_do_not() -> None:
    assert isinstance(built([(0.95, True)] * 12 + [(0.78, True)]), str)


def test_no_version_moves_far_or_below_the_floor() -> None:
    found = built([(0.61, True)], min_confidence=0.8)
    assert isinstance(found, str), "out of reach"
    near = built([(0.76, True)], min_confidence=0.8)
    assert isinstance(near, Built)
    assert near.parameters[CONFIDENCE] >= 0.8 - STEP
    low = built([(0.56, True)], min_confidence=LOWEST)
    assert isinstance(low, str), "there is a floor"


def test_few_lessons_make_no_candidate() -> None:
    found = build([told(n) for n in range(LEAST_LESSONS - 1)], PolicySettings(), SERVED)
    assert found == f"{LEAST_LESSONS - 1} lessons with a verdict, {LEAST_LESSONS} needed"


def test_the_newer_part_judges_and_overrules_the_older() -> None:
    older = [told(n, 0.81 if n % 2 else 0.95, right=not n % 2) for n in range(70)]
    newer = [told(100 + n, 0.81) for n in range(30)]
    found = build([*older, *newer], PolicySettings(), SERVED)
    assert isinstance(found, Built)
    ruling = judge(found.live_figures, found.figures)
    assert not ruling.passed
    assert "worse: missed_incidents 0 -> 1" in ruling.reason


def test_a_backtest_counts_what_would_have_been_proposed() -> None:
    told_of = [told(1), told(2, right=False), told(3, 0.5), told(4, label="other"), told(5, credibility=0.01)]
    found = backtest(told_of, PolicySettings(), SERVED)
    assert (found["proposals"], found["false_positive_rate"], found["harmful_proposals"]) == (2, 0.5, 0.2)
    assert found["missed_incidents"] == pytest.approx(2 / 3)


def version(name: str, status: Status = "live", value: float = 0.85) -> ModelVersion:
    return ModelVersion(
        id=name,
        kind=POLICY_THRESHOLDS,
        status=status,
        reason="because",
        parameters={CONFIDENCE: value},
        data=DataRange(first_unix_nano=1, last_unix_nano=2, records=3, hash="h"),
        code_version="1",
        built_unix_nano=ord(name[0]),
        changed_unix_nano=1,
    )


def statuses(registry: Registry) -> dict[str, str]:
    return {one.id: one.status for one in registry.versions()}


def test_one_is_live_and_rollback_returns_to_any_that_was(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    for name in "abc":
        registry.add(version(name))
    assert statuses(registry) == {"c": "live", "b": "retired", "a": "retired"}
    registry.rollback(registry.find("a"), by="ada", now_unix_nano=9)
    assert statuses(registry) == {"c": "withdrawn", "b": "retired", "a": "live"}
    live = registry.live(POLICY_THRESHOLDS)
    assert live is not None
    assert (live.id, live.replaces, live.reason) == ("a", "c", "rolled back to by ada")


def test_what_a_person_rolled_back_is_not_learnt_again(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(version("a"))
    registry.retire(POLICY_THRESHOLDS, by="ada", now_unix_nano=9)
    assert registry.live(POLICY_THRESHOLDS) is None
    assert registry.is_withdrawn(POLICY_THRESHOLDS, {CONFIDENCE: 0.85})
    assert not registry.is_withdrawn(POLICY_THRESHOLDS, {CONFIDENCE: 0.86})


def test_what_never_was_live_cannot_be_gone_back_to(tmp_path: Path) -> None:
    registry = Registry(tmp_path)
    registry.add(version("a", "rejected"))
    with pytest.raises(PermanentError, match="is rejected"):
        registry.rollback(registry.find("a"), by="ada", now_unix_nano=9)
    with pytest.raises(PermanentError, match="no models begin with 'z'"):
        registry.find("z")
    with pytest.raises(PermanentError, match="no policy-thresholds is live"):
        registry.retire(POLICY_THRESHOLDS, by="ada", now_unix_nano=9)


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_what_is_live_holds_where_nobody_says_else(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(here / "models")
    registry.add(version("a"))
    assert load_settings().policy.min_confidence == 0.85
    (here / "reflexarc.toml").write_text("[policy]\nmin_credibility = 0.2\n")
    assert (load_settings().policy.min_confidence, load_settings().policy.min_credibility) == (0.85, 0.2)
    (here / "reflexarc.toml").write_text("[policy]\nmin_confidence = 0.9\n")
    assert load_settings().policy.min_confidence == 0.9
    monkeypatch.setenv("REFLEXARC_POLICY__MIN_CONFIDENCE", "0.7")
    assert load_settings().policy.min_confidence == 0.7


def test_rolled_back_it_holds_no_more(here: Path) -> None:
    registry = Registry(here / "elsewhere")
    registry.add(version("a"))
    (here / "reflexarc.toml").write_text('[learn]\nregistry = "elsewhere"\n')
    assert load_settings().policy.min_confidence == 0.85
    registry.retire(POLICY_THRESHOLDS, by="ada", now_unix_nano=9)
    assert load_settings().policy.min_confidence == PolicySettings().min_confidence


def test_a_model_sets_nothing_but_what_may_be_learnt(here: Path) -> None:
    evil = version("a").model_copy(update={"parameters": {"policy.grants": [{"tier": "autonomous"}], "kafka": "x"}})
    Registry(here / "models").add(evil)
    assert load_settings() == Settings()
    assert load_settings().policy.grants == ()


def test_a_broken_registry_is_said(here: Path) -> None:
    Registry(here / "models").add(version("a"))
    (here / "models" / POLICY_THRESHOLDS / "live.json").write_text("{")
    with pytest.raises(ConfigurationError, match=r"live\.json"):
        load_settings()


def test_the_same_inputs_are_stable_and_others_are_a_shift() -> None:
    generator = random.Random(5)
    older = [generator.gauss(0, 1) for _ in range(500)]
    same, other = [[generator.gauss(mean, 1) for _ in range(500)] for mean in (0, 1)]
    assert (stability_index(older, same) or 0) < 0.1
    assert (stability_index(older, other) or 0) > 0.25
    assert watch({"x": older}, {"x": other}, []).shifted == ("x",)
    assert stability_index(older, same[:10]) is None, "ten cases say nothing"


def test_an_honest_confidence_seldom_raises_the_alarm_and_a_false_one_soon() -> None:
    generator = random.Random(6)
    honest = [[Claim(p, generator.random() < p) for p in (0.6, 0.7, 0.8, 0.9) * 50] for _ in range(200)]
    alarmed = sum(martingale(claims)[1] is not None for claims in honest)
    assert alarmed <= 0.05 * 200
    capital, at = martingale([Claim(0.95, generator.random() < 0.6) for _ in range(200)])
    assert capital > ALARM
    assert at is not None
    assert at < 60
