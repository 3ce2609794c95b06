"""Rails set in the settings since an action was decided: each alone makes the executor refuse it, and is named."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from actions.controls import Controls
from actions.ledger import Ledger, connect
from actions.rails import MaintenanceWindow, RailsSettings
from actions.rails_store import RailsStore
from actions.reversals import Reversals
from actions.run import carry_out
from actions.tools import Tools
from schemas.action import ActionCommand
from schemas.envelope import NANOS
from schemas.outcome import Outcome
from streams.embedded import EmbeddedValkey
from tests.actions.builders import T0, command
from tests.actions.interleaving import Schedule, SimulatedConnector, SimulatedTarget, SimulatedTelemetry

pytestmark = pytest.mark.integration

TODAY = MaintenanceWindow(
    begins=datetime.fromtimestamp(T0 / NANOS, UTC), ends=datetime.fromtimestamp(T0 / NANOS, UTC) + timedelta(1)
)


class NoWaiting(Schedule):
    """Everybody goes on at once; only time passes."""

    async def pause(self, _seconds: float = 0) -> None:
        self.now += NANOS // 10


async def carried_out(
    valkey: EmbeddedValkey, prefix: str, limits: RailsSettings, wanted: ActionCommand
) -> tuple[Outcome, SimulatedTarget]:
    redis, schedule, target = connect(valkey.url), NoWaiting(), SimulatedTarget()

    async def controls() -> Controls:
        return Controls()

    tools = Tools(
        name="executor",
        ledger=Ledger(redis, prefix=prefix, lease_seconds=5),
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
    outcome, target = await carried_out(valkey, topic_prefix, RailsSettings(**limits), command())
    assert outcome.result == "refused"
    assert outcome.reason.startswith(f"{rail}: ")
    assert ";" not in outcome.reason, "no other rail stops it"
    assert target.log == []


async def test_without_any_of_them_the_same_action_changes_the_target(
    valkey: EmbeddedValkey, topic_prefix: str
) -> None:
    _, target = await carried_out(valkey, topic_prefix, RailsSettings(), command())
    assert target.log
