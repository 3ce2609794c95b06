"""What the decide stage has learnt of classes: the incidents that people have labelled, and what they say of a new one.

A fold of incidents and feedback. The memory itself, and how it is joined with the rules, are in `detectors`. Feedback
comes to the partition of its incident, which alone knows what the incident looked like; it tells the others, so that
all partitions remember the same.
"""

from __future__ import annotations

from detectors.classify import recall
from detectors.counterfactual import counterfactuals
from detectors.memory import IncidentMemory, features, profile_of
from schemas.control import Control, Example
from schemas.envelope import Model, content_id
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
        vector, profile = features(incident.evidence, incident.changes), profile_of(incident.profile)
        self._recent.pop(incident.id, None)
        self._recent[incident.id] = Example(
            incident_id=incident.id, label=incident.classification.label, features=vector, profile=profile
        )
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        found = recall(incident.classification, self._memory.resemblance(vector, incident.id, profile))
        return incident.model_copy(update={"classification": found})

    def hear(self, said: Control) -> Control | None:
        """Learn from what a person said of an incident known here; returns what the other partitions have to hear."""
        if said.kind == "example":
            self._learn(said)
            return None
        known = self._recent.get(said.incident_id or "")
        label = known and (said.label or (known.label if said.verdict == "true_positive" else None))
        forgets = said.verdict == "false_positive"
        if known is None or not (forgets or (label and label != "unknown")):
            return None
        example = known if forgets else known.model_copy(update={"label": label, "by": said.by})
        taught = Control(
            id=content_id("example", said.id),
            kind="example",
            by=said.by,
            time_unix_nano=said.time_unix_nano,
            verdict=said.verdict if forgets else None,
            example=example,
        )
        self._learn(taught)
        return taught

    def _learn(self, taught: Control) -> None:
        if taught.example is None:
            return
        if taught.verdict == "false_positive":
            self._memory.forget(taught.example.incident_id)
        else:
            self._memory.add(taught.example)


def with_counterfactuals(incident: Incident) -> Classification:
    """Add what would change its mind. Costs tens of milliseconds for the largest incidents: only for what is told."""
    told = counterfactuals(incident.evidence, incident.changes) if incident.classification.rules else ()
    return incident.classification.model_copy(update={"counterfactuals": told})
