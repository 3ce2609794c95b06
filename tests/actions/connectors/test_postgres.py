"""The PostgreSQL connector against a real server under a real overload."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import AsyncExitStack
from typing import Any, TypeVar

import psycopg
import pytest
from psycopg import AsyncConnection, errors, sql

from actions.connectors.base import State, unmet
from actions.connectors.postgres import PostgresConnector
from actions.connectors.registry import build, close
from actions.connectors.settings import ConnectorsSettings, PostgresDatabase
from schemas.action import Operation
from schemas.errors import PermanentError, RefusedError, TemporaryError
from tests.actions.connectors.shipped import commands
from tests.parts.postgres import Postgres

T = TypeVar("T")

pytestmark = pytest.mark.integration

# A helper with just the rights that docs/connectors.md lists, the application at fault, one that is well, and one
# that is protected.
_ROLES = """
CREATE ROLE reflexarc LOGIN CREATEROLE IN ROLE pg_monitor, pg_signal_backend;
CREATE ROLE blind LOGIN;
CREATE ROLE reports LOGIN CONNECTION LIMIT 30;
CREATE ROLE shop LOGIN;
CREATE ROLE payments LOGIN;
CREATE DATABASE shop OWNER reflexarc;
"""


@pytest.fixture(scope="module")
def database(postgres: Postgres) -> Postgres:
    with psycopg.connect(postgres.conninfo(), autocommit=True) as connection:
        for statement in _ROLES.strip().splitlines():
            connection.execute(statement.encode())
    with psycopg.connect(postgres.conninfo(dbname="shop"), autocommit=True) as connection:
        connection.execute("CREATE TABLE orders (id int); GRANT ALL ON orders TO reports, shop")
    return postgres


@pytest.fixture(autouse=True)
def as_it_was(database: Postgres) -> Iterator[None]:
    """Every test finds the roles and the database as they were made, and no session of another test."""
    yield
    with psycopg.connect(database.conninfo(dbname="shop"), autocommit=True) as connection:
        for role in ("reports", "shop", "payments"):
            connection.execute(sql.SQL("ALTER ROLE {} IN DATABASE shop RESET ALL").format(sql.Identifier(role)))
        connection.execute("ALTER ROLE reports CONNECTION LIMIT 30")
        connection.execute("ALTER DATABASE shop CONNECTION LIMIT -1")
        connection.execute("ALTER DATABASE shop RESET ALL")
        connection.execute("SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE pid <> pg_backend_pid()")


def settings(server: Postgres, **changes: Any) -> PostgresDatabase:
    plain = {"conninfo": server.conninfo(dbname="shop", user="reflexarc"), "enabled": True}
    return PostgresDatabase.model_validate(plain | {"protected_roles": ["payments"]} | changes)


@pytest.fixture
async def connector(database: Postgres) -> AsyncIterator[PostgresConnector]:
    connector = PostgresConnector(settings(database))
    yield connector
    await connector.close()


async def eventually(look: Callable[[], Awaitable[T]], holds: Callable[[T], bool]) -> T:
    """Look until it holds: the server shows what its sessions do a moment later."""
    async with asyncio.timeout(5):
        while not holds(found := await look()):  # noqa: ASYNC110 - another process changes it and tells nobody
            await asyncio.sleep(0.01)
        return found


class Load:
    """Sessions of an application, each doing one thing until it ends or is ended."""

    def __init__(self, server: Postgres, stack: AsyncExitStack) -> None:
        self._server, self._stack = server, stack
        self._running: list[asyncio.Task[Any]] = []

    async def connect(self, role: str) -> AsyncConnection[Any]:
        info = self._server.conninfo(dbname="shop", user=role)
        connection = await AsyncConnection.connect(info, autocommit=True, application_name=f"{role}-app")
        self._stack.push_async_callback(connection.close)
        return connection

    async def run(self, role: str, query: str, count: int = 1) -> list[asyncio.Task[Any]]:
        """Begin a query in sessions of their own; return once the server works on it."""
        connections = [await self.connect(role) for _ in range(count)]
        tasks = [asyncio.create_task(connection.execute(query.encode())) for connection in connections]
        self._running += tasks
        await asyncio.gather(*(self._at_work(connection) for connection in connections))
        return tasks

    async def _at_work(self, connection: AsyncConnection[Any]) -> None:
        pid = connection.info.backend_pid
        async with await AsyncConnection.connect(self._server.conninfo(), autocommit=True) as look:
            query = "SELECT count(*) FROM pg_stat_activity WHERE pid = %s AND state = 'active'"

            async def state() -> Any:
                return await (await look.execute(query, [pid])).fetchone()

            await eventually(state, lambda found: found == (1,))

    async def end(self) -> None:
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)


@pytest.fixture
async def load(database: Postgres) -> AsyncIterator[Load]:
    async with AsyncExitStack() as stack:
        load = Load(database, stack)
        yield load
        await load.end()


def operation(name: str, **params: Any) -> Operation:
    return Operation(connector="postgres.shop", operation=name, params=params)


THROTTLE = operation(
    "set_role", role={"$state": "/busiest/name"}, connections=5, settings={"statement_timeout": "300ms"}
)
UNTHROTTLE = operation(
    "set_role",
    role={"$state": "/busiest/name"},
    connections={"$state": "/busiest/connection_limit"},
    settings={"statement_timeout": {"$state": "/busiest/settings/statement_timeout"}},
)


def role(state: State, name: str) -> dict[str, Any]:
    return next(item for item in state["roles"] if item["name"] == name)


async def apply(connector: PostgresConnector, wanted: Operation, before: State) -> State:
    await connector.apply(wanted, before, "key")
    converged = await connector.verify(wanted, before)
    assert converged.reached, converged.detail
    return converged.state


async def test_it_sees_the_overload_and_who_makes_it(connector: PostgresConnector, load: Load) -> None:
    await load.run("reports", "SELECT pg_sleep(30)", count=4)
    await load.run("shop", "SELECT pg_sleep(30)")
    await load.run("payments", "SELECT pg_sleep(30)", count=6)
    state = await connector.observe(THROTTLE)
    assert (state["busiest"]["name"], state["busiest"]["active"]) == ("reports", 4)
    assert {session["role"] for session in state["sessions"]} == {"reports", "shop"}
    assert state["server"]["connections"] >= 11
    assert "pg_sleep" not in str(state), "the text of queries is not for outcomes"


async def test_it_throttles_the_busiest_role_and_only_it(connector: PostgresConnector, load: Load) -> None:
    await load.run("reports", "SELECT pg_sleep(30)", count=4)
    before = await connector.observe(THROTTLE)
    plan = connector.plan(THROTTLE, before, before)
    assert plan.change == {"connections": 5, "statement_timeout": "300ms"}
    assert plan.summary == "connections 30 -> 5, statement_timeout None -> 300ms"
    await apply(connector, THROTTLE, before)
    late = await load.connect("reports")
    with pytest.raises(errors.QueryCanceled):
        await late.execute("SELECT pg_sleep(30)")
    with pytest.raises(psycopg.OperationalError, match="too many connections for role"):
        await load.connect("reports")
    assert await (await (await load.connect("shop")).execute("SELECT 1 FROM pg_sleep(0.4)")).fetchone() == (1,)


async def test_applying_twice_is_applying_once(connector: PostgresConnector, load: Load) -> None:
    await load.run("reports", "SELECT pg_sleep(30)")
    before = await connector.observe(THROTTLE)
    once = role(await apply(connector, THROTTLE, before), "reports")
    assert role(await apply(connector, THROTTLE, before), "reports") == once


async def test_it_puts_back_exactly_what_was_there(
    connector: PostgresConnector, load: Load, database: Postgres
) -> None:
    with psycopg.connect(database.conninfo(), autocommit=True) as admin:
        admin.execute("ALTER ROLE reports IN DATABASE shop SET statement_timeout TO '2min'")
    await load.run("reports", "SELECT pg_sleep(30)")
    before = await connector.observe(THROTTLE)
    await apply(connector, THROTTLE, before)
    for _ in range(2):
        await connector.revert(THROTTLE, UNTHROTTLE, before, "key-revert")
    after = role(await connector.observe(THROTTLE), "reports")
    assert (after["connection_limit"], after["settings"]["statement_timeout"]) == (30, "2min")


async def test_what_was_not_set_is_unset_again(connector: PostgresConnector, load: Load) -> None:
    await load.run("reports", "SELECT pg_sleep(30)")
    before = await connector.observe(THROTTLE)
    await apply(connector, THROTTLE, before)
    await connector.revert(THROTTLE, UNTHROTTLE, before, "key-revert")
    assert role(await connector.observe(THROTTLE), "reports")["settings"] == role(before, "reports")["settings"]


async def test_it_does_not_revert_over_someone_elses_change(
    connector: PostgresConnector, load: Load, database: Postgres
) -> None:
    await load.run("reports", "SELECT pg_sleep(30)")
    before = await connector.observe(THROTTLE)
    await apply(connector, THROTTLE, before)
    with psycopg.connect(database.conninfo(), autocommit=True) as admin:
        admin.execute("ALTER ROLE reports CONNECTION LIMIT 9")
    assert connector.plan(THROTTLE, before, await connector.observe(THROTTLE)).drifted
    with pytest.raises(RefusedError, match="someone else"):
        await connector.revert(THROTTLE, UNTHROTTLE, before, "key-revert")
    assert role(await connector.observe(THROTTLE), "reports")["connection_limit"] == 9


async def test_it_caps_the_connections_of_the_database(connector: PostgresConnector, load: Load) -> None:
    cap = operation("set_database", connections=2, settings={"work_mem": "1MB"})
    uncap = operation(
        "set_database",
        connections={"$state": "/database/connection_limit"},
        settings={"work_mem": {"$state": "/database/settings/work_mem"}},
    )
    before = await connector.observe(cap)
    await apply(connector, cap, before)
    session = await load.connect("shop")
    assert await (await session.execute("SHOW work_mem")).fetchone() == ("1MB",)
    with pytest.raises(psycopg.OperationalError, match="too many connections for database"):
        await load.connect("reports")
    await connector.revert(cap, uncap, before, "key-revert")
    assert (await connector.observe(cap))["database"] == before["database"]
    await load.connect("reports")


async def test_it_cancels_the_queries_that_were_chosen(connector: PostgresConnector, load: Load) -> None:
    chosen = await load.run("reports", "SELECT pg_sleep(30)", count=3)
    (other,) = await load.run("shop", "SELECT pg_sleep(30)")
    cancel = operation("cancel", role={"$state": "/busiest/name"}, at_most=2)
    before = await connector.observe(cancel)
    await apply(connector, cancel, before)
    await asyncio.wait(chosen, timeout=5, return_when=asyncio.FIRST_COMPLETED)
    ended = [task.exception() for task in chosen if task.done()]
    assert 1 <= len(ended) <= 2, "never more than at_most"
    assert all(isinstance(error, errors.QueryCanceled) for error in ended)
    assert not other.done()


async def test_a_later_query_of_the_same_session_is_left_alone(connector: PostgresConnector, load: Load) -> None:
    session = await load.connect("reports")
    first = asyncio.create_task(session.execute("SELECT pg_sleep(30)"))
    cancel = operation("cancel", role="reports")
    before = await eventually(lambda: connector.observe(cancel), lambda state: "busiest" in state)
    await apply(connector, cancel, before)
    with pytest.raises(errors.QueryCanceled):
        await first
    later = asyncio.create_task(session.execute("SELECT pg_sleep(0.3)"))
    await connector.apply(cancel, before, "key")
    await later


async def test_it_ends_who_blocks_the_others(connector: PostgresConnector, load: Load) -> None:
    holder = await load.connect("reports")
    await holder.execute("BEGIN; LOCK TABLE orders")
    waiting = await load.run("shop", "SELECT count(*) FROM orders", count=3)
    terminate = operation("terminate", blocking=True)
    before = await eventually(
        lambda: connector.observe(terminate),
        lambda state: sum(bool(session["blocked_by"]) for session in state["sessions"]) == 3,
    )
    assert [session["role"] for session in before["sessions"] if session["blocks"]] == ["reports"]
    await apply(connector, terminate, before)
    await asyncio.wait_for(asyncio.gather(*waiting), 5)
    with pytest.raises(psycopg.OperationalError):
        await holder.execute("SELECT 1")


async def test_nothing_to_cancel_is_nothing_to_do(connector: PostgresConnector) -> None:
    cancel = operation("cancel", role="reports")
    before = await connector.observe(cancel)
    assert connector.plan(cancel, before, before).satisfied
    assert "busiest" not in before


async def test_only_the_old_and_the_same_statement_count(connector: PostgresConnector, load: Load) -> None:
    await load.run("reports", "SELECT pg_sleep(30)", count=2)
    before = await connector.observe(THROTTLE)
    (query_id,) = {session["query_id"] for session in before["sessions"]}
    same = operation("cancel", query_id=query_id)
    assert not connector.plan(same, before, before).satisfied
    assert connector.plan(operation("cancel", query_id="1"), before, before).satisfied
    assert connector.plan(operation("cancel", query_id=query_id, older_than_seconds=60), before, before).satisfied
    assert connector.plan(operation("cancel", application="shop-app"), before, before).satisfied


async def test_it_is_read_only_until_enabled(database: Postgres, load: Load) -> None:
    await load.run("reports", "SELECT pg_sleep(30)")
    connectors = build(ConnectorsSettings(postgres={"shop": settings(database, enabled=False)}))
    connector = connectors["postgres.shop"]
    before = await connector.observe(THROTTLE)
    with pytest.raises(PermanentError, match="read-only"):
        await connector.apply(THROTTLE, before, "key")
    assert await connector.observe(THROTTLE) | {"sessions": []} == before | {"sessions": []}
    await close(connectors)


@pytest.mark.parametrize("name", ["payments", "postgres", "nobody"])
async def test_who_is_protected_is_not_touched(connector: PostgresConnector, name: str) -> None:
    throttle = operation("set_role", role=name, connections=1)
    before = await connector.observe(throttle)
    with pytest.raises(PermanentError, match="is protected"):
        await connector.apply(throttle, before, "key")


async def test_a_missing_right_says_which_page_lists_it(database: Postgres, load: Load) -> None:
    await load.run("reports", "SELECT pg_sleep(30)")
    blind = PostgresConnector(settings(database, conninfo=database.conninfo(dbname="shop", user="blind")))
    with pytest.raises(PermanentError, match="GRANT pg_monitor"):
        await blind.observe(THROTTLE)
    before = {"roles": [], "sessions": [], "database": {"connection_limit": -1, "settings": {}}}
    with pytest.raises(PermanentError, match=r"must be owner.*docs/connectors.md"):
        await blind.apply(operation("set_database", connections=3), before, "key")
    await blind.close()


async def test_a_server_that_is_away_is_a_temporary_error(database: Postgres) -> None:
    away = PostgresConnector(settings(database, conninfo="host=127.0.0.1 port=1 user=reflexarc dbname=shop"))
    with pytest.raises(TemporaryError, match="cannot be reached"):
        await away.observe(THROTTLE)


async def test_it_connects_again_after_its_connection_was_lost(
    connector: PostgresConnector, database: Postgres
) -> None:
    await connector.observe(THROTTLE)
    with psycopg.connect(database.conninfo(), autocommit=True) as admin:
        admin.execute(
            "SELECT pg_terminate_backend(pid, 1000) FROM pg_stat_activity WHERE application_name = 'reflexarc'"
        )
    with pytest.raises(TemporaryError):
        await connector.observe(THROTTLE)
    assert (await connector.observe(THROTTLE))["database"]["name"] == "shop"


async def test_a_server_that_does_not_answer_is_given_up(database: Postgres, load: Load) -> None:
    connector = PostgresConnector(settings(database, timeout_seconds=1))
    await connector.observe(THROTTLE)
    blocker = await AsyncConnection.connect(database.conninfo(dbname="shop"), autocommit=True)
    await blocker.execute("BEGIN; LOCK TABLE pg_db_role_setting")
    with pytest.raises(TemporaryError, match="statement timeout"):
        await connector.observe(THROTTLE)
    await blocker.close()
    await connector.close()


@pytest.mark.parametrize(
    ("name", "params", "complaint"),
    [
        ("set_role", {"role": "reports"}, "connections, settings or both"),
        ("set_role", {"role": "reports", "settings": {"fsync": "off"}}, "statement_timeout"),
        ("set_role", {"role": "reports", "settings": {"work_mem": "1MB'; DROP TABLE orders"}}, "pattern"),
        ("set_role", {"role": "reports", "connections": -2}, "greater than or equal to -1"),
        ("cancel", {}, "say which sessions"),
        ("drop", {}, "no operation drop"),
    ],
)
async def test_wrong_parameters_are_named(
    connector: PostgresConnector, name: str, params: dict[str, Any], complaint: str
) -> None:
    with pytest.raises(PermanentError, match=complaint):
        connector.params(operation(name, **params))


async def test_names_are_quoted(connector: PostgresConnector, database: Postgres) -> None:
    odd = 'we"ird; DROP'
    with psycopg.connect(database.conninfo(), autocommit=True) as admin:
        admin.execute(sql.SQL("CREATE ROLE {} LOGIN").format(sql.Identifier(odd)))
    limit = operation("set_role", role=odd, connections=3, settings={"lock_timeout": "1s"})
    state = await apply(connector, limit, await connector.observe(limit))
    assert role(state, odd)["connection_limit"] == 3


async def test_the_password_is_not_in_any_repr(database: Postgres) -> None:
    assert "hunter2" not in repr(settings(database, conninfo="user=reflexarc password=hunter2"))


COMMANDS = commands("database-protection")


@pytest.mark.parametrize("step", [name for name, command in COMMANDS.items() if command.revert is not None])
async def test_the_playbooks_limits_are_set_and_taken_back(connector: PostgresConnector, load: Load, step: str) -> None:
    command = COMMANDS[step]
    assert command.revert is not None
    await load.run("reports", "SELECT pg_sleep(30)", count=2)
    before = await connector.observe(command.apply)
    assert [unmet(item, before) for item in command.preconditions] == [None]
    assert not connector.plan(command.apply, before, before).satisfied
    changed = role(await apply(connector, command.apply, before), "reports")
    assert (changed["connection_limit"], changed["settings"]) != (30, before["busiest"]["settings"])
    await connector.revert(command.apply, command.revert, before, "key-revert")
    restored = role((await connector.verify(command.revert, before)).state, "reports")
    assert (restored["connection_limit"], restored["settings"]) == (30, before["busiest"]["settings"])


async def test_the_playbook_ends_the_sessions_of_the_busiest_role_only(
    connector: PostgresConnector, load: Load
) -> None:
    ended = await load.run("reports", "SELECT pg_sleep(30)", count=2)
    (other,) = await load.run("shop", "SELECT pg_sleep(30)")
    wanted = COMMANDS["end-sessions"].apply
    await apply(connector, wanted, await connector.observe(wanted))
    found = await asyncio.gather(*ended, return_exceptions=True)
    assert all(isinstance(error, psycopg.OperationalError) for error in found)
    assert not other.done()


def aged(state: dict[str, Any], seconds: float) -> dict[str, Any]:
    """As it would have been seen had all queries begun so much earlier."""
    sessions = [{**item, "query_seconds": item["query_seconds"] + seconds} for item in state["sessions"]]
    return {**state, "sessions": sessions}


async def test_the_playbook_cancels_the_statement_that_most_of_them_run(
    connector: PostgresConnector, load: Load
) -> None:
    ended = await load.run("reports", "SELECT pg_sleep(30)", count=2)
    ended += await load.run("reports", "SELECT pg_sleep(29)")
    (other,) = await load.run("reports", "SELECT pg_sleep(30), 'another statement'")
    (shop,) = await load.run("shop", "SELECT pg_sleep(30)")
    wanted = COMMANDS["cancel-queries"].apply
    await apply(connector, wanted, aged(await connector.observe(wanted), 6))
    found = await asyncio.gather(*ended, return_exceptions=True)
    assert [type(error) for error in found] == [psycopg.errors.QueryCanceled] * 3
    assert not other.done()
    assert not shop.done()


async def test_where_no_statement_prevails_any_of_the_roles_queries_counts(
    connector: PostgresConnector, load: Load
) -> None:
    ended = await load.run("reports", "SELECT pg_sleep(30)")
    ended += await load.run("reports", "SELECT pg_sleep(30), 'another statement'")
    wanted = COMMANDS["cancel-queries"].apply
    before = aged(await connector.observe(wanted), 6)
    assert before["busiest"]["query_id"] is None
    await apply(connector, wanted, before)
    found = await asyncio.gather(*ended, return_exceptions=True)
    assert all(isinstance(error, psycopg.errors.QueryCanceled) for error in found)


async def test_the_server_is_asked_which_rights_are_held(database: Postgres, connector: PostgresConnector) -> None:
    held = {item.right: item.held for item in await connector.check()}
    assert (held["pg_monitor"], held["pg_signal_backend"]) == (True, True)
    poor = PostgresConnector(settings(database, conninfo=database.conninfo(dbname="shop", user="reports")))
    assert not any(item.held for item in await poor.check())
    await poor.close()
    reading = PostgresConnector(settings(database, enabled=False))
    assert [item.right for item in await reading.check()] == ["pg_monitor"]
    await reading.close()
