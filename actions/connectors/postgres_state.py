"""What the PostgreSQL connector sees of a database: roles, sessions, who blocks whom, and the limits in force.

Called by `actions.connectors.postgres` within its transaction. Only sessions and roles that may be acted on are shown:
no superusers, no protected roles, not the connector's own. The text of queries is never read, for it holds what people
typed; `query_id` tells one statement from another where the server computes it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any, Literal, get_args

from psycopg import AsyncConnection, AsyncCursor
from psycopg.rows import dict_row

from actions.connectors.base import State

# A session is some 350 bytes and a role 300, so both lists together stay below MAX_STATE_BYTES.
MAX_SESSIONS = 150
MAX_ROLES = 150

# What may be set for a role or a database: limits that a session notices and that no data depends on.
Setting = Literal[
    "statement_timeout",
    "lock_timeout",
    "idle_in_transaction_session_timeout",
    "work_mem",
    "max_parallel_workers_per_gather",
]

_SERVER = """
SELECT current_setting('server_version') AS version, current_setting('max_connections')::int AS max_connections,
       (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections,
       pg_has_role(current_user, 'pg_read_all_stats', 'USAGE') AS sees_others
"""
_DATABASE = """
SELECT d.datname AS name, d.datconnlimit AS connection_limit, s.setconfig AS settings
FROM pg_database d LEFT JOIN pg_db_role_setting s ON s.setdatabase = d.oid AND s.setrole = 0
WHERE d.datname = current_database()
"""
# Settings of a role in this database: they win over those of the role and of the database, and reach no other.
_ROLES = """
SELECT r.rolname AS name, r.rolconnlimit AS connection_limit, s.setconfig AS settings, count(a.pid) AS sessions,
       count(a.pid) FILTER (WHERE a.state = 'active') AS active
FROM pg_roles r
LEFT JOIN pg_db_role_setting s ON s.setrole = r.oid
    AND s.setdatabase = (SELECT oid FROM pg_database WHERE datname = current_database())
LEFT JOIN pg_stat_activity a ON a.usesysid = r.oid AND a.datname = current_database()
    AND a.backend_type = 'client backend'
WHERE r.rolcanlogin AND NOT r.rolsuper AND r.rolname <> current_user AND r.rolname <> ALL(%(protected)s::text[])
GROUP BY r.rolname, r.rolconnlimit, s.setconfig
ORDER BY active DESC, sessions DESC, name LIMIT %(limit)s
"""
# Microseconds since 1970 tell a session from a later one with the same process id. pg_blocking_pids takes the lock
# manager's locks, so only sessions that wait for a lock are asked about.
_SESSIONS = """
SELECT a.pid, (extract(epoch FROM a.backend_start) * 1000000)::bigint AS started_unix_micro, a.usename AS role,
       left(a.application_name, 64) AS application, host(a.client_addr) AS client, a.state, a.wait_event_type,
       a.query_id::text AS query_id, (extract(epoch FROM a.query_start) * 1000000)::bigint AS query_unix_micro,
       coalesce(extract(epoch FROM clock_timestamp() - a.query_start), 0)::float8 AS query_seconds,
       coalesce(extract(epoch FROM clock_timestamp() - a.xact_start), 0)::float8 AS transaction_seconds,
       CASE WHEN a.wait_event_type = 'Lock' THEN pg_blocking_pids(a.pid) ELSE '{}' END AS blocked_by
FROM pg_stat_activity a JOIN pg_roles r ON r.oid = a.usesysid
WHERE a.backend_type = 'client backend' AND a.datname = current_database()
    AND NOT r.rolsuper AND r.rolname <> current_user AND r.rolname <> ALL(%(protected)s::text[])
ORDER BY a.xact_start NULLS LAST, a.pid LIMIT %(limit)s
"""


async def read(connection: AsyncConnection[Any], protected: Sequence[str]) -> State:
    """Read the whole state.

    `busiest` is the role with most sessions at work, absent when none is. Its `query_id` is what most of them run.
    """
    async with connection.cursor(row_factory=dict_row) as cursor:
        server, database = await _rows(cursor, _SERVER), await _rows(cursor, _DATABASE)
        roles = await _rows(cursor, _ROLES, protected=list(protected), limit=MAX_ROLES)
        sessions = await _rows(cursor, _SESSIONS, protected=list(protected), limit=MAX_SESSIONS)
    for item in (*database, *roles):
        item["settings"] = _settings(item["settings"])
    waiting_for = {pid for session in sessions for pid in session["blocked_by"]}
    for session in sessions:
        session["blocks"] = session["pid"] in waiting_for
    state: State = {"server": server[0], "database": database[0], "roles": roles, "sessions": sessions}
    if roles and roles[0]["active"]:
        state["busiest"] = {**roles[0], "query_id": _most_run(roles[0]["name"], sessions)}
    return state


def _most_run(role: str, sessions: Sequence[State]) -> str | None:
    """Give the statement that more than half of a role's queries at work are; None where none is, or none is told."""
    at_work = [item["query_id"] for item in sessions if item["role"] == role and item["state"] == "active"]
    for query_id, count in Counter(at_work).most_common(1):
        return query_id if 2 * count > len(at_work) else None
    return None


async def _rows(cursor: AsyncCursor[dict[str, Any]], query: str, **values: Any) -> list[dict[str, Any]]:
    await cursor.execute(query.encode(), values or None)
    return await cursor.fetchall()


def _settings(stored: Sequence[str] | None) -> dict[str, str | None]:
    """Give every setting that may be set: its value, or None where none is stored."""
    found = dict(item.split("=", 1) for item in stored or ())
    return {name: found.get(name) for name in get_args(Setting)}
