# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Private to this collection: no stable interface.
"""The rehearsal's database, in the service account's child: what is asked of it, changed in it, and left of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ansible_collections.fractal_ops.platform.plugins.module_utils._core.errors import FractalError
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.database import (
    DatabaseSettings,
    Installation,
    connect,
    installation_settings,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.frozen import (
    NoCopy,
    make_copy,
    why_no_copy,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.quoting import quoted
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.scratch import (
    DATABASE_FACTS,
    REHEARSAL,
    drop_all,
    half_made,
    left_over,
    may_create,
    run,
    scratch_database,
)
from ansible_collections.fractal_ops.platform.plugins.module_utils._database.server import size_and_postmaster
from ansible_collections.fractal_ops.platform.plugins.module_utils._upgrade.state import state_of

if TYPE_CHECKING:
    from sqlalchemy import Connection

RUN = "rehearsal"
"""The name of the run that makes the databases: there is one rehearsal of an instance at a time."""

# Everything that leads a started server to a job, a task or a cluster: table, column, what it becomes (%(folder)s is
# private and empty). Where a release has no such column, there is nothing to change.
_OUT_OF_REACH = (
    ("resource", "tasks_local_dir", "%(folder)s"),
    ("resource", "jobs_local_dir", "%(folder)s"),
    ("resource", "host", "'rehearsal.invalid'"),
    ("profile", "ssh_key_path", "%(folder)s || '/key'"),
    ("profile", "tasks_remote_dir", "%(folder)s"),
    ("profile", "jobs_remote_dir", "%(folder)s"),
    ("taskgroupv2", "path", "%(folder)s || path"),
    ("taskgroupv2", "venv_path", "%(folder)s || venv_path"),
)
# Work in flight is nobody's there: no server may take it up again, wait for it or end it.
_ENDED = (
    ("jobv2", "UPDATE jobv2 SET status = 'failed' WHERE status = 'submitted'"),
    ("taskgroupactivityv2", "UPDATE taskgroupactivityv2 SET status = 'failed' WHERE status IN ('pending', 'ongoing')"),
)
_COLUMNS = """
SELECT c.relname, a.attname FROM pg_class AS c JOIN pg_attribute AS a ON a.attrelid = c.oid AND a.attnum > 0
WHERE c.relkind = 'r' AND pg_table_is_visible(c.oid) AND NOT a.attisdropped
"""
_ACCOUNT = """
SELECT u.id, u.email FROM user_oauth AS u
WHERE u.is_active AND u.is_verified AND u.profile_id IS NOT NULL
ORDER BY (SELECT count(*) FROM linkuserprojectv2 AS l WHERE l.user_id = u.id) DESC, u.id LIMIT 1
"""


def begin(installation: Installation) -> dict[str, Any]:
    """Drop what a killed rehearsal left, and return what there is to begin with.

    Returns:
        The ``state`` of the database, its ``size_bytes``, PostgreSQL's ``postmaster``; in words, ``why_not`` (what
        forbids any rehearsal, or nothing) and ``why_no_copy`` (what forbids a frozen copy).
    """
    drop_rehearsal(installation)
    settings = installation_settings(installation)
    with connect(settings, read_only=True) as connection:
        size, postmaster = size_and_postmaster(connection)
        return {
            "state": state_of(settings),
            "size_bytes": size,
            "postmaster": postmaster,
            "why_not": _why_not(settings, connection),
            "why_no_copy": why_no_copy(connection),
        }


def _why_not(settings: DatabaseSettings, connection: Connection) -> str:
    """Return why no database can be made beside the instance's, or connected to: tried with an empty one."""
    if not may_create(connection):
        role = connection.exec_driver_sql("SELECT quote_ident(current_user)").scalar()
        return (
            f"the database role {role} may not create databases. An administrator of PostgreSQL grants it with: "
            f"ALTER ROLE {role} CREATEDB;"
        )
    facts = dict(connection.exec_driver_sql(DATABASE_FACTS).mappings().one())
    try:
        with scratch_database(settings, RUN, facts, REHEARSAL) as scratch, connect(scratch, read_only=True):
            return ""
    except FractalError as error:
        return f"another database cannot be made or connected to: {error}"


def time_a_copy(installation: Installation, scratch: str) -> dict[str, Any]:
    """Copy the scratch database as the window will copy the instance's, compare and drop the copy.

    Returns:
        ``copy_seconds``, ``compare_seconds`` and the ``copied_bytes``; or in ``refused`` why it cannot be made.
    """
    settings = installation_settings(installation)
    try:
        made = make_copy(settings.at(scratch), RUN, complete=False)
    except NoCopy as error:
        return {"refused": str(error)}
    finally:
        with connect(settings, autocommit=True) as connection:
            drop_all(connection, half_made(connection, scratch, RUN))
    return {
        "copy_seconds": made["copy_seconds"],
        "compare_seconds": made["compare_seconds"],
        "copied_bytes": made["database"]["size_bytes"],
    }


def put_out_of_reach(installation: Installation, folder: str) -> dict[str, Any]:
    """Take from the migrated scratch database all ways to jobs, tasks and clusters, before a server sees it.

    Returns:
        ``account``: id and e-mail of a user who can log in, or None.
    """
    settings = installation_settings(installation)
    if f"_{REHEARSAL}_" not in settings.dbname:
        raise AssertionError(f"{settings.dbname} is no database of a rehearsal")
    with connect(settings) as connection, connection.begin():
        there = {(str(table), str(column)) for table, column in connection.exec_driver_sql(_COLUMNS)}
        for table, column, value in _OUT_OF_REACH:
            if (table, column) in there:
                statement = f"UPDATE {table} SET {quoted(column)} = {value} WHERE {quoted(column)} IS NOT NULL"
                connection.exec_driver_sql(statement, {"folder": folder})
        for table, statement in _ENDED:
            if (table, "status") in there:
                run(connection, statement)
        found = connection.exec_driver_sql(_ACCOUNT).first()
    return {"account": {"id": int(found[0]), "email": str(found[1])} if found else None}


def drop_rehearsal(installation: Installation) -> dict[str, Any]:
    """Drop what this or a killed rehearsal made: the scratch databases and their copies. Return their ``names``."""
    settings = installation_settings(installation)
    with connect(settings, autocommit=True) as connection:
        names = left_over(connection, settings.dbname, (REHEARSAL,))
        drop_all(connection, names)
    return {"names": names}
