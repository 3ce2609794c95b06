"""The decide stage and labelled incidents: feedback teaches, what it taught is cited, kept and replayed."""

from __future__ import annotations

from typing import Any

from rich.console import Console, RenderableType

from detectors.classify import classify
from schemas.incident import Classification, Incident
from schemas.raw import Severity
from schemas.topics import CONTROLS, INCIDENTS
from streams.cases import TOPICS, fold
from streams.incident_to_decision import Decide
from streams.kernel.base import Emit
from streams.present import explanation
from streams.tail import Seen
from tests.actions.builders import AUTONOMOUS, T0, incident, shipped
from tests.detectors.test_classify import ERRORS, LATENCY, rollout
from tests.detectors.test_classify import signal as symptom
from tests.streams.arc import batch
from tests.streams.test_decide import control, decide, emitted, revision, take

UNKNOWN = Classification(basis="no rule held")
HOW: tuple[Severity, ...] = ("medium", "medium", "high", "high")
SYMPTOMS, CHANGES = [symptom(LATENCY), symptom(ERRORS)], [rollout(5.0)]


def regression(**changes: Any) -> Incident:
    """One that the rules themselves have named."""
    return incident(classification=classify(SYMPTOMS, CHANGES), signals=(*CHANGES, *SYMPTOMS), **changes)


def feedback(about: str, **said: Any) -> Any:
    return control("feedback", T0 + 1, environment="demo", service="checkout", incident_id=about, **said)


def test_a_new_class_is_learnt_from_the_first_feedback_and_stays_with_people() -> None:
    kernel = decide()
    (first,) = take(kernel, INCIDENTS, incident(id="past", classification=UNKNOWN))
    take(kernel, CONTROLS, feedback("past", label="cache_stampede"))
    (now,) = take(decide(state=kernel.snapshot()), INCIDENTS, revision(1, id="now", classification=UNKNOWN))
    assert (first.classification.label, first.classification.neighbours) == ("unknown", ())
    assert now.classification.label == "cache_stampede"
    assert [(near.incident_id, near.distance) for near in now.classification.neighbours] == [("past", 0.0)]
    assert now.verdict not in {"act", "ask"}, "one example is no guarantee"


def test_what_an_instance_looked_like_is_learnt_and_told_to_the_others() -> None:
    far = {"cpu": 6.0, "rate": -2.0, "locks": 3.0}
    kernel = Decide(shipped(), AUTONOMOUS, 0, partitions=2)
    take(kernel, INCIDENTS, incident(id="past", classification=UNKNOWN, profile=far))
    (told,) = take(kernel, CONTROLS, feedback("past", label="cache_stampede"))
    assert set(told.example.profile) == set(far)
    again = decide(state=kernel.snapshot())
    (same,) = take(again, INCIDENTS, revision(1, id="now", classification=UNKNOWN, profile=far))
    opposite = {name: -value for name, value in far.items()}
    (other,) = take(again, INCIDENTS, revision(1, id="other", classification=UNKNOWN, profile=opposite))
    assert same.classification.label == "cache_stampede"
    assert other.classification.label == "unknown"
    assert other.classification.neighbours[0].distance > 0.5


def test_a_label_that_corrects_a_rule_makes_the_next_one_a_matter_for_people() -> None:
    kernel = decide()
    assert take(kernel, INCIDENTS, incident(id="past"))[0].verdict == "act"
    take(kernel, CONTROLS, feedback("past", label="network_fault"))
    (now,) = take(kernel, INCIDENTS, revision(1, id="now"))
    assert now.classification.prediction_set == ("deployment_regression", "network_fault")
    assert now.verdict != "act"


def test_what_was_no_incident_is_forgotten_and_a_verdict_confirms_the_class() -> None:
    kernel = decide()
    take(kernel, INCIDENTS, incident(id="past"))
    take(kernel, CONTROLS, feedback("past", verdict="true_positive"))
    (confirmed,) = take(kernel, INCIDENTS, revision(1, id="now"))
    assert [near.label for near in confirmed.classification.neighbours] == ["deployment_regression"]
    take(kernel, CONTROLS, feedback("past", verdict="false_positive"), feedback("never-seen", label="x"))
    (later,) = take(kernel, INCIDENTS, revision(1, id="later"))
    assert later.classification.neighbours == ()


def test_what_one_partition_is_taught_all_of_them_know() -> None:
    home, other = (Decide(shipped(), AUTONOMOUS, partition, partitions=3) for partition in (1, 2))
    take(home, INCIDENTS, incident(id="past", classification=UNKNOWN))
    told = home.take(CONTROLS, batch(CONTROLS, [feedback("past", label="cache_stampede")]))
    assert [(one.topic, one.key, one.partition) for one in told if isinstance(one, Emit)] == [
        (CONTROLS, b"*", 0),
        (CONTROLS, b"*", 2),
    ]
    (taught, _) = emitted(told)
    assert emitted(other.take(CONTROLS, batch(CONTROLS, [taught, taught]))) == [], "heard, and not told on"
    restored = Decide(shipped(), AUTONOMOUS, 2, other.snapshot(), partitions=3)
    (now,) = take(restored, INCIDENTS, revision(1, id="now", classification=UNKNOWN, service="shop"))
    assert [(n.incident_id, n.label) for n in now.classification.neighbours] == [("past", "cache_stampede")]
    (forgotten, _) = emitted(home.take(CONTROLS, batch(CONTROLS, [feedback("past", verdict="false_positive")])))
    take(restored, CONTROLS, forgotten)
    (later,) = take(restored, INCIDENTS, revision(1, id="later", classification=UNKNOWN, service="shop"))
    assert later.classification.neighbours == ()


def test_what_nothing_can_be_learnt_from_is_told_to_nobody() -> None:
    kernel = Decide(shipped(), AUTONOMOUS, 0, partitions=3)
    take(kernel, INCIDENTS, incident(id="past", classification=UNKNOWN))
    said = (feedback("past", verdict="true_positive"), feedback("elsewhere", label="x"), control("example"))
    assert take(kernel, CONTROLS, *said) == []


def test_the_trace_holds_what_would_change_its_mind_and_is_sealed_with_it() -> None:
    (found,) = take(decide(), INCIDENTS, regression())
    assert found.hash == found.recomputed_hash()
    stripped = found.classification.model_copy(update={"counterfactuals": ()})
    assert [told.without for told in found.classification.counterfactuals] == [("deployment.finished",)]
    assert found.model_copy(update={"classification": stripped}).recomputed_hash() != found.hash


def test_it_is_explained_on_one_screen() -> None:
    kernel = decide()
    take(kernel, INCIDENTS, regression(id="past"))
    take(kernel, CONTROLS, feedback("past", label="network_fault"))
    about = regression(id="now")
    (decided,) = take(kernel, INCIDENTS, about)
    topics = {topic.name: topic for topic in TOPICS}
    seen = [
        Seen(topic=topics["incidents"], partition=0, offset=0, published_unix_nano=T0, record=about),
        Seen(topic=topics["decisions"], partition=0, offset=0, published_unix_nano=T0, record=decided),
    ]
    told = _text(explanation(fold(seen).find("now")))
    assert "resembles past (network_fault), distance 0.00" in told
    assert "it may be: deployment_regression, network_fault" in told
    assert "rule rollout-before-symptoms" in told
    assert "without deployment.finished it would be " in told
    assert "decided: " in told.split("Why")[0]
    assert len(told.splitlines()) < 40


def test_the_screen_begins_with_what_a_person_needs_first() -> None:
    many = [symptom(LATENCY, at=float(n), instance=f"i-{n}") for n in range(30)]
    held = symptom(ERRORS).model_copy(update={"suppressed_by": ("silence of anna",)})
    about = incident(
        id="now",
        signals=(*CHANGES, *many, held),
        services=("checkout", "shop"),
        services_because=("shop depends on checkout, 1 call away",),
        acknowledged_by=("Anna",),
    )
    topics = {topic.name: topic for topic in TOPICS}
    revisions = [about.model_copy(update={"revision": number, "severity": how}) for number, how in enumerate(HOW, 1)]
    seen = [
        Seen(topic=topics["incidents"], partition=0, offset=at, published_unix_nano=T0 + at, record=one)
        for at, one in enumerate(revisions)
    ]
    told = _text(explanation(fold(seen).find("now")))
    now, _, rest = told.partition("Why")
    for said in (
        "opened ",
        "felt by 1 other: shop depends on checkout",
        "acknowledged by Anna",
        ERRORS,
        "nothing decided",
    ):
        assert said in now, said
    assert rest.count("incident open") == 2, "a revision that says nothing new has no line"
    assert "more signals that it carries" in rest
    assert len(told.splitlines()) < 40


def _text(renderable: RenderableType) -> str:
    console = Console(width=120)
    with console.capture() as captured:
        console.print(renderable)
    return captured.get()
