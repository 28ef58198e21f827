# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The state of an instance's database: its release, how far its data migrations are, and what works on it."""

from __future__ import annotations

import time
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import DatabaseSettings, connect
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.sessions import CLIENT, OTHER_SESSIONS
from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.path import (
    RELEASES,
    first_release_with_head,
    release_at_head,
    stops_between,
)

if TYPE_CHECKING:
    import sqlalchemy as sa
    from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.data_migration import DataMigration
    from ansible_collections.fractal_ops.platform.plugins.module_utils._releases.release import Release
else:
    try:
        import sqlalchemy as sa
    except ImportError:
        sa = None  # as under the host's Python, which only describes databases

_SERVER_FACTS = f"""
SELECT current_setting('server_version') AS server_version,
       current_setting('server_version_num')::int AS server_version_num,
       pg_database_size(current_database()) AS size_bytes, quote_ident(current_user) AS role,
       (SELECT rolcreatedb OR rolsuper FROM pg_roles WHERE rolname = current_user) AS can_create_database,
       (SELECT coalesce(json_agg(json_build_object('pid', pid, 'user', usename, 'application', application_name,
                                                   'client', {CLIENT}) ORDER BY pid), '[]')
        FROM pg_stat_activity
        WHERE {OTHER_SESSIONS}
       ) AS other_sessions,
       (SELECT coalesce(json_object_agg(relname, columns), '{{}}')
        FROM (SELECT c.relname, json_agg(a.attname ORDER BY a.attname) AS columns
              FROM pg_class c
              JOIN pg_namespace n ON n.oid = c.relnamespace
              JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
              WHERE c.relkind IN ('r', 'p') AND pg_table_is_visible(c.oid) AND n.nspname !~ '^(pg_|information_schema)'
              GROUP BY c.relname) AS visible
       ) AS tables
"""

_IN_FLIGHT_SHOWN = 100
_IN_FLIGHT = {
    "jobv2": (
        "jobs",
        f"""SELECT json_build_object('count', (SELECT count(*) FROM jobv2 WHERE status = 'submitted'), 'rows',
               (SELECT coalesce(json_agg(json_build_object('id', id, 'project_id', project_id, 'user', user_email,
                                                           'since', start_timestamp)), '[]')
                FROM (SELECT * FROM jobv2 WHERE status = 'submitted'
                      ORDER BY id LIMIT {_IN_FLIGHT_SHOWN}) AS first))""",
    ),
    "taskgroupactivityv2": (
        "activities",
        f"""SELECT json_build_object('count',
               (SELECT count(*) FROM taskgroupactivityv2 WHERE status IN ('pending', 'ongoing')), 'rows',
               (SELECT coalesce(json_agg(json_build_object('id', id, 'action', action, 'package', pkg_name,
                                                           'user_id', user_id, 'since', timestamp_started)), '[]')
                FROM (SELECT * FROM taskgroupactivityv2 WHERE status IN ('pending', 'ongoing')
                      ORDER BY id LIMIT {_IN_FLIGHT_SHOWN}) AS first))""",
    ),
}
_NO_ROWS: dict[str, Any] = {"count": 0, "rows": []}


def database_state(connection: sa.Connection, stops: Mapping[str, DataMigration]) -> dict[str, Any]:
    """Return the state of an instance's database, with two statements, by reading only, quick whatever its size.

    ``stops`` holds the data migrations that are known, by release.
    """
    facts = dict(connection.execute(sa.text(_SERVER_FACTS)).mappings().one())
    tables: dict[str, list[str]] = facts.pop("tables")
    queries = {}
    if "alembic_version" in tables:
        queries["revision"] = "SELECT max(version_num) FROM alembic_version"
    for table, (name, query) in _IN_FLIGHT.items():
        if table in tables:
            queries[name] = query
    for version, stop in stops.items():
        queries.update({f"data {version} {name}": query for name, query in stop.queries(tables).items()})
    found = _ask(connection, queries)
    jobs, activities = found.get("jobs", _NO_ROWS), found.get("activities", _NO_ROWS)
    revision = found.get("revision")
    at = release_at_head(revision)
    return {
        **facts,
        "reachable": True,
        "reason": "",
        "revision": revision,
        "release": first_release_with_head(revision),
        "newest_release": at.version if at else "unknown",
        **data_migrations(at, stops, found),
        "jobs_in_flight": jobs["count"],
        "submitted_jobs": jobs["rows"],
        "activities_in_flight": activities["count"],
        "ongoing_activities": activities["rows"],
    }


def data_migrations(at: Release | None, stops: Mapping[str, DataMigration], found: Mapping[str, Any]) -> dict[str, Any]:
    """Return how far the data migration is that the schema stands at, and whom the earlier ones left out for good."""
    rows: dict[str, dict[str, Any]] = {version: {} for version in stops}
    for name, value in found.items():
        kind, _space, rest = name.partition(" ")
        if kind == "data":
            version, _space, query = rest.partition(" ")
            rows[version][query] = value
    reached = stops_between("0", at.version) if at else []
    here = reached[-1] if at and reached and reached[-1].alembic_head == at.alembic_head else None
    passed = {one.version: stops[one.version] for one in reached if one is not here and one.version in stops}
    left_out = {version: known.lost(rows[version]) for version, known in passed.items()}
    lost = [user for version, users in left_out.items() if not passed[version].mend_lost for user in users]
    skipped = [
        {"release": version, "users": users, "fix": passed[version].mend_lost}
        for version, users in left_out.items()
        if users and passed[version].mend_lost
    ]
    state, left, stop = "not_needed", "", reached[-1] if reached else None
    if here is not None:
        known = stops.get(here.version)
        state = known.state(rows[here.version]) if known else "pending"
        left = known.left(rows[here.version]) if known and state != "done" else ""
    elif at is not None and stop is None:
        state, stop = "pending", next((known for known in RELEASES if known.is_stop), None)
    name = stop.version if stop else ""
    found_there = {"data_migration": state, "stop": name, "migrated": rows.get(name, {}), "left": left}
    return {**found_there, "lost": lost, "skipped": skipped}


# A session that has been idle for a while does nothing (a pool, somebody's psql); one of another role is no Fractal.
_BUSY_SESSIONS = """
SELECT pid, coalesce(nullif(application_name, ''), 'unnamed') AS application,
       coalesce(host(client_addr), 'this host') AS client
FROM pg_stat_activity
WHERE datname = current_database() AND usename = current_user AND pid <> pg_backend_pid()
      AND NOT (state = 'idle' AND state_change < clock_timestamp() - interval '10 seconds')
"""


def wait_until_alone(settings: DatabaseSettings, timeout: float = 60) -> None:
    """Wait until nobody else works on the database as this role: a program that outlived a killed run, for example.

    Raises:
        FractalError: Somebody still does after ``timeout`` seconds.
    """
    deadline = time.monotonic() + timeout
    with connect(settings, autocommit=True) as connection:
        while True:
            busy = connection.execute(sa.text(_BUSY_SESSIONS)).mappings().all()
            if not busy:
                return
            if time.monotonic() > deadline:
                sessions = ", ".join(f"{s['application']} from {s['client']} (pid {s['pid']})" for s in busy)
                raise FractalError(
                    f"Others work on the {settings.where}: {sessions}. Stop them, then run again; nothing was changed."
                )
            time.sleep(0.2)


def revision_of(connection: sa.Connection) -> str | None:
    """Return the alembic revision, or None for a database that fractal-server never set up."""
    if connection.execute(sa.text("SELECT to_regclass('alembic_version')")).scalar() is None:
        return None
    return connection.execute(sa.text("SELECT max(version_num) FROM alembic_version")).scalar()


def _ask(connection: sa.Connection, queries: Mapping[str, str]) -> dict[str, Any]:
    """Return the answers to scalar queries, asked in one statement."""
    if not queries:
        return {}
    columns = ", ".join(f"({query})" for query in queries.values())
    return dict(zip(queries, connection.execute(sa.text(f"SELECT {columns}")).one()))
