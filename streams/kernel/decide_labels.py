"""What the decide stage has learnt of classes: the incidents that people have labelled, and what they say of a new one.

A fold of incidents and feedback. The memory itself, and how it is joined with the rules, are in `detectors`.
"""

from __future__ import annotations

from detectors.classify import recall
from detectors.counterfactual import counterfactuals
from detectors.memory import Example, IncidentMemory, features
from schemas.control import Control
from schemas.envelope import Model
from schemas.incident import Classification, Incident

# Incidents that feedback may still come to, newest last. A label that comes after as many others teaches nothing.
MAX_RECENT = 256


class SavedLabels(Model):
    """What `Labels` is made of again."""

    recent: tuple[Example, ...] = ()
    examples: tuple[Example, ...] = ()


class Labels:
    """Labelled incidents, and those that may still be labelled."""

    def __init__(self, saved: SavedLabels) -> None:
        self._recent = {example.incident_id: example for example in saved.recent}
        self._memory = IncidentMemory(saved.examples)

    @property
    def saved(self) -> SavedLabels:
        return SavedLabels(recent=tuple(self._recent.values()), examples=self._memory.examples)

    def recognised(self, incident: Incident) -> Incident:
        """Join the class that the rules gave with what labelled incidents of the past say."""
        vector = features(incident.evidence, incident.changes)
        self._recent.pop(incident.id, None)
        self._recent[incident.id] = Example(
            incident_id=incident.id, label=incident.classification.label, features=vector
        )
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        found = recall(incident.classification, self._memory.resemblance(vector, incident.id))
        return incident.model_copy(update={"classification": found})

    def hear(self, feedback: Control) -> None:
        """Learn the class of an incident from what a person said of it."""
        example = self._recent.get(feedback.incident_id or "")
        if example is None:
            return
        label = feedback.label or (example.label if feedback.verdict == "true_positive" else None)
        if feedback.verdict == "false_positive":
            self._memory.forget(example.incident_id)
        elif label is not None and label != "unknown":
            self._memory.add(example.model_copy(update={"label": label, "by": feedback.by}))


def with_counterfactuals(incident: Incident) -> Classification:
    """Add what would change its mind. Costs tens of milliseconds for the largest incidents: only for what is told."""
    told = counterfactuals(incident.evidence, incident.changes) if incident.classification.rules else ()
    return incident.classification.model_copy(update={"counterfactuals": told})
