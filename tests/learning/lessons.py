"""Lessons for tests: what one person said of one incident."""

from __future__ import annotations

from typing import Any, Literal

from learning.lessons import Lesson, lesson, sketch
from schemas.incident import Classification
from tests.console.records import control, incident, seconds


def told(
    number: int,
    confidence: float = 0.9,
    *,
    right: bool = True,
    by: str = "ada",
    label: str = "deployment_regression",
    credibility: float = 0.5,
) -> Lesson:
    """What `by` said of incident `number`: that its class was right, or that it was none at all."""
    found = Classification(label=label, confidence=confidence, credibility=credibility, prediction_set=(label,))
    about = incident(number, classification=found)
    verdict: Literal["true_positive", "false_positive"] = "true_positive" if right else "false_positive"
    said: Any = {"incident_id": about.id, "verdict": verdict, "by": by}
    made = lesson(control("feedback", about.updated_unix_nano + seconds(60), **said), sketch(about))
    assert made is not None
    return made
