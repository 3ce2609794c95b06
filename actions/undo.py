"""Taking an action back later: because its effect expires, or because a person says so.

Pure. The command made here has everything it needs in it - what was there before is filled in - and goes the way of
any other: over the actions topic, through the ledger, under the target's lock. It is not judged by telemetry, and
rails that pace mitigations do not hold it; it refuses to undo what someone else has changed since.
"""

from __future__ import annotations

from actions.connectors.base import State, resolve
from schemas.action import ActionCommand, Operation, Verification
from schemas.envelope import NANOS, content_id
from schemas.errors import PermanentError
from schemas.outcome import EXPIRY, Outcome, Result

SUFFIX = "-undo"
# Tried again with a new command until it is done, so each need not be valid for long.
VALIDITY_SECONDS = 120.0
# An undo has no evidence to wait for; this bounds how long its target stays locked.
WITHIN_SECONDS = 60.0


def undo(command: ActionCommand, before: State, *, by: str, now_unix_nano: int) -> ActionCommand:
    """Make the command that takes an action back.

    Args:
        command: the action.
        before: state of the target before it.
        by: the person who asks for it, or `schemas.outcome.EXPIRY`.
        now_unix_nano: its validity counts from here. Asked again later it is the same action, but another command.

    Raises:
        PermanentError: the action cannot be taken back.

    """
    if command.revert is None:
        raise PermanentError(f"action {command.id} cannot be taken back")
    return command.model_copy(
        update={
            "id": undo_id(command.id),
            "decision_id": content_id("undo", command.id, by, now_unix_nano),
            "step": f"{command.step}{SUFFIX}",
            "apply": _filled(command.revert, before),
            # What the undo undoes: the state it expects to find.
            "revert": _filled(command.apply, before),
            "forensics": None,
            "preconditions": (),
            "redundancy": None,
            "witnesses": None,
            "verification": Verification(subjects=(), stabilisation_seconds=0, within_seconds=WITHIN_SECONDS),
            "tier": "approve",
            "approved_by": by,
            "issued_unix_nano": now_unix_nano,
            "expires_unix_nano": now_unix_nano + int(VALIDITY_SECONDS * NANOS),
            "effect_seconds": None,
            "undoes": command.id,
        }
    )


def undo_id(action_id: str) -> str:
    """Identity of taking an action back: wanted once, whoever asks."""
    return content_id("undo", action_id)


def counted(outcome: Outcome) -> Outcome | None:
    """Say what an outcome tells about the playbook.

    An action that a person took back was wrong: it counts as reverted, whatever it ended as. That an effect expired,
    or that an undo failed, tells nothing.
    """
    if outcome.undoes is None:
        return outcome
    if outcome.result is not Result.VERIFIED or outcome.approved_by == EXPIRY:
        return None
    step = outcome.step.removesuffix(SUFFIX)
    return outcome.model_copy(update={"action_id": outcome.undoes, "result": Result.REVERTED, "step": step})


def _filled(operation: Operation, before: State) -> Operation:
    return operation.model_copy(update={"params": resolve(operation.params, before)})
