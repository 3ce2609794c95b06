"""What kind of incident is this: the class that the most precise of the rules that hold speaks for.

Called by the correlate kernel at every revision. The rules are in `detectors.rules`; here is what follows from several
of them, or none.
"""

from __future__ import annotations

from collections.abc import Sequence

from detectors.rules import RULES, Evidence, Found, Rule
from schemas.incident import Classification, RuleHit
from schemas.signal import Signal

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


def _explained(evidence: Evidence, hits: Sequence[tuple[Rule, Found]], best: Rule) -> float:
    """Share of the symptoms (what users feel) that the best rule cites: what it leaves unexplained is unfamiliar."""
    cited = {signal.id for rule, (_, signals) in hits if rule is best for signal in signals}
    symptoms = evidence.symptoms or list(evidence.signals)
    return sum(signal.id in cited for signal in symptoms) / len(symptoms)
