"""What people say holds at every scope there is: stop and resume, pin and unpin, revert; and elsewhere it does not."""

from __future__ import annotations

from typing import Any

import pytest

from actions.controls import Controls
from actions.ledger import connect
from actions.reversals import Reversals
from schemas.control import Control, ControlKind
from schemas.outcome import Result
from schemas.topics import ACTIONS, CONTROLS, DECISIONS, INCIDENTS, LEARNING
from streams.decision_to_action import Act
from streams.embedded import EmbeddedValkey
from tests.actions.builders import AUTONOMOUS, T0, command, incident, seconds
from tests.actions.test_every_guard import Case, attempt
from tests.streams.test_decide import decide, outcome, revision, take

SCOPES: dict[str, dict[str, str]] = {
    "global": {},
    "environment": {"environment": "demo"},
    "service": {"environment": "demo", "service": "checkout"},
    "playbook": {"playbook": "rollback-deployment"},
    "incident": {"incident_id": "incident-1"},
}
ELSEWHERE: dict[str, dict[str, str]] = {
    "environment": {"environment": "production"},
    "service": {"environment": "demo", "service": "payment"},
    "playbook": {"playbook": "scale-out"},
    "incident": {"incident_id": "incident-2"},
}
scopes = pytest.mark.parametrize("at", SCOPES.values(), ids=SCOPES)
elsewhere = pytest.mark.parametrize("at", ELSEWHERE.values(), ids=ELSEWHERE)


def say(kind: ControlKind, at: dict[str, str], after: float = 1.0, **more: Any) -> Control:
    moment = T0 + seconds(after)
    return Control.model_validate(
        {"id": f"{kind}-{moment}", "kind": kind, "by": "ada", "time_unix_nano": moment, **at, **more}
    )


@scopes
def test_a_stop_holds_the_decision_and_a_resume_re_evaluates_what_was_missed(at: dict[str, str]) -> None:
    kernel = decide()
    take(kernel, CONTROLS, say("stop", at))
    (held,) = take(kernel, INCIDENTS, revision(2))
    assert (held.verdict, "not_stopped: stopped by ada" in held.reason) == ("observe", True)
    (missed,) = take(kernel, CONTROLS, say("resume", at, 600))
    assert (missed.verdict, missed.time_unix_nano) == ("act", T0 + seconds(600))
    assert {check.name for check in missed.checks if not check.passed} == set()


@scopes
def test_a_stop_holds_a_command_and_what_came_to_nothing_meanwhile_is_wanted_again(at: dict[str, str]) -> None:
    deciding, acting = decide(), Act(AUTONOMOUS, 0)
    (decided,) = take(deciding, INCIDENTS, revision(1))
    for kernel in (deciding, acting):
        take(kernel, CONTROLS, say("stop", at, 2))
    assert take(acting, DECISIONS, decided) == []
    (late,) = take(acting, CONTROLS, say("resume", at, 600))
    take(deciding, CONTROLS, say("resume", at, 600))
    take(deciding, ACTIONS, late)
    (again,) = take(deciding, LEARNING, outcome(late, Result.EXPIRED, T0 + seconds(601)))
    assert (again.verdict, again.actions[0].expires_unix_nano) == ("act", T0 + seconds(601 + 120))


@scopes
def test_a_pin_holds_the_decision_until_it_is_taken_out(at: dict[str, str]) -> None:
    kernel = decide()
    take(kernel, CONTROLS, say("pin", at, tier="observe"))
    (held,) = take(kernel, INCIDENTS, revision(2))
    assert (held.verdict, held.tier) == ("observe", "observe")
    (free,) = take(kernel, CONTROLS, say("unpin", at, 600))
    assert (free.verdict, free.tier) == ("act", "autonomous")


@elsewhere
def test_what_is_said_elsewhere_holds_nothing_here(at: dict[str, str]) -> None:
    kernel = decide()
    take(kernel, CONTROLS, say("stop", at), say("pin", at, tier="observe"))
    assert take(kernel, INCIDENTS, revision(2))[0].verdict == "act"


@pytest.mark.integration
@scopes
@pytest.mark.parametrize(("kind", "guard"), [("stop", "not_stopped"), ("pin", "tier")])
async def test_the_executor_obeys_it_before_the_first_change(
    valkey: EmbeddedValkey, topic_prefix: str, at: dict[str, str], kind: ControlKind, guard: str
) -> None:
    tier: dict[str, Any] = {"tier": "observe"} if kind == "pin" else {}
    lifts: ControlKind = "unpin" if kind == "pin" else "resume"
    refused, target, _ = await attempt(valkey, topic_prefix, Case(said=(say(kind, at, **tier),)))
    assert (refused.result, refused.reason.partition(":")[0], target.log) == (Result.REFUSED, guard, [])
    # A skipped action may be wanted again by another decision.
    wanted = command(changes={"decision_id": "another"})
    lifted = Case(wanted, said=(say(kind, at, **tier), say(lifts, at, 2)))
    _, target, planned = await attempt(valkey, topic_prefix, lifted)
    assert planned == set()
    assert target.log


@pytest.mark.integration
@pytest.mark.parametrize("at", [*SCOPES.values(), *ELSEWHERE.values()], ids=[*SCOPES, *(f"not {n}" for n in ELSEWHERE)])
async def test_what_was_done_is_taken_back_where_a_person_says_so(
    valkey: EmbeddedValkey, topic_prefix: str, at: dict[str, str]
) -> None:
    redis = connect(valkey.url)
    reversals = Reversals(redis, prefix=topic_prefix)
    done, controls = command(incident()), Controls()
    await reversals.note(done, {"version": "2", "known_good_version": "1"}, T0)
    assert await reversals.due(controls, T0 + seconds(5)) == []
    controls.add(say("revert", at))
    found = await reversals.due(controls, T0 + seconds(5))
    await redis.aclose()
    wanted = [(done.id, "ada")] if at in SCOPES.values() else []
    assert [(one.undoes, one.approved_by) for one in found] == wanted
