"""PostgreSQL: limits of roles and of the database, and the sessions that hold it up.

Called by the executor through `Connector`. `set_role` and `set_database` are desired states with what was there before
to go back to. `cancel` and `terminate` cannot be taken back, so a person approves them; the sessions are chosen once,
from the state before, and a later session or query is never hit.

One connection is kept: a database that is full refuses new ones. Settings reach sessions that begin after them.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Annotated, Any, ClassVar

import psycopg
from psycopg import AsyncConnection, errors, sql
from pydantic import Field, model_validator

from actions.connectors.base import (
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
)
from actions.connectors.postgres_state import Setting, read
from actions.connectors.settings import PostgresDatabase
from schemas.action import Operation
from schemas.errors import PermanentError, TemporaryError

Name = Annotated[str, Field(min_length=1, max_length=63), OrReference]
# -1 is PostgreSQL's word for no limit, and what is put back on most roles.
Connections = Annotated[int, Field(ge=-1, le=100_000), OrReference]
# As `ALTER ROLE ... SET` takes it. None resets it.
Value = Annotated[Annotated[str, Field(pattern=r"^[0-9]{1,9}(us|ms|s|min|h|d|B|kB|MB|GB)?$")] | None, OrReference]


class Limits(Params):
    """What both settings operations take; what is not given stays as it is."""

    connections: Connections | None = None
    settings: dict[Setting, Value] = Field(default_factory=dict)

    @model_validator(mode="after")
    def _something(self) -> Limits:
        if self.connections is None and not self.settings:
            raise ValueError("give connections, settings or both")
        return self


class SetRole(Limits):
    """A role's connection limit (in all databases) and its settings in this one."""

    role: Name


class SetDatabase(Limits):
    """Connection limit and settings of the database that the connector is connected to."""


class Selection(Params):
    """Which sessions. All conditions hold of each; never more than `at_most`, those with the oldest transaction first.

    For `cancel` only sessions that run a query count, and `older_than_seconds` is the query's; otherwise the
    transaction's.
    """

    role: Name | None = None
    application: Annotated[str, Field(min_length=1, max_length=64)] | None = None
    query_id: Annotated[str, Field(pattern="^-?[0-9]+$"), OrReference] | None = None
    blocking: bool = Field(default=False, description="only those that others wait for")
    older_than_seconds: Annotated[float, Field(ge=0)] = 0.0
    at_most: Annotated[int, Field(ge=1, le=50)] = 20
    converge_seconds: Annotated[float, Field(gt=0, le=60)] = 10.0

    @model_validator(mode="after")
    def _narrow(self) -> Selection:
        if not (self.role or self.application or self.query_id or self.blocking):
            raise ValueError("say which sessions: by role, application, query_id or blocking")
        return self

    def holds(self, session: Mapping[str, Any], seconds: float) -> bool:
        wanted = {"role": self.role, "application": self.application, "query_id": self.query_id}
        same = all(session[name] == value for name, value in wanted.items() if value is not None)
        return same and (session["blocks"] or not self.blocking) and seconds >= self.older_than_seconds


_RIGHTS = """
    SELECT pg_has_role('pg_monitor', 'usage'), pg_has_role('pg_signal_backend', 'usage'),
           rolcreaterole OR rolsuper, pg_has_role(datdba, 'usage')
    FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()
"""


class PostgresConnector(Connector):
    """One database of the settings."""

    permissions = (
        Permission("read", "pg_monitor", "see the sessions of other roles"),
        Permission("cancel, terminate", "pg_signal_backend", "end queries and sessions of other roles"),
        Permission("set_role", "CREATEROLE (from 16 on: ADMIN OPTION on the role)", "change a role's limits"),
        Permission("set_database", "ownership of the database", "change the database's limits"),
    )
    operations: ClassVar[Mapping[str, type[Params]]] = {
        "set_role": SetRole,
        "set_database": SetDatabase,
        "cancel": Selection,
        "terminate": Selection,
    }

    def __init__(
        self, settings: PostgresDatabase, *, sleep: Sleep = asyncio.sleep, monotonic: Monotonic = time.monotonic
    ) -> None:
        super().__init__(enabled=settings.enabled, sleep=sleep, monotonic=monotonic)
        self._settings = settings
        self._connection: AsyncConnection[Any] | None = None
        # One connection does one thing at a time.
        self._turn = asyncio.Lock()

    async def observe(self, operation: Operation) -> State:
        async with self._transaction() as connection:
            state = await read(connection, self._settings.protected_roles)
        if not state["server"].pop("sees_others"):
            raise PermanentError(f"{operation.connector} sees no other sessions; GRANT pg_monitor to its role")
        return state

    def plan(self, operation: Operation, before: State, now: State) -> Plan:
        params = self.filled(operation, before)
        if isinstance(params, Selection):
            left = _victims(operation.operation, params, before, now)
            pids = [session["pid"] for session in left]
            summary = f"{operation.operation} {len(left)} sessions" if left else "no such session"
            return Plan(satisfied=not left, drifted=False, summary=summary, change={operation.operation: pids})
        missing = _missing(params, now)
        theirs = {name: value for name, value in _present(params, now).items() if name in missing}
        was = _present(params, before)
        drifted = any(value != was[name] for name, value in theirs.items())
        summary = ", ".join(f"{name} {theirs[name]} -> {value}" for name, value in missing.items())
        return Plan(satisfied=not missing, drifted=drifted, summary=summary or "already as desired", change=missing)

    async def apply(self, operation: Operation, before: State, key: str) -> None:  # noqa: ARG002 - absolute states repeat as they are
        self.require_enabled(operation)
        params = self.filled(operation, before)
        async with self._transaction() as connection:
            now = await read(connection, self._settings.protected_roles)
            if isinstance(params, Selection):
                await _end(connection, operation.operation, _victims(operation.operation, params, before, now))
            else:
                for statement in _statements(params, now):
                    await connection.execute(statement)

    async def verify(self, operation: Operation, before: State) -> Convergence:
        params = self.filled(operation, before)
        # A setting is in the catalogue at once; a query ends when it next looks at its signals.
        seconds = params.converge_seconds if isinstance(params, Selection) else self._settings.timeout_seconds
        return await self.converge(operation, before, seconds)

    async def check(self) -> list[Finding]:
        async with self._transaction() as connection:
            cursor = await connection.execute(_RIGHTS)
            row = await cursor.fetchone()
        assert row is not None  # noqa: S101 - there is always one's own role and database
        sees, ends, limits, owns = row
        findings = [Finding("pg_monitor", "read", held=sees)]
        if self.enabled:
            findings += [
                Finding("pg_signal_backend", "cancel, terminate", held=ends),
                Finding("CREATEROLE", "set_role", held=limits),
                Finding("ownership of the database", "set_database", held=owns),
            ]
        return findings

    async def close(self) -> None:
        if self._connection is not None:
            await self._connection.close()
            self._connection = None

    @asynccontextmanager
    async def _transaction(self) -> AsyncIterator[AsyncConnection[Any]]:
        """One transaction on the kept connection, bounded in time; whatever goes wrong is one of our errors."""
        try:
            # The server gives up by its own timeout; a second more is for an answer that never comes.
            async with asyncio.timeout(self._settings.timeout_seconds + 1), self._turn:
                connection = await self._connected()
                async with connection.transaction():
                    yield connection
        except TimeoutError:
            await self.close()
            raise TemporaryError(f"PostgreSQL gave no answer in {self._settings.timeout_seconds:g} s") from None
        except psycopg.Error as error:
            raise _translated(error) from None

    async def _connected(self) -> AsyncConnection[Any]:
        if self._connection is not None and not self._connection.closed:
            return self._connection
        seconds = self._settings.timeout_seconds
        connection = await AsyncConnection.connect(
            self._settings.conninfo.get_secret_value(),
            autocommit=True,
            application_name="reflexarc",
            # libpq takes whole seconds, of which two is the least.
            connect_timeout=max(2, int(seconds)),
        )
        # Names mean the system's own, whatever somebody has put into a schema of the search path.
        await connection.execute("SELECT set_config('search_path', 'pg_catalog', false)")
        await connection.execute("SELECT set_config('statement_timeout', %s, false)", [f"{int(seconds * 1000)}ms"])
        self._connection = connection
        return connection


def _victims(kind: str, params: Selection, before: State, now: State) -> list[Mapping[str, Any]]:
    """Choose from the state before; give those that are still there, and for `cancel` still run the same query."""

    def chosen(session: Mapping[str, Any]) -> bool:
        if kind == "cancel":
            return session["state"] == "active" and params.holds(session, session["query_seconds"])
        return params.holds(session, session["transaction_seconds"])

    victims = {_identity(kind, session) for session in [s for s in before["sessions"] if chosen(s)][: params.at_most]}
    return [session for session in now["sessions"] if _identity(kind, session) in victims]


def _identity(kind: str, session: Mapping[str, Any]) -> tuple[Any, ...]:
    whole = (session["pid"], session["started_unix_micro"])
    return (*whole, session["query_unix_micro"], session["state"]) if kind == "cancel" else whole


async def _end(connection: AsyncConnection[Any], kind: str, victims: list[Mapping[str, Any]]) -> None:
    # The name is one of two of our own. Looked up once more with the identity: process ids are used again.
    function = sql.Identifier(f"pg_{kind}_backend")
    query = sql.SQL(
        "SELECT {}(pid) FROM pg_stat_activity WHERE pid = %s"
        " AND (extract(epoch FROM backend_start) * 1000000)::bigint = %s"
        " AND (extract(epoch FROM query_start) * 1000000)::bigint IS NOT DISTINCT FROM coalesce(%s, "
        "(extract(epoch FROM query_start) * 1000000)::bigint)"
    ).format(function)
    for session in victims:
        same_query = session["query_unix_micro"] if kind == "cancel" else None
        await connection.execute(query, [session["pid"], session["started_unix_micro"], same_query])


def _subject(params: Params, state: State) -> Mapping[str, Any]:
    """Find the role or database in the state."""
    if not isinstance(params, SetRole):
        database: Mapping[str, Any] = state["database"]
        return database
    roles: list[Mapping[str, Any]] = state["roles"]
    role = next((role for role in roles if role["name"] == params.role), None)
    if role is None:
        raise PermanentError(f"role {params.role} does not log in here, is a superuser, or is protected")
    return role


def _wanted(params: Params) -> dict[str, Any]:
    assert isinstance(params, Limits)  # noqa: S101 - the selections are dealt with before
    wanted: dict[str, Any] = dict(params.settings.items())
    return wanted if params.connections is None else {"connections": params.connections, **wanted}


def _present(params: Params, state: State) -> dict[str, Any]:
    subject = _subject(params, state)
    everything = {"connections": subject["connection_limit"], **subject["settings"]}
    return {name: everything[name] for name in _wanted(params)}


def _missing(params: Params, state: State) -> dict[str, Any]:
    present = _present(params, state)
    return {name: value for name, value in _wanted(params).items() if value != present[name]}


def _statements(params: Params, now: State) -> list[sql.Composed]:
    """Give what is missing as SQL, every name and value quoted."""
    database = sql.Identifier(now["database"]["name"])
    if isinstance(params, SetRole):
        whole = sql.SQL("ALTER ROLE {}").format(sql.Identifier(params.role))
        here = sql.SQL("{} IN DATABASE {}").format(whole, database)
    else:
        whole = here = sql.SQL("ALTER DATABASE {}").format(database)
    statements = []
    for name, value in _missing(params, now).items():
        if name == "connections":
            statements.append(sql.SQL("{} CONNECTION LIMIT {}").format(whole, sql.Literal(value)))
        elif value is None:
            statements.append(sql.SQL("{} RESET {}").format(here, sql.Identifier(name)))
        else:
            statements.append(sql.SQL("{} SET {} TO {}").format(here, sql.Identifier(name), sql.Literal(value)))
    return statements


def _translated(error: psycopg.Error) -> PermanentError | TemporaryError:
    """Say which of our errors it is, and what to do."""
    said = str(error).strip().partition("\n")[0]
    if isinstance(error, errors.InsufficientPrivilege):
        return PermanentError(f"PostgreSQL: {said}; docs/connectors.md lists the grants that the role needs")
    if error.sqlstate is None:
        return TemporaryError(f"PostgreSQL cannot be reached: {said}; check that it runs, and `conninfo`")
    # An operational error is about the server or the way to it; a cancelled statement is our own timeout.
    if isinstance(error, psycopg.OperationalError):
        return TemporaryError(f"PostgreSQL: {said}")
    return PermanentError(f"PostgreSQL: {said}")
