"""Severity in context: who says so, where it is, how far it reaches, what else goes on."""

from __future__ import annotations

from datetime import datetime

import pytest

from detectors.severity import Context, assess
from schemas.envelope import NANOS, Entity
from schemas.signal import Signal

CONTEXT = Context(critical=("prod/pay*",), minor=("*/docs",), wide=3)


def signal(name: str, instance: str = "i-1", at: int = 1, **more: object) -> Signal:
    return Signal.model_validate(
        {
            "id": f"{name}/{instance}",
            "kind": "metric",
            "state": "firing",
            "entity": Entity(environment="prod", service="shop", instance=instance),
            "subject": f"{name}/{instance}",
            "name": name,
            "time_unix_nano": at * NANOS,
            "onset_unix_nano": at * NANOS,
            "detector": "test",
            "model_version": "1",
            "reasons": (),
            **more,
        }
    )


SLOW = signal("http.server.request.duration")
FAILING = signal("http.server.request.error_ratio")


@pytest.mark.parametrize(
    ("scope", "signals", "severity"),
    [
        ("prod/shop", [SLOW], "medium"),
        ("prod/shop", [SLOW, FAILING], "high"),
        ("prod/payment", [SLOW], "high"),
        ("prod/payment", [SLOW, FAILING], "critical"),
        ("prod/docs", [SLOW], "low"),
        ("staging/shop", [SLOW, FAILING], "medium"),
        ("staging/docs", [SLOW], "low"),
        ("prod/shop", [signal("http.server.request.duration", f"i-{i}") for i in range(3)], "high"),
        ("prod/shop", [signal("DiskFull", kind="alert", attributes={"severity": "critical"})], "critical"),
        ("prod/shop", [FAILING, signal("Slow", kind="alert", attributes={"severity": "low"})], "high"),
        ("prod/shop", [signal("Odd", kind="alert", attributes={"severity": "\x1b[31mworst"})], "medium"),
    ],
)
def test_each_thing_counts(scope: str, signals: list[Signal], severity: str) -> None:
    environment, _, service = scope.partition("/")
    here = {"environment": environment, "service": service}
    signals = [s.model_copy(update={"entity": s.entity.model_copy(update=here)}) for s in signals]
    found, because = assess(scope, signals, (), CONTEXT)
    assert found == severity
    assert len(because) >= 1


def test_services_that_feel_it_count() -> None:
    def of(*services: str) -> list[Signal]:
        return [SLOW.model_copy(update={"entity": Entity(environment="prod", service=name)}) for name in services]

    assert assess("prod/shop", of("shop", "cart"), (), CONTEXT)[0] == "medium"
    assert assess("prod/shop", of("shop", "cart", "search"), (), CONTEXT)[0] == "high"
    assert assess("prod/shop", of("shop", "payment"), (), CONTEXT)[0] == "high"
    # One that matters is abnormal, although the cause lies in one that does not.
    assert assess("prod/docs", of("docs", "shop"), (), CONTEXT)[0] == "medium"


def test_it_says_what_it_was_raised_and_lowered_for() -> None:
    _, because = assess("prod/payment", [FAILING], (), CONTEXT)
    assert because == ("high: errors are seen", "raised: prod/payment is critical")


def test_a_change_under_way_is_told_until_it_has_ended() -> None:
    began = signal("deployment.started", kind="change", state="noted", at=10)
    ended = signal("deployment.finished", kind="change", state="noted", at=20)
    assert assess("prod/shop", [SLOW], [began], CONTEXT)[1][-1] == "while a deployment was under way"
    assert assess("prod/shop", [SLOW], [began, ended], CONTEXT)[1] == ("medium: something is abnormal",)


class _Always:
    def covers(self, target: Entity, now: datetime) -> bool:
        return (target.scope, now.isoformat()) == ("prod/shop", "1970-01-01T00:00:01+00:00")


@pytest.mark.parametrize(
    ("context", "said"),
    [
        (Context(maintenance=(_Always(),), quiet_hours=(_Always(),)), "lowered: it began in a maintenance window"),
        (Context(quiet_hours=(_Always(),)), "lowered: it began in quiet hours"),
    ],
)
def test_what_begins_while_little_depends_on_it_is_less_severe(context: Context, said: str) -> None:
    assert assess("prod/shop", [SLOW], (), context, NANOS) == ("low", ("medium: something is abnormal", said))
    assert assess("prod/shop", [SLOW], (), context, 2 * NANOS)[0] == "medium"
    assert assess("prod/docs", [SLOW], (), context, NANOS)[0] == "medium"
