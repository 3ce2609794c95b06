"""What kind of incident is this: the class that the most precise of the rules that hold speaks for.

Called by the correlate kernel at every revision. The rules are in `detectors.rules`; here is what follows from several
of them, or none. The decide stage then asks the memory of labelled incidents, and `recall` joins the two.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from detectors.memory import Resemblance
from detectors.rules import RULES, Evidence, Found, Rule, RuleRecord
from schemas.incident import Classification, RuleHit
from schemas.signal import Signal

# A second label whose rule is less precise by more than this is an effect of the first (a bad version burns CPU),
# not a rival; nearer than this the incident is ambiguous.
AMBIGUITY = 0.1


_BY_NAME: Mapping[str, Rule] = {rule.name: rule for rule in RULES}


def classify(
    signals: Sequence[Signal], changes: Sequence[Signal], records: Mapping[str, RuleRecord] | None = None
) -> Classification:
    """Classify an incident.

    Args:
        signals: firing signals, by event time; at least one.
        changes: changes in the scope within the change window before now, by event time.
        records: how often each rule was right and wrong, as far as it is known.

    """
    evidence = Evidence(signals, changes)
    hits = [(rule, found) for rule in RULES if (found := rule.holds(evidence)) is not None]
    if not hits:
        return Classification(basis="no rule held")
    best = max((rule for rule, _ in hits), key=lambda rule: rule.precision)
    record = (records or {}).get(best.name, (0.0, 0.0))
    return Classification(
        label=best.label,
        confidence=best.confidence(record),
        credibility=_explained(evidence, hits, best),
        basis=_basis(best, record),
        prediction_set=tuple(sorted({r.label for r, _ in hits if r.precision >= best.precision - AMBIGUITY})),
        rules=tuple(
            RuleHit(rule=rule.name, label=rule.label, because=tuple(because), signals=tuple(s.id for s in cited))
            for rule, (because, cited) in hits
        ),
    )


def decisive(found: Classification) -> Rule | None:
    """Find the rule that a class rests on; none where a memory named it, or nothing did."""
    mine = [_BY_NAME[hit.rule] for hit in found.rules if hit.label == found.label and hit.rule in _BY_NAME]
    return max(mine, key=lambda rule: rule.precision, default=None)


def recall(found: Classification, resembles: Resemblance) -> Classification:
    """Join what the rules say with what is remembered. Memory adds doubt to a rule, and a class where no rule holds."""
    if not resembles.neighbours:
        return found
    if found.label != "unknown":
        return _doubted(found, resembles)
    cited = {"neighbours": resembles.neighbours, "credibility": resembles.familiarity if resembles.calibrated else 0.0}
    label = resembles.label
    if label is None:
        basis = "no rule held, and no labelled incident resembles it"
        return found.model_copy(update={**cited, "basis": basis, "prediction_set": ()})
    agree = sum(near.label == label for near in resembles.neighbours)
    # Laplace's rule of succession, over neighbours and over people: five that agree are no certainty, and what one
    # person says five times is said once. By default it takes three people before anything is done unasked.
    people = resembles.people[label]
    share = min((agree + 1) / (len(resembles.neighbours) + 2), (people + 1) / (people + 2))
    update = {
        **cited,
        "label": label,
        "confidence": min(share, resembles.confidence) if resembles.calibrated else share,
        "basis": f"no rule held; so were {agree} of the {len(resembles.neighbours)} nearest labelled incidents"
        + ("" if resembles.calibrated else "; too few are labelled to say how familiar it is"),
        "prediction_set": resembles.prediction_set,
    }
    return found.model_copy(update=update)


def _basis(rule: Rule, record: RuleRecord) -> str:
    right, wrong = record
    prior = f"rule {rule.name}: prior precision {rule.successes:g} of {rule.successes + rule.failures:g}"
    return f"{prior}, since then right {right:g} times of {right + wrong:g}" if right + wrong else prior


def _doubted(found: Classification, resembles: Resemblance) -> Classification:
    """Drop a rule's class where the memory knows the class and rules it out; add what else it may be."""
    p_value = resembles.p_values.get(found.label)
    possible = {*found.prediction_set, *(resembles.prediction_set if resembles.familiar else ())}
    update: dict[str, object] = {"neighbours": resembles.neighbours}
    ruled_out = p_value is not None and not (resembles.familiar and found.label in resembles.prediction_set)
    if resembles.calibrated and p_value is not None and ruled_out:
        possible.discard(found.label)
        p_value = min(p_value, resembles.familiarity)
        update["credibility"] = min(found.credibility, p_value)
        update["basis"] = f"{found.basis}; it resembles no labelled incident of this class (p {p_value:.3f})"
    elif possible != set(found.prediction_set):
        others = ", ".join(sorted(possible - set(found.prediction_set)))
        update["basis"] = f"{found.basis}; labelled incidents like it were {others}"
    return found.model_copy(update={**update, "prediction_set": tuple(sorted(possible))})


def _explained(evidence: Evidence, hits: Sequence[tuple[Rule, Found]], best: Rule) -> float:
    """Share of the symptoms (what users feel) that the best rule cites: what it leaves unexplained is unfamiliar."""
    cited = {signal.id for rule, (_, signals) in hits if rule is best for signal in signals}
    symptoms = evidence.symptoms or list(evidence.signals)
    return sum(signal.id in cited for signal in symptoms) / len(symptoms)
