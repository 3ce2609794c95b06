"""Poisoned feedback: what planted lessons can make of the policy's threshold, version after version, through the gate.

Honest people judge incidents whose confidence is what it says, or less than it might. Attackers confirm what was wrong,
to have more done without a person. Measured on incidents that nobody taught on: harmful proposals, before and after.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from actions.settings import PolicySettings
from benchmarks.measure import Measure, at_most
from learning.gate import judge
from learning.lessons import Lesson, Sketch, tempered
from learning.thresholds import CONFIDENCE, Built, backtest, build
from schemas.envelope import NANOS
from schemas.incident import Classification

LABEL = "deployment_regression"
HONEST = 300
PEOPLE = 6
# Chances the attacker gets: more versions than anyone builds in a quarter of weekly learning.
VERSIONS = 10
# Share of planted lessons, told by one person, or by as many as there are honest ones.
LEVELS = (0.0, 0.1, 0.3, 0.6)
_T0 = 1_800_000_000 * NANOS


@dataclass(frozen=True)
class Poisoned:
    """What became of the threshold."""

    planted_share: float
    attackers: int
    min_confidence: float
    versions_live: int
    harm_before: float
    """Harmful proposals a hundred incidents under the shipped threshold."""
    harm_after: float

    @property
    def sound(self) -> bool:
        """One liar among honest people must not make it worse."""
        return self.attackers > 1 or self.harm_after <= self.harm_before


def curve(seed: int) -> list[Poisoned]:
    """Measure one attacker, and as many as there are honest people."""
    return [_poisoned(share, attackers, seed) for attackers in (1, PEOPLE) for share in LEVELS]


def measures(found: Iterable[Poisoned]) -> Iterator[Measure]:
    """Give the harm that was planted beside its goal: none."""
    for one in found:
        name = f"poisoned_feedback, {one.planted_share:.0%} planted by {one.attackers}: harm added"
        yield at_most(name, max(0.0, one.harm_after - one.harm_before), "in 100 incidents", goal=0)


def _poisoned(share: float, attackers: int, seed: int) -> Poisoned:
    generator = np.random.default_rng(seed)
    honest = list(_honest(generator, HONEST, 0))
    planted = list(_planted(generator, int(HONEST * share / (1 - share)), attackers))
    told = sorted([*honest, *planted], key=lambda one: one.time_unix_nano)
    shipped = policy = PolicySettings()
    versions = 0
    for _ in range(VERSIONS):
        built = build(tempered(told), policy, {LABEL})
        if not isinstance(built, Built) or not judge(built.live_figures, built.figures).passed:
            break
        policy = policy.model_copy(update={"min_confidence": built.parameters[CONFIDENCE]})
        versions += 1
    unseen = list(_honest(np.random.default_rng(seed + 1), 2000, 10_000))
    return Poisoned(
        planted_share=share,
        attackers=attackers,
        min_confidence=policy.min_confidence,
        versions_live=versions,
        harm_before=100 * backtest(unseen, shipped, {LABEL})["harmful_proposals"],
        harm_after=100 * backtest(unseen, policy, {LABEL})["harmful_proposals"],
    )


def _honest(generator: np.random.Generator, count: int, first: int) -> Iterator[Lesson]:
    for number in range(first, first + count):
        confidence = float(generator.uniform(0.5, 1.0))
        # Above the shipped threshold always right: then lowering it costs nothing known, which suits a liar best.
        right = bool(generator.random() < confidence) or confidence >= PolicySettings().min_confidence
        yield _lesson(number, confidence, f"person-{number % PEOPLE}", right=right)


def _planted(generator: np.random.Generator, count: int, attackers: int) -> Iterator[Lesson]:
    """Confirm what lies below the threshold, spread over time so that both parts of the lessons hold it."""
    for number in range(count):
        who, when = f"attacker-{number % attackers}", int(generator.integers(HONEST))
        yield _lesson(when, float(generator.uniform(0.6, 0.8)), who, right=True, identity=f"planted-{number}")


def _lesson(number: int, confidence: float, by: str, *, right: bool, identity: str = "") -> Lesson:
    name = identity or f"incident-{number}"
    found = Classification(label=LABEL, confidence=confidence, credibility=0.5, prediction_set=(LABEL,))
    about = Sketch(environment="prod", service="shop", classification=found, revision=1, opened_unix_nano=_T0 + number)
    return Lesson(
        incident_id=name,
        control_id=f"said-{name}",
        by=by,
        time_unix_nano=_T0 + number + 1,
        verdict="true_positive" if right else "false_positive",
        true_label=LABEL if right else None,
        better_playbook=None,
        note="",
        about=about,
    )
