"""The decide stage: incident revisions in, decisions out. What may be done is up to `actions.policy`.

The kernel remembers, per scope, what the policy has to know: what was asked for, how it ended and what people have
stopped. All of it is a fold of topics, so that it survives a crash and can be replayed. It sees one partition, so its
limits over everything count that partition's share; executors check them over everything before each change, from
the memory in Redis that the incidents kept here go to.

An incident is decided about when it looks another, and again when what was decided came to nothing: the action failed
or expired, a person lifted what held it, or what held it may have passed. Times are event time, as everywhere: what is
due is looked at before the next record of a later time, or when that time has passed in quiet.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from pydantic import Field

from actions.autonomy import Reliability, fold
from actions.catalog import Catalog, load
from actions.controls import Controls, Scope, as_people_said
from actions.policy import decide
from actions.rails import Attempt, RailsSettings, RailsSnapshot
from actions.rails_store import LOST_AFTER_SECONDS, RailsStore
from actions.settings import PolicySettings
from actions.undo import counted
from detectors.classify import recall
from detectors.counterfactual import counterfactuals
from detectors.memory import Example, IncidentMemory, features
from schemas.action import ActionCommand
from schemas.control import Control
from schemas.decision import Decision
from schemas.envelope import NANOS, Model, Record
from schemas.incident import Incident
from schemas.outcome import Outcome, Result
from schemas.topics import ACTIONS, CONTROLS, DECISIONS, INCIDENTS, LEARNING, Topic
from streams.kernel.base import Emit, Keep, Output, RecordKernel
from streams.settings import Settings
from streams.stage import Lane, Stage

HOUR_NANOS = 3600 * NANOS
# More than the rails allow at one target within the longest window they look back on (3 an hour over 4 hours).
MAX_ENDINGS = 64

# Incidents that feedback may still come to, newest last. A label that comes after as many others teaches nothing.
MAX_RECENT = 256

# Between two looks at an incident whose action is held: cool-downs and back-offs last minutes.
AGAIN_NANOS = 30 * NANOS
# A question nobody answers expires, and is asked anew while the incident lasts: so often in all, then people know.
MAX_ASKED = 3
# A command that expires or is refused again and again says something; more of them would not help.
MAX_NOT_TRIED = 3

_SUCCESS = frozenset({Result.VERIFIED})
# What may let an incident go on that was held, or on which less was allowed.
_LIFTING = frozenset({"resume", "unpin", "lift", "ratify"})
# Of these checks the failure is no wait: there is nothing to do, or something is being done.
_IDLE = frozenset({"incident_open", "still_firing", "none_at_work"})
# Nothing is left of these: the next rung may be due, or the same again.
_CAME_TO_NOTHING = frozenset({Result.REVERTED, Result.FAILED, Result.EXPIRED, Result.REFUSED})
# What people say that stays in force.
_STANDING = frozenset({"stop", "resume", "pin", "unpin", "lift", "ratify"})
_NOT_TRIED = frozenset({Result.EXPIRED, Result.REFUSED})


class Ending(Model):
    """What the rails need of an outcome."""

    id: str
    action_id: str
    decision_id: str
    playbook: str
    result: Result
    time_unix_nano: int


class ScopeMemory(Model):
    """What is remembered of one environment/service. Replaced, never mutated."""

    previous_hash: str = ""
    incident_id: str = ""
    decided: tuple[str, ...] = ()
    """What the incident looked like when it was last decided about."""
    incident: Incident | None = None
    """Its latest revision, while it is open."""
    verdict: str = ""
    """What was decided last."""
    asked: int = 0
    """How often a person was asked about it as it looks now."""
    again_unix_nano: int | None = None
    """When to look again: something holds what would be done, or nobody has answered."""
    issued: tuple[Attempt, ...] = ()
    endings: tuple[Ending, ...] = ()
    records: dict[str, Reliability] = Field(default_factory=dict)


_NO_INCIDENT: dict[str, Any] = {
    "incident_id": "",
    "decided": (),
    "issued": (),
    "incident": None,
    "verdict": "",
    "asked": 0,
    "again_unix_nano": None,
}


class _Saved(Model):
    scopes: dict[str, ScopeMemory]
    opened: dict[str, int]
    controls: tuple[Control, ...]
    reached_unix_nano: int = 0
    recent: tuple[Example, ...] = ()
    examples: tuple[Example, ...] = ()


class Decide(RecordKernel):
    """One partition of incidents, commands, outcomes and controls."""

    stage = "decide"

    def __init__(self, catalog: Catalog, policy: PolicySettings, _partition: int, state: bytes | None = None) -> None:
        self._catalog = catalog
        self._policy = policy
        saved = _Saved.model_validate_json(state) if state else _Saved(scopes={}, opened={}, controls=())
        self._scopes: dict[str, ScopeMemory] = {}
        self._waiting: dict[str, int] = {}  # scope -> when to look at it again
        for scope, memory in saved.scopes.items():
            self._put(scope, memory)
        self._open = dict(saved.opened)  # scope -> when its open incident was opened
        self._reached = saved.reached_unix_nano
        self._recent = {example.incident_id: example for example in saved.recent}
        self._memory = IncidentMemory(saved.examples)
        self._controls = Controls()
        for control in saved.controls:
            self._controls.add(control)

    def one(self, topic: Topic, record: Incident | ActionCommand | Outcome | Control) -> list[Output]:  # noqa: ARG002 - types tell
        due = self._due(_time_of(record))
        if isinstance(record, Incident):
            return [*due, *self._consider(record), Keep(record)]
        if isinstance(record, ActionCommand):
            if record.undoes is None:
                self._note_issued(record.target.scope, [record])
            return due
        if isinstance(record, Outcome):
            return [*due, *self._learn(record)]
        return [*due, *self._hear(record)]

    @property
    def waits(self) -> bool:
        """Whether the passing of time alone may bring something about."""
        return bool(self._waiting)

    def wake(self, quiet_seconds: float) -> list[Output]:
        return self._due(self._reached + int(quiet_seconds * NANOS), reach=False)

    def snapshot(self) -> bytes:
        controls = self._controls.latest()
        saved = _Saved(
            scopes=self._scopes,
            opened=self._open,
            controls=controls,
            reached_unix_nano=self._reached,
            recent=tuple(self._recent.values()),
            examples=self._memory.examples,
        )
        return saved.model_dump_json().encode()

    def _put(self, scope: str, memory: ScopeMemory) -> None:
        self._scopes[scope] = memory
        if memory.again_unix_nano is None:
            self._waiting.pop(scope, None)
        else:
            self._waiting[scope] = memory.again_unix_nano

    def _due(self, until: int, *, reach: bool = True) -> list[Output]:
        """Look again at what was held, in the order of time."""
        found: list[Output] = []
        while True:
            at, scope = min(((at, scope) for scope, at in self._waiting.items()), default=(until + 1, ""))
            if at > until:
                break
            found += self._again(scope, at, only_if_other=True)
        if reach:
            self._reached = max(self._reached, until)
        return found

    def _consider(self, revised: Incident) -> list[Output]:
        """Decide anew when the incident looks another: its class, what else it may be, whether it still fires."""
        incident = self._recognised(revised)
        memory = self._scopes.get(incident.scope, ScopeMemory())
        if incident.status != "open":
            self._open.pop(incident.scope, None)
            self._put(incident.scope, memory.model_copy(update=_NO_INCIDENT))
            return []
        self._open[incident.scope] = incident.opened_unix_nano
        if incident.id != memory.incident_id:
            memory = memory.model_copy(update={**_NO_INCIDENT, "incident_id": incident.id})
        known = _looks(incident) == memory.decided
        changed = {"incident": incident} if known else {"incident": incident, "asked": 0}
        self._put(incident.scope, memory.model_copy(update=changed))
        return [] if known else self._again(incident.scope, incident.updated_unix_nano)

    def _recognised(self, incident: Incident) -> Incident:
        """Join the class that the rules gave with what labelled incidents of the past say."""
        vector = features(incident.evidence, incident.changes)
        self._recent.pop(incident.id, None)
        self._recent[incident.id] = Example(
            incident_id=incident.id, label=incident.classification.label, features=vector
        )
        if len(self._recent) > MAX_RECENT:
            del self._recent[next(iter(self._recent))]
        found = recall(incident.classification, self._memory.resemblance(vector, incident.id))
        return incident.model_copy(update={"classification": found})

    def _remember(self, feedback: Control) -> None:
        """Learn the class of an incident from what a person said of it."""
        example = self._recent.get(feedback.incident_id or "")
        if example is None:
            return
        label = feedback.label or (example.label if feedback.verdict == "true_positive" else None)
        if feedback.verdict == "false_positive":
            self._memory.forget(example.incident_id)
        elif label is not None and label != "unknown":
            self._memory.add(example.model_copy(update={"label": label, "by": feedback.by}))

    def _again(self, scope: str, now: int, *, only_if_other: bool = False) -> list[Output]:
        """Decide about the open incident as it was last seen."""
        memory = self._scopes.get(scope, ScopeMemory())
        incident = memory.incident
        if incident is None:
            return []
        decision = self._decide(_with_counterfactuals(incident), memory, now)
        asked = memory.asked + 1 if decision.verdict == "ask" else 0
        update: dict[str, Any] = {"again_unix_nano": self._again_at(decision, asked), "asked": asked}
        if only_if_other and not asked and decision.verdict == memory.verdict:
            self._put(scope, memory.model_copy(update=update))
            return []
        update |= {"previous_hash": decision.hash, "decided": _looks(incident), "verdict": decision.verdict}
        self._put(scope, memory.model_copy(update=update))
        if decision.verdict == "act":
            self._note_issued(scope, decision.actions)
        return [Emit(DECISIONS, scope.encode(), decision)]

    def _again_at(self, decision: Decision, asked: int) -> int | None:
        if 0 < asked < MAX_ASKED:
            return decision.time_unix_nano + int(self._policy.approval_validity_seconds * NANOS)
        return decision.time_unix_nano + AGAIN_NANOS if _held(decision) else None

    def _note_issued(self, scope: str, commands: Iterable[ActionCommand]) -> None:
        """Remember what was asked for: here at once, and by people when their commands come by."""
        memory = self._scopes.get(scope, ScopeMemory())
        issued = {attempt.action_id: attempt for attempt in memory.issued}
        mine = {c.id: _attempt(c) for c in commands if c.incident_id == memory.incident_id}
        update = {"issued": tuple((issued | mine).values()), "again_unix_nano": None}
        self._put(scope, memory.model_copy(update=update if mine else {}))

    def _decide(self, incident: Incident, memory: ScopeMemory, now: int) -> Decision:
        return decide(
            incident,
            self._catalog,
            self._policy,
            now_unix_nano=now,
            previous_hash=memory.previous_hash,
            records=self._records(incident, memory),
            rails=self._rails(incident, memory, now),
        )

    def _records(self, incident: Incident, memory: ScopeMemory) -> dict[str, Reliability]:
        """Give the record of the playbook at hand, as people have forgiven and confirmed it."""
        playbook = self._catalog.serving(incident)
        if playbook is None:
            return {}
        place = {"environment": incident.environment, "service": incident.service, "playbook": playbook.name}
        known = memory.records.get(playbook.name, Reliability(**place))
        return {playbook.name: as_people_said(known, self._controls)}

    def _rails(self, incident: Incident, memory: ScopeMemory, now: int) -> RailsSnapshot:
        limits = self._policy.rails
        playbook = self._catalog.serving(incident)
        here = Scope(incident.environment, incident.service, playbook.name if playbook else None, incident.id)
        everywhere = [ending for scope in self._scopes.values() for ending in scope.endings]
        of_playbook = [ending for ending in everywhere if playbook and ending.playbook == playbook.name]
        return RailsSnapshot(
            actions_last_hour=_tried_since(everywhere, now - HOUR_NANOS),
            broken_services=len(self._open),
            known_services=len(self._scopes.keys() | self._open.keys()),
            storm_until_unix_nano=self._storm_until(limits),
            stops=self._controls.stops(here),
            pin=self._controls.pin(here),
            target_actions_last_hour=_tried_since(memory.endings, now - HOUR_NANOS),
            attempts=tuple(_with_results(memory)),
            playbook_failures_in_window=_streaks(of_playbook, limits, now)["failures_in_window"],
            **_streaks(memory.endings, limits, now),
        )

    def _storm_until(self, limits: RailsSettings) -> int | None:
        """Find when the newest storm is over: many incidents opened within a short time."""
        times = sorted(self._open.values())
        window, many = int(limits.storm_window_seconds * NANOS), limits.storm_incidents
        storms = [last for first, last in zip(times, times[many - 1 :], strict=False) if last - first <= window]
        return storms[-1] + int(limits.storm_cooldown_seconds * NANOS) if storms else None

    def _learn(self, told: Outcome) -> list[Output]:
        outcome = counted(told)
        if outcome is None:
            return []
        scope = outcome.target.scope
        memory = self._scopes.get(scope, ScopeMemory())
        if any(ending.id == outcome.id for ending in memory.endings):
            return []
        record = memory.records.get(
            outcome.playbook,
            Reliability(
                environment=outcome.target.environment, service=outcome.target.service, playbook=outcome.playbook
            ),
        )
        update = {
            "endings": (*memory.endings, _ending(outcome))[-MAX_ENDINGS:],
            "records": {**memory.records, outcome.playbook: fold(record, told)},
        }
        self._put(scope, memory.model_copy(update=update))
        return self._go_on(told)

    def _go_on(self, told: Outcome) -> list[Output]:
        """Decide again when an action came to nothing: another rung may help, or the same one later."""
        scope = told.target.scope
        memory = self._scopes[scope]
        if told.undoes or told.incident_id != memory.incident_id or told.result not in _CAME_TO_NOTHING:
            return []
        not_tried = [e for e in memory.endings if e.action_id == told.action_id and e.result in _NOT_TRIED]
        if len(not_tried) > MAX_NOT_TRIED or (told.result is Result.REFUSED and told.escalate):
            return []
        if told.result is not Result.REFUSED:
            return self._again(scope, self._reached)
        # What refused it has to pass first.
        update = {"verdict": "", "again_unix_nano": self._reached + AGAIN_NANOS}
        self._put(scope, memory.model_copy(update=update))
        return []

    def _hear(self, control: Control) -> list[Output]:
        if control.kind == "feedback":
            self._remember(control)
        if control.kind in _STANDING:
            self._controls.add(control)
        if control.kind == "reject":
            self._answered(control)
        if control.kind not in _LIFTING:
            return []
        lifted = [scope for scope, memory in self._scopes.items() if _may_go_on(control, memory)]
        return [output for scope in lifted for output in self._again(scope, self._reached, only_if_other=True)]

    def _answered(self, control: Control) -> None:
        """Ask no more about what a person has rejected, as it looks now."""
        for scope, memory in self._scopes.items():
            if memory.incident_id and memory.incident_id == control.incident_id and memory.verdict == "ask":
                self._put(scope, memory.model_copy(update={"again_unix_nano": None}))
                return


def stage(settings: Settings, rails: RailsStore) -> Stage:
    """Make the decide stage; `rails` is told of every incident."""

    async def keep(record: Record) -> None:
        if isinstance(record, Incident):
            await rails.note_incident(record)

    return Stage(Decide.stage, (Lane("incidents", (INCIDENTS, ACTIONS, LEARNING, CONTROLS), maker(settings), keep),))


def maker(settings: Settings) -> Callable[[int, bytes | None], Decide]:
    """Tell how to make the kernel of a partition; a replay makes the same."""
    return partial(Decide, load(connectors=settings.connectors.names), settings.policy)


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


def _may_go_on(control: Control, memory: ScopeMemory) -> bool:
    """Whether what a person lifts may concern the open incident; of its playbook only the policy knows."""
    incident = memory.incident
    if incident is None or memory.verdict in {"act", "ask"}:  # it goes on already
        return False
    of = Scope.of(control)._replace(playbook=None)
    return of.covers(Scope(incident.environment, incident.service, None, incident.id))


def _with_counterfactuals(incident: Incident) -> Incident:
    told = counterfactuals(incident.evidence, incident.changes) if incident.classification.rules else ()
    found = incident.classification.model_copy(update={"counterfactuals": told})
    return incident.model_copy(update={"classification": found})


def _looks(incident: Incident) -> tuple[str, ...]:
    found = incident.classification
    return (found.label, "fires" if incident.active_subjects else "calm", *found.prediction_set)


def _attempt(command: ActionCommand) -> Attempt:
    within = command.verification.within_seconds
    return Attempt(
        playbook=command.playbook,
        playbook_version=command.playbook_version,
        step=command.step,
        action_id=command.id,
        decision_id=command.decision_id,
        until_unix_nano=command.expires_unix_nano + int((within + LOST_AFTER_SECONDS) * NANOS),
    )


def _with_results(memory: ScopeMemory) -> Iterable[Attempt]:
    """Give what was asked for on behalf of the incident, each with its result of the same decision, if any."""
    ended = {(ending.action_id, ending.decision_id): ending.result for ending in memory.endings}
    # Taken back by a person, which is a decision of its own.
    reverted = {ending.action_id for ending in memory.endings if ending.result is Result.REVERTED}
    for attempt in memory.issued:
        result = ended.get((attempt.action_id, attempt.decision_id))
        undone = attempt.action_id in reverted
        yield attempt.model_copy(update={"result": Result.REVERTED if undone else result})


def _ending(outcome: Outcome) -> Ending:
    return Ending(
        id=outcome.id,
        action_id=outcome.action_id,
        decision_id=outcome.decision_id,
        playbook=outcome.playbook,
        result=outcome.result,
        time_unix_nano=outcome.timing.finished_unix_nano,
    )


def _tried(endings: Iterable[Ending]) -> list[Ending]:
    return [ending for ending in endings if ending.result not in _NOT_TRIED]


def _tried_since(endings: Iterable[Ending], since: int) -> int:
    return sum(ending.time_unix_nano >= since for ending in _tried(endings))


def _streaks(endings: Iterable[Ending], limits: RailsSettings, now: int) -> dict[str, int | None]:
    """Count successes and failures, newest last."""
    tried = sorted(_tried(endings), key=lambda ending: ending.time_unix_nano)
    good = [ending for ending in tried if ending.result in _SUCCESS]
    bad = [ending for ending in tried if ending.result not in _SUCCESS]
    last_good = good[-1].time_unix_nano if good else None
    budget, recurrence = (int(s * NANOS) for s in (limits.budget_window_seconds, limits.recurrence_window_seconds))
    return {
        "last_success_unix_nano": last_good,
        "last_failure_unix_nano": bad[-1].time_unix_nano if bad else None,
        "consecutive_failures": sum(ending.time_unix_nano > (last_good or 0) for ending in bad),
        "failures_in_window": sum(ending.time_unix_nano >= now - budget for ending in bad),
        "successes_in_window": sum(ending.time_unix_nano >= now - recurrence for ending in good),
    }
