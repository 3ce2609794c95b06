"""How well it goes: times, errors, calibration, compression, autonomy and savings, each with its interval.

Called by `reflexarc report` and by the console for Prometheus. Pure: a history in, a report out. docs/measures.md says
what each figure means and where it can mislead.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import cache

from actions.catalog import Catalog, load
from learning.calibration import Calibration, Claim, calibrate
from learning.drift import Drift, watch
from learning.history import Case, History
from learning.observed import last_proposal, observed
from learning.occurrence import Occurrence
from learning.returns import Assumptions, Returns, harmful_actions, returns
from learning.statistics import Estimate, mean, rate
from schemas.envelope import NANOS, Model
from schemas.incident import Classification
from schemas.outcome import Result

ALL = "*"
# A person's note of when something began is seldom exact: within this of our incident it is the same one.
LABEL_SLACK_SECONDS = 300.0


class Times(Model):
    """Mean times in seconds of one class at one tier; `*` is all."""

    label: str
    tier: str
    incidents: int
    detect: Estimate
    acknowledge: Estimate
    repair: Estimate


class LabelQuality(Model):
    """How well one class is told, by what people confirmed or corrected."""

    label: str
    precision: Estimate
    """Of incidents given this class, how many were of it."""
    recall: Estimate
    """Of incidents of this class, how many were given it."""


class Shadow(Model):
    """What people made of what a playbook proposed without doing it."""

    playbook: str
    proposed: int
    agreement: Estimate
    by_deeds: int
    """For how many of them nobody said anything, and telemetry showed what people did."""


class Detection(Model):
    """Found and missed, against a list of what really happened."""

    recall: Estimate
    precision: Estimate
    missed: tuple[str, ...]


class Report(Model):
    """Everything that is measured."""

    first_unix_nano: int | None
    last_unix_nano: int | None
    incidents: int
    open: int
    verdicts: dict[str, int]
    """Last decisions by verdict."""
    results: dict[str, int]
    """Outcomes of actions by result."""
    times: tuple[Times, ...]
    false_incidents: Estimate
    """Share of incidents with a verdict that people called false positives."""
    false_actions: Estimate
    """Share of actions tried on what people called a false positive, of those tried on what has a verdict."""
    harmful_actions: Estimate
    """Share of actions tried that had to be taken back, or whose effect is unknown."""
    verified_actions: Estimate
    labels: tuple[LabelQuality, ...]
    calibration: Calibration
    recalibrated: Calibration | None
    """The same, had the classifier's rules stated their confidence by the records that are live; None without any."""
    shadow: tuple[Shadow, ...]
    detection: Detection | None
    signals: int
    compression: float | None
    """Share of signals that nobody had to look at by themselves: 1 - incidents / signals."""
    autonomy: Estimate
    """Share of resolved incidents, false positives left out, that were repaired without a person."""
    returns: Returns
    drift: Drift
    """Of inputs, the newer half of the incidents against the older; and of calibration, over all claims in order."""


def measure(
    history: History,
    assumptions: Assumptions,
    truth: Sequence[Occurrence] | None = None,
    restate: Callable[[Classification], float] | None = None,
    catalog: Catalog | None = None,
) -> Report:
    """Measure a history.

    Args:
        history: what happened.
        assumptions: the baseline that savings are computed against.
        truth: what really happened, where somebody kept a list.
        restate: how sure the classifier would be by the records of its rules that are live.
        catalog: the playbooks there are, by which what people did is told; the shipped ones by default.

    """
    cases = history.cases
    judged = [case for case in cases if case.verdict is not None]
    tried = [one for case in cases for one in case.tried]
    on_false = sum(len(case.tried) for case in judged if case.verdict == "false_positive")
    resolved = [case for case in cases if case.incident.status == "resolved" and case.verdict != "false_positive"]
    signals, grouped = _signals(history)
    return Report(
        first_unix_nano=min((case.incident.onset_unix_nano for case in cases), default=None),
        last_unix_nano=max((case.incident.updated_unix_nano for case in cases), default=None),
        incidents=len(cases),
        open=sum(case.incident.status == "open" for case in cases),
        verdicts=_count(case.decisions[-1].verdict for case in cases if case.decisions),
        results=_count(one.result.value for case in cases for one in case.outcomes if one.undoes is None),
        times=tuple(_times(cases)),
        false_incidents=rate(sum(case.verdict == "false_positive" for case in judged), len(judged)),
        false_actions=rate(on_false, sum(len(case.tried) for case in judged)),
        harmful_actions=rate(sum(map(harmful_actions, cases)), len(tried)),
        verified_actions=rate(sum(one.result is Result.VERIFIED for one in tried), len(tried)),
        labels=tuple(_labels(cases)),
        calibration=calibrate([_claim(case) for case in judged]),
        recalibrated=None if restate is None else calibrate([_claim(case, restate) for case in judged]),
        shadow=tuple(_shadow(cases, _shipped() if catalog is None else catalog)),
        detection=None if truth is None else _detection(cases, truth),
        signals=signals,
        compression=1 - grouped / signals if signals else None,
        autonomy=rate(sum(case.repaired_alone for case in resolved), len(resolved)),
        returns=returns(cases, assumptions),
        drift=_drift(cases),
    )


@cache
def _shipped() -> Catalog:
    """Read them once: the console is asked every few seconds."""
    return load()


def _signals(history: History) -> tuple[int, int]:
    """Count signals, and the incidents they became. Signals are kept for less long, so older incidents do not count."""
    if not history.fired:
        return sum(case.incident.signal_count for case in history.cases), len(history.cases)
    since = history.fired[0]
    return len(history.fired), sum(case.incident.opened_unix_nano >= since for case in history.cases)


def _count(names: Iterable[str]) -> dict[str, int]:
    counts: dict[str, int] = defaultdict(int)
    for name in names:
        counts[name] += 1
    return dict(sorted(counts.items()))


def _times(cases: Sequence[Case]) -> Iterable[Times]:
    """Group times; false positives are left out, for how fast one is over says nothing."""
    groups: dict[tuple[str, str], list[Case]] = defaultdict(list)
    for case in cases:
        if case.verdict != "false_positive":
            for key in ((ALL, ALL), (case.label, ALL), (ALL, case.tier), (case.label, case.tier)):
                groups[key].append(case)
    for (label, tier), group in sorted(groups.items()):
        yield Times(
            label=label,
            tier=tier,
            incidents=len(group),
            detect=mean([case.detection_seconds for case in group]),
            acknowledge=mean([s for case in group if (s := case.acknowledgement_seconds) is not None]),
            repair=mean([s for case in group if (s := case.repair_seconds) is not None]),
        )


def _labels(cases: Sequence[Case]) -> Iterable[LabelQuality]:
    """Judge classes; a false positive was of no class, so it counts against the one it was given."""
    pairs = [(case.label, case.true_label) for case in cases if case.verdict is not None]
    for label in sorted({name for pair in pairs for name in pair if name is not None}):
        given = [true == label for told, true in pairs if told == label]
        really = [told == label for told, true in pairs if true == label]
        yield LabelQuality(label=label, precision=rate(sum(given), len(given)), recall=rate(sum(really), len(really)))


def _claim(case: Case, restate: Callable[[Classification], float] | None = None) -> Claim:
    found, true = case.classification, case.true_label
    confidence = found.confidence if restate is None else restate(found)
    covered = true in found.prediction_set if found.prediction_set and true is not None else None
    return Claim(confidence, true == found.label, covered)


def _drift(cases: Sequence[Case]) -> Drift:
    half = len(cases) // 2
    claims = [_claim(case) for case in cases if case.verdict is not None]
    return watch(_inputs(cases[:half]), _inputs(cases[half:]), claims)


def _inputs(cases: Sequence[Case]) -> dict[str, list[float]]:
    return {
        "confidence": [case.classification.confidence for case in cases],
        "signals per incident": [float(case.incident.signal_count) for case in cases],
        "seconds to detect": [case.detection_seconds for case in cases],
    }


def _shadow(cases: Sequence[Case], catalog: Catalog) -> Iterable[Shadow]:
    """Judge the last proposal of each incident by what people said, and where they said nothing by what they did."""
    groups: dict[str, list[tuple[str | None, str | None]]] = defaultdict(list)
    for case in cases:
        proposal = last_proposal(case)
        if proposal is not None:
            said = case.judged(proposal)
            done = None if said else observed(case, proposal, catalog)
            groups[str(proposal.playbook)].append((said, done))
    for playbook, answers in sorted(groups.items()):
        known = [said or done for said, done in answers if said or done]
        yield Shadow(
            playbook=playbook,
            proposed=len(answers),
            agreement=rate(known.count("agreed"), len(known)),
            by_deeds=sum(done is not None for _, done in answers),
        )


def _detection(cases: Sequence[Case], truth: Sequence[Occurrence]) -> Detection:
    missed = [one.id for one in truth if not any(same(case, one) for case in cases)]
    true = sum(any(same(case, one) for one in truth) for case in cases)
    return Detection(
        recall=rate(len(truth) - len(missed), len(truth)), precision=rate(true, len(cases)), missed=tuple(missed)
    )


def same(case: Case, told: Occurrence) -> bool:
    """Whether an incident and what somebody noted overlap in time on the same service."""
    slack = int(LABEL_SLACK_SECONDS * NANOS)
    incident = case.incident
    ended = told.ended_unix_nano or told.started_unix_nano
    mine_ended = incident.resolved_unix_nano or incident.updated_unix_nano
    return (
        (incident.environment, incident.service) == (told.environment, told.service)
        and incident.onset_unix_nano <= ended + slack
        and mine_ended >= told.started_unix_nano - slack
    )
