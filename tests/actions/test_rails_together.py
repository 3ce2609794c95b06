"""Two partitions that know nothing of each other cannot together exceed what holds over everything.

An environment lies in one partition, where it is decided about as a whole. What two environments share is counted by
the executors, in a real Valkey; what they refuse comes back to whoever decided, and is named in its trace.
"""

from __future__ import annotations

from typing import Any

import pytest

from actions.ledger import connect
from actions.rails import RailsSettings
from actions.rails_store import RailsStore
from actions.settings import Grant, PolicySettings
from schemas.decision import Decision
from schemas.envelope import NANOS
from schemas.incident import Incident
from schemas.outcome import Outcome, Result
from schemas.topics import CONTROLS, DECISIONS, INCIDENTS, LEARNING
from streams.decision_to_action import Act
from streams.embedded import EmbeddedValkey
from streams.incident_to_decision import AGAIN_NANOS, LONGER, MAX_NOT_TRIED, Decide
from streams.kernel.base import Emit
from tests.actions.builders import LATENCY, T0, incident, seconds, shipped
from tests.actions.test_executor_rails import carried_out
from tests.streams.arc import batch
from tests.streams.test_decide import control, emitted, outcome, take


def policy(**limits: Any) -> PolicySettings:
    return PolicySettings(grants=(Grant(tier="autonomous"),), rails=RailsSettings(**limits))


class Deployment:
    """Two partitions of decide and act, and one memory of the rails."""

    def __init__(self, valkey: EmbeddedValkey, prefix: str, limits: PolicySettings) -> None:
        self.valkey, self.prefix, self.limits = valkey, prefix, limits
        self.decide = {name: Decide(shipped(), limits, at) for at, name in enumerate(("demo", "other"))}
        self.act = {name: Act(limits, at) for at, name in enumerate(("demo", "other"))}

    async def told(self, about: Incident) -> list[Decision]:
        """Let an incident be decided about in its environment's partition, and be noted for everybody."""
        redis = connect(self.valkey.url)
        await RailsStore(redis, self.limits.rails, prefix=self.prefix).note_incident(about)
        await redis.aclose()
        return take(self.decide[about.environment], INCIDENTS, about)

    async def carried_out(self, decision: Decision) -> Outcome:
        (wanted,) = emitted(self.act[decision.environment].one(DECISIONS, decision))
        told, target = await carried_out(self.valkey, self.prefix, self.limits.rails, wanted)
        assert bool(target.log) is (told.result is Result.VERIFIED)
        return told

    def heard(self, told: Outcome) -> list[Decision]:
        return take(self.decide[told.target.environment], LEARNING, told)


def of(environment: str, service: str = "checkout", **changes: Any) -> Incident:
    about = {"id": f"{environment}-{service}", "environment": environment, "service": service}
    return incident(**about | {"active_subjects": (LATENCY,)} | changes)


def failed(decision: Decision) -> dict[str, str]:
    return {check.name: check.detail for check in decision.checks if not check.passed}


@pytest.mark.integration
async def test_two_partitions_together_keep_the_global_rate(valkey: EmbeddedValkey, topic_prefix: str) -> None:
    world = Deployment(valkey, topic_prefix, policy(max_actions_per_hour=1))
    (first,), (second,) = await world.told(of("demo")), await world.told(of("other"))
    assert (first.verdict, second.verdict) == ("act", "act"), "neither knows of the other"
    done, refused = await world.carried_out(first), await world.carried_out(second)
    assert (done.result, refused.result, refused.escalate) == (Result.VERIFIED, Result.REFUSED, True)
    (told,) = world.heard(refused)
    reason = "an executor refused it: global_rate: 1 actions within the hour, 1 allowed"
    assert (told.verdict, failed(told)["not_refused"]) == ("escalate", reason)
    assert told.reason == f"not_refused: {reason}"
    assert told.previous_hash == second.hash


@pytest.mark.integration
async def test_a_storm_counts_the_incidents_of_all_partitions(valkey: EmbeddedValkey, topic_prefix: str) -> None:
    limits = policy(storm_incidents=8, max_broken_share=1.0)
    world = Deployment(valkey, topic_prefix, limits)
    calm = {"active_subjects": ()}
    for number in range(7):
        environment = ("demo", "other")[number % 2]
        assert await world.told(of(environment, f"service-{number}", **calm)) != []
    (decision,) = await world.told(of("other"))
    assert (decision.verdict, failed(decision)) == ("act", {}), "it has seen four of eight"
    outcomes = []
    for attempt in range(MAX_NOT_TRIED + 1):
        refused = await world.carried_out(decision)
        assert (refused.result, refused.reason.partition(":")[0]) == (Result.REFUSED, "no_storm")
        outcomes.append(refused.id)
        again = world.heard(refused)
        if not again:
            again = emitted(world.decide["other"].wake(AGAIN_NANOS * LONGER**attempt / NANOS + 1))
        (decision,) = again
    assert len(set(outcomes)) == MAX_NOT_TRIED + 1
    assert decision.verdict == "escalate", "tried often enough: a person has to know"
    assert failed(decision)["not_refused"].startswith("an executor refused it: no_storm: storm for ")


def test_what_a_person_lifts_is_tried_again_although_it_was_refused() -> None:
    kernel = Decide(shipped(), policy(), 0)
    (decision,) = take(kernel, INCIDENTS, of("demo"))
    (gone,) = take(kernel, LEARNING, refused(decision, escalate=True))
    assert (gone.verdict, gone.reason) == ("escalate", "not_refused: an executor refused it: because")
    kernel = Decide(shipped(), policy(), 0, kernel.snapshot())
    assert take(kernel, CONTROLS, control("resume", T0 + seconds(60), environment="other")) == []
    (lifted,) = take(kernel, CONTROLS, control("resume", T0 + seconds(60), environment="demo"))
    assert lifted.verdict == "act"


def test_all_of_an_environment_is_decided_about_together() -> None:
    kernel = Decide(shipped(), policy(max_actions_per_hour=1), 0)
    outputs = kernel.take(INCIDENTS, batch(INCIDENTS, [of("demo"), of("demo", "payment", active_subjects=())]))
    # With one key they lie in one partition; `test_correlate` has the same of incidents.
    assert {output.key for output in outputs if isinstance(output, Emit)} == {b"demo"}
    (first, _) = emitted(outputs)
    take(kernel, LEARNING, outcome(first.actions[0]))
    (second,) = take(kernel, INCIDENTS, of("demo", "payment", updated_unix_nano=T0 + seconds(30)))
    assert (second.verdict, set(failed(second))) == ("escalate", {"global_rate"})
    (elsewhere,) = take(kernel, INCIDENTS, of("other", updated_unix_nano=T0 + seconds(30)))
    assert elsewhere.verdict == "act", "what else the partition holds makes no difference"


def refused(decision: Decision, *, escalate: bool) -> Outcome:
    return outcome(decision.actions[0], Result.REFUSED).model_copy(update={"escalate": escalate})
