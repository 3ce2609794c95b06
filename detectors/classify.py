"""What kind of incident is this: named rules over its signals and the changes before it.

Called by the correlate kernel at every revision. Each rule is a small function that either cites the signals it
holds on or says nothing; the label is that of the hit with the highest precision. A rule's precision is the posterior
mean of a Beta distribution whose prior is stated beside the rule; it is not yet fed by outcomes, and the
classification's `basis` says so.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from schemas.incident import Classification, RuleHit
from schemas.signal import Signal


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a rule looks at: one scope's active signals by event time, and its recent changes, oldest first."""

    signals: Sequence[Signal]
    changes: Sequence[Signal]

    @property
    def onset(self) -> int:
        return min(signal.onset_unix_nano for signal in self.signals)

    def rising(self, *families: str) -> list[Signal]:
        """Signals of these metric families that went up."""
        return [s for s in self.signals if _family(s) in families and (s.observed or 0.0) > (s.expected or 0.0)]


@dataclass(frozen=True, slots=True)
class Rule:
    """A named rule. `successes` and `failures` are the prior counts of its precision."""

    name: str
    label: str
    successes: float
    failures: float
    holds: Callable[[Evidence], tuple[list[str], list[Signal]] | None]

    @property
    def precision(self) -> float:
        return self.successes / (self.successes + self.failures)


# What users see (symptoms) and what a process uses up (saturation), by the part of a metric name that says so.
_FAMILIES = {
    "latency": ("duration", "latency"),
    "errors": ("error",),
    "traffic": ("request.rate", "request.count", "throughput"),
    "cpu": ("cpu",),
    "memory": ("memory",),
}


def _family(signal: Signal) -> str:
    name = signal.name.lower()
    return next((family for family, parts in _FAMILIES.items() if any(part in name for part in parts)), "other")


def _deployment_regression(evidence: Evidence) -> tuple[list[str], list[Signal]] | None:
    """Users get worse service since the last rollout: most symptoms, if not all, began after it."""
    rollouts = [
        change
        for change in evidence.changes
        if change.name.startswith("deployment.") and change.attributes.get("deployment.kind", "rollout") == "rollout"
    ]
    symptoms = evidence.rising("latency", "errors")
    for rollout in reversed(rollouts):
        since = [s for s in symptoms if s.onset_unix_nano >= rollout.onset_unix_nano]
        # One series may have wavered before by chance; when most had, the rollout found the fault already there.
        if 2 * len(since) > len(symptoms):
            return _because_of(rollout, since), [rollout, *since]
    return None


def _because_of(rollout: Signal, symptoms: Sequence[Signal]) -> list[str]:
    seconds = (min(s.onset_unix_nano for s in symptoms) - rollout.onset_unix_nano) / 1e9
    version = rollout.attributes.get("service.version", "a new version")
    because = [f"{rollout.name} of {version} {seconds:.1f} s before the first symptom"]
    for family in ("latency", "errors"):
        found = sum(_family(symptom) == family for symptom in symptoms)
        because += [f"{found} {family} signals rose since"] if found else []
    return because


def _traffic_surge(evidence: Evidence) -> tuple[list[str], list[Signal]] | None:
    """More requests than usual, and users feel it."""
    traffic, latency = evidence.rising("traffic"), evidence.rising("latency")
    if not traffic or not latency:
        return None
    return [f"{len(traffic)} request rates rose together with {len(latency)} latencies"], [*traffic, *latency]


def _resource_exhaustion(evidence: Evidence) -> tuple[list[str], list[Signal]] | None:
    """Saturation of CPU or memory, and users feel it."""
    saturation, symptoms = evidence.rising("cpu", "memory"), evidence.rising("latency", "errors")
    if not saturation or not symptoms:
        return None
    return [f"{saturation[0].name} rose together with {len(symptoms)} symptoms"], [*saturation, *symptoms]


RULES: tuple[Rule, ...] = (
    # A rollout minutes before a regression of the same service is its cause in most post-mortems (Google SRE book,
    # ch. 8 and app. C: about 70 % of outages are due to changes); requiring symptoms after it, at the same service,
    # raises that. Prior: nine right of ten, worth ten incidents.
    Rule("rollout-before-symptoms", "deployment_regression", 9.0, 1.0, _deployment_regression),
    # Traffic and latency rising together may also be retries after a fault elsewhere: seven of ten.
    Rule("traffic-with-latency", "traffic_surge", 7.0, 3.0, _traffic_surge),
    # CPU rises with most faults: six of ten.
    Rule("saturation-with-symptoms", "resource_exhaustion", 6.0, 4.0, _resource_exhaustion),
)


# A second label whose rule is less precise by more than this is an effect of the first (a bad version burns CPU),
# not a rival; nearer than this the incident is ambiguous.
AMBIGUITY = 0.1


def classify(signals: Sequence[Signal], changes: Sequence[Signal]) -> Classification:
    """Classify an incident.

    Args:
        signals: firing signals, by event time; at least one.
        changes: changes in the scope within the change window before now, by event time.

    """
    evidence = Evidence(signals, changes)
    hits = [(rule, found) for rule in RULES if (found := rule.holds(evidence)) is not None]
    if not hits:
        return Classification(basis="no rule held")
    best = max((rule for rule, _ in hits), key=lambda rule: rule.precision)
    return Classification(
        label=best.label,
        confidence=best.precision,
        credibility=_explained(evidence, hits, best),
        basis=f"rule {best.name}: prior precision {best.successes:g} of {best.successes + best.failures:g}",
        prediction_set=tuple(sorted({r.label for r, _ in hits if r.precision >= best.precision - AMBIGUITY})),
        rules=tuple(
            RuleHit(rule=rule.name, label=rule.label, because=tuple(because), signals=tuple(s.id for s in cited))
            for rule, (because, cited) in hits
        ),
    )


def _explained(evidence: Evidence, hits: Sequence[tuple[Rule, tuple[list[str], list[Signal]]]], best: Rule) -> float:
    """Share of the symptoms (what users feel) that the best rule cites: what it leaves unexplained is unfamiliar."""
    cited = {signal.id for rule, (_, signals) in hits if rule is best for signal in signals}
    symptoms = evidence.rising("latency", "errors") or list(evidence.signals)
    return sum(signal.id in cited for signal in symptoms) / len(symptoms)
