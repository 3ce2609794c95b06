"""A storm of signals on one service: judged often enough, at a cost per signal that does not grow with it."""

from __future__ import annotations

from collections.abc import Sequence
from random import Random

import pytest

from schemas.envelope import NANOS
from schemas.incident import Classification
from schemas.signal import Progress, Signal
from streams.kernel import grouping
from streams.kernel.correlate import Correlator, CorrelatorState
from streams.kernel.grouping import CorrelateRules
from tests.streams.arc import at
from tests.streams.test_correlate import play, progress, rollout, signal

RULES = CorrelateRules(group_interval=60 * NANOS)
STORM = 640


def storm(count: int = STORM) -> list[Signal]:
    """Build five alerts a second, all open."""
    return [
        signal(10 + n / 5, f"s{n}", name=f"alert {n % 7}", kind="alert", instance=f"checkout-{n % 50}")
        for n in range(count)
    ]


def with_watermarks(signals: Sequence[Signal], source: str = "raw.alerts/0") -> list[Signal | Progress]:
    return [record for one in signals for record in (one, Progress(source=source, time_unix_nano=one.time_unix_nano))]


def test_a_storm_is_judged_the_less_often_the_larger_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    judged: list[int] = []

    def judge(signals: Sequence[Signal], *_: object) -> Classification:
        judged.append(len(signals))
        return Classification()

    monkeypatch.setattr(grouping, "classify", judge)
    revisions = play(with_watermarks(storm()), RULES)
    assert revisions[-1].signal_count > STORM / 2
    # One by one up to sixteen, then sixteen times each time it doubles, and once at each interval.
    assert len(judged) <= 16 + 16 * 6 + STORM / 5 / 60 + 1


def test_a_change_in_a_storm_is_judged_at_once() -> None:
    symptoms = [
        signal(10 + n / 5, f"s{n}", name="http.server.request.error_ratio", instance=f"checkout-{n % 50}")
        for n in range(100)
    ]
    # The rollout came before the storm, but is heard of in its midst.
    late = rollout(9).model_copy(update={"release_unix_nano": at(20)})
    records = sorted([*symptoms, late], key=lambda one: one.place_unix_nano)
    _, before, after, *_ = play(with_watermarks(records), RULES)
    assert before.classification.label != "deployment_regression"
    assert (after.classification.label, after.updated_unix_nano) == ("deployment_regression", at(20))


@pytest.mark.parametrize("seed", range(5))
def test_a_storm_from_two_sources_does_not_depend_on_how_they_interleave(seed: int) -> None:
    rng = Random(seed)
    together = storm(200)
    queues = [with_watermarks(together[half::2], f"raw.alerts/{half}") for half in (0, 1)]
    mixed: list[Signal | Progress] = [progress(1, f"raw.alerts/{half}") for half in (0, 1)]
    while any(queues):
        mixed.append(rng.choice([queue for queue in queues if queue]).pop(0))
    ends = [progress(200, f"raw.alerts/{half}") for half in (0, 1)]
    assert play([*mixed, *ends], RULES) == play([*together, progress(200, "raw.alerts/0")], RULES)


def test_a_correlator_restored_in_a_storm_goes_on_exactly() -> None:
    records = with_watermarks(storm(120))
    whole = play(records, RULES)
    first = Correlator(RULES)
    found = [incident for record in records[:100] for incident in first.take(record)]
    saved = CorrelatorState.model_validate_json(first.snapshot().model_dump_json())
    second = Correlator(RULES, saved)
    found += [incident for record in records[100:] for incident in second.take(record)]
    assert found == whole
