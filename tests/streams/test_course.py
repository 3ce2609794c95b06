"""Settings in the course of event time, and the kernels that follow them, each at one place in the stream."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from actions.settings import PolicySettings
from schemas.decision import Decision
from schemas.envelope import Record
from schemas.incident import Incident
from schemas.model import DataRange, Held, ModelVersion
from schemas.raw import MetricSample
from schemas.signal import Progress, Signal
from schemas.topics import INCIDENTS, RAW_METRICS, SIGNALS, Topic
from streams import raw_to_signal, signal_to_incident
from streams.course import Course
from streams.incident_to_decision import maker as decide_maker
from streams.kernel.base import Emit, Kernel
from streams.settings import DetectSettings, Settings
from tests.actions.builders import incident
from tests.streams.arc import at, cut, metric

DATA = DataRange(first_unix_nano=1, last_unix_nano=2, records=3, hash="h")


def version(identity: str, begins: float, until: float | None = None, **parameters: object) -> ModelVersion:
    return ModelVersion(
        id=identity,
        kind="policy-thresholds" if "policy" in next(iter(parameters)) else "detection-thresholds",
        status="live",
        reason="better",
        parameters={name.replace("__", "."): value for name, value in parameters.items()},
        data=DATA,
        code_version="1",
        built_unix_nano=at(begins),
        changed_unix_nano=at(begins),
        held=(Held(from_unix_nano=at(begins), until_unix_nano=None if until is None else at(until)),),
    )


def test_what_was_learnt_holds_from_then_on_and_is_named() -> None:
    learnt = version("m1", 10, 20, policy__min_confidence=0.9, detect__window=32)
    course = Course(Settings(), [learnt])
    told = [(course.at(at(s)).settings.policy.min_confidence, course.at(at(s)).models("policy")) for s in (9, 10, 20)]
    assert told == [(0.8, ()), (0.9, ("m1",)), (0.8, ())]
    assert course.at(at(15)).settings.detect == DetectSettings(), "a model may not set that"
    assert course.at(at(15)).models("detect") == ()


def test_what_people_set_stands_unless_the_day_was_another() -> None:
    said = Settings(policy=PolicySettings(min_confidence=0.7))
    learnt = version("m1", 10, policy__min_confidence=0.9)
    assert Course(said, [learnt]).at(at(15)).settings.policy.min_confidence == 0.7
    assert Course(said, [learnt]).at(at(15)).models("policy") == ()
    assert Course(said, [learnt], over_all=True).at(at(15)).settings.policy.min_confidence == 0.9


def test_a_version_heard_of_while_running_takes_effect_at_its_time() -> None:
    course = Course(Settings())
    assert course.at(at(15)).models("policy") == ()
    course.hear(version("m1", 10, policy__min_confidence=0.9))
    assert [course.at(at(s)).models("policy") for s in (9, 15)] == [(), ("m1",)]


def test_a_course_can_be_handed_to_another_process() -> None:
    course = pickle.loads(pickle.dumps(Course(Settings(), [version("m1", 10, policy__min_confidence=0.9)])))
    assert course.at(at(15)).models("policy") == ("m1",)


def calm(until: int) -> list[MetricSample]:
    generator = Random(7)
    return [metric(second, 0.1 + generator.gauss(0, 0.004)) for second in range(1, until)]


def found(kernel: Kernel, topic: Topic, records: Sequence[Record], cuts: Sequence[int] = ()) -> list[Record]:
    taken = (kernel.take(topic, one) for one in cut(topic, records, cuts))
    return [output.record for outputs in taken for output in outputs if isinstance(output, Emit)]


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 130), max_size=8))
def test_detection_takes_thresholds_up_at_the_same_tick_however_records_come(cuts: list[int]) -> None:
    """Two blips alike: under the shipped budget both are raised, under one of a millionth only the first."""
    blip = [0.15] * 8
    records = [*calm(60), *(metric(60 + n, value) for n, value in enumerate(blip))]
    records += [one for one in calm(130) if one.time_unix_nano >= at(68)]
    records = [*records[:104], *(metric(104 + n, value) for n, value in enumerate(blip)), *records[112:]]
    strict = version("m1", 90, detect__max_false_share=1e-9)

    def names(course: Course) -> list[tuple[float, tuple[str, ...]]]:
        lane = raw_to_signal.stage(course, 1).lanes[0]
        said = found(lane.make(0, None), RAW_METRICS, records, cuts)
        fired = [one for one in said if isinstance(one, Signal) and one.state == "firing"]
        return [((one.onset_unix_nano - at(0)) // 10**9, one.models) for one in fired]

    plain = Settings()
    assert names(Course(plain)) == [(60, ()), (104, ())]
    assert names(Course(plain, [strict])) == [(60, ())]
    looser = version("m2", 90, detect__max_false_share=1.0)
    assert names(Course(plain, [looser])) == [(60, ()), (104, ("m2",))]


def lone(seconds: float, name: str, state: str = "firing") -> Signal:
    return Signal(
        id=f"{name}{seconds}{state}",
        kind="metric",
        state=state,
        entity={"environment": "demo", "service": "checkout", "instance": "checkout-1"},
        subject=name,
        name=name,
        time_unix_nano=at(seconds),
        onset_unix_nano=at(seconds),
        detector="test",
        model_version="1",
        reasons=(),
    )


def opened(course: Course, records: Sequence[Record]) -> list[tuple[float, tuple[str, ...]]]:
    kernel = signal_to_incident.maker(course)(0, None)
    made = [one for one in found(kernel, SIGNALS, records) if isinstance(one, Incident) and one.revision == 1]
    return [((one.opened_unix_nano - at(0)) / 1e9, one.models) for one in made]


def test_correlation_takes_the_wait_up_where_it_holds() -> None:
    records: list[Record] = [
        lone(10, "a"),
        Progress(source="s", time_unix_nano=at(60)),
        lone(61, "a", "cleared"),
        Progress(source="s", time_unix_nano=at(100)),
        lone(110, "b"),
        Progress(source="s", time_unix_nano=at(200)),
    ]
    assert opened(Course(Settings()), records) == [(40, ()), (140, ())]
    course = Course(Settings(), [version("m1", 90, correlate__lone_wait_seconds=20.0)])
    assert opened(course, records) == [(40, ()), (130, ("m1",))]


def test_what_mostly_raises_false_alarms_has_to_last_unless_something_else_is_there() -> None:
    doubted = version("m1", 1, correlate__doubted=("demo/checkout:noisy", "demo/checkout:shaky"))
    course = Course(Settings(), [doubted])
    end = Progress(source="s", time_unix_nano=at(100))
    assert opened(Course(Settings()), [lone(10, "noisy"), lone(11, "shaky"), end]) == [(11, ())]
    assert opened(course, [lone(10, "noisy"), lone(11, "shaky"), end]) == [(40, ("m1",))]
    assert opened(course, [lone(10, "noisy"), lone(11, "sound"), end]) == [(11, ("m1",))]


def test_a_decision_is_made_under_the_policy_of_its_time_and_names_the_model() -> None:
    now = incident()
    learnt = version("m1", 0, policy__min_confidence=0.99)
    held = Held(from_unix_nano=now.updated_unix_nano)
    for begins, needed, names in ((held, "0.99", ("m1",)), (Held(from_unix_nano=now.updated_unix_nano + 1), "0.8", ())):
        kernel = decide_maker(Course(Settings(), [learnt.model_copy(update={"held": (begins,)})]))(0, None)
        (decision,) = found(kernel, INCIDENTS, [now])
        assert isinstance(decision, Decision)
        (check,) = (one for one in decision.checks if one.name == "confident")
        assert f"{needed} needed" in check.detail
        assert decision.models == names
        assert decision.hash == decision.recomputed_hash()


def test_a_trace_from_before_models_were_named_still_fits_its_hash() -> None:
    kernel = decide_maker(Course(Settings()))(0, None)
    (decision,) = found(kernel, INCIDENTS, [incident()])
    assert isinstance(decision, Decision)
    document = decision.model_dump(mode="json")
    del document["models"]
    assert Decision.model_validate(document).recomputed_hash() == decision.hash
