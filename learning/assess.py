"""Where to begin: recurring patterns of a history, ranked as candidates for automation, each with its evidence.

Called by `reflexarc assess`. Pure. A pattern is what has the same title template on the same service. Its score is
the hours of people it may give back each week: hours spent, times how surely the same remedy helps again, times how
safely it can be taken back. docs/assess.md explains every figure.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from statistics import median
from typing import Literal

from actions.autonomy import lower_bound
from learning.occurrence import Occurrence, template
from learning.remedies import NOTHING_DONE, Remedy, Reversibility, remedy_of
from schemas.envelope import NANOS, Model

Verdict = Literal["automate", "pause_alert", "write_down_the_fix", "study", "keep_with_people", "rare"]

# Of the posterior of "the same remedy again", as `actions.autonomy` judges playbooks: a few lucky ones earn little.
PERCENTILE = 0.05
# Fewer say nothing about what recurs: two of the same may be one that was reported twice.
LEAST_OCCURRENCES = 3
# The same remedy in more than every second case at the least: below, a rule would be wrong as often as right.
LEAST_PREDICTABILITY = 0.5
# What ends within this time unattended was over before anyone could have helped; PagerDuty pauses such for 2-15 min.
TRANSIENT_SECONDS = 300.0
TRANSIENT_SHARE = 0.8
# What cannot be taken back but may be repeated counts half; unknown a quarter, so that it is neither lost nor first.
WEIGHTS: Mapping[Reversibility, float] = {"reversible": 1.0, "repeatable": 0.5, "unknown": 0.25, "irreversible": 0.0}

_HOUR = 3600
_WEEK_HOURS = 7 * 24


class Pattern(Model):
    """One recurring thing, and why it is ranked where it is."""

    rank: int
    verdict: Verdict
    because: str
    score_hours_per_week: float
    environment: str
    service: str
    template: str
    occurrences: int
    per_week: float
    first_unix_nano: int
    last_unix_nano: int
    hours_spent: float
    """Sum of known durations, the median standing in for unknown ones."""
    median_minutes: float | None
    known_durations: int
    transient_share: float
    critical_share: float
    remedy: str | None
    remedy_share: float | None
    """Of the occurrences whose resolution is told, how many ended by this remedy."""
    known_resolutions: int
    predictability: float
    reversibility: Reversibility
    playbook: str | None
    examples: tuple[str, ...]


class Assessment(Model):
    """All patterns of a history, best candidates first."""

    occurrences: int
    span_days: float
    hours_spent: float
    automatable_hours_per_week: float
    patterns: tuple[Pattern, ...]


def assess(history: Iterable[Occurrence], playbooks: Mapping[str, str]) -> Assessment:
    """Find and rank recurring patterns.

    Args:
        history: what happened, in any order; the same id twice counts once.
        playbooks: the name of the playbook that serves a class, by class.

    """
    once = {occurrence.id: occurrence for occurrence in history}
    groups: dict[tuple[str, str, str], list[Occurrence]] = defaultdict(list)
    for found in once.values():
        groups[found.environment, found.service, template(found.title)].append(found)
    weeks = _weeks(once.values())
    patterns = [_pattern(key, sorted(group, key=_start), weeks, playbooks) for key, group in groups.items()]
    patterns.sort(key=lambda one: (-one.score_hours_per_week, -one.hours_spent, -one.occurrences, one.template))
    ranked = tuple(one.model_copy(update={"rank": rank}) for rank, one in enumerate(patterns, 1))
    return Assessment(
        occurrences=len(once),
        span_days=weeks * 7,
        hours_spent=sum(one.hours_spent for one in ranked),
        automatable_hours_per_week=sum(one.score_hours_per_week for one in ranked if one.verdict == "automate"),
        patterns=ranked,
    )


def _start(occurrence: Occurrence) -> int:
    return occurrence.started_unix_nano


def _weeks(history: Iterable[Occurrence]) -> float:
    """Length of the history; at least one day, so that an hour of alerts is not taken for a year's rate."""
    starts = [_start(occurrence) for occurrence in history]
    seconds = (max(starts) - min(starts)) / NANOS if starts else 0.0
    return max(seconds / _HOUR, 24.0) / _WEEK_HOURS


def _seconds(occurrence: Occurrence) -> float | None:
    """Time that somebody spent: from the acknowledgement where there was one. None: not known."""
    if occurrence.ended_unix_nano is None:
        return None
    begun = occurrence.acknowledged_unix_nano or occurrence.started_unix_nano
    return max(0.0, (occurrence.ended_unix_nano - begun) / NANOS)


def _pattern(
    key: tuple[str, str, str], group: Sequence[Occurrence], weeks: float, playbooks: Mapping[str, str]
) -> Pattern:
    count = len(group)
    durations = [seconds for seconds in map(_seconds, group) if seconds is not None]
    typical = median(durations) if durations else None
    hours = (sum(durations) + (typical or 0.0) * (count - len(durations))) / _HOUR
    remedy, agreeing, told = _usual_remedy(group)
    predictability = lower_bound(agreeing, told - agreeing, PERCENTILE) if told else 0.0
    reversibility: Reversibility = remedy.reversibility if remedy else "unknown"
    transient = sum(map(_is_transient, group)) / count
    verdict, because = _judge(count, remedy, predictability, transient, told)
    score = hours / weeks * predictability * WEIGHTS[reversibility]
    return Pattern(
        rank=0,
        verdict=verdict,
        because=because,
        score_hours_per_week=score if verdict == "automate" else 0.0,
        environment=key[0],
        service=key[1],
        template=key[2],
        occurrences=count,
        per_week=count / weeks,
        first_unix_nano=group[0].started_unix_nano,
        last_unix_nano=group[-1].started_unix_nano,
        hours_spent=hours,
        median_minutes=None if typical is None else typical / 60,
        known_durations=len(durations),
        transient_share=transient,
        critical_share=sum(one.severity == "critical" for one in group) / count,
        remedy=remedy.name if remedy else None,
        remedy_share=agreeing / told if told else None,
        known_resolutions=told,
        predictability=predictability,
        reversibility=reversibility,
        playbook=_playbook(group, remedy, playbooks),
        examples=tuple(one.id for one in group[-3:]),
    )


def _usual_remedy(group: Sequence[Occurrence]) -> tuple[Remedy | None, int, int]:
    """Find the most common remedy, how many tell of it, and how many tell of any."""
    told = [remedy_of(one.resolution) for one in group if one.resolution]
    known = Counter(remedy for remedy in told if remedy is not None)
    if not known:
        return None, 0, len(told)
    remedy = min(known, key=lambda one: (-known[one], one.name))
    return remedy, known[remedy], len(told)


def _is_transient(occurrence: Occurrence) -> bool:
    """Whether it was over soon, and nobody is known to have done anything."""
    seconds, remedy = _seconds(occurrence), remedy_of(occurrence.resolution)
    unattended = not occurrence.resolution and occurrence.acknowledged_unix_nano is None
    nothing_done = remedy is not None and remedy.name == NOTHING_DONE
    return nothing_done or (unattended and seconds is not None and seconds <= TRANSIENT_SECONDS)


def _playbook(group: Sequence[Occurrence], remedy: Remedy | None, playbooks: Mapping[str, str]) -> str | None:
    """Name the playbook that serves the class of most; else the one that offers the usual remedy."""
    labels = Counter(one.label for one in group if one.label in playbooks)
    label = min(labels, key=lambda one: (-labels[one], one)) if labels else remedy.label if remedy else ""
    return playbooks.get(label)


def _judge(
    count: int, remedy: Remedy | None, predictability: float, transient: float, told: int
) -> tuple[Verdict, str]:
    if count < LEAST_OCCURRENCES:
        return "rare", f"{count} of at least {LEAST_OCCURRENCES} occurrences"
    if transient >= TRANSIENT_SHARE:
        return "pause_alert", f"{transient:.0%} were over by themselves: pause the alert, there is nothing to do"
    if not told:
        return "write_down_the_fix", "nobody wrote down what helped; until then nothing can be learnt"
    if remedy is None or predictability < LEAST_PREDICTABILITY:
        return "study", f"the same remedy again is only {predictability:.0%} sure: find what tells the cases apart"
    if remedy.reversibility == "irreversible":
        return "keep_with_people", f"{remedy.name} cannot be taken back"
    return "automate", f"{remedy.name} helped and will again with at least {predictability:.0%}"
