"""The act stage: decisions and what people say about them in, action commands out.

Commands of an `act` decision go out at once, those of an `ask` decision when a person approves in time. A stop in
scope holds them until a resume or until they expire. What has expired goes out, too: the executor drops it with an
outcome, from which the incident is decided about again. Executors look at the stops again, before every change: this
is the first gate, not the last.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import partial

from actions.controls import Controls, Scope
from actions.policy import approve
from actions.rails_store import RailsStore
from actions.settings import PolicySettings
from schemas.action import ActionCommand
from schemas.control import Control
from schemas.decision import Decision
from schemas.envelope import NANOS, Model, Record
from schemas.errors import RefusedError
from schemas.topics import ACTIONS, CONTROLS, DECISIONS, Topic
from streams.kernel.base import Emit, Keep, Output, RecordKernel
from streams.settings import Settings
from streams.stage import Lane, Stage

log = logging.getLogger(__name__)


class _Saved(Model):
    asked: tuple[Decision, ...] = ()
    answers: tuple[Control, ...] = ()
    held: tuple[ActionCommand, ...] = ()
    controls: tuple[Control, ...] = ()
    reached_unix_nano: int = 0


class Act(RecordKernel):
    """One partition of decisions and controls."""

    stage = "act"

    def __init__(self, policy: PolicySettings, _partition: int, state: bytes | None = None) -> None:
        self._policy = policy
        saved = _Saved.model_validate_json(state) if state else _Saved()
        self._asked = {decision.id: decision for decision in saved.asked}
        # Answers whose decision has not been read yet: two topics keep no common order.
        self._answers = {str(control.decision_id): control for control in saved.answers}
        self._held = {command.id: command for command in saved.held}
        self._reached = saved.reached_unix_nano
        self._controls = Controls()
        for control in saved.controls:
            self._controls.add(control)

    def one(self, topic: Topic, record: Decision | Control) -> list[Output]:  # noqa: ARG002 - types tell
        self._reached = max(self._reached, record.time_unix_nano)
        self._forget(record.time_unix_nano)
        return [*self._expired(self._reached), *self._said(record)]

    @property
    def waits(self) -> bool:
        """Whether the passing of time alone may bring something about."""
        return bool(self._held)

    def wake(self, quiet_seconds: float) -> list[Output]:
        return self._expired(self._reached + int(quiet_seconds * NANOS))

    def _said(self, record: Decision | Control) -> list[Output]:
        if isinstance(record, Decision):
            return self._decided(record)
        if record.kind in {"approve", "reject"}:
            return self._answered(record)
        if record.kind in {"stop", "resume"}:
            self._controls.add(record)
        return self._let_go() if record.kind == "resume" else []

    def snapshot(self) -> bytes:
        saved = _Saved(
            asked=tuple(self._asked.values()),
            answers=tuple(self._answers.values()),
            held=tuple(self._held.values()),
            controls=self._controls.latest(),
            reached_unix_nano=self._reached,
        )
        return saved.model_dump_json().encode()

    def _decided(self, decision: Decision) -> list[Output]:
        if decision.verdict == "act":
            return self._issue(decision.actions)
        if decision.verdict != "ask":
            return []
        self._asked[decision.id] = decision
        answer = self._answers.pop(decision.id, None)
        return [] if answer is None else self._answered(answer)

    def _answered(self, control: Control) -> list[Output]:
        decision_id = str(control.decision_id)
        decision = self._asked.pop(decision_id, None)
        if decision is None:
            self._answers[decision_id] = control
            return []
        if control.kind == "reject":
            return []
        try:
            return self._issue(approve(decision, control, self._policy))
        except RefusedError as error:
            log.warning("%s", error)
            return []

    def _issue(self, commands: tuple[ActionCommand, ...]) -> list[Output]:
        found: list[Output] = []
        for command in commands:
            stops = self._controls.stops(Scope.of_command(command))
            if stops:
                log.warning("action %s is held: %s", command.id, "; ".join(stops))
                self._held[command.id] = command
            else:
                found += _sent(command)
        return found

    def _let_go(self) -> list[Output]:
        held, self._held = self._held, {}
        return self._issue(tuple(held.values()))

    def _expired(self, now: int) -> list[Output]:
        """Send on what was held for too long: only an executor, which has the ledger, may say that it is over."""
        over = [command for command in self._held.values() if command.expires_unix_nano <= now]
        for command in over:
            del self._held[command.id]
        return [output for command in over for output in _sent(command)]

    def _forget(self, now: int) -> None:
        """Drop questions nobody may answer any more, and answers whose question never came."""
        oldest = now - int(self._policy.approval_validity_seconds * NANOS)
        self._asked = {i: decision for i, decision in self._asked.items() if decision.time_unix_nano >= oldest}
        self._answers = {i: control for i, control in self._answers.items() if control.time_unix_nano >= oldest}


def _sent(command: ActionCommand) -> list[Output]:
    return [Emit(ACTIONS, command.target.environment.encode(), command), Keep(command)]


def stage(settings: Settings, rails: RailsStore) -> Stage:
    """Make the act stage; `rails` is told of every command once it is on its topic."""

    async def keep(record: Record) -> None:
        if isinstance(record, ActionCommand):
            await rails.note_issued(record)

    return Stage(Act.stage, (Lane("decisions", (DECISIONS, CONTROLS), maker(settings), keep),))


def maker(settings: Settings) -> Callable[[int, bytes | None], Act]:
    """Tell how to make the kernel of a partition; a replay makes the same."""
    return partial(Act, settings.policy)
