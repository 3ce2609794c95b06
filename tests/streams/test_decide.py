"""The decide, act and learn stages on records, without Kafka."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest
from redis.asyncio import Redis

from actions.settings import Grant, PolicySettings
from schemas.action import ActionCommand
from schemas.control import Control, ControlKind
from schemas.decision import Decision
from schemas.envelope import NANOS
from schemas.incident import Classification, Incident
from schemas.outcome import EXPIRY, Outcome, Result, Timing, outcome_id
from schemas.topics import ACTIONS, CONTROLS, DECISIONS, INCIDENTS, LEARNING, Topic
from streams.decision_to_action import Act
from streams.embedded import EmbeddedValkey
from streams.incident_to_decision import Decide
from streams.kernel.base import Emit, Keep, Output, RecordKernel
from streams.outcome_to_lesson import Learn, Lessons
from tests.actions.builders import AUTONOMOUS, REGRESSION, T0, command, incident, seconds, shipped
from tests.streams.arc import batch

ASKING = PolicySettings(grants=(Grant(environment="demo", playbook="rollback-*", tier="approve"),))


def decide(policy: PolicySettings = AUTONOMOUS, state: bytes | None = None) -> Decide:
    return Decide(shipped(), policy, 0, state)


def take(kernel: RecordKernel, topic: Topic, *records: Any) -> list[Any]:
    """Records that come out; those kept aside are not among them."""
    return emitted(kernel.take(topic, batch(topic, records)))


def emitted(outputs: Iterable[Output]) -> list[Any]:
    return [output.record for output in outputs if isinstance(output, Emit)]


def outcome(of: ActionCommand, result: Result = Result.VERIFIED, finished: int = T0 + seconds(20)) -> Outcome:
    return Outcome(
        id=outcome_id(of.id),
        action_id=of.id,
        incident_id=of.incident_id,
        decision_id=of.decision_id,
        playbook=of.playbook,
        playbook_version=of.playbook_version,
        step=of.step,
        target=of.target,
        tier=of.tier,
        result=result,
        verification="better" if result is Result.VERIFIED else "worse",
        reason="because",
        timing=Timing(received_unix_nano=T0, finished_unix_nano=finished),
        executor="test",
    )


def control(kind: ControlKind, at: int = T0, **about: Any) -> Control:
    return Control(id=f"{kind}-{at}", kind=kind, by="ada", time_unix_nano=at, **about)


def revision(number: int, **changes: Any) -> Incident:
    return incident(**{"revision": number, "updated_unix_nano": T0 + number * NANOS, **changes})


def undone(of: ActionCommand, by: str = "ada") -> Outcome:
    changes = {"id": "undone", "action_id": "undo", "decision_id": "undo", "undoes": of.id, "approved_by": by}
    return outcome(of, finished=T0 + seconds(30)).model_copy(update=changes)


class TestWhatPeopleSay:
    def test_a_pin_holds_until_it_is_taken_out(self) -> None:
        kernel = decide()
        take(kernel, CONTROLS, control("pin", T0, service="checkout", tier="observe"))
        assert take(kernel, INCIDENTS, revision(1))[0].verdict == "observe"
        take(kernel, CONTROLS, control("unpin", T0 + 1, service="checkout"))
        assert take(decide(state=kernel.snapshot()), INCIDENTS, revision(2, id="incident-2"))[0].verdict == "act"

    def test_an_action_that_a_person_took_back_demotes_and_is_not_done_again(self) -> None:
        kernel = decide()
        (acted,) = take(kernel, INCIDENTS, revision(1))
        take(kernel, LEARNING, outcome(acted.actions[0]))
        take(kernel, ACTIONS, acted.actions[0].model_copy(update={"id": "undo", "undoes": acted.actions[0].id}))
        take(kernel, LEARNING, undone(acted.actions[0]))
        far = T0 + seconds(3600)
        (again,) = take(kernel, INCIDENTS, revision(2, severity="low", active_subjects=()), revision(3))[1:]
        assert again.verdict == "observe", "it backs off"
        tried, later = take(kernel, INCIDENTS, revision(4, id="incident-2", updated_unix_nano=far))
        assert (tried.verdict, tried.incident_id) == ("escalate", "incident-1"), "the back-off is over: no other rung"
        assert (later.verdict, later.tier) == ("ask", "approve")

    def test_a_demotion_may_be_forgiven(self) -> None:
        kernel = decide()
        (acted,) = take(kernel, INCIDENTS, revision(1))
        take(kernel, LEARNING, outcome(acted.actions[0]), undone(acted.actions[0]))
        take(kernel, CONTROLS, control("lift", T0 + seconds(60)))
        far = T0 + seconds(3600)
        assert take(kernel, INCIDENTS, revision(2, id="incident-2", updated_unix_nano=far))[0].verdict == "act"

    def test_that_an_effect_expired_says_nothing(self) -> None:
        kernel = decide()
        (acted,) = take(kernel, INCIDENTS, revision(1))
        take(kernel, LEARNING, outcome(acted.actions[0]), undone(acted.actions[0], by=EXPIRY))
        far = T0 + seconds(3600)
        assert take(kernel, INCIDENTS, revision(2, id="incident-2", updated_unix_nano=far))[0].tier == "autonomous"


class TestDecide:
    def test_each_look_of_an_incident_is_decided_about_once(self) -> None:
        kernel = decide()
        (first,) = take(kernel, INCIDENTS, revision(1))
        assert first.verdict == "act"
        assert take(kernel, INCIDENTS, revision(1), revision(2, signal_count=9)) == []
        (calm,) = take(kernel, INCIDENTS, revision(3, active_subjects=()))
        assert (calm.verdict, calm.incident_revision) == ("observe", 3)

    def test_another_class_is_another_decision(self) -> None:
        kernel = decide()
        unknown = Classification(label="unknown")
        verdicts = [d.verdict for d in take(kernel, INCIDENTS, revision(1, classification=unknown), revision(2))]
        assert verdicts == ["escalate", "act"]

    def test_while_an_action_is_at_work_nothing_else_is_begun(self) -> None:
        ambiguous = REGRESSION.model_copy(update={"prediction_set": ("deployment_regression", "traffic_surge")})
        acted, waits = take(kernel := decide(), INCIDENTS, revision(1), revision(2, classification=ambiguous))
        assert (acted.verdict, waits.verdict) == ("act", "observe")
        assert "at work" in waits.reason
        take(kernel, LEARNING, outcome(acted.actions[0], Result.REVERTED))
        (after,) = take(kernel, INCIDENTS, revision(3))
        assert after.verdict != "act"

    def test_nothing_is_decided_about_an_effect_that_was_merged_into_its_cause(self) -> None:
        kernel = decide()
        assert take(kernel, INCIDENTS, revision(1)) != []
        assert take(kernel, INCIDENTS, revision(2, status="merged", merged_into="0" * 32)) == []
        assert kernel.wake(3600) == []

    def test_nothing_is_decided_about_a_resolved_incident_and_the_next_one_is_new(self) -> None:
        kernel = decide()
        take(kernel, INCIDENTS, revision(1))
        resolved = revision(2, status="resolved", resolved_unix_nano=T0 + seconds(2), active_subjects=())
        assert take(kernel, INCIDENTS, resolved) == []
        (another,) = take(kernel, INCIDENTS, revision(1, id="incident-2"))
        assert another.incident_id == "incident-2"

    def test_decisions_of_a_scope_are_chained_and_those_of_another_are_not(self) -> None:
        found = take(
            decide(),
            INCIDENTS,
            revision(1),
            revision(1, id="other", service="payment"),
            revision(2, active_subjects=()),
        )
        assert [d.previous_hash for d in found] == ["", "", found[0].hash]
        assert all(d.hash == d.recomputed_hash() for d in found)

    def test_a_stop_and_a_success_moments_ago_hold_the_next_action(self) -> None:
        stopped = decide()
        take(stopped, CONTROLS, control("stop", environment="demo", service="checkout"))
        (held,) = take(stopped, INCIDENTS, revision(1))
        assert held.verdict == "observe"
        assert "stopped by ada" in held.reason
        kernel = decide()
        take(kernel, LEARNING, outcome(command(), finished=T0))
        (cooling,) = take(kernel, INCIDENTS, revision(1, id="incident-2"))
        assert "cooled_down" in cooling.reason

    def test_a_restored_kernel_goes_on_exactly(self) -> None:
        kernel = decide()
        (first,) = take(kernel, INCIDENTS, revision(1))
        take(kernel, LEARNING, outcome(first.actions[0]))
        take(kernel, CONTROLS, control("stop", environment="demo"))
        restored = decide(state=kernel.snapshot())
        calm = revision(2, active_subjects=())
        assert take(restored, INCIDENTS, calm) == take(kernel, INCIDENTS, calm)
        assert restored.snapshot() == kernel.snapshot()

    def test_a_repeated_outcome_teaches_once(self) -> None:
        kernel = decide()
        told = outcome(command())
        take(kernel, LEARNING, told)
        before = kernel.snapshot()
        take(kernel, LEARNING, told)
        assert kernel.snapshot() == before

    def test_every_revision_is_kept_for_the_limits_over_everything(self) -> None:
        outputs = decide().take(INCIDENTS, batch(INCIDENTS, [revision(1), revision(2)]))
        assert [o.record.revision for o in outputs if isinstance(o, Keep) and isinstance(o.record, Incident)] == [1, 2]


def decided(policy: PolicySettings) -> Decision:
    (found,) = take(decide(policy), INCIDENTS, revision(1))
    assert isinstance(found, Decision)
    return found


class TestAct:
    def test_an_act_decision_is_carried_on_at_once_and_kept(self) -> None:
        decision = decided(AUTONOMOUS)
        outputs = Act(AUTONOMOUS, 0).take(DECISIONS, batch(DECISIONS, [decision]))
        assert emitted(outputs) == list(decision.actions)
        assert [o.record for o in outputs if isinstance(o, Keep)] == list(decision.actions)
        assert {(o.topic, o.key) for o in outputs if isinstance(o, Emit)} == {(ACTIONS, b"demo")}

    @pytest.mark.parametrize("order", ["question first", "answer first"])
    def test_an_asked_one_when_a_person_approves_whatever_is_read_first(self, order: str) -> None:
        decision, kernel = decided(ASKING), Act(ASKING, 0)
        yes = control("approve", decision.time_unix_nano + NANOS, decision_id=decision.id)
        assert decision.verdict == "ask"
        records: list[tuple[Topic, Any]] = [(DECISIONS, decision), (CONTROLS, yes)]
        turns = records if order == "question first" else records[::-1]
        assert take(kernel, *turns[0]) == []
        (issued,) = take(kernel, *turns[1])
        assert issued.approved_by == "ada"
        assert take(kernel, CONTROLS, yes) == []

    def test_a_rejected_or_late_one_never(self) -> None:
        decision = decided(ASKING)
        yes = control("approve", decision.time_unix_nano + NANOS, decision_id=decision.id)
        rejected = Act(ASKING, 0)
        no = control("reject", yes.time_unix_nano, decision_id=decision.id)
        assert take(rejected, DECISIONS, decision) + take(rejected, CONTROLS, no, yes) == []
        late = control("approve", decision.time_unix_nano + 3600 * NANOS, decision_id=decision.id)
        assert take(kernel := Act(ASKING, 0), DECISIONS, decision) == []
        assert take(kernel, CONTROLS, late) == []

    def test_what_only_observes_recommends_or_escalates_issues_nothing(self) -> None:
        shadow = decided(PolicySettings())
        assert shadow.verdict == "observe"
        assert shadow.actions
        assert take(Act(PolicySettings(), 0), DECISIONS, shadow) == []

    @pytest.mark.parametrize("resumed_after", [60, 3600])
    def test_a_stop_holds_and_a_resume_lets_go(self, resumed_after: int) -> None:
        decision = decided(AUTONOMOUS)
        kernel = Act(AUTONOMOUS, 0)
        take(kernel, CONTROLS, control("stop", decision.time_unix_nano, environment="demo"))
        assert take(kernel, DECISIONS, decision) == []
        kernel = Act(AUTONOMOUS, 0, kernel.snapshot())
        resume = control("resume", decision.time_unix_nano + resumed_after * NANOS, environment="demo")
        # What has expired goes to the executor, too: there it leaves an outcome.
        assert take(kernel, CONTROLS, resume) == list(decision.actions)
        assert take(kernel, CONTROLS, resume) == []

    def test_what_expires_while_it_is_held_is_sent_to_its_end_once(self) -> None:
        decision, kernel = decided(AUTONOMOUS), Act(AUTONOMOUS, 0)
        take(kernel, CONTROLS, control("stop", decision.time_unix_nano, environment="demo"))
        take(kernel, DECISIONS, decision)
        assert emitted(kernel.wake(100.0)) == []
        assert emitted(kernel.wake(130.0)) == list(decision.actions)
        assert emitted(kernel.wake(130.0)) == []

    def test_a_restored_kernel_still_knows_what_was_asked(self) -> None:
        decision, kernel = decided(ASKING), Act(ASKING, 0)
        take(kernel, DECISIONS, decision)
        yes = control("approve", decision.time_unix_nano + NANOS, decision_id=decision.id)
        assert len(take(Act(ASKING, 0, kernel.snapshot()), CONTROLS, yes)) == 1


@pytest.mark.integration
async def test_lessons_are_kept_once_however_often_they_are_told(valkey: EmbeddedValkey, topic_prefix: str) -> None:
    redis = Redis.from_url(valkey.url)
    lessons = Lessons(redis, topic_prefix)
    told = outcome(command())
    kept = [o.record for o in Learn().take(LEARNING, batch(LEARNING, [told, told])) if isinstance(o, Keep)]
    assert kept == [told, told]
    for record in kept:
        await lessons.learn(record)
    found = await lessons.of("demo", "checkout", told.playbook)
    assert (found.successes, found.failures) == (1, 0)
    assert await lessons.all() == [found]
    await redis.aclose()
