"""The checks of a decision about the incident itself, and how all checks together give the verdict.

Called by the policy only. Each check is a fact in numbers; `weigh` holds the rules that turn them into a verdict, the
first that applies deciding. The rails' checks are in `actions.rails`.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple, Protocol

from actions.autonomy import TIERS, Reliability, at_most, risen
from actions.playbook import Playbook, Step
from actions.rails import Attempt, Rail
from actions.settings import PolicySettings
from schemas.action import Tier
from schemas.decision import Check, Verdict
from schemas.envelope import Entity
from schemas.incident import Classification, Incident
from schemas.outcome import NOT_TRIED, Result

_DOUBTS = ("uncontested", "unambiguous", "confident", "familiar")
_NOTHING_TO_DO = ("incident_open", "still_firing")
_NOTHING_TO_PROPOSE = ("step_exists", "classified", "playbook_found", "cause_is_here", "target_known")
# What refused these may have passed. A system that does not know the target today knows it no more in a minute.
_ASKED_AGAIN = NOT_TRIED - {Result.NOT_SERVED}


class Classified(Protocol):
    """An incident, or what was kept of one."""

    @property
    def classification(self) -> Classification: ...


class Ruling(NamedTuple):
    """The verdict and the reason for it."""

    verdict: Verdict
    reason: str


def standing(incident: Incident) -> list[Check]:
    """Check that there is something to act on, and that it is here."""
    active = len(incident.active_subjects)
    here = Entity(environment=incident.environment, service=incident.service).scope
    cause = incident.root_causes[0].entity.scope if incident.root_causes else here
    return [
        Check(name="incident_open", passed=incident.status == "open", detail=f"the incident is {incident.status}"),
        Check(name="still_firing", passed=active > 0, detail=f"{active} subjects still fire"),
        # Dependency order: mending a victim hides its cause.
        Check(name="cause_is_here", passed=cause == here, detail=f"the likeliest cause is in {cause}"),
    ]


def uncontested(incident: Incident) -> Check:
    """Check that nobody else speaks for a series of the evidence: who may write telemetry may write anybody's."""
    found = sorted({f"{signal.name} of {signal.entity}" for signal in incident.evidence if signal.contested})
    told = f"more than one producer speaks for {', '.join(found[:3])}" if found else "no series has two producers"
    return Check(name="uncontested", passed=not found, detail=told)


def certainty(incident: Classified, settings: PolicySettings) -> list[Check]:
    """Check that the classification is one that may be acted on without a person."""
    found = incident.classification
    needed = settings.confidence_needed(found.label)
    sure, known = found.confidence >= needed, found.credibility >= settings.min_credibility
    return [
        Check(name="classified", passed=found.label != "unknown", detail=f"class {found.label}"),
        Check(
            name="unambiguous",
            passed=found.prediction_set == (found.label,),
            detail=f"classes that cannot be ruled out: {', '.join(found.prediction_set) or 'none'}",
        ),
        Check(
            name="confident",
            passed=sure,
            detail=f"confidence {found.confidence:.3f}, {needed:g} needed",
        ),
        Check(
            name="familiar",
            passed=known,
            detail=f"credibility {found.credibility:.3f}, {settings.min_credibility:g} needed",
        ),
    ]


def served(incident: Incident, playbook: Playbook | None) -> Check:
    label = incident.classification.label
    detail = f"no playbook serves {label}" if playbook is None else f"{playbook.name} version {playbook.version}"
    return Check(name="playbook_found", passed=playbook is not None, detail=detail)


def for_a_person(incident: Incident, playbook: Playbook) -> list[Check]:
    """Say what a playbook without steps has to say."""
    if playbook.steps or playbook.escalate is None:
        return []
    return [Check(name="step_exists", passed=False, detail=playbook.escalate.told(incident))]


def next_step(
    playbook: Playbook, attempts: Sequence[Attempt], now: int, last_word: str = ""
) -> tuple[Step | None, list[Check]]:
    """Choose the rung: the first not tried for this incident yet; none while one is at work, or after the last.

    `last_word` is what the playbook has to say to the person who is called then.
    """
    tried = [
        item
        for item in attempts
        if item.playbook == playbook.name
        and item.result not in _ASKED_AGAIN
        and (item.result is not None or now <= item.until_unix_nano)
    ]
    # Whatever is at work on the incident is waited for, of this playbook or another.
    working = [item.step for item in attempts if item.result is None and now <= item.until_unix_nano]
    done = any(item.result is Result.VERIFIED for item in tried)
    names = {item.step for item in tried}
    left = None if working or done else next((step for step in playbook.steps if step.name not in names), None)
    told = ", ".join(f"{item.step} {item.result or 'at work'}" for item in tried)
    return left, [
        Check(name="none_at_work", passed=not working, detail=f"at work: {', '.join(working)}" if working else "none"),
        Check(
            name="step_left",
            passed=left is not None,
            detail=f"step {left.name}" if left else f"tried: {told}{last_word}",
        ),
    ]


def tier_in_force(
    playbook: Playbook,
    at: Incident | Entity,
    settings: PolicySettings,
    record: Reliability | None,
    pin: Tier | None,
) -> tuple[Tier, Check]:
    """Find the tier: pinned by a person, or granted, raised by what was earned, capped by a demotion."""
    if pin is not None:
        return pin, Check(name="tier", passed=pin == "autonomous", detail=f"{pin}: pinned by a person")
    grant = settings.grant_for(at.environment, at.service, playbook.name)
    tier, told = grant.tier, [f"granted {grant.tier}"]
    earned: Tier = "observe"
    if record is not None and (grant.earn_up_to is not None or record.ratified is not None):
        earned = risen(record, settings.earning, grant.earn_up_to)
        tier = max(tier, earned, key=TIERS.index)
        told += [f"earned {earned} of at most {grant.earn_up_to}"] if grant.earn_up_to is not None else []
        told += [f"ratified up to {record.ratified}"] if record.ratified is not None else []
    if record is not None and record.cap is not None:
        tier = at_most(tier, max(record.cap, earned, key=TIERS.index))
        told.append(f"demoted to {record.cap}: {record.because}")
    return tier, Check(name="tier", passed=tier == "autonomous", detail=f"{tier}: {'; '.join(told)}")


def reversible(step: Step) -> Check:
    can = step.risk.reversible and step.revert is not None
    detail = f"step {step.name} states its revert" if can else f"step {step.name} cannot be taken back"
    return Check(name="reversible", passed=can, detail=detail)


def weigh(checks: Sequence[Check], rails: Sequence[Rail], tier: Tier) -> Ruling:
    """Give the verdict: the first rule that applies."""
    failed = {check.name: check.detail for check in checks if not check.passed}
    return _unneeded(failed) or _limited(failed, rails) or _for_a_person(failed, tier) or _by_tier(checks, tier)


def _unneeded(failed: dict[str, str]) -> Ruling | None:
    idle = [failed[name] for name in _NOTHING_TO_DO if name in failed]
    if idle:
        return Ruling("observe", idle[0])
    helpless = [failed[name] for name in _NOTHING_TO_PROPOSE if name in failed]
    if helpless:
        return Ruling("escalate", helpless[0])
    return Ruling("observe", failed["none_at_work"]) if "none_at_work" in failed else None


def _limited(failed: dict[str, str], rails: Sequence[Rail]) -> Ruling | None:
    broken = [rail for rail in rails if not rail.check.passed]
    reason = "; ".join(f"{rail.check.name}: {rail.check.detail}" for rail in broken)
    if any(rail.on_failure == "escalate" for rail in broken):
        return Ruling("escalate", reason)
    if broken:
        return Ruling("observe", reason)
    return Ruling("escalate", failed["step_left"]) if "step_left" in failed else None


def _for_a_person(failed: dict[str, str], tier: Tier) -> Ruling | None:
    doubts = [failed[name] for name in _DOUBTS if name in failed]
    if doubts:
        # Where people may approve, they are asked; elsewhere they are only told.
        may_ask = TIERS.index(tier) >= TIERS.index("approve")
        return Ruling("ask" if may_ask else "escalate", f"in doubt: {'; '.join(doubts)}")
    return Ruling("ask", failed["reversible"]) if tier == "autonomous" and "reversible" in failed else None


def _by_tier(checks: Sequence[Check], tier: Tier) -> Ruling:
    verdicts: dict[Tier, Verdict] = {
        "observe": "observe",
        "recommend": "recommend",
        "approve": "ask",
        "autonomous": "act",
    }
    detail = next(check.detail for check in checks if check.name == "tier")
    return Ruling(verdicts[tier], f"tier {detail}")
