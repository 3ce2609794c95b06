"""Every rail alone makes the executor refuse an action, with nothing changed, and is named in the outcome.

What each rail looks back on is put into a real Valkey by the ways the product itself uses.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actions.controls import Controls
from actions.ledger import Lease, Ledger, connect
from actions.rails import MaintenanceWindow, RailsSettings, RailsSnapshot, evaluate
from actions.rails_store import RailsStore
from actions.reversals import Reversals
from actions.run import carry_out
from actions.tools import Tools
from schemas.action import ActionCommand
from schemas.envelope import NANOS, Entity
from schemas.outcome import Outcome, Result
from streams.embedded import EmbeddedValkey
from tests.actions.builders import SERVICE, T0, command, incident, seconds
from tests.actions.interleaving import Schedule, SimulatedConnector, SimulatedTarget, SimulatedTelemetry
from tests.streams.test_decide import outcome

pytestmark = pytest.mark.integration

TODAY = MaintenanceWindow(
    begins=datetime.fromtimestamp(T0 / NANOS, UTC), ends=datetime.fromtimestamp(T0 / NANOS, UTC) + timedelta(1)
)


class NoWaiting(Schedule):
    """Everybody goes on at once; only time passes."""

    async def pause(self, _seconds: float = 0) -> None:
        self.now += NANOS // 10


DEPENDENT = command(changes={"depends_on": ("orders-db", "payment")})
Past = Callable[[RailsStore], Awaitable[None]]


async def carried_out(
    valkey: EmbeddedValkey, prefix: str, limits: RailsSettings, wanted: ActionCommand, past: Past | None = None
) -> tuple[Outcome, SimulatedTarget]:
    redis, schedule, target = connect(valkey.url), NoWaiting(), SimulatedTarget()
    if past is not None:
        await past(RailsStore(redis, limits, prefix=prefix))

    async def controls() -> Controls:
        return Controls()

    tools = Tools(
        name="executor",
        ledger=Ledger(redis, prefix=prefix, lease_seconds=60),
        rails=RailsStore(redis, limits, prefix=prefix),
        limits=limits,
        reversals=Reversals(redis, prefix=prefix),
        connectors={"http.deployments": SimulatedConnector(target, schedule)},
        controls=controls,
        evidence=lambda evidence: SimulatedTelemetry(evidence, target, schedule, "better"),
        clock=lambda: schedule.now,
        sleep=schedule.pause,
    )
    try:
        return (await carry_out(wanted, tools, lambda: False)).outcome, target
    finally:
        await redis.aclose()


@pytest.mark.parametrize(
    ("rail", "limits"),
    [
        ("not_frozen", {"freeze": True}),
        ("not_protected", {"protected": ("demo/checkout",)}),
        ("no_maintenance", {"maintenance": (TODAY,)}),
    ],
)
async def test_a_rail_alone_stops_the_executor_and_is_named(
    valkey: EmbeddedValkey, topic_prefix: str, rail: str, limits: dict[str, Any]
) -> None:
    refused, target = await carried_out(valkey, topic_prefix, RailsSettings(**limits), command())
    assert refused.result == "refused"
    assert refused.reason.startswith(f"{rail}: ")
    assert ";" not in refused.reason, "no other rail stops it"
    assert target.log == []


def ended(number: int, result: Result, ago: float, *, at: Entity = SERVICE, playbook: str = "other") -> Outcome:
    """Make the end of another incident's action."""
    another = {"id": f"action-{number}", "incident_id": f"earlier-{number}", "target": at, "playbook": playbook}
    return outcome(command().model_copy(update=another), result, finished=T0 - seconds(ago))


def outcomes(*told: Outcome) -> Past:
    async def note(store: RailsStore) -> None:
        for one in told:
            await store.note_outcome(one)

    return note


def incidents(count: int, apart: float, environment: str, *, of: int = 100) -> Past:
    async def note(store: RailsStore) -> None:
        await store.note_services(environment, [f"service-{number}" for number in range(of)], T0)
        for number in range(count):
            opened = T0 - seconds(apart * (count - number))
            about = {"id": f"other-{number}", "environment": environment, "service": f"service-{number}"}
            await store.note_incident(incident(**about, opened_unix_nano=opened, updated_unix_nano=opened))

    return note


def below(**changes: Any) -> Past:
    """Make the incident at hand, and one of a service that its own depends on."""

    async def note(store: RailsStore) -> None:
        await store.note_services("demo", [f"service-{number}" for number in range(20)], T0)
        await store.note_incident(incident())
        await store.note_incident(incident(**{"id": "below", "service": "orders-db", **changes}))

    return note


def reserved(count: int, service: str) -> Past:
    async def note(store: RailsStore) -> None:
        for number in range(count):
            at = SERVICE.model_copy(update={"service": service.format(number)})
            other = command().model_copy(update={"id": f"action-{number}", "target": at})
            assert await store.reserve(other, T0 - seconds(1800)) is None

    return note


ELSEWHERE = [SERVICE.model_copy(update={"service": f"service-{number}"}) for number in range(5)]
PASTS: dict[str, Past] = {
    "cooled_down": outcomes(ended(1, Result.VERIFIED, ago=290)),
    "backed_off": outcomes(ended(1, Result.REVERTED, ago=50)),
    # Two failures back off for twice as long as one.
    "backed_off, doubled": outcomes(ended(1, Result.FAILED, ago=200), ended(2, Result.FAILED, ago=110)),
    "within_failure_budget": outcomes(
        ended(1, Result.REVERTED, ago=3500),
        ended(2, Result.UNKNOWN, ago=2900),
        ended(3, Result.UNDONE_FAILED, ago=2300),
    ),
    "within_playbook_budget": outcomes(
        *(
            ended(number, Result.REVERTED, ago=1000, at=at, playbook="rollback-deployment")
            for number, at in enumerate(ELSEWHERE)
        )
    ),
    "not_recurring": outcomes(*(ended(number, Result.VERIFIED, ago=400 + 2000 * number) for number in range(5))),
    # Ten within a minute, four minutes ago, in another environment.
    "no_storm": incidents(10, apart=5, environment="other"),
    "not_too_much_broken": incidents(11, apart=600, environment="demo"),
    "not_too_much_broken, of so few": incidents(3, apart=600, environment="demo", of=5),
    "global_rate": reserved(20, "service-{}"),
    "target_rate": reserved(3, "checkout"),
    "dependency_order": below(),
    "dependency_order, a while before": below(onset_unix_nano=T0 - seconds(599)),
}
ESCALATE = {
    "within_failure_budget",
    "within_playbook_budget",
    "not_recurring",
    "not_too_much_broken",
    "global_rate",
    "target_rate",
}


@pytest.mark.parametrize("case", PASTS)
async def test_what_happened_so_far_alone_stops_the_executor(
    valkey: EmbeddedValkey, topic_prefix: str, case: str
) -> None:
    rail = case.partition(",")[0]
    refused, target = await carried_out(valkey, topic_prefix, RailsSettings(), DEPENDENT, PASTS[case])
    assert (refused.result, refused.verification) == (Result.REFUSED, "not_run")
    assert refused.reason.startswith(f"{rail}: ")
    assert ";" not in refused.reason, "no other rail stops it"
    assert refused.escalate is (rail in ESCALATE)
    assert target.log == []


def test_every_rail_has_its_case() -> None:
    rails = {rail.check.name for rail in evaluate(SERVICE, RailsSnapshot(), RailsSettings(), T0)}
    # The first three are cases of their own above; people's stops and other actions' locks are `test_executor`'s.
    settings = {"not_frozen", "not_protected", "no_maintenance"}
    assert rails == {case.partition(",")[0] for case in PASTS} | settings | {
        "not_stopped",
        "target_free",
        "not_refused",
    }


PASSED: dict[str, Past] = {
    "cooled down": outcomes(ended(1, Result.VERIFIED, ago=310)),
    "backed off": outcomes(ended(1, Result.REVERTED, ago=70)),
    "a success between": outcomes(ended(1, Result.FAILED, ago=2000), ended(2, Result.VERIFIED, ago=400)),
    "failures long ago": outcomes(*(ended(number, Result.REVERTED, ago=3700 + number) for number in range(3))),
    "successes long ago": outcomes(*(ended(number, Result.VERIFIED, ago=4 * 3600 + number) for number in range(1, 6))),
    "a storm that is over": incidents(10, apart=40, environment="other"),
    "some broken": incidents(10, apart=600, environment="demo"),
    "some actions": reserved(19, "service-{}"),
    "calm below": below(active_subjects=()),
    "over below": below(status="resolved", resolved_unix_nano=T0),
    "trouble below that is much older": below(onset_unix_nano=T0 - seconds(601)),
    "trouble elsewhere": below(service="search"),
}


@pytest.mark.parametrize("case", PASSED)
async def test_just_within_the_limit_the_same_action_changes_the_target(
    valkey: EmbeddedValkey, topic_prefix: str, case: str
) -> None:
    _, target = await carried_out(valkey, topic_prefix, RailsSettings(), DEPENDENT, PASSED[case])
    assert target.log


async def test_an_action_at_work_below_alone_stops_the_executor(valkey: EmbeddedValkey, topic_prefix: str) -> None:
    redis = connect(valkey.url)
    other = command(incident(id="below", service="orders-db"))
    lease = await Ledger(redis, prefix=topic_prefix, lease_seconds=30).claim(other, "another executor")
    assert isinstance(lease, Lease)
    assert await lease.lock(other, 60) is None
    await redis.aclose()
    past = below(active_subjects=())
    refused, target = await carried_out(valkey, topic_prefix, RailsSettings(), DEPENDENT, past)
    assert refused.reason == "dependency_order: orders-db comes first: an action is at work on it"
    assert target.log == []


async def test_without_any_of_them_the_same_action_changes_the_target(
    valkey: EmbeddedValkey, topic_prefix: str
) -> None:
    _, target = await carried_out(valkey, topic_prefix, RailsSettings(), command())
    assert target.log
