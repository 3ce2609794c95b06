"""Commands on this machine that a signed manifest allows, for what no other connector reaches.

Called by the executor through `Connector`. A playbook names a command of the manifest and gives its arguments; what
must become true of the state that the command's `observe` prints is data, as with `http`. Whoever can write a playbook
can so choose among the commands that whoever holds the key has allowed, and nothing else.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar

import orjson
from pydantic import Field

from actions.connectors import exec_manifest
from actions.connectors.base import (
    MAX_STATE_BYTES,
    Connector,
    Convergence,
    Finding,
    Monotonic,
    OrReference,
    Params,
    Permission,
    Plan,
    Sleep,
    State,
    resolve,
)
from actions.connectors.desired import Desired, missing
from actions.connectors.exec_manifest import Argument, Command, Words
from actions.connectors.process import run
from actions.connectors.settings import LocalCommands
from schemas.action import Operation
from schemas.errors import PermanentError, TemporaryError

# What a program ends with when trying again may help (EX_TEMPFAIL of sysexits.h).
_TEMPORARY = 75
# Of output and of complaints, each; a state may have half of it.
_MOST_BYTES = 256 * 1024


class Run(Params):
    """A command of the manifest, its arguments, and what it brings about."""

    command: Annotated[str, Field(pattern=r"^[a-z0-9]+(-[a-z0-9]+)*$", max_length=64)]
    arguments: dict[str, Annotated[Argument, OrReference]] = Field(default_factory=dict)
    desired: Annotated[tuple[Desired, ...], Field(min_length=1)]
    converged: tuple[Desired, ...] = ()
    converge_seconds: Annotated[float, Field(gt=0, le=600)] = 30.0


class ExecConnector(Connector):
    """One manifest of the settings."""

    permissions = (
        Permission("read", "run the `observe` programs of the manifest", "observe the target before and after"),
        Permission("run", "run the `apply` programs of the manifest", "bring the desired state about"),
    )
    operations: ClassVar[Mapping[str, type[Params]]] = {"run": Run}

    def __init__(
        self, settings: LocalCommands, *, sleep: Sleep = asyncio.sleep, monotonic: Monotonic = time.monotonic
    ) -> None:
        super().__init__(enabled=settings.enabled, sleep=sleep, monotonic=monotonic)
        self._settings = settings

    async def observe(self, operation: Operation) -> State:
        params = self._run(operation)
        command = self._command(params)
        exec_manifest.check_program(Path(command.observe[0]), None)
        output = await _output(command, command.observe, params, {})
        if len(output) > MAX_STATE_BYTES:
            raise PermanentError(f"{params.command}: a state of over {MAX_STATE_BYTES} bytes")
        return _state(params.command, output)

    def plan(self, operation: Operation, before: State, now: State) -> Plan:
        params = self._run(operation, before)
        problems = missing(params.desired, before, now)
        changed = any(item.changed(before, now) for item in params.desired)
        change = {} if not problems else {"command": params.command, "arguments": params.arguments}
        summary = "; ".join(problems) or "already as desired"
        return Plan(satisfied=not problems, drifted=bool(problems) and changed, summary=summary, change=change)

    async def apply(self, operation: Operation, before: State, key: str) -> None:
        self.require_enabled(operation)
        params = self._run(operation, before)
        command = self._command(params)
        exec_manifest.check_program(Path(command.apply[0]), command.sha256)
        await _output(command, command.apply, params, {"REFLEXARC_ACTION": key})

    async def verify(self, operation: Operation, before: State) -> Convergence:
        params = self._run(operation)
        wanted = params.desired + params.converged
        return await self.wait(operation, lambda now: missing(wanted, before, now), params.converge_seconds)

    async def check(self) -> list[Finding]:
        manifest = exec_manifest.read(self._settings.manifest, self._settings.public_key)
        return [
            Finding(f"run {words[0]}", name, _may_run(words[0], digest))
            for name, command in manifest.commands.items()
            for words, digest in ((command.observe, None), (command.apply, command.sha256))
        ]

    def _run(self, operation: Operation, before: State | None = None) -> Run:
        given = operation.params
        if before is not None:
            # What is desired refers to the state by itself.
            given = {**given, "arguments": resolve(given.get("arguments", {}), before)}
        params = self.params(operation.model_copy(update={"params": given}))
        assert isinstance(params, Run)  # noqa: S101 - the only operation there is
        return params

    def _command(self, params: Run) -> Command:
        manifest = exec_manifest.read(self._settings.manifest, self._settings.public_key)
        found = manifest.commands.get(params.command)
        if found is None:
            raise PermanentError(f"the manifest allows no command {params.command}")
        return found


async def _output(command: Command, words: Words, params: Run, more: Mapping[str, str]) -> bytes:
    filled = command.fill(words, params.arguments)
    ended = await run(filled, seconds=command.timeout_seconds, most_bytes=_MOST_BYTES, more=more)
    if ended.code == 0:
        return ended.output
    said = " ".join(ended.problem.decode(errors="replace").split())[:300]
    problem = f"{params.command}: {words[0]} ended with {ended.code}: {said}"
    raise TemporaryError(problem) if ended.code == _TEMPORARY else PermanentError(problem)


def _may_run(program: str, sha256: str | None) -> bool:
    try:
        exec_manifest.check_program(Path(program), sha256)
    except PermanentError:
        return False
    return os.access(program, os.X_OK)


def _state(command: str, output: bytes) -> State:
    try:
        document: Any = orjson.loads(output)
    except orjson.JSONDecodeError as error:
        raise PermanentError(f"{command}: its state is not JSON: {error}") from None
    if not isinstance(document, dict):
        raise PermanentError(f"{command}: its state is no object")
    return document
