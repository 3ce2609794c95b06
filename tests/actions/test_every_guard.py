"""Every guard there is has a case here in which it alone stops the action, and the outcome or the trace names it.

Which guards there are is read from the code: a guard without a case fails `test_every_guard_has_its_case`.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from types import ModuleType
from typing import Any, Literal

import pytest

from actions import checks, guards, rails
from actions.connectors.base import Connector, State
from actions.controls import Controls
from actions.ledger import Lease, Ledger, connect
from actions.planning import plan
from actions.rails import RailsSettings
from actions.rails_store import RailsStore
from actions.reversals import Reversals
from actions.run import carry_out
from actions.settings import Grant, PolicySettings
from actions.tools import Tools
from actions.undo import undo
from actions.verify import Evidence
from schemas.action import ActionCommand, Operation, Precondition, Redundancy, Tier, Witnesses, witness_id
from schemas.control import Control
from schemas.envelope import Entity
from schemas.incident import Classification, Incident, RootCause
from schemas.outcome import Outcome, Result
from streams.embedded import EmbeddedValkey
from tests.actions.builders import AUTONOMOUS, REGRESSION, T0, command, decision, incident, signal
from tests.actions.interleaving import Schedule, SimulatedConnector, SimulatedTarget, SimulatedTelemetry
from tests.actions.test_executor_rails import DEPENDENT, PASTS, TODAY, NoWaiting, Past
from tests.actions.test_rails import CASES as RAILS_OF_DECISIONS

GHOST = Witnesses(pointers=("/instances/*/state",), ids=(witness_id("made up"),))
INSTANCES = Redundancy(pointer="/instances/*/state", healthy="running")


class Deployments(SimulatedConnector):
    """A deployment API that shows its instances, and takes a version by name."""

    def __init__(self, target: SimulatedTarget, schedule: Schedule, instances: tuple[str, ...]) -> None:
        super().__init__(target, schedule)
        self._instances = instances

    async def observe(self, operation: Operation) -> State:
        return {**await super().observe(operation), "instances": [{"state": one} for one in self._instances]}

    def _wanted(self, operation: Operation, before: State) -> str:
        version = operation.params["body"]["version"]
        return version if isinstance(version, str) else super()._wanted(operation, before)


class Recovering(SimulatedTelemetry):
    """Every subject cleared since the decision, by itself."""

    async def catch_up(self) -> None:
        await super().catch_up()
        for subject in DEPENDENT.verification.subjects:
            self._evidence.add(signal(subject, "cleared", T0 + 1))


@dataclass(frozen=True)
class Case:
    """One thing that differs from an action that is carried out."""

    wanted: ActionCommand = DEPENDENT
    limits: Mapping[str, Any] = field(default_factory=dict)
    past: Past | None = None
    said: tuple[Control, ...] = ()
    before: Callable[[Ledger], Awaitable[None]] | None = None
    connector: Literal["enabled", "read-only", "missing"] = "enabled"
    version: str = "2"
    instances: tuple[str, ...] = ("running",) * 6
    telemetry: type[SimulatedTelemetry] = SimulatedTelemetry
    result: Result = Result.REFUSED


def wanted(**changes: Any) -> ActionCommand:
    return DEPENDENT.model_copy(update=changes)


def says(kind: Literal["stop", "pin"], tier: Tier | None = None) -> tuple[Control, ...]:
    return (Control(id=kind, kind=kind, by="ada", time_unix_nano=T0, tier=tier),)


async def held(ledger: Ledger) -> None:
    """Let another action hold the target."""
    other = command(incident(id="another"))
    lease = await ledger.claim(other, "another executor")
    assert isinstance(lease, Lease)
    assert await lease.lock(other, 60) is None


UNDO = undo(command(), {"version": "2", "known_good_version": "1"}, by="ada", now_unix_nano=T0)
CASES: dict[str, Case] = {
    "permitted": Case(wanted(tier="recommend")),
    "reversible": Case(wanted(revert=None)),
    "connector_configured": Case(connector="missing"),
    "connector_enabled": Case(connector="read-only"),
    "in_time": Case(wanted(expires_unix_nano=T0 - 1), result=Result.EXPIRED),
    "not_stopped": Case(said=says("stop")),
    "tier": Case(said=says("pin", "approve")),
    "target_free": Case(before=held),
    "still_firing": Case(telemetry=Recovering),
    "precondition": Case(wanted(preconditions=(Precondition(pointer="/version", relation="equals", operand="9"),))),
    "change_needed": Case(wanted(preconditions=()), version="1"),
    "as_left": Case(UNDO, version="3"),
    "redundancy_kept": Case(wanted(redundancy=INSTANCES), instances=("running", "running")),
    "witnesses_known": Case(wanted(witnesses=GHOST), instances=("running", "running")),
    "not_frozen": Case(limits={"freeze": True}),
    "not_protected": Case(limits={"protected": ("demo/checkout",)}),
    "no_maintenance": Case(limits={"maintenance": (TODAY,)}),
    **{name: Case(past=past) for name, past in PASTS.items() if "," not in name},
}
# Only who decides asks these: see `DECIDED` and `tests.actions.test_rails`.
OF_DECISIONS = {"not_refused"}


async def attempt(valkey: EmbeddedValkey, prefix: str, case: Case) -> tuple[Outcome, SimulatedTarget, set[str]]:
    """Carry the action out after asking for its plan; give what came of it, and what the plan named as failed."""
    redis, schedule, target = connect(valkey.url), NoWaiting(), SimulatedTarget(version=case.version)
    limits = RailsSettings(**case.limits)
    ledger, store = Ledger(redis, prefix=prefix, lease_seconds=60), RailsStore(redis, limits, prefix=prefix)
    if case.past is not None:
        await case.past(store)
    if case.before is not None:
        await case.before(ledger)
    controls = Controls()
    for control in case.said:
        controls.add(control)

    async def said() -> Controls:
        return controls

    connector: Connector = Deployments(target, schedule, case.instances)
    connector.enabled = case.connector == "enabled"

    def evidence(asked: Evidence) -> SimulatedTelemetry:
        return case.telemetry(asked, target, schedule, "better")

    tools = Tools(
        name="executor",
        ledger=ledger,
        rails=store,
        limits=limits,
        reversals=Reversals(redis, prefix=prefix),
        connectors={} if case.connector == "missing" else {"http.deployments": connector},
        controls=said,
        evidence=evidence,
        clock=lambda: schedule.now,
        sleep=schedule.pause,
    )
    try:
        # `plan` itself: the simulated connector has no models of its parameters to show.
        planned = {check.name for check in (await plan(case.wanted, tools)).failed} - {"plan"}
        return (await carry_out(case.wanted, tools, lambda: False)).outcome, target, planned
    finally:
        await redis.aclose()


@pytest.mark.integration
@pytest.mark.parametrize("guard", CASES)
async def test_a_guard_alone_stops_the_action_and_is_named(
    valkey: EmbeddedValkey, topic_prefix: str, guard: str
) -> None:
    case = CASES[guard]
    ended, target, planned = await attempt(valkey, topic_prefix, case)
    assert (ended.result, ended.verification) == (case.result, "not_run")
    assert ended.reason.startswith(f"{guard}: ")
    assert re.findall(r"(?:^|; )(\w+): ", ended.reason) == [guard], "no other guard stops it"
    assert planned == {guard}, "the plan says the same"
    assert target.log == []


@pytest.mark.integration
@pytest.mark.parametrize(
    "case",
    [Case(), Case(wanted(redundancy=INSTANCES)), Case(UNDO, version="1"), Case(said=says("pin", "autonomous"))],
    ids=["as it is", "with enough instances", "an undo", "pinned as it is"],
)
async def test_where_none_of_them_says_no_the_target_is_changed(
    valkey: EmbeddedValkey, topic_prefix: str, case: Case
) -> None:
    _, target, planned = await attempt(valkey, topic_prefix, case)
    assert planned == set()
    assert target.log


def named_in(module: ModuleType, *makers: str) -> set[str]:
    """Find the names that a module gives to what it finds."""
    calls = [node for node in ast.walk(ast.parse(inspect.getsource(module))) if isinstance(node, ast.Call)]
    made = [call for call in calls if isinstance(call.func, ast.Name) and call.func.id in makers]
    named = [keyword.value for call in made for keyword in call.keywords if keyword.arg == "name"]
    given = [*(call.args[0] for call in made if call.args), *named]
    return {node.value for node in given if isinstance(node, ast.Constant) and isinstance(node.value, str)}


def test_every_guard_has_its_case() -> None:
    there_are = named_in(guards, "_found") | named_in(rails, "_rail")
    assert len(there_are) > 25, "they were found"
    assert there_are == CASES.keys() | OF_DECISIONS


ELSEWHERE = RootCause(
    entity=Entity(environment="demo", service="payment"), what="x", signal_id="s", score=1.0, because="it came first"
)


def classified(**changes: Any) -> Incident:
    return incident(classification=REGRESSION.model_copy(update=changes))


def granted(tier: Tier) -> PolicySettings:
    return PolicySettings(grants=(Grant(tier=tier),))


CONTESTED = signal(entity=Entity(environment="demo", service="checkout", instance="c")).model_copy(
    update={"contested": True}
)
# What the decision alone checks: the incident and settings, and what necessarily fails with it.
DECIDED: dict[str, tuple[Incident, PolicySettings, set[str]]] = {
    "incident_open": (incident(status="resolved", resolved_unix_nano=T0), AUTONOMOUS, set()),
    # With nothing that fires there is nothing to verify by, either.
    "still_firing": (incident(active_subjects=()), AUTONOMOUS, {"target_known"}),
    "cause_is_here": (incident(root_causes=(ELSEWHERE,)), AUTONOMOUS, set()),
    "uncontested": (incident(signals=(*incident().signals, CONTESTED)), AUTONOMOUS, set()),
    "unambiguous": (classified(prediction_set=("deployment_regression", "x")), AUTONOMOUS, set()),
    "confident": (classified(confidence=0.79), AUTONOMOUS, set()),
    "familiar": (classified(credibility=0.09), AUTONOMOUS, set()),
    "tier": (incident(), granted("approve"), set()),
    # Nothing is known of it, so nothing is sure, and no playbook may act on it.
    "classified": (
        incident(classification=Classification()),
        granted("autonomous"),
        {"unambiguous", "confident", "familiar", "step_exists", "tier"},
    ),
    "playbook_found": (classified(label="x", prediction_set=("x",)), granted("autonomous"), set()),
    "step_exists": (
        classified(label="network_fault", prediction_set=("network_fault",)),
        granted("autonomous"),
        set(),
    ),
    "target_known": (
        classified(label="instance_fault", prediction_set=("instance_fault",)),
        granted("autonomous"),
        set(),
    ),
}


@pytest.mark.parametrize("check", DECIDED)
def test_a_check_of_the_decision_alone_stops_the_action_and_is_named(check: str) -> None:
    about, settings, company = DECIDED[check]
    found = decision(about, settings)
    failed = {one.name: one.detail for one in found.checks if not one.passed}
    assert found.verdict != "act"
    assert check in failed
    assert failed.keys() - {check} <= company
    assert failed[check] in found.reason or check == "classified"


def test_every_check_of_the_decision_has_its_case() -> None:
    # The ladder's two, and the way back, need a past or a playbook of their own: `tests.actions.test_policy`.
    elsewhere = {"none_at_work", "step_left", "reversible"}
    assert named_in(checks, "Check") | {"target_known"} == DECIDED.keys() | elsewhere
    assert {rail for rail, *_ in RAILS_OF_DECISIONS} | {"redundancy_kept"} == named_in(rails, "_rail")
