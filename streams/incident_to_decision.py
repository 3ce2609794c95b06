"""The decide stage: incident revisions in, decisions out. What may be done is up to `actions.policy`.

The kernel remembers, per scope, what the policy has to know: what was asked for, how it ended and what people have
stopped. All of it is a fold of topics, so that it survives a crash and can be replayed. An environment lies in one
partition, so limits over all services are checked here over the environment. Executors check them over everything
before each change, from the memory in Redis that the incidents kept here go to; what they refuse comes back here.

An incident is decided about when it looks another, and again when what was decided came to nothing: the action failed
or expired, a person lifted what held it, or what held it may have passed. Times are event time, as everywhere: what is
due is looked at before the next record of a later time, or when that time has passed in quiet.

What is remembered is in `streams.kernel`: of each scope (`decide_scopes`), of what the rails count (`decide_rails`),
of the classes that people gave (`decide_labels`), and when to look again (`agenda`).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

from pydantic import Field

from actions.autonomy import Reliability
from actions.catalog import Catalog, load
from actions.controls import Controls, Scope, as_people_said
from actions.policy import decide, explained
from actions.rails import RailsSnapshot
from actions.rails_store import RailsStore
from actions.settings import PolicySettings
from actions.undo import counted
from schemas.action import ActionCommand
from schemas.control import EVERY_SCOPE, Control
from schemas.decision import Decision
from schemas.envelope import NANOS, Model, Record
from schemas.incident import Incident
from schemas.outcome import NOT_TRIED, Outcome, Result
from schemas.topics import ACTIONS, CONTROLS, DECISIONS, INCIDENTS, LEARNING, Topic
from streams.course import Course
from streams.kernel.base import Emit, Keep, Output, RecordKernel
from streams.kernel.decide_labels import Labels, SavedLabels, with_counterfactuals
from streams.kernel.decide_rails import Happened, SavedStorms, on_target
from streams.kernel.decide_scopes import ScopeMemory, Scopes
from streams.stage import Lane, Stage

# Between two looks at an incident whose action is held: cool-downs and back-offs last minutes.
AGAIN_NANOS = 30 * NANOS
# A question nobody answers expires, and is asked anew while the incident lasts: so often in all, then people know.
MAX_ASKED = 3
# A command that expires or is refused again and again says something: a person is called. After a refusal it is tried
# 30, 90 and 270 s later, which is longer than a cool-down or a storm lasts by default.
MAX_NOT_TRIED = 3
LONGER = 3

# What may let an incident go on that was held, or on which less was allowed.
_LIFTING = frozenset({"resume", "unpin", "lift", "ratify"})
# Of these checks the failure is no wait: there is nothing to do, or something is being done.
_IDLE = frozenset({"incident_open", "still_firing", "none_at_work"})
# Nothing is left of these: the next rung may be due, or the same again.
_CAME_TO_NOTHING = frozenset({Result.REVERTED, Result.FAILED}) | NOT_TRIED
_TEACHING = frozenset({"feedback", "example"})
_ANSWERS = frozenset({"reject", "acknowledge"})
# What people say that stays in force.
_STANDING = frozenset({"stop", "resume", "pin", "unpin", "lift", "ratify"})

# The policy in force at an event time, and the learnt models that set some of it.
PolicyAt = Callable[[int], tuple[PolicySettings, tuple[str, ...]]]


class _Saved(Model):
    scopes: dict[str, ScopeMemory] = Field(default_factory=dict)
    controls: tuple[Control, ...] = ()
    reached_unix_nano: int = 0
    labels: SavedLabels = SavedLabels()
    storms: dict[str, SavedStorms] = Field(default_factory=dict)
    """By environment."""


class Decide(RecordKernel):
    """One partition of incidents, commands, outcomes and controls."""

    stage = "decide"

    def __init__(
        self,
        catalog: Catalog,
        policy: PolicySettings | PolicyAt,
        partition: int,
        state: bytes | None = None,
        *,
        partitions: int = 1,
    ) -> None:
        """Begin with nothing or with `state`; what people teach this partition is told to all `partitions` others."""
        self._catalog = catalog
        self._policy_at: PolicyAt = policy if callable(policy) else lambda _: (policy, ())
        self._policy, _ = self._policy_at(0)
        self._others = tuple(other for other in range(partitions) if other != partition)
        saved = _Saved.model_validate_json(state) if state else _Saved()
        self._scopes = Scopes(saved.scopes.items())
        self._happened = {name: Happened(self._policy.rails, storms) for name, storms in saved.storms.items()}
        for memory in saved.scopes.values():
            for ending in memory.endings:
                self._happened_in(memory.environment).tally.add(ending)
        self._labels = Labels(saved.labels)
        self._reached = saved.reached_unix_nano
        self._controls = Controls()
        for control in saved.controls:
            self._controls.add(control)

    def one(self, topic: Topic, record: Incident | ActionCommand | Outcome | Control) -> list[Output]:  # noqa: ARG002 - types tell
        due = self._due(_time_of(record))
        if isinstance(record, Incident):
            return [*due, *self._consider(record), Keep(record)]
        if isinstance(record, ActionCommand):
            if record.undoes is None:
                self._note_issued(record)
            return due
        if isinstance(record, Outcome):
            return [*due, *self._learn(record)]
        return [*due, *self._hear(record)]

    @property
    def waits(self) -> bool:
        """Whether the passing of time alone may bring something about."""
        return bool(self._scopes.agenda)

    def wake(self, quiet_seconds: float) -> list[Output]:
        return self._due(self._reached + int(quiet_seconds * NANOS), reach=False)

    def snapshot(self) -> bytes:
        saved = _Saved(
            scopes=dict(self._scopes),
            controls=self._controls.latest(),
            reached_unix_nano=self._reached,
            labels=self._labels.saved,
            storms={name: happened.storms.saved for name, happened in self._happened.items()},
        )
        return saved.model_dump_json().encode()

    def _due(self, until: int, *, reach: bool = True) -> list[Output]:
        """Look again at what was held, in the order of time."""
        found: list[Output] = []
        for at, scope in self._scopes.agenda.until(until):
            found += self._again(scope, at, only_if_other=True)
        if reach:
            self._reached = max(self._reached, until)
        return found

    def _consider(self, revised: Incident) -> list[Output]:
        """Decide anew when the incident looks another: its class, what else it may be, whether it still fires."""
        incident = self._labels.recognised(revised)
        memory = self._scopes[incident.scope].but(environment=incident.environment)
        if incident.status != "open":
            self._scopes.put(incident.scope, memory.cleared())
            return []
        self._happened_in(incident.environment).storms.note(incident)
        if incident.id != memory.incident_id:
            memory = memory.cleared(incident.id)
        memory = memory.but(incident=incident)
        if memory.looks == memory.decided:
            self._scopes.put(incident.scope, memory)
            return []
        self._scopes.put(incident.scope, memory.but(asked=0, refused=""))
        return self._again(incident.scope, incident.updated_unix_nano)

    def _again(self, scope: str, now: int, *, only_if_other: bool = False) -> list[Output]:
        """Decide about the open incident as it was last seen."""
        memory = self._scopes[scope]
        incident = memory.incident
        if incident is None:
            return []
        decision = self._decide(incident, memory, now)
        asked = memory.asked + 1 if decision.verdict == "ask" else 0
        memory = memory.but(again_unix_nano=self._again_at(decision, asked), asked=asked)
        if only_if_other and not asked and decision.verdict == memory.verdict:
            self._scopes.put(scope, memory)
            return []
        told = explained(decision, with_counterfactuals(incident))
        memory = memory.but(previous_hash=told.hash, decided=memory.looks, verdict=told.verdict)
        self._scopes.put(scope, memory.with_issued(told.actions) if told.verdict == "act" else memory)
        return [Emit(DECISIONS, incident.environment.encode(), told)]

    def _again_at(self, decision: Decision, asked: int) -> int | None:
        if 0 < asked < MAX_ASKED:
            return decision.time_unix_nano + int(self._policy.approval_validity_seconds * NANOS)
        return decision.time_unix_nano + AGAIN_NANOS if _held(decision) else None

    def _note_issued(self, command: ActionCommand) -> None:
        """Remember what people have let go on, when its command comes by."""
        scope = self._scopes.with_incident(command.incident_id)
        if scope is not None:
            self._scopes.put(scope, self._scopes[scope].with_issued([command]))

    def _decide(self, incident: Incident, memory: ScopeMemory, now: int) -> Decision:
        policy, models = self._policy_at(now)
        return decide(
            incident,
            self._catalog,
            policy,
            now_unix_nano=now,
            previous_hash=memory.previous_hash,
            records=self._records(incident, memory),
            rails=self._rails(incident, memory, now),
            models=models,
        )

    def _records(self, incident: Incident, memory: ScopeMemory) -> dict[str, Reliability]:
        """Give the record of the playbook at hand, as people have forgiven and confirmed it."""
        playbook = self._catalog.serving(incident, memory.not_served)
        if playbook is None:
            return {}
        place = {"environment": incident.environment, "service": incident.service, "playbook": playbook.name}
        known = memory.records.get(playbook.name, Reliability(**place))
        return {playbook.name: as_people_said(known, self._controls)}

    def _rails(self, incident: Incident, memory: ScopeMemory, now: int) -> RailsSnapshot:
        playbook = self._catalog.serving(incident, memory.not_served)
        name = playbook.name if playbook else None
        here = Scope(incident.environment, incident.service, name, incident.id)
        broken, known = self._scopes.broken(incident.environment)
        return RailsSnapshot(
            broken_services=broken,
            known_services=known,
            stops=self._controls.stops(here),
            pin=self._controls.pin(here),
            attempts=tuple(memory.attempts()),
            onset_unix_nano=incident.onset_unix_nano,
            upstream=self._scopes.upstream(incident, now),
            refused=memory.refused,
            not_served=memory.not_served,
            **self._happened_in(incident.environment).facts(name, now),
            **on_target(memory.endings, self._policy.rails, now),
        )

    def _happened_in(self, environment: str) -> Happened:
        if environment not in self._happened:
            self._happened[environment] = Happened(self._policy.rails)
        return self._happened[environment]

    def _learn(self, told: Outcome) -> list[Output]:
        outcome = counted(told)
        if outcome is None:
            return []
        scope = outcome.target.scope
        before = self._scopes[scope]
        if any(ending.id == outcome.id for ending in before.endings):
            return []
        after = before.but(environment=outcome.target.environment).with_ending(outcome, told)
        self._scopes.put(scope, after)
        tally = self._happened_in(after.environment).tally
        tally.add(after.endings[-1])
        for forgotten in before.endings[: len(before.endings) + 1 - len(after.endings)]:
            tally.remove(forgotten)
        return self._go_on(told)

    def _go_on(self, told: Outcome) -> list[Output]:
        """Decide again when an action came to nothing: another rung may help, or the same one later."""
        scope = told.target.scope
        memory = self._scopes[scope]
        if told.undoes or told.incident_id != memory.incident_id or told.result not in _CAME_TO_NOTHING:
            return []
        not_tried = sum(e.action_id == told.action_id and not e.tried for e in memory.endings)
        given_up = told.result in NOT_TRIED and (told.escalate or not_tried > MAX_NOT_TRIED)
        if given_up:
            self._scopes.put(scope, memory.but(refused=told.reason))
        if given_up or told.result is not Result.REFUSED:
            return self._again(scope, self._reached)
        # What refused it has to pass first.
        later = self._reached + AGAIN_NANOS * LONGER ** (not_tried - 1)
        self._scopes.put(scope, memory.but(verdict="", again_unix_nano=later))
        return []

    def _hear(self, control: Control) -> list[Output]:
        if control.kind in _TEACHING:
            taught = self._labels.hear(control)
            if taught is None:
                return []
            return [Emit(CONTROLS, EVERY_SCOPE.encode(), taught, other) for other in self._others]
        if control.kind in _STANDING:
            self._controls.add(control)
        if control.kind in _ANSWERS:
            self._answered(control)
        if control.kind not in _LIFTING:
            return []
        found: list[Output] = []
        for scope in self._scopes.concerned(control):
            memory = self._scopes[scope]
            if memory.verdict not in {"act", "ask"}:  # else it goes on already
                self._scopes.put(scope, memory.but(refused=""))
                found += self._again(scope, self._reached, only_if_other=True)
        return found

    def _answered(self, control: Control) -> None:
        """Ask no more about what a person has rejected or looks after, as it looks now."""
        scope = self._scopes.with_incident(control.incident_id or "")
        if scope is not None and self._scopes[scope].verdict == "ask":
            self._scopes.put(scope, self._scopes[scope].but(again_unix_nano=None))


def stage(course: Course, rails: RailsStore, partitions: int = 1) -> Stage:
    """Make the decide stage; `rails` is told of every incident; `partitions` are those of the controls."""

    async def keep(record: Record) -> None:
        if isinstance(record, Incident):
            await rails.note_incident(record)

    return Stage(
        Decide.stage, (Lane("incidents", (INCIDENTS, ACTIONS, LEARNING, CONTROLS), maker(course, partitions), keep),)
    )


def maker(course: Course, partitions: int = 1) -> Callable[[int, bytes | None], Decide]:
    """Tell how to make the kernel of a partition; a replay makes the same."""

    def policy(time_unix_nano: int) -> tuple[PolicySettings, tuple[str, ...]]:
        now = course.at(time_unix_nano)
        return now.settings.policy, now.models("policy")

    return partial(Decide, load(connectors=course.base.connectors.names), policy, partitions=partitions)


def _time_of(record: Incident | ActionCommand | Outcome | Control) -> int:
    if isinstance(record, Incident):
        return record.updated_unix_nano
    if isinstance(record, ActionCommand):
        return record.issued_unix_nano
    return record.timing.finished_unix_nano if isinstance(record, Outcome) else record.time_unix_nano


def _held(decision: Decision) -> bool:
    """Whether a rail that waits stands between what was decided and what would be."""
    idle = any(check.name in _IDLE and not check.passed for check in decision.checks)
    return decision.verdict == "observe" and decision.tier != "observe" and not idle
