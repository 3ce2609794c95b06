"""The steps of one action under its lease: prepare, apply, judge, revert.

Called by `actions.run` in this order. Each reads the live world first and writes down in the ledger how far it came,
so that it can stop at any line - a crash, a lost lease, a revoked partition - and be taken up from there by the next
executor. The gate (halted? stopped by a person? expired?) is passed before every change.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from actions.connectors.base import Connector, Plan, State
from actions.guards import Guards, failures, refuse, target_free
from actions.ledger import Lease
from actions.tools import NotAppliedError, Tools
from actions.verify import Evidence, Judgement, judge
from schemas.action import ActionCommand, Operation
from schemas.envelope import NANOS
from schemas.errors import LeaseLostError, PermanentError, TemporaryError
from schemas.outcome import Result

# Signals arrive once a tick, a second apart by default; a quarter of that adds little to the time to judge.
JUDGE_POLL_SECONDS = 0.25
# Of a change that may help when repeated; a connector has its own, much quicker tries within each.
TRIES = 3
# A half-done action whose target cannot be reached for this long beyond its verification needs a person.
GIVE_UP_SECONDS = 120.0


@dataclass
class Steps:
    """One action under a lease, and what is found out on the way."""

    command: ActionCommand
    tools: Tools
    lease: Lease
    halted: Callable[[], bool]
    after: State = field(default_factory=dict)
    person_needed: bool = False
    ask_again: bool = False
    """What stood in the way will pass: another command for the same action may succeed."""
    judgement: Judgement | None = None
    judged_unix_nano: int | None = None
    # Whether no other executor can have begun this action. One that did may still be sending, its lease lost.
    _first: bool = False

    async def take(self) -> tuple[Result, str]:
        """Take every step that is still missing."""
        if not self.lease.progress.touched:
            await self.prepare()
            self._first = True
        elif self.tools.clock() > self._give_up_at():
            return Result.UNKNOWN, f"half done, and out of reach for {GIVE_UP_SECONDS:g} s beyond its verification"
        if self.command.undoes is not None:
            return await self._undo()
        if self.lease.progress.reverting is None:
            self.judgement = await self.apply() or await self.judge()
            self.judged_unix_nano = self.tools.clock()
            if self.judgement.verdict == "better":
                return Result.VERIFIED, self.judgement.reason
            await self.lease.record(reverting=f"{self.judgement.verdict}: {self.judgement.reason}")
        return await self.revert()

    async def prepare(self) -> None:
        """Check everything that can forbid the action, observe, and write down that it begins.

        Raises:
            RefusedError: a guard said no.

        """
        command, guards = self.command, self._guards
        refuse(guards.standing())
        refuse(await guards.gate())
        blocked = await self.lease.lock(command, command.verification.within_seconds + GIVE_UP_SECONDS)
        refuse([target_free(blocked)])
        refuse(await guards.rails())
        refuse(await guards.still_firing())
        before = await self._connector.observe(command.apply)
        refuse(guards.live_state(self._connector, before))
        refuse(guards.redundancy(before, self.lease.others))
        refuse(await guards.gate())
        refuse(await guards.reserve())
        if self.tools.forensics is not None:
            before |= await self.tools.forensics.collect(command, self._connector, before)
        now = self.tools.clock()
        # Noted before the first change: whatever happens to this executor, the effect expires and can be taken back.
        await self.tools.reversals.note(command, before, now)
        await self.lease.record(before=before, applying_unix_nano=now)

    async def apply(self) -> Judgement | None:
        """Apply what is missing, wait until it took hold. A change that does not take hold is worse than before."""
        if self.lease.progress.applied_unix_nano is not None:
            return None
        for attempt in range(1, TRIES + 1):
            plan = await self._plan()
            if plan.satisfied:
                break
            if plan.drifted:
                raise PermanentError("the target is neither as before nor as desired: someone else is changing it")
            await self._change(attempt)
        converged = await self._connector.verify(self.command.apply, self._before)
        self.after = converged.state
        if not converged.reached:
            return Judgement("worse", f"it did not take hold: {converged.detail}", ())
        await self.lease.record(applied_unix_nano=self.tools.clock())
        return None

    async def judge(self) -> Judgement:
        """Read the signals until they say better or worse, or the time is up."""
        applied = self.lease.progress.applied_unix_nano
        assert applied is not None  # noqa: S101 - apply comes first
        evidence = Evidence(self.command.verification.subjects)
        reader = self.tools.evidence(evidence)
        try:
            await reader.start(self.command.issued_unix_nano)
            # An action taken over late is judged by what was published meanwhile, not by what its first poll brings.
            await reader.catch_up()
            while True:
                self._guards.not_halted()
                reader.poll()
                judgement = judge(self.command.verification, applied, evidence, self.tools.clock())
                if judgement is not None:
                    return judgement
                await self.tools.sleep(JUDGE_POLL_SECONDS)
        finally:
            reader.close()

    async def revert(self) -> tuple[Result, str]:
        """Put back what was there before, and see that it took hold."""
        why, undo = self.lease.progress.reverting, self.command.revert
        if undo is None:
            return Result.UNDONE_FAILED, f"{why}; it cannot be taken back"
        for attempt in range(1, TRIES + 1):
            self._guards.not_halted()
            stops = await self._guards.stops()
            if stops:
                return Result.UNDONE_FAILED, f"{why}; not taken back: {stops[0]}"
            try:
                await self._connector.revert(self.command.apply, undo, self._before, f"{self.command.id}-revert")
                return await self._reverted(undo)
            except PermanentError as error:
                return Result.UNDONE_FAILED, f"{why}; {error}"
            except TemporaryError as error:
                problem = str(error)
                await self.tools.sleep(attempt)
        return Result.UNDONE_FAILED, f"{why}; {problem}"

    async def _undo(self) -> tuple[Result, str]:
        """Take another action back: done when it holds, for there is nothing that telemetry would have to confirm."""
        failure = await self.apply()
        if failure is not None:
            return Result.UNDONE_FAILED, failure.reason
        return Result.VERIFIED, f"action {self.command.undoes} taken back for {self.command.approved_by}"

    async def _reverted(self, undo: Operation) -> tuple[Result, str]:
        converged = await self._connector.verify(undo, self._before)
        self.after = converged.state
        why = self.lease.progress.reverting
        if not converged.reached:
            return Result.UNDONE_FAILED, f"{why}; the revert did not take hold: {converged.detail}"
        return Result.REVERTED, f"{why}; taken back"

    async def _change(self, attempt: int) -> None:
        """Make the change once. What it threw says little: the next observation tells whether it happened."""
        overruled = failures(await self._guards.overrides())
        if overruled:
            raise self._not_applied(overruled)
        self._guards.not_halted()
        await self.lease.renew()
        try:
            await self._connector.apply(self.command.apply, self._before, self.command.id)
        except LeaseLostError:
            raise
        except TemporaryError:
            if attempt == TRIES and not (await self._plan()).satisfied:
                raise
            await self.tools.sleep(attempt)
        except PermanentError as error:
            plan = await self._plan()
            if not plan.satisfied and not plan.drifted:
                raise self._not_applied(str(error)) from error

    def _not_applied(self, why: str) -> PermanentError:
        return NotAppliedError(why) if self._first else PermanentError(f"{why}; an earlier try may still arrive")

    async def _plan(self) -> Plan:
        now = await self._connector.observe(self.command.apply)
        self.after = now
        return self._connector.plan(self.command.apply, self._before, now)

    def _give_up_at(self) -> int:
        begun = self.lease.progress.applying_unix_nano or 0
        return begun + int((self.command.verification.within_seconds + GIVE_UP_SECONDS) * NANOS)

    @property
    def _guards(self) -> Guards:
        return Guards(self.command, self.tools, self.halted)

    @property
    def _before(self) -> State:
        return self.lease.progress.before or {}

    @property
    def _connector(self) -> Connector:
        connector = self.tools.connectors.get(self.command.apply.connector)
        if connector is None:
            raise PermanentError(f"connector {self.command.apply.connector} is not configured")
        return connector
