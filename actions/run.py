"""One command, from its arrival to its outcome: claim it in the ledger, take its steps under the lease, end it.

Called by the executor, which keeps offsets and publishes. A `TemporaryError` from here means "not now": the lease has
been given back, nothing is lost, and asking again goes on from where it stopped.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, Literal

from actions.ledger import Final, Held, Lease, Progress
from actions.steps import Steps
from actions.tools import BlockedError, ExpiredError, NotAppliedError, RailError, Tools
from actions.verify import Judgement, Verdict
from schemas.action import ActionCommand
from schemas.errors import LeaseLostError, NotServedError, PermanentError, RefusedError, TemporaryError
from schemas.outcome import NOT_TRIED, Outcome, Result, Timing, outcome_id

log = logging.getLogger(__name__)

# Longest a held action is waited for before it is asked for again: its holder may finish at any moment.
HELD_POLL_SECONDS = 1.0

_NOT_BETTER: tuple[Verdict, ...] = ("worse", "inconclusive")
# Of these nothing is left at the target that could be taken back.
_NOTHING_LEFT = frozenset({Result.REVERTED, Result.FAILED}) | NOT_TRIED
_PERSON_NEEDED = frozenset({Result.REVERTED, Result.UNDONE_FAILED, Result.FAILED, Result.UNKNOWN})


@dataclass(frozen=True)
class Ended:
    """An outcome, and whether it is known to be on the learning topic already."""

    outcome: Outcome
    published: bool = False


async def carry_out(command: ActionCommand, tools: Tools, halted: Callable[[], bool]) -> Ended:
    """Carry an action out, or find out what has become of it.

    Raises:
        TemporaryError: not now; ask again after its delay.

    """
    received = tools.clock()
    if command.replay:
        # Not even the ledger hears of it: a replay must leave nothing that the real action could stumble over.
        return Ended(_outcome(command, Result.REFUSED, "made by a replay", _Facts(tools.name, received, tools.clock())))
    claimed = await tools.ledger.claim(command, tools.name)
    if isinstance(claimed, Final):
        return Ended(claimed.outcome, claimed.published)
    if isinstance(claimed, Held):
        delay = min(claimed.seconds, HELD_POLL_SECONDS)
        raise TemporaryError(f"action {command.id} is held by {claimed.holder}", delay=delay)
    steps = Steps(command, tools, claimed, halted)
    try:
        return Ended(await _while_leased(_finish(steps, received), claimed, tools))
    except TemporaryError:
        with suppress(TemporaryError):
            await claimed.release()
        raise


async def _finish(steps: Steps, received_unix_nano: int) -> Outcome:
    result, reason = await _result(steps)
    facts = _Facts(steps.tools.name, received_unix_nano, steps.tools.clock(), steps)
    outcome = _outcome(steps.command, result, reason, facts)
    # First the memory, then the end: a crash in between repeats the note, which changes nothing.
    await steps.tools.rails.note_outcome(outcome)
    await _settle_reversal(steps, result)
    await steps.lease.finish(outcome)
    return outcome


async def _settle_reversal(steps: Steps, result: Result) -> None:
    """Keep what can still be taken back; forget what came to nothing, or has been taken back."""
    undoes = steps.command.undoes
    if undoes is None and result in _NOTHING_LEFT:
        await steps.tools.reversals.forget(steps.command.id)
    if undoes is not None and not steps.ask_again:
        await steps.tools.reversals.forget(undoes)


async def _result(steps: Steps) -> tuple[Result, str]:
    try:
        return await steps.take()
    except TemporaryError:
        raise
    except PermanentError as error:
        steps.person_needed = isinstance(error, RailError)
        steps.ask_again = isinstance(error, ExpiredError | BlockedError)
        return _result_of(error, touched=steps.lease.progress.touched), str(error)
    except Exception as error:
        # A bug of ours. The world may be half changed: stop, and call a person.
        log.exception("action %s", steps.command.id)
        return _result_of(error, touched=steps.lease.progress.touched), f"{type(error).__name__}: {error}"


def _result_of(error: Exception, *, touched: bool) -> Result:
    if isinstance(error, ExpiredError):
        return Result.EXPIRED
    if isinstance(error, NotAppliedError):
        return Result.FAILED
    if touched:
        return Result.UNKNOWN
    if isinstance(error, NotServedError):
        return Result.NOT_SERVED
    return Result.REFUSED if isinstance(error, RefusedError) else Result.FAILED


async def _while_leased(work: Coroutine[Any, Any, Outcome], lease: Lease, tools: Tools) -> Outcome:
    """Work while the lease is kept; stop at once when it is lost, for then another executor is at work."""
    worker, keeper = asyncio.create_task(work), asyncio.create_task(_keep(lease, tools))
    try:
        await asyncio.wait((worker, keeper), return_when=asyncio.FIRST_COMPLETED)
        if not worker.done():
            raise LeaseLostError(f"the lease on action {lease.action_id} lapsed")
        return worker.result()
    finally:
        worker.cancel()
        keeper.cancel()
        await asyncio.gather(worker, keeper, return_exceptions=True)


async def _keep(lease: Lease, tools: Tools) -> None:
    """Renew the lease at a third of its length, so that two renewals may fail before it lapses."""
    while lease.remaining_seconds > 0:
        await tools.sleep(min(tools.ledger.lease_seconds / 3, lease.remaining_seconds))
        try:
            await lease.renew()
        except LeaseLostError:
            return
        except TemporaryError as error:
            log.warning("action %s: lease not renewed: %s", lease.action_id, error)


@dataclass(frozen=True)
class _Facts:
    """What an outcome tells besides its result."""

    executor: str
    received_unix_nano: int
    finished_unix_nano: int
    steps: Steps | None = None


def _outcome(command: ActionCommand, result: Result, reason: str, facts: _Facts) -> Outcome:
    steps = facts.steps
    judgement = None if steps is None else steps.judgement
    progress = Progress() if steps is None else steps.lease.progress
    return Outcome(
        id=outcome_id(command.id, command.decision_id if result in NOT_TRIED else None),
        action_id=command.id,
        incident_id=command.incident_id,
        decision_id=command.decision_id,
        playbook=command.playbook,
        playbook_version=command.playbook_version,
        step=command.step,
        target=command.target,
        tier=command.tier,
        approved_by=command.approved_by,
        undoes=command.undoes,
        result=result,
        verification=_verification(judgement, progress),
        reason=reason,
        escalate=_escalate(command, result, steps),
        before=progress.before or {},
        after={} if steps is None else steps.after,
        evidence=() if judgement is None else judgement.evidence,
        timing=Timing(
            received_unix_nano=facts.received_unix_nano,
            applied_unix_nano=progress.applied_unix_nano,
            judged_unix_nano=None if steps is None else steps.judged_unix_nano,
            finished_unix_nano=facts.finished_unix_nano,
        ),
        executor=facts.executor,
    )


def _escalate(command: ActionCommand, result: Result, steps: Steps | None) -> bool:
    if result in _PERSON_NEEDED:
        return True
    if steps is None or steps.ask_again:
        return False
    # What was to be taken back and was not stays as it is: someone must know.
    return steps.person_needed or (command.undoes is not None and result is not Result.VERIFIED)


def _verification(judgement: Judgement | None, progress: Progress) -> Literal[Verdict, "not_run"]:
    if judgement is not None:
        return judgement.verdict
    # Judged by an executor that then died: its verdict opens the reason it wrote down.
    word = (progress.reverting or "").partition(":")[0]
    return next((verdict for verdict in _NOT_BETTER if verdict == word), "not_run")
