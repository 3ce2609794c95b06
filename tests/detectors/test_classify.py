"""Classes of incidents: each rule on a scene it is for, and on the nearest scene that it must keep out of."""

from __future__ import annotations

from pathlib import Path

import pytest

from actions.catalog import load
from actions.settings import PolicySettings
from detectors.classify import classify
from detectors.rules import RULES
from schemas.envelope import AttributeValue, Entity
from schemas.incident import Classification
from schemas.signal import Signal, SignalKind, signal_id

SECOND = 1_000_000_000
T0 = 1_700_000_000 * SECOND
LATENCY, ERRORS, TRAFFIC = "http.server.request.duration", "http.server.request.error_ratio", "http.server.request.rate"
PAGE = Path(__file__).resolve().parents[2] / "docs" / "classes.md"


def signal(
    name: str,
    at: float = 10.0,
    instance: str | None = "i-1",
    *,
    rises: bool = True,
    kind: SignalKind = "metric",
    detector: str = "test",
    **attributes: AttributeValue,
) -> Signal:
    subject, time = f"{name}/{instance}", T0 + int(at * SECOND)
    return Signal(
        id=signal_id(subject, "firing", time),
        kind=kind,
        state="noted" if kind == "change" else "firing",
        entity=Entity(environment="prod", service="checkout", instance=instance),
        subject=subject,
        name=name,
        attributes={key.replace("__", "."): value for key, value in attributes.items()},
        time_unix_nano=time,
        onset_unix_nano=time,
        observed=2.0 if rises else 0.5,
        expected=1.0,
        detector=detector,
        model_version="1",
        reasons=("because",),
    )


def alert(name: str, at: float = 10.0, instance: str | None = "i-1", source: str = "falco") -> Signal:
    return signal(name, at, instance, kind="alert", detector=source)


def rollout(at: float) -> Signal:
    return signal("deployment.finished", at, None, kind="change")


def label(*signals: Signal, changes: tuple[Signal, ...] = ()) -> str:
    return classified(*signals, changes=changes).label


def classified(*signals: Signal, changes: tuple[Signal, ...] = ()) -> Classification:
    return classify(sorted(signals, key=lambda s: s.time_unix_nano), changes)


def test_symptoms_after_a_rollout_are_its_doing() -> None:
    assert label(signal(LATENCY), signal(ERRORS), changes=(rollout(5.0),)) == "deployment_regression"


def test_one_series_alone_accuses_a_rollout_with_less_precision_however_finely_it_is_told_apart() -> None:
    lone = [signal("log.error.count", kind="log"), signal("log.error.count", kind="log", log__template="it broke")]
    lone[1] = lone[1].model_copy(update={"subject": "another"})
    for signals in (lone[:1], lone):
        found = classified(*signals, changes=(rollout(5.0),))
        assert (found.label, found.rules[0].rule) == ("deployment_regression", "rollout-before-lone-symptom")
    elsewhere = signal("log.error.count", 11.0, "i-2", kind="log")
    assert classified(*lone, elsewhere, changes=(rollout(5.0),)).rules[0].rule == "rollout-before-symptoms"


def test_a_rollout_after_the_symptoms_is_not_their_cause() -> None:
    assert label(signal(LATENCY), signal(ERRORS), changes=(rollout(12.0),)) != "deployment_regression"


def test_errors_since_a_rollout_are_its_doing_whatever_was_slow_before() -> None:
    slow = [signal(LATENCY, at, f"i-{i}") for i, at in enumerate((1.0, 2.0, 3.0))]
    found = classified(*slow, signal(ERRORS, 8.0, "i-1"), signal(ERRORS, 9.0, "i-2"), changes=(rollout(5.0),))
    assert found.label == "deployment_regression"
    assert found.credibility == pytest.approx(2 / 5)  # what was slow before is left unexplained
    assert set(found.rules[0].signals).isdisjoint(s.id for s in slow)


def test_one_more_series_of_a_fault_that_was_there_is_no_regression() -> None:
    slow = [signal(LATENCY, at, f"i-{i}") for i, at in enumerate((1.0, 2.0))]
    assert label(*slow, signal(ERRORS, 8.0, "i-1"), changes=(rollout(5.0),)) != "deployment_regression"
    more = [signal(LATENCY, 8.0, "i-7")]
    assert label(*slow, *more, changes=(rollout(5.0),)) != "deployment_regression"


SCENES = {
    "database_overload": [signal("postgresql.backends"), signal("db.client.operation.duration")],
    "traffic_surge": [signal(TRAFFIC, instance="i-1"), signal(LATENCY, instance="i-2")],
    "resource_exhaustion": [signal("process.cpu.utilization", instance="i-1"), signal(LATENCY, instance="i-2")],
    "memory_pressure": [signal("container.memory.usage"), signal(LATENCY)],
    "instance_stuck": [signal(TRAFFIC, rises=False), signal(LATENCY)],
    "instance_fault": [signal(LATENCY), signal(ERRORS)],
    "node_fault": [signal("k8s.node.condition_ready", rises=False), signal("container.filesystem.usage")],
    "dependency_failure": [
        signal("http.client.request.duration", 9.0, "i-1"),
        signal(LATENCY, 10.0, "i-2"),
    ],
    "network_fault": [signal("system.network.packets.dropped", instance="i-1"), signal(LATENCY, instance="i-2")],
    "instance_compromised": [alert("Terminal shell in container"), signal("process.cpu.utilization")],
    "segment_compromised": [alert("Shell", instance="i-1"), alert("Shell", instance="i-2"), signal(ERRORS)],
    "malicious_traffic": [
        alert("Outbound scan"),
        signal("system.network.io", network__io__direction="transmit"),
    ],
    "alert_noise": [alert("HighLatency", at, source="alertmanager") for at in (1.0, 5.0, 9.0)],
}


@pytest.mark.parametrize("wanted", SCENES)
def test_each_class_is_told_from_its_scene(wanted: str) -> None:
    found = classified(*SCENES[wanted])
    assert found.label == wanted
    best = next(hit for hit in found.rules if hit.label == wanted)
    assert best.because
    assert set(best.signals) <= {s.id for s in SCENES[wanted]}


@pytest.mark.parametrize("wanted", sorted(SCENES.keys() - {"alert_noise"}))
def test_what_logs_remark_besides_changes_no_class(wanted: str) -> None:
    scene = SCENES[wanted]
    remark = signal("log.record.count", instance=scene[0].entity.instance, kind="log")
    assert classified(*scene, remark).label == wanted


def test_whoever_writes_one_log_is_one_witness_against_a_rollout() -> None:
    def accused(*instances: str) -> float:
        errors = [signal("log.error.count", 10.0, one, kind="log") for one in instances]
        lines = [signal("log.error.count", 10.0, one, kind="log", template="boom") for one in instances]
        lines = [line.model_copy(update={"subject": f"{line.subject}/template"}) for line in lines]
        return classified(*errors, *lines, changes=(rollout(5.0),)).confidence

    assert accused("i-1") < PolicySettings().min_confidence < accused("i-1", "i-2")


NEAR_MISSES = {
    "nobody waits for the database": [signal("postgresql.backends"), signal("process.cpu.utilization")],
    "traffic alone": [signal(TRAFFIC, instance="i-1"), signal(TRAFFIC, instance="i-2")],
    "saturation that nobody feels": [signal("process.cpu.utilization"), signal("container.memory.usage")],
    "everything idle, nobody waits": [signal(TRAFFIC, rises=False), signal("process.cpu.utilization", rises=False)],
    "the same on two instances": [signal(LATENCY, instance="i-1"), signal(ERRORS, instance="i-2")],
    "a node alone": [signal("k8s.node.condition_ready", rises=False)],
    "symptoms before the dependency": [
        signal("http.client.request.duration", 11.0, "i-1"),
        signal(LATENCY, 10.0, "i-2"),
    ],
    "an alarm alone": [alert("Terminal shell in container")],
    "an alarm, and traces elsewhere": [alert("Shell", instance="i-1"), signal("process.cpu.utilization", 10.0, "i-2")],
    "an alarm that names no instance": [alert("Shell", instance=None), signal("process.cpu.utilization")],
    "an alert of no intruder": [alert("Watchdog", source="alertmanager"), signal("process.cpu.utilization")],
    "much sent, nothing reported": [signal("system.network.io", network__io__direction="transmit")],
    "alerts that fired once each": [alert(name, source="alertmanager") for name in ("A", "B", "C")],
    "alarms that come and go": [alert("Shell", at) for at in (1.0, 5.0, 9.0)],
}


@pytest.mark.parametrize("scene", NEAR_MISSES)
def test_what_is_only_like_a_class_is_unknown(scene: str) -> None:
    assert label(*NEAR_MISSES[scene]) == "unknown"


def test_what_two_rules_of_like_precision_claim_is_ambiguous() -> None:
    found = classified(signal(TRAFFIC, instance="i-1"), *SCENES["network_fault"])
    assert set(found.prediction_set) == {"traffic_surge", "network_fault"}


def test_nobody_is_taken_out_on_reports_alone() -> None:
    """Reports and their traces can be staged: below the default of `policy.min_confidence` a person decides."""
    for intrusion in ("instance_compromised", "segment_compromised", "malicious_traffic"):
        assert classified(*SCENES[intrusion]).confidence < 0.8


def test_who_can_write_logs_cannot_choose_an_intrusion() -> None:
    """A process that looks like an intruder's is a trace of one; that there is one, another system has to say."""
    process = signal("process.lineage", kind="log", detector="process-lineage", technique="T1059")
    for logs in ([process], [process, signal("log.error.count", kind="log")]):
        assert label(*logs) not in {"instance_compromised", "segment_compromised", "malicious_traffic"}
    assert label(process, alert("Terminal shell in container")) == "instance_compromised"


def test_every_class_that_a_playbook_serves_can_be_told() -> None:
    served = {label for playbook in load() for label in playbook.serves.classes}
    assert served <= {rule.label for rule in RULES} | {"unknown"}


def test_the_page_lists_every_rule_with_its_prior() -> None:
    rows = [line.split("|")[1:-1] for line in PAGE.read_text().splitlines() if line.startswith("| `")]
    written = [(cells[0].strip(" `"), cells[1].strip(" `"), float(cells[2])) for cells in rows]
    assert written == [(rule.label, rule.name, rule.precision) for rule in RULES]
