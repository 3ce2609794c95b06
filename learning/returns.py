"""What the arc gave back: hours and money against a stated baseline, its own mistakes deducted.

Used by `learning.measures`. Every assumption is a field with its meaning, and is printed beside what rests on it.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated

from pydantic import Field

from actions.autonomy import HARMFUL
from learning.history import Case
from schemas.envelope import Model

_MINUTE = 60.0
_HOUR = 3600.0


class Assumptions(Model):
    """The baseline: what an incident takes without the arc. Replace every one by your own."""

    baseline_repair_minutes: Annotated[float, Field(gt=0)] = 30.0
    """Onset to resolution with people alone; Netflix told of 30 minutes before automating with Winston."""
    hands_on_minutes: Annotated[float, Field(ge=0)] = 20.0
    """Of people's time that one incident takes."""
    people: Annotated[float, Field(gt=0)] = 1.0
    """Who spend it."""
    review_minutes: Annotated[float, Field(ge=0)] = 5.0
    """To look at one false incident; each is deducted."""
    cost_per_hour: Annotated[float, Field(ge=0)] = 100.0
    """Of one person, in any currency."""
    downtime_cost_per_minute: Annotated[float, Field(ge=0)] = 0.0
    """Of a service that is impaired; 0 leaves it out."""


class Returns(Model):
    """What was saved, net."""

    assumptions: Assumptions
    repaired_alone: int
    false_incidents: int
    harmful_actions: int
    person_hours_saved: float
    """Repaired alone times hands-on time, less a look at each false incident and a repair for each harmful action."""
    impaired_hours_avoided: float
    """Baseline less actual repair time, of what was repaired alone; longer repairs count against it."""
    money_saved: float


def returns(cases: Iterable[Case], assumptions: Assumptions) -> Returns:
    """Compute what was saved."""
    held = list(cases)
    alone = [case for case in held if case.repaired_alone]
    false = sum(case.verdict == "false_positive" for case in held)
    harmful = sum(harmful_actions(case) for case in held)
    person = assumptions.hands_on_minutes * assumptions.people * (len(alone) - harmful)
    hours = (person - assumptions.review_minutes * false) / _MINUTE
    avoided = sum(assumptions.baseline_repair_minutes * _MINUTE - (case.repair_seconds or 0.0) for case in alone)
    money = hours * assumptions.cost_per_hour + avoided / _MINUTE * assumptions.downtime_cost_per_minute
    return Returns(
        assumptions=assumptions,
        repaired_alone=len(alone),
        false_incidents=false,
        harmful_actions=harmful,
        person_hours_saved=hours,
        impaired_hours_avoided=avoided / _HOUR,
        money_saved=money,
    )


def harmful_actions(case: Case) -> int:
    """Count actions that had to be taken back, whose effect is not known, or that people took back."""
    undone = case.undone_by_people
    return sum(one.result in HARMFUL or one.action_id in undone for one in case.tried)
