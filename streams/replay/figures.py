"""What a backtest says: found and missed, delays, compression, decisions, proposals and their harm, repair times.

Pure: what `streams.replay.backtest` gave and a list of what really happened in, a report out. Used by
`reflexarc backtest`; the three guarded figures are those that `reflexarc models judge` reads.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from statistics import median
from typing import Annotated

from pydantic import Field

from actions.autonomy import HARMFUL, TIERS
from learning.calibration import Calibration, Claim, calibrate
from learning.gate import BRIER
from learning.history import Case, gather
from learning.measures import same
from learning.occurrence import Occurrence
from learning.returns import Assumptions
from learning.statistics import Estimate, mean, rate
from schemas.action import Tier
from schemas.decision import Decision, Verdict
from schemas.envelope import NANOS, Model
from schemas.outcome import Result
from streams.replay.backtest import Replayed

# What is done about an incident is the strongest of its decisions.
STRONGEST: tuple[Verdict, ...] = ("act", "ask", "recommend", "observe", "escalate")
_MILLIS_PER_SECOND = 1000
NANOS_PER_MILLI = 1_000_000


class Handled(Model):
    """One incident, and what would have been done about it."""

    id: str
    scope: str
    title: str
    label: str
    confidence: float
    onset_unix_nano: int
    opened_unix_nano: int
    resolved_unix_nano: int | None
    verdict: Verdict | None
    reason: str
    tier: Tier
    playbook: str | None
    truth: str | None = Field(description="id of what really happened, where there is a list and it is on it")
    harm: str | None = Field(description="why what was proposed would have done harm; None where nothing says so")

    @property
    def acts(self) -> bool:
        return self.verdict == "act"


class Missed(Model):
    """Something that happened and was not found."""

    id: str
    scope: str
    title: str
    started_unix_nano: int


class Repair(Model):
    """Mean times to repair in seconds, people alone against the arc beside them, and what that rests on."""

    baseline: Estimate
    estimated: Estimate
    baseline_minutes: float
    effect_seconds: float | None
    """From a decision to its verified effect: the median of what was recorded; None: as long as the playbook waits."""


class Speed(Model):
    """How fast the recording was played. The only figures that differ between two runs."""

    seconds: Annotated[float, Field(ge=0)]
    records_per_second: float
    times_real_time: float


class Figures(Model):
    """Everything that is reported of one configuration."""

    digest: str = Field(description="of all incidents and decisions: equal exactly when every byte of them is")
    policy_version: str | None
    model_versions: dict[str, str]
    first_unix_nano: int
    last_unix_nano: int
    records: int
    dead_letters: dict[str, int]
    signals: int
    incidents: tuple[Handled, ...]
    compression: float | None
    """Share of signals that nobody had to look at by themselves: 1 - incidents / signals."""
    found: Estimate | None
    """Of what really happened, the share that was found; None without a list of it."""
    missed: tuple[Missed, ...]
    false_incidents: Estimate
    """Of incidents of which it is known, the share that was none."""
    detection_seconds: Estimate
    """From the beginning, as the list has it, to the incident's opening; without a list, from the first evidence."""
    delays: tuple[float, ...]
    decisions: dict[str, dict[str, int]]
    """Every decision, by tier and verdict."""
    calibration: Calibration
    """What confidences were worth, of incidents of which it is known what they were."""
    would_act: int
    commands: int
    """What executors would have been sent, approvals of that time included."""
    proposals: int
    harmful: Estimate
    """Of proposals of which it is known, the share that would have done harm."""
    repair: Repair
    speed: Speed
    figures: dict[str, float]
    """What the gate guards."""


def figures(
    replayed: Replayed,
    truth: Sequence[Occurrence] | None,
    serves: Mapping[str, Collection[str]],
    assumptions: Assumptions,
    seconds: float,
) -> Figures:
    """Measure one backtest.

    Args:
        replayed: what was played.
        truth: what really happened, where somebody kept a list; None: what people said then is all that is known.
        serves: the classes that each playbook is for.
        assumptions: how long people alone take.
        seconds: how long it took to play.

    """
    made = replayed.made
    truth = None if truth is None else [one for one in truth if _lies_in(replayed, one)]
    cases = gather([*made.incidents, *made.decisions, *replayed.told]).cases
    matches = {case.incident.id: _match(case, truth) for case in cases}
    handled = tuple(_handled(case, matches[case.incident.id], truth, serves) for case in cases)
    missed = [one for one in truth or () if not any(same(case, one) for case in cases)]
    fired = sum(signal.state == "firing" for signal in replayed.signals)
    false = [known for case in cases if (known := _is_false(case, matches[case.incident.id], truth)) is not None]
    delays = tuple(_delays(cases, matches, truth))
    proposed = [one for one in handled if one.playbook is not None]
    harmful = rate(sum(one.harm is not None for one in proposed), len(proposed))
    worth = calibrate(list(_claims(cases, matches, truth)))
    brier = worth.brier.value
    return Figures(
        digest=made.digest,
        policy_version=made.decisions[-1].policy_version if made.decisions else None,
        model_versions={signal.detector: signal.model_version for signal in replayed.signals},
        first_unix_nano=replayed.first_millis * NANOS_PER_MILLI,
        last_unix_nano=replayed.last_millis * NANOS_PER_MILLI,
        records=replayed.raw_records,
        dead_letters=dict(sorted(made.dead_letters.items())),
        signals=fired,
        incidents=handled,
        compression=1 - len(cases) / fired if fired else None,
        found=None if truth is None else rate(len(truth) - len(missed), len(truth)),
        missed=tuple(_missed(one) for one in missed),
        false_incidents=rate(sum(false), len(false)),
        detection_seconds=mean(delays),
        delays=delays,
        decisions=_by_tier(made.decisions),
        calibration=worth,
        would_act=sum(one.acts for one in handled),
        commands=len(made.commands),
        proposals=len(proposed),
        harmful=harmful,
        repair=_repair(cases, handled, truth, assumptions),
        speed=_speed(replayed, seconds),
        figures={
            "false_positive_rate": sum(false) / len(false) if false else 0.0,
            "missed_incidents": len(missed) / len(truth) if truth else 0.0,
            "harmful_proposals": harmful.value or 0.0,
            **({} if brier is None else {BRIER: brier}),
        },
    )


def _lies_in(replayed: Replayed, one: Occurrence) -> bool:
    """Whether it could have been found: the recording covers some of it."""
    ended = one.ended_unix_nano or one.started_unix_nano
    return one.started_unix_nano <= replayed.last_millis * NANOS_PER_MILLI and (
        ended >= replayed.first_millis * NANOS_PER_MILLI
    )


def _match(case: Case, truth: Sequence[Occurrence] | None) -> Occurrence | None:
    """Choose the one that began nearest to the first evidence."""
    fitting = [one for one in truth or () if same(case, one)]
    return min(fitting, key=lambda one: abs(one.started_unix_nano - case.incident.onset_unix_nano), default=None)


def _is_false(case: Case, match: Occurrence | None, truth: Sequence[Occurrence] | None) -> bool | None:
    if truth is not None:
        return match is None
    return None if case.verdict is None else case.verdict == "false_positive"


def _strongest(case: Case) -> Decision | None:
    return min(case.decisions, key=lambda one: STRONGEST.index(one.verdict), default=None)


def _handled(
    case: Case,
    match: Occurrence | None,
    truth: Sequence[Occurrence] | None,
    serves: Mapping[str, Collection[str]],
) -> Handled:
    incident, decision = case.incident, _strongest(case)
    proposes = decision is not None and decision.actions and decision.verdict != "escalate"
    playbook = decision.playbook if decision is not None and proposes else None
    return Handled(
        id=incident.id,
        scope=incident.scope,
        title=incident.title,
        label=incident.classification.label,
        confidence=incident.classification.confidence,
        onset_unix_nano=incident.onset_unix_nano,
        opened_unix_nano=incident.opened_unix_nano,
        resolved_unix_nano=incident.resolved_unix_nano,
        verdict=None if decision is None else decision.verdict,
        reason="" if decision is None else decision.reason,
        tier="observe" if decision is None else decision.tier,
        playbook=playbook,
        truth=None if match is None else match.id,
        harm=None if playbook is None else _harm(case, playbook, match, truth, serves),
    )


def _harm(
    case: Case,
    playbook: str,
    match: Occurrence | None,
    truth: Sequence[Occurrence] | None,
    serves: Mapping[str, Collection[str]],
) -> str | None:
    """Say why acting so would have been wrong, by what really happened, what people said, and what became of it."""
    if _is_false(case, match, truth):
        return "nothing was wrong"
    really = match.label if match is not None else case.true_label
    if really and really not in serves.get(playbook, ()):
        return f"it was {really}, which {playbook} is not for"
    ended = [one for one in case.tried if one.playbook == playbook and one.result in HARMFUL]
    return f"tried then, it ended {ended[-1].result}: {ended[-1].reason}" if ended else None


def _claims(
    cases: Sequence[Case], matches: Mapping[str, Occurrence | None], truth: Sequence[Occurrence] | None
) -> Iterable[Claim]:
    """Compare the class of each incident with what it was; a list that names no class says nothing of it."""
    for case in cases:
        match = matches[case.incident.id]
        really = match.label if match is not None and match.label else case.true_label
        if _is_false(case, match, truth):
            yield Claim(case.classification.confidence, right=False)
        elif really:
            yield Claim(case.classification.confidence, really == case.label)


def _missed(one: Occurrence) -> Missed:
    scope = f"{one.environment}/{one.service}"
    return Missed(id=one.id, scope=scope, title=one.title, started_unix_nano=one.started_unix_nano)


def _delays(
    cases: Sequence[Case], matches: Mapping[str, Occurrence | None], truth: Sequence[Occurrence] | None
) -> Iterable[float]:
    """Count the first incident of each thing that happened; found before the list says it began counts as at once."""
    if truth is None:
        yield from (case.detection_seconds for case in cases)
        return
    seen: set[str] = set()
    for case in cases:
        match = matches[case.incident.id]
        if match is not None and match.id not in seen:
            seen.add(match.id)
            yield max(0.0, (case.incident.opened_unix_nano - match.started_unix_nano) / NANOS)


def _by_tier(decisions: Iterable[Decision]) -> dict[str, dict[str, int]]:
    counted: dict[str, Counter[str]] = {}
    for one in decisions:
        counted.setdefault(one.tier, Counter())[one.verdict] += 1
    return {tier: dict(sorted(counted[tier].items())) for tier in TIERS if tier in counted}


def _repair(
    cases: Sequence[Case],
    handled: Sequence[Handled],
    truth: Sequence[Occurrence] | None,
    assumptions: Assumptions,
) -> Repair:
    effect = _effect_seconds(cases)
    alone: dict[str, float] = {}
    with_us: dict[str, float] = {}
    for one in truth or ():
        alone[one.id] = with_us[one.id] = _people_alone(one.started_unix_nano, one.ended_unix_nano, assumptions)
    began = {one.id: one.started_unix_nano for one in truth or ()}
    for case, line in zip(cases, handled, strict=True):
        key = line.truth if truth is not None else line.id
        if key is None or (truth is None and case.verdict == "false_positive"):
            continue
        people = alone.setdefault(key, _people_alone(0, None, assumptions))
        with_us.setdefault(key, people)
        decision = _strongest(case)
        if decision is None or not line.acts or line.harm is not None:
            continue
        takes = effect if effect is not None else decision.actions[0].verification.within_seconds
        decided = (decision.time_unix_nano - began.get(key, line.onset_unix_nano)) / NANOS
        # People are at it, too: it never takes longer than it does them.
        with_us[key] = min(with_us[key], max(0.0, decided) + takes)
    return Repair(
        baseline=mean(list(alone.values())),
        estimated=mean(list(with_us.values())),
        baseline_minutes=assumptions.baseline_repair_minutes,
        effect_seconds=effect,
    )


def _people_alone(started: int, ended: int | None, assumptions: Assumptions) -> float:
    return assumptions.baseline_repair_minutes * 60 if ended is None else (ended - started) / NANOS


def _effect_seconds(cases: Iterable[Case]) -> float | None:
    """Find how long it took from a decision to its verified effect, where that was recorded."""
    took = [
        (outcome.timing.finished_unix_nano - outcome.timing.received_unix_nano) / NANOS
        for case in cases
        for outcome in case.tried
        if outcome.result is Result.VERIFIED
    ]
    return median(took) if took else None


def _speed(replayed: Replayed, seconds: float) -> Speed:
    span = (replayed.last_millis - replayed.first_millis) / _MILLIS_PER_SECOND
    took = max(seconds, 1e-9)
    return Speed(seconds=seconds, records_per_second=replayed.raw_records / took, times_real_time=span / took)
