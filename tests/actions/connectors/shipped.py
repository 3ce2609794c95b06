"""A shipped playbook's steps as commands, for tests that run them on the real system."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from actions.catalog import load
from schemas.action import ActionCommand
from schemas.incident import Classification
from tests.actions.builders import T0, incident


def commands(name: str, **changes: Any) -> Mapping[str, ActionCommand]:
    """Fill in every step of a playbook for an incident of the class it serves."""
    playbook = load().get(name)
    assert playbook is not None, name
    (label, *_) = playbook.serves.classes
    found = Classification(label=label, confidence=0.95, credibility=0.5, prediction_set=(label,))
    about = incident(classification=found, **changes)
    assert playbook.serves_incident(about)
    return {
        step.name: playbook.command(
            step,
            about,
            decision_id="decision-1",
            tier="approve",
            issued_unix_nano=T0,
            validity_seconds=60,
            replay=False,
        )
        for step in playbook.steps
    }
